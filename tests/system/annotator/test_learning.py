"""annotator/folder_session.py: what instances teach, in the background, and what a start knows (Sec. 3.3, D25)."""

import threading
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from client import SETTINGS

from annotator import folder_session as module
from annotator import prefetcher
from annotator.folder_session import FolderSession
from annotator.store import Store
from session import Round, Session

NAMES = [f"synthetic-000{k}" for k in range(4)]


def everything(client, category="starfish"):
    """All that a session keeps, to be compared."""
    session = client.session.session
    state = session.category(category)
    return {
        "bank": [v.clone() for v in state.bank],
        "learnt": [learnt.parameters for learnt in state.history] + [learnt.optimiser for learnt in state.history],
        "memory": [s.mask.clone() for s in session.memory.samples],
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def parameters(client, category="starfish"):
    return client.session.session.category(category).history[0].parameters


def test_the_network_learns_in_the_background_and_it_counts_from_the_next_image_opened_after_a_round(client, centre):
    """Sec. 3.3, D25: the image that a finish opens is segmented as before, the one after the round's end is not."""
    baseline, gate = parameters(client), threading.Event()
    client.session.learner.submit(gate.wait, 20)
    client.finish(centre(0))
    view = client.session.open(NAMES[1], "starfish")
    gate.set()
    client.settle()
    assert not same(parameters(client), baseline)
    assert client.session.open(NAMES[1], "starfish") is view  # the clicks on the image that is shown go on as they were
    client.open(NAMES[1])
    assert not torch.equal(client.session.open(NAMES[1], "starfish").R[0], view.R[0])


def test_who_is_faster_than_a_round_never_waits_for_it(client, centre, monkeypatch):
    """A finish while a round runs starts no second one."""
    started = []
    monkeypatch.setattr(Round, "run", lambda self, net: started.append(len(self.memory)) or self.before)
    client.finish(centre(0))
    client.settle()
    running = client.session.rounds["starfish"]
    monkeypatch.setattr(type(running), "done", lambda self: False)
    client.finish(centre(1))
    client.settle()
    assert client.session.rounds["starfish"] is running
    assert started == [1]


def test_the_learner_leaves_half_of_the_cores_to_the_clicks_and_takes_at_least_one(client, monkeypatch):
    """More would slow the clicks down, and one core is there on any machine."""
    assert max(1, torch.get_num_threads() // 2) == prefetcher.CORES
    monkeypatch.setattr(prefetcher, "CORES", 3)
    assert client.session.learner.submit(torch.get_num_threads).result() == 3


@pytest.mark.parametrize("quick", [False, True])
def test_undo_restores_the_session_exactly_and_drops_a_round_that_learns_from_what_was_undone(client, centre, quick):
    """Bank, memory and parameters are those of before the finish, whether its round has ended or not."""
    client.finish(centre(0))
    client.settle()
    before = everything(client)
    client.finish(centre(1))
    if not quick:
        client.settle()
    assert not same(before, everything(client))
    client.undo()
    client.settle()
    assert same(before, everything(client))


def test_after_deleting_an_instance_nothing_of_it_is_in_bank_and_memory(client, centre):
    """What is deleted teaches no longer; undone, its vector is there again at once."""
    for k in range(3):
        client.finish(centre(k))
    client.settle()
    bank = list(client.session.session.category("starfish").bank)
    client.act("/delete", instance=2)
    assert same(client.session.session.category("starfish").bank, [bank[0], bank[2]])
    assert len(client.session.session.memory) == 2
    client.undo()
    assert same(client.session.session.category("starfish").bank, bank)


# ---- starting again --------------------------------------------------------------------------------------------------


def test_started_again_bank_parameters_and_proposals_are_there_at_once(serve, client, centre, monkeypatch):
    """No photo is read and no network runs for them: they are in the session file."""
    for k in range(3):
        client.finish(centre(k))
        client.settle()
    before, shown = everything(client), client.open(NAMES[3])
    assert before["learnt"][-1]["state"]  # D22: momentum lives on from round to round, and over a start
    monkeypatch.setattr(FolderSession, "_recall", lambda *_: pytest.fail("an instance was learned from again"))
    again = serve()
    again.settle()
    answer = again.open(NAMES[3])
    assert [answer[k] for k in ("proposal", "mask")] == [shown[k] for k in ("proposal", "mask")]
    found = everything(again)
    assert same(found["bank"], before["bank"])
    assert same(found["learnt"], before["learnt"])
    assert found["memory"] == []


def test_samples_of_earlier_runs_are_read_again_newest_first_when_a_round_needs_them(
    serve, client, centre, monkeypatch
):
    """As many as a batch has for each round, so that the first one does not wait for all."""
    for k in range(3):
        client.finish(centre(k))
        client.settle()
    before = everything(client)["memory"]
    monkeypatch.setattr(module, "BATCH", 1)
    recalled, recall = [], FolderSession._recall
    monkeypatch.setattr(FolderSession, "_recall", lambda self, e: recalled.append(e["id"]) or recall(self, e))
    again = serve()
    again.open(NAMES[3])
    for _ in range(4):
        again.open(NAMES[3])
        again.finish(centre(3))
        again.settle()
    assert recalled == [3, 2, 1]
    assert same(everything(again)["memory"][:3], before)


def test_without_the_session_file_the_bank_is_computed_again(serve, client, centre, photos):
    """It is a cache: removed, damaged, or of a program that was killed before it wrote it; proposals do not wait."""
    client.finish(centre(0))
    client.settle()
    file = photos.parent / "out" / "session.pt"
    old = file.read_bytes()
    client.finish(centre(1))
    client.settle()
    bank = [v.clone() for v in everything(client)["bank"]]
    serve.stop()
    flipped = old.replace(bank[0].numpy().tobytes(), np.full(len(bank[0]), np.nan, np.float32).tobytes())
    assert flipped != old
    for content in (None, old, old[: len(old) // 2], b"x", flipped):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        session = FolderSession(Session(client.net, SETTINGS), Store(photos, photos.parent / "out"))
        said = [line for line in session.store.notices if line.endswith("parameters start anew")]
        assert len(said) == (content not in (None, old))
        for found, expected in zip(session.session.category("starfish").bank, bank, strict=True):
            assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.9  # parameters start anew
        session.end(wait=True)


def test_another_network_starts_from_its_own_parameters_with_a_bank_of_its_own(serve, client, centre, photos, net):
    """Vectors and parameters of one network mean nothing to another."""
    client.finish(centre(0))
    client.settle()
    serve.stop()
    with torch.no_grad():
        net.purification[3][0].weight += 0.1
    session = FolderSession(Session(net, SETTINGS), Store(photos, photos.parent / "out"))
    session.learner.submit(int).result()
    state = session.session.category("starfish")
    assert state.history[0] is session.session.baseline
    assert len(state.bank) == 1
    view = session.open(NAMES[0], "starfish")
    row, col, _ = centre(0)
    cell = view.R[3][0][:, row * view.R[3].shape[-2] // 64, col * view.R[3].shape[-1] // 64]
    torch.testing.assert_close(state.bank[0], cell)
    session.end(wait=True)


@pytest.mark.parametrize("harm", ["gone", "broken", "another"])
def test_a_photo_that_is_gone_or_another_does_not_stop_learning_from_the_rest(serve, client, centre, photos, harm):
    """One line at the next start; the others can be annotated."""
    client.finish(centre(0))
    client.finish(centre(1))
    serve.stop()
    (photos.parent / "out" / "session.pt").unlink()
    path = photos / f"{NAMES[0]}.png"
    old = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"no image" if harm == "broken" else (photos / f"{NAMES[2]}.png").read_bytes())
    again = serve()
    again.settle()
    (notice,) = again.open(NAMES[2])["notices"]
    assert NAMES[0] in notice
    assert "\n" not in notice
    assert len(again.session.session.category("starfish").bank) == 1
    again.finish(centre(2))
    assert len(again.store.live) == 3
    if harm == "another":  # each line has a digest of its photo
        for category in ("starfish", "clover"):
            line = f"{NAMES[0]}: is another photo than the one that was annotated; put the old file back"
            assert again.open(NAMES[0], category)["notices"] == [line]
            assert again.refused("/finish", **again.body((50, 50, True)))[0] == 422
        path.write_bytes(old)
        assert serve().open()["readable"]


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_memory_is_bounded_by_bytes_and_the_newest_stay(serve, discs, centre):
    """--memory: what there is no room for is forgotten, and not read again for every round."""
    client = serve()
    client.open()
    client.finish(centre(0))
    size = sum(t.nbytes for s in client.session.session.memory.samples for t in (s.image, s.mask, *s.features))
    client.undo()
    client = serve(memory=2.5 * size)
    for k in range(4):
        client.open(NAMES[k])
        client.finish(centre(k))
        client.settle()
    samples = [client.session.lessons[e["id"]].sample for e in client.store.live]
    assert [sample is not None for sample in samples] == [False, False, True, True]
    assert len(client.session.session.memory) == 2
    assert len(client.session.session.category("starfish").bank) == 4
    assert client.session._forgotten("starfish") == []
    assert client.session.room() == 2


FAILURES = [
    ("Round.run", ValueError("online optimisation: the loss is nan"), "the loss is nan"),
    ("Round.run", RuntimeError("can't allocate memory"), "learning: the machine is out of memory"),
    ("Round.run", KeyError("nowhere"), "a fault of the program (KeyError: 'nowhere')"),
    ("write_tensors", OSError(28, "no space for it"), "no space for it"),
]


@pytest.mark.parametrize(("place", "error", "line"), FAILURES)
def test_a_round_that_fails_is_said_and_work_goes_on(client, centre, monkeypatch, place, error, line):
    """Broken weights, no memory, no room for the session file, a fault: the line on disk counts."""
    baseline = parameters(client)
    owner = "session" if place == "Round.run" else "annotator.folder_session"
    with monkeypatch.context() as patch:
        patch.setattr(f"{owner}.{place}", Mock(side_effect=error))
        notices = client.finish(centre(0))["notices"]
        client.settle()
        (notice,) = notices + client.open(NAMES[1])["notices"]
    assert line in notice
    assert len(client.store.live) == 1
    assert (parameters(client) is baseline) == (place == "Round.run")
