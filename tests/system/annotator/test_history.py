"""annotator/history.py: what stands after finishing, correcting, deleting, undo and redo (D31)."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annotator.history import History, finished
from annotator.masks import to_counts

SIZE = [4, 4]
COUNTS = to_counts(np.eye(4, dtype=bool))


def finish(id, image="a", category="leaf", value=1, **more):
    where = {"image": image, "category": category, "value": value}
    return {"event": "finish", "id": id, **where, "clicks": [], "size": SIZE, "counts": COUNTS, **more}


def state(history):
    """All that stands."""
    return json.loads(json.dumps([list(history.live.items()), sorted(history.empty), sorted(history.done)]))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["finish", "correct", "delete", "category", "empty", "done", "undo", "redo"]),
        st.integers(0, 3),
    ),
    max_size=25,
)


@given(ACTIONS)
def test_undo_and_redo_go_step_by_step_through_all_that_was_done(actions):
    """One history: against a stack of what stood before each step; a new step ends redo. Any part is a valid log."""
    events, past, future, ids = [], [[]], [], 0
    for kind, which in actions:
        history = History(events)
        live = list(history.live)
        if kind in ("undo", "redo"):
            numbers = history.undoable if kind == "undo" else history.redoable
            assert bool(numbers) == (len(past) > 1 if kind == "undo" else bool(future))
            if not numbers:
                continue
            events.append({"event": kind, "n": numbers[-1]})
            if kind == "undo":
                future.append(past.pop())
            else:
                past.append(future.pop())
            expected = past[-1] or state(History([]))
            assert state(History(events)) == expected
            continue
        if kind in ("correct", "delete", "category") and not live:
            continue
        if kind == "finish":
            ids += 1
            events.append(finish(ids, "ab"[which % 2]))
        elif kind in ("correct", "delete", "category"):
            changes = {"correct": {"clicks": [[which, 0, True]]}, "category": {"category": "moth", "value": which}}
            events.append({"event": kind, "id": live[which % len(live)], **changes.get(kind, {})})
        elif kind == "empty":
            events.append({"event": "empty", "image": "a", "category": "leaf", "empty": which > 1})
        else:
            events.append({"event": "done", "image": "b", "done": which > 1})
        past.append(state(History(events)))
        future.clear()


def test_a_correction_keeps_the_instance_and_lays_it_on_top():
    """The id is for ever; what is accepted last is on top, also in another category."""
    events = [finish(1), finish(2), {"event": "correct", "id": 1, "clicks": [[1, 1, True]]}]
    assert list(History(events).live) == [2, 1]
    assert History(events).live[1]["clicks"] == [[1, 1, True]]
    events.append({"event": "category", "id": 2, "category": "moth", "value": 3})
    history = History(events)
    assert list(history.live) == [1, 2]
    assert (history.live[2]["category"], history.live[2]["value"]) == ("moth", 3)
    assert list(history.by_image["a"]) == [1, 2]


def test_an_id_is_never_used_again():
    """What was undone may be made again, under the number that it had."""
    events = [finish(1), finish(2), {"event": "undo", "n": 2}]
    assert max(History(events).first) == 2
    assert max(History([*events, finish(3), {"event": "delete", "id": 3}]).first) == 3


def test_only_what_a_person_finished_counts_in_statistics():
    """Masks that were there already have no clicks and no times."""
    imported = {**finish(1), "event": "import"}
    assert [e["id"] for e in finished([imported, finish(2)])] == [2]
