"""annotator/work.py: what a person does with a session (Secs. 3.2 and 3.3, D31, D32)."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from annotator import statistics
from annotator.store import from_counts
from session import Settings


def bank(client, category="starfish"):
    return client.server.work.course.session.category(category).bank.state()


def everything(client, category="starfish"):
    """All that a session keeps, to be compared."""
    session = client.server.work.course.session
    state = session.category(category)
    return {
        "bank": [state.bank.count, *(s.clone() for s in state.bank.sums)],
        "parameters": [v.clone() for part in state.history for v in part.values()],
        "memory": [s.mask.clone() for s in session.memory.samples],
        "ignore": dict(session.ignore),
        "counters": (session.done, state.finished, list(state.pending)),
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def files(photos):
    out = photos.parent / "out"
    return {p.relative_to(out): p.read_bytes() for p in sorted((out / "masks").rglob("*.png"))}


@pytest.fixture
def client(serve, discs):
    """A page that has just been loaded, on a network whose masks follow the clicks."""
    client = serve()
    client.post("/state")
    client.open()
    return client


def test_the_first_image_has_no_proposal_and_the_second_one_has(client, centre):
    """Sec. 3.2: initially an empty bank; after the first instance the most similar pixel is proposed."""
    assert client.at["proposal"] is None
    client.finish(centre(0))
    assert client.at["image"] == 1
    assert client.at["proposal"] is not None
    assert client.at["mask"]  # a proposal is shown with what it would segment


def test_an_accepted_proposal_is_the_first_click_and_is_counted_as_none(client, centre):
    """D14, D32: accepting makes it the first click; the line says so and the statistics count no click."""
    client.finish(centre(0))
    proposal = client.at["proposal"]
    client.finish()
    line = client.server.work.store.events[-1]
    assert line["accepted"] is True
    assert [tuple(c) for c in line["clicks"]] == [(*proposal, True)]
    assert ("Clicks, last 20", "0.50") in client.server.work.open(0, "starfish")["statistics"]


def test_a_rejected_proposal_leaves_no_click_and_the_bank_takes_the_users_own(client, centre):
    """D15, D19, D32: a wrong proposal is discarded, never kept as a background click."""
    client.finish(centre(0))
    client.settle()
    before, mine = bank(client), (3, 60, True)
    view = client.server.work.at.view
    client.finish(mine)
    line = client.server.work.store.events[-1]
    assert line["accepted"] is False
    assert [tuple(c) for c in line["clicks"]] == [mine]
    cell = view.R[3][0][:, 3 * view.R[3].shape[-2] // 64, 60 * view.R[3].shape[-1] // 64]
    added = bank(client)["sums"][0] - before["sums"][0]
    torch.testing.assert_close(added, cell / cell.norm(), atol=1e-4, rtol=1e-3)


def test_a_proposal_never_lies_on_what_is_annotated_in_the_image_also_after_coming_back(client, centre):
    """Sec. 3.2, p_n in T - I; D31: ignore masks belong to (image, category) and last."""
    client.finish(centre(0), stay=True)
    annotated = client.server.work.store.index(client.server.work.store.names[0], "starfish") > 0
    assert not annotated[tuple(client.at["proposal"])]
    client.open(2)
    again = client.open(0)
    assert not annotated[tuple(again["proposal"])]


def test_a_whole_image_that_is_annotated_has_no_proposal(client, centre, discs):
    """Eq. 2 over an empty T - I."""
    discs.radius = 100.0
    client.finish(centre(0), stay=True)
    assert client.at["proposal"] is None
    assert client.at["mask"] is None


def test_the_network_learns_behind_the_users_back_and_the_lesson_is_in_force_one_instance_later(client, centre):
    """Sec. 3.3, D25 with delta = 2: what the first instance taught is in force from the third one on."""
    state = client.server.work.course.session.category("starfish")
    baseline = state.history[-1]
    client.finish(centre(0))
    client.settle()
    learnt = client.server.work.course.rounds["starfish"].result()
    assert client.server.work.at.view.parameters is baseline
    client.finish(centre(1))
    assert client.server.work.at.view.parameters is learnt
    assert any(not torch.equal(learnt[k], baseline[k]) for k in baseline)


def test_who_is_faster_than_a_round_never_waits_for_it(client, centre, monkeypatch):
    """A finish while a round runs starts no second one and says so in its line."""
    client.finish(centre(0))
    client.settle()
    monkeypatch.setattr(client.server.work.course.rounds["starfish"].__class__, "done", lambda self: False)
    client.finish(centre(1))
    assert [e["learn"] for e in client.server.work.store.events] == [True, False]


@pytest.mark.parametrize("quick", [False, True])
def test_undo_restores_session_files_and_proposal_exactly(client, centre, photos, quick):
    """Undo throws the round away and restores bank, ignore mask, memory, parameters and files."""
    client.finish(centre(0))
    client.settle()
    shown, before, on_disk = dict(client.at), everything(client), files(photos)
    client.finish(centre(1))
    if not quick:
        client.settle()
    assert not same(before, everything(client))
    answer = client.post("/undo", view=client.at["view"])
    assert same(before, everything(client))
    assert files(photos) == on_disk
    assert {k: answer[k] for k in shown if k not in ("view", "saved")} == {
        k: v for k, v in shown.items() if k not in ("view", "saved")
    }


def test_undo_goes_back_to_the_very_beginning_and_then_says_so(client, centre, photos):
    """Undo, instance by instance, until nothing is left."""
    before = everything(client)
    for _ in range(2):
        client.finish(centre(client.at["image"]))
        client.settle()
    for _ in range(2):
        client.post("/undo", view=client.at["view"])
    assert same(before, everything(client))
    assert files(photos) == {}
    assert client.post("/undo", view=client.at["view"])["undone"] == "Nothing to undo"


def test_started_again_everything_is_as_it_was(serve, client, centre):
    """The truth is on disk: bank, parameters, memory, the image to resume at and the next proposal."""
    client.finish(centre(0))
    client.settle()
    client.finish()
    client.settle()
    client.post("/undo", view=client.at["view"])
    client.finish(centre(1))
    client.settle()
    before, shown = everything(client), client.open(2)
    again = serve()
    again.settle()
    assert again.post("/state")["image"] == 2
    assert same(before, everything(again))
    answer = again.open(2)
    assert [answer[k] for k in ("proposal", "mask")] == [shown[k] for k in ("proposal", "mask")]


def test_undo_works_after_a_restart(serve, client, centre):
    """Z, then the last finished instance, also of an earlier start."""
    client.finish(centre(0))
    client.settle()
    before = everything(client)
    client.finish(centre(1))
    client.settle()
    again = serve()
    again.post("/state")
    again.open(2)
    assert again.post("/undo", view=again.at["view"])["image"] == 1
    assert same(before, everything(again))


def test_a_finished_instance_is_reopened_and_corrected(client, centre, photos):
    """Click on one, correct it: the same instance with another mask, and nothing twice in the bank."""
    client.finish(centre(0), stay=True)
    count = bank(client)["count"]
    row, col, _ = centre(0)
    answer = client.post("/reopen", view=client.at["view"], row=row, col=col)
    assert [tuple(c) for c in answer["clicks"]] == [centre(0)]
    body = client.body(centre(0), (row, col + 6, False), stay=True) | {"proposal": "none"}
    client.post("/finish", **body)
    work = client.server.work
    assert len(work.store.live) == 1
    assert work.store.live[0]["replaces"] == 1
    assert not from_counts(work.store.live[0]["counts"], [64, 64])[row, col + 6]
    assert bank(client)["count"] == count


def corrected(client, pixel, *clicks):
    """The event of the instance at a pixel of the image shown, finished again with other clicks."""
    client.post("/reopen", view=client.at["view"], row=pixel[0], col=pixel[1])
    client.post("/finish", **client.body(*clicks, stay=True) | {"proposal": "none"})
    return client.server.work.store.live[-1]


def test_a_correction_leaves_an_instance_in_its_row_and_adds_its_clicks_and_seconds(serve, centre, discs):
    """D14, D15: an accepted proposal is no click unless it is re-selected; row (d) stays row (d), row (a) row (a)."""
    seed = next(s for s in range(50) if statistics.plain(2, s))
    client = serve(study=True, settings=Settings(size=64, seed=seed))
    client.post("/state")
    client.open()
    client.finish(centre(0))
    row, col = proposal = client.at["proposal"]
    client.finish(stay=True)
    work = client.server.work
    for clicks, accepted, own in ([(*proposal, True), (63, 63, False)], True, 1), ([(row, col ^ 1, True)], False, 1):
        assert client.at["plain"]
        event = corrected(client, proposal, *clicks)
        assert (event["plain"], list(event["proposal"]), event["accepted"]) == (False, proposal, accepted)
        assert statistics.clicks(event) == own
        assert event["seconds"]["kind"] == "accept"
    assert event["seconds"]["total"] == 6.0
    assert "(a) plain" not in statistics.summary(work.store.live)
    assert ["Instances", "2"] in client.at["statistics"]
    client.finish(centre(1), stay=True)
    assert not client.at["plain"]
    client.post("/reopen", view=client.at["view"], row=centre(1)[0], col=centre(1)[1])
    assert work.at.bare.parameters is work.course.bare.baseline
    event = corrected(client, centre(1), centre(1), (63, 63, False))
    assert (event["plain"], event["proposal"], statistics.clicks(event)) == (True, None, 2)


@pytest.mark.parametrize("last", [True, False])
def test_a_finished_instance_is_deleted(client, centre, photos, last):
    """Deleted: gone from the files, and its place may be proposed again."""
    client.finish((10, 10, True), stay=True)
    client.settle()
    client.finish((50, 50, True), stay=True)
    client.settle()
    client.post("/delete", view=client.at["view"], id=2 if last else 1)
    work = client.server.work
    assert [e["id"] for e in work.store.live] == [1 if last else 2]
    left = np.asarray(Image.open(photos.parent / "out" / "masks" / "starfish" / "synthetic-0000.png"))
    assert (left[50, 50] == 0) == last
    assert (left[10, 10] == 0) != last
    ignored = [np.asarray(work.course.session.ignored(work.at.view))[p] for p in ((10, 10), (50, 50))]
    assert not ignored[1 if last else 0]


def test_no_object_marks_the_image_and_opens_the_next(serve, client):
    """X: the image counts as finished, also after a restart, until it is unmarked."""
    client.post("/empty", view=client.at["view"], empty=True)
    assert client.at["image"] == 1
    assert serve().post("/state")["image"] == 1


def test_categories_have_banks_files_and_proposals_of_their_own(client, centre, photos):
    """D27, D31: a category can be left and reopened."""
    client.finish(centre(0))
    client.open(2, "clover")
    assert client.at["proposal"] is None
    client.finish(centre(2))
    assert client.at["proposal"] is not None
    assert sorted(str(p) for p in files(photos)) == [
        f"masks/{n}.png" for n in ("clover/synthetic-0002", "starfish/synthetic-0000")
    ]
    assert client.open(1, "starfish")["proposal"] is not None


def test_a_changed_category_list_leaves_the_annotations_of_the_others(serve, client, centre, photos):
    """A changed category list: one line, files stay, and work continues."""
    client.finish(centre(0))
    kept = files(photos)
    again = serve(categories=("moth",))
    assert again.post("/state")["categories"] == ["moth"]
    (notice,) = again.open(0, "moth")["notices"]
    assert notice == "category 'starfish': not in --categories; its annotations stay as they are"
    again.finish(centre(0))
    assert kept.items() <= files(photos).items()


@pytest.mark.parametrize("harm", ["gone", "broken", "another"])
def test_an_image_that_is_gone_or_broken_is_one_line_and_work_continues(serve, client, centre, photos, capsys, harm):
    """A deleted image: one line in the page and on the terminal at the next start; the others can be annotated."""
    client.finish(centre(0))
    path = photos / "synthetic-0000.png"
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"no image" if harm == "broken" else (photos / "synthetic-0001.png").read_bytes()[:-1])
        if harm == "another":
            Image.new("RGB", (30, 20)).save(path)
    again = serve()
    again.post("/state")
    (notice,) = again.open(1 if harm != "gone" else 0)["notices"]
    assert "synthetic-0000" in notice
    assert "\n" not in notice
    assert f"annotate: {notice}\n" in capsys.readouterr().out
    again.finish(centre(1))
    assert len(again.server.work.store.live) == 2


def test_an_image_of_another_size_than_its_annotations_is_not_annotated_further(serve, client, centre, photos):
    """A replaced photo: one line with the remedy, nothing is written, and the old file makes all as it was."""
    path = photos / "synthetic-0000.png"
    client.finish(centre(0))
    client.finish(centre(1))
    kept, old, before = (photos.parent / "out" / "annotations.jsonl").read_bytes(), path.read_bytes(), files(photos)
    Image.new("RGB", (80, 80)).save(path)
    again = serve()
    again.post("/state")
    for category in ("starfish", "clover"):
        answer = again.open(0, category)
        line = "synthetic-0000: has another size than when it was annotated; put the old file back"
        assert answer["notices"][-1] == line
        assert not answer["readable"]
        assert again.send("/finish", json.dumps(again.body((50, 50, True))).encode())[0] == 422
    assert (photos.parent / "out" / "annotations.jsonl").read_bytes() == kept
    path.write_bytes(old)
    again = serve()
    again.post("/state")
    assert again.open(0)["readable"]
    assert files(photos) == before


def test_an_instance_of_another_size_that_was_never_saved_whole_does_not_count(serve, client, centre, photos, capsys):
    """A line without an index mask, written on a replaced photo: a notice, and what was there before stands."""
    client.finish(centre(0))
    store, before = client.server.work.store, files(photos)
    line = store.events[0] | {"id": 2, "value": 2, "size": [80, 80], "counts": [0, 6400]}
    with store.file.open("a") as file:
        file.write(json.dumps(line) + "\n")
    again = serve()
    again.post("/state")
    (notice,) = again.open(0)["notices"]
    assert notice.startswith("synthetic-0000: another image than the one that was annotated")
    assert [e["id"] for e in again.server.work.store.live] == [1]
    again.finish(centre(0), stay=True)
    assert [e["id"] for e in again.server.work.store.live] == [1, 3]
    assert files(photos).keys() == before.keys()


def test_a_broken_image_can_be_passed(client, photos):
    """A broken image: one line; clicks on it are refused, the next image opens."""
    client.server.work.course.ahead.thread.submit(int).result()  # it may be reading this image just now
    (photos / "synthetic-0001.png").write_bytes(b"no image")
    client.server.work.course.ahead.coming.clear()
    client.server.work.course.ahead.images.clear()
    answer = client.open(1)
    assert "not a readable image" in answer["notices"][0]
    assert not answer["readable"]
    assert client.send("/segment", json.dumps({"view": 2, "seq": 1, "clicks": [[1, 1, True]]}).encode())[0] == 422
    assert client.open(2)["readable"]
    assert client.at["notices"] == []


def test_a_full_disk_is_one_line_and_nothing_is_called_saved(client, centre, photos, monkeypatch):
    """A full disk: the instance is not finished, and the same request works once there is space."""
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    body = json.dumps(client.body(centre(0))).encode()
    before = everything(client)
    status, answer = client.send("/finish", body)
    assert status == 507
    assert "No space left" in answer["error"]
    assert same(before, everything(client))
    assert (photos.parent / "out" / "annotations.jsonl").read_bytes() == b""
    assert files(photos) == {}
    monkeypatch.undo()
    assert client.send("/finish", body)[0] == 200


def test_a_study_annotates_a_seeded_fifth_without_proposal_and_optimisation(serve, centre, discs):
    """Row (a) of Tab. 1 within a study: baseline parameters, no proposal, one in each block of five."""
    client = serve(study=True, settings=Settings(size=64, seed=3))
    client.post("/state")
    seen = []
    for k in range(10):  # two blocks
        client.open(k % 4)
        seen.append(client.at["plain"])
        if client.at["plain"]:
            assert client.at["proposal"] is None
            client.segment(centre(k % 4))
            assert client.server.work.at.bare.parameters is client.server.work.course.bare.baseline
        client.finish(centre(k % 4))
    assert sum(seen[:5]) == sum(seen[5:]) == 1
    assert [e["plain"] for e in client.server.work.store.events] == seen


class Shared(dict):
    """A dictionary that another thread empties of what was just looked up."""

    def __contains__(self, key):
        found = super().__contains__(key)
        self.pop(key, None)
        return found

    def get(self, key, default=None):
        return self.pop(key, default)


def test_an_image_that_is_thrown_out_while_it_is_looked_up_is_shown_all_the_same(client, sequence):
    """The thread that looks ahead keeps three images, and may drop this one at any moment."""
    ahead = client.server.work.course.ahead
    ahead.thread.submit(int).result()
    ahead.images = Shared(ahead.images)
    for _ in range(2):
        np.testing.assert_array_equal(ahead.pixels(0), sequence[0].image)


def test_the_next_image_is_looked_at_ahead(client):
    """The next image's features are computed while the present one is looked at."""
    ahead = client.server.work.course.ahead
    ahead.coming[1].result()
    looked = ahead.looked(1)
    client.open(1)
    assert client.server.work.at.view.F is looked[2]


def test_the_image_that_is_looked_at_ahead_is_the_one_that_a_finish_opens(client, centre):
    """Finished images are passed over, and after the last unfinished one there is nothing to look at."""
    ahead = client.server.work.course.ahead
    client.open(1)
    client.post("/empty", view=client.at["view"], empty=True)
    for shown, finish, following in ((0, True, 2), (3, True, 2), (2, False, None)):
        ahead.coming.clear()
        client.open(shown)
        assert list(ahead.coming) == [following] * (following is not None)
        if finish:
            client.finish(centre(shown))
            assert client.at["image"] == following
