"""annotator/statistics.py: what proposals save a person."""

from lines import SQUARE, event

import annotate
import report
from annotator import statistics
from annotator.store import Store


def timed(kind, first, accepted, after=None, valid=True, plain=False):
    seconds = {"first": first, "after": after, "total": first + 1, "kind": kind, "valid": valid}
    proposal = None if accepted is None else [0, 0]
    return {"clicks": [[0, 0, True]], "proposal": proposal, "accepted": accepted, "seconds": seconds, "plain": plain}


def test_saved_time_is_what_clicks_cost_more_than_correct_proposals_less_what_wrong_ones_cost():
    """correct (t_click - t_accept) - wrong t_reject, of medians; times with a hidden tab or a long gap do not count."""
    events = [timed("click", 2.0, None), timed("click", 4.0, None), timed("click", 60.0, None, valid=False)]
    events += [timed("accept", 0.5, True)] * 3 + [timed("reject", 0.75, False, after=3.0)]
    found = statistics.saved(events)
    assert (found["t_click"], found["t_accept"], found["t_reject"]) == (3.0, 0.5, 0.75)
    assert found["saved"] == 3 * 2.5 - 0.75


def test_no_saved_time_is_shown_before_there_was_a_proposal():
    """Nothing was proposed, so nothing can have been saved."""
    events = [timed("click", 2.0, None)]
    assert "Seconds saved" not in dict(statistics.panel(events))
    assert dict(statistics.panel([*events, timed("accept", 0.5, True)]))["Seconds saved"] == "1.5"


def test_an_own_click_that_rejects_costs_what_it_took_longer_than_a_click():
    """A wrong proposal costs one Esc or simply the user's own click."""
    found = statistics.saved([timed("click", 2.0, None), timed("own", 2.75, False)])
    assert found["t_reject"] == 0.75


def test_summary_prints_rows_and_tab_4(photos, capsys):
    """`annotate.py --summary` and `report.py --study`: intervals; an accepted proposal is no click (D14)."""
    store = Store(photos, photos.parent / "out")
    seconds = {"first": 0.5, "after": None, "total": 1.5, "kind": "accept", "valid": True}
    accepted = {"proposal": [0, 0], "accepted": True, "seconds": seconds}
    store.add(event(1, "synthetic-0000", SQUARE, plain=True), event(2, "synthetic-0000", SQUARE, **accepted))
    annotate.main([str(photos), "--out", str(store.out), "--summary"])
    text = capsys.readouterr().out
    report.main(["--study", str(store.out)])
    assert capsys.readouterr().out.startswith(text.rstrip())
    assert "| (a) plain | 1 | 1.00 [1.00, 1.00] | 2.00 [2.00, 2.00] |" in text
    assert "| (d) ICP + OPO | 1 | 0.00 [0.00, 0.00] | 1.50 [1.50, 1.50] |" in text
    assert "| provide the initial click | 1 | 1.00 [1.00, 1.00] |" in text
    assert "| accept a proposal | 1 | 0.50 [0.50, 0.50] |" in text
    assert "| reject a proposal | 0 | no times |" in text
