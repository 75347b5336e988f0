"""annotator/annotator.py: what a person does with a folder (Secs. 3.2 and 3.3, D31, D32)."""

import pytest
import torch
from client import TIMES

from annotator import statistics
from annotator.export import FORMATS
from annotator.folder_session import PLAIN
from session import Settings

NAMES = [f"synthetic-000{k}" for k in range(4)]


def bank(client, category="starfish"):
    return client.session.session.category(category).bank


def test_a_proposal_never_lies_on_what_is_annotated_in_the_image_also_after_coming_back(serve, centre, discs):
    """Sec. 3.2, p_n in T - I; D31: ignore masks belong to (image, category) and last, also over a restart."""
    client = serve(several=True)
    client.open()
    client.finish(centre(0))
    annotated = client.store.index(NAMES[0], "starfish") > 0
    assert not annotated[tuple(client.at["proposal"])]
    client.open(NAMES[2])
    assert not annotated[tuple(client.open()["proposal"])]
    again = serve(several=True)
    assert not annotated[tuple(again.open()["proposal"])]
    discs.radius = 100.0  # Eq. 2 over an empty T - I
    answer = again.finish(centre(0))
    assert (answer["proposal"], answer["mask"]) == (None, None)


def test_after_a_start_the_person_is_where_they_were(serve, client, centre):
    """The image that was shown last, or the next one that is not done."""
    client.open(NAMES[2], "clover")
    assert [serve().post("/state")[k] for k in ("image", "category")] == [NAMES[2], "clover"]
    client = serve()
    for k in (2, 3, 0, 1):
        client.open(NAMES[k])
        client.finish(centre(k))
        client.open(NAMES[k])
        client = serve()
        following = (NAMES[1], "clover") if k == 1 else (NAMES[(k + 1) % 4], "starfish")
        assert [client.post("/state")[k] for k in ("image", "category")] == [*following]


def test_a_request_that_is_sent_again_is_carried_out_once(serve, client, centre):
    """A page that lost the answer asks again with the same key: after a kill of the server, too."""
    body = client.body(centre(0))
    first = client.post("/finish", **body)
    client = serve()
    again = client.post("/finish", **body)
    assert len(client.store.live) == 1
    assert again["event"] == first["event"]
    assert again["image"] == first["image"] == NAMES[1]
    for path, fields in (("/undo", client.where), ("/delete", {"instance": 1}), ("/redo", client.where)):
        if path == "/delete":
            client.redo()
        answers = [client.post(path, key=f"the same {path}", **fields)["event"] for _ in range(2)]
        assert answers[0] == answers[1]
        if path != "/redo":
            assert client.store.live == []


@pytest.mark.parametrize("corrected", [False, True])
def test_an_instance_moves_to_another_category_with_what_it_taught(client, centre, corrected):
    """Its vector is in the other bank; in the index masks it has a value of its own. In the list, or by a category key
    while it is corrected: one step, which one undo takes back."""
    client.open(category="clover")
    client.finish(centre(0))
    client.open()
    client.finish((5, 5, True))
    file, vector = client.store.mask_file(NAMES[0], "starfish"), bank(client)[0]
    if corrected:
        answer = client.correct(2, (50, 50, True), category="clover")
    else:
        answer = client.act("/recategorise", instance=2, category="clover")
    assert [(e["id"], e["category"]) for e in answer["instances"]] == [(1, "clover"), (2, "clover")]
    assert (client.at["category"], bank(client), file.exists()) == ("clover", [], False)
    assert len(bank(client, "clover")) == 2
    assert [e["value"] for e in client.store.live] == [1, 2]
    assert client.undo()["category"] == "starfish"
    client.settle()
    assert torch.allclose(bank(client)[0], vector, atol=1e-5)
    assert file.exists()


def test_the_image_that_is_looked_at_ahead_is_the_one_that_a_finish_opens(client, centre):
    """Done images are passed over."""
    client.open(NAMES[1])
    client.act("/empty", **client.where, empty=True)
    client.open(NAMES[0])
    ahead = client.session.prefetcher.coming[NAMES[2]].result()
    client.finish(centre(0))
    assert client.at["image"] == NAMES[2]
    assert client.session.open(NAMES[2], "starfish").F is ahead[2]


def test_a_study_annotates_a_seeded_fifth_without_proposal_and_optimisation(serve, centre, discs):
    """Row (a) of Tab. 1 within a study: baseline parameters, no proposal, one in each block of five."""
    client = serve(study=True, settings=Settings(size=64, seed=3))
    seen = []
    for k in range(10):  # two blocks
        client.open(NAMES[k % 4], propose=True)
        seen.append(client.at["plain"])
        if client.at["plain"]:
            assert client.at["proposal"] is None
            client.segment(centre(k % 4))
            assert (NAMES[k % 4], "starfish", None, True) in client.session.views
        client.finish(centre(k % 4))
    assert sum(seen[:5]) == sum(seen[5:]) == 1
    assert [e["plain"] for e in client.store.live] == seen
    session = client.session.session
    assert session.categories[PLAIN].history[0] is session.baseline


def test_a_correction_leaves_an_instance_in_its_row_and_adds_its_seconds(client, centre):
    """D14, D15: an accepted proposal is no click unless it is re-selected; the first reaction stays what it was."""
    client.finish(centre(0))
    row, col = proposal = client.at["proposal"]
    client.finish()
    client.correct(2, (63, 63, False))
    event = client.store.live[-1]
    assert (event["proposal"], event["accepted"], statistics.clicks(event)) == (proposal, True, 1)
    assert (event["seconds"]["kind"], event["seconds"]["total"]) == ("accept", 2 * TIMES["total"])
    client.correct(2, clicks=[[row, col ^ 1, True]])
    event = client.store.live[-1]
    assert (event["accepted"], statistics.clicks(event)) == (False, 1)


@pytest.mark.parametrize(("mark", "key"), [("/empty", "empty"), ("/done", "done")])
def test_a_mark_is_of_the_photo_that_was_seen(serve, photos, mark, key):
    """Another one under its name is not opened, nor exported as an image without objects."""
    serve().act(mark, image=NAMES[1], category="starfish", **{key: True})
    (photos / f"{NAMES[1]}.png").write_bytes((photos / f"{NAMES[3]}.png").read_bytes())
    again = serve()
    answer = again.open(NAMES[1])
    assert (answer["readable"], "another photo" in answer["notices"][0]) == (False, True)
    assert "1 images whose photo is not the annotated one" in FORMATS["coco"](again.store)
    again.act(mark, image=NAMES[1], category="starfish", **{key: False})
    assert again.open(NAMES[1])["readable"]
