"""annotator/annotator.py: what a person does with a folder (Secs. 3.2 and 3.3, D31, D32)."""

import pytest
from client import TIMES, Client, started

from annotator import statistics
from annotator.folder_session import PLAIN
from session import Settings

NAMES = [f"synthetic-000{k}" for k in range(4)]


def bank(client, category="starfish"):
    return client.session.session.category(category).bank


def files(client):
    out = client.store.out
    return {p.relative_to(out): p.read_bytes() for p in sorted((out / "masks").rglob("*.png"))}


# ---- proposals -------------------------------------------------------------------------------------------------------


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


# ---- one object an image, or several ---------------------------------------------------------------------------------


def test_with_several_objects_an_image_is_done_when_the_person_says_so(serve, centre, discs):
    """A finish stays; an image with one of several objects is not done, also after a start; 'done' can be undone."""
    client = serve(several=True, categories=("starfish",))
    client.open()
    client.finish(centre(0))
    assert (client.at["image"], client.at["done"]) == (NAMES[0], False)
    client.act("/done", **client.where, done=True)
    assert client.at["image"] == NAMES[1]
    assert client.at["rows"] == [[NAMES[1], 0, False, False], [NAMES[0], 1, True, False]]
    client.finish(centre(1))
    client.open(NAMES[3])
    again = serve(several=True, categories=("starfish",))
    assert [row[:3] for row in again.post("/images", category="starfish")["images"]] == [
        [NAMES[0], 1, True],
        [NAMES[1], 1, False],
        [NAMES[2], 0, False],
        [NAMES[3], 0, False],
    ]
    state = again.post("/state")
    assert (state["image"], state["several"]) == (NAMES[3], True)
    again.open(NAMES[3])
    again.undo()
    assert again.undo()["image"] == NAMES[0]
    assert not again.at["done"]
    again.act("/done", **again.where, done=True)
    again.open()
    assert not again.act("/done", **again.where, done=False)["done"]
    assert again.refused("/empty", key="a new key", **again.where, empty=True)[0] == 422  # it has an instance


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
        state = client.post("/state")
        following = {2: (NAMES[3], "starfish"), 1: (NAMES[1], "clover")}
        assert (state["image"], state["category"]) == following.get(k, (state["image"], "starfish"))


# ---- history ---------------------------------------------------------------------------------------------------------


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


# ---- categories ------------------------------------------------------------------------------------------------------


def test_categories_have_banks_files_and_proposals_of_their_own(client, centre):
    """D27, D31: a category can be left and reopened."""
    client.finish(centre(0))
    client.open(NAMES[2], "clover")
    assert client.at["proposal"] is None
    client.finish(centre(2))
    assert client.at["proposal"] is not None
    assert [str(p) for p in files(client)] == ["masks/clover/synthetic-0002.png", "masks/starfish/synthetic-0000.png"]
    assert client.open(NAMES[1], "starfish")["proposal"] is not None


def test_an_instance_moves_to_another_category_with_what_it_taught(client, centre):
    """Its vector is in the other bank; in the index masks it has a value of its own."""
    client.open(category="clover")
    client.finish(centre(0))
    client.open()
    client.finish((5, 5, True))
    vector = bank(client)[0]
    answer = client.act("/recategorise", instance=2, category="clover")
    assert [(e["id"], e["category"]) for e in answer["instances"]] == [(1, "clover"), (2, "clover")]
    assert bank(client) == []
    assert bank(client, "clover")[1] is vector
    assert [e["value"] for e in client.store.live] == [1, 2]
    client.undo()
    assert bank(client)[0] is vector


# ---- looking ahead, thumbnails, studies ------------------------------------------------------------------------------


def test_the_image_that_is_looked_at_ahead_is_the_one_that_a_finish_opens(client, centre):
    """Done images are passed over, and after the last one that is not done there is nothing to look at."""
    prefetcher = client.session.prefetcher
    client.open(NAMES[1])
    client.act("/empty", **client.where, empty=True)
    for shown, finish, following in ((0, True, 2), (3, True, 2), (2, False, None)):
        prefetcher.coming.clear()
        client.session.opened.clear()
        client.open(NAMES[shown])
        assert list(prefetcher.coming) == ([] if following is None else [NAMES[following]])
        if finish:
            ahead = prefetcher.coming[NAMES[following]].result()
            client.finish(centre(shown))
            assert client.at["image"] == NAMES[following]
            assert client.session.open(NAMES[following], "starfish").F is ahead[2]


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


def test_a_start_and_the_list_of_images_read_no_photo(pristine, tmp_path, monkeypatch):
    """Two thousand of them are there at once; thumbnails and pixels are read when they are looked at."""
    (tmp_path / "photos").mkdir()
    for k in range(2000):
        (tmp_path / "photos" / f"{k:04d}.jpg").touch()
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("a photo was read"))
    server = started(pristine, tmp_path / "photos")
    rows = Client(server).post("/images", category="starfish")["images"]
    server.end()
    assert len(rows) == 2000
    assert rows[-1] == ["1999", 0, False, False]
