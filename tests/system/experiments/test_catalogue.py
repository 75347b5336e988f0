"""Sec. 4: the table of experiments: what each compares, which runs it needs."""

import pytest

import report
from experiments.catalogue import EXPERIMENTS, Line
from experiments.ledger import Run
from experiments.runs import OpenDataset
from experiments.sessions import Full, Global
from session import Settings


@pytest.fixture
def needed(monkeypatch, tmp_path, sequence):
    """A function: {folder: runs} that a command line needs on six instances of two categories, four in one of them."""

    def planned(*arguments):
        monkeypatch.setattr("experiments.runs.digest", lambda net: "")
        args = report.parse([*arguments, "--data", "mugs", "--out", str(tmp_path)])
        samples = [sequence[0]._replace(category=category) for category in "xxxxyy"]
        found = {}
        for task in report.tasks_of(args, {"mugs": OpenDataset(samples, "", None, 64)}):
            found.setdefault(task.ledger.folder.name, []).append(task.run)
        return found

    return planned


def test_runs_that_two_tables_need_are_one_run(needed):
    """Tab. 3's R_4 is Tab. 1's row (b); Fig. 4's default memory and 'never' are its row (d); sheets too."""
    runs = needed("--tables", *report.TABLES, "--figures", "5", "6", "4", "--seeds", "2")
    assert all(len(set(own)) == len(own) for own in runs.values())
    once = {row: {Run(row, 0.9, 0)} for row in "abcd"}
    twice = {row: own | {Run(row, 0.9, 1)} for row, own in once.items()}
    paper = once["a"] | once["b"] | twice["c"] | twice["d"]
    assert {name: set(own) for name, own in runs.items()} == {
        **{"paper": paper, "zoomed": once["a"], "global": twice["c"], "augment": twice["c"] | twice["d"]},
        **{f"layer-{layer}": once["b"] for layer in ("1", "2", "3", "ms")},
        **dict.fromkeys(("full", "foreground"), twice["b"]),
        **dict.fromkeys(("stop-after-1", "stop-after-2", "memory-1", "memory-2", "memory-4"), twice["d"]),
        **dict.fromkeys(("delta-2", "delta-4"), twice["d"]),
    }


def test_beyond_the_largest_category_nothing_is_run_twice(needed):
    """D27, D35, Fig. 4: a memory or a stop beyond the instances of a category changes nothing; 0 is row (b)."""
    runs = needed("--figures", "4", "--seeds", "1")
    assert set(runs) == {"paper", "stop-after-1", "stop-after-2", "memory-1", "memory-2", "memory-4"}
    assert set(runs["paper"]) == {Run("b", 0.9, 0), Run("d", 0.9, 0)}


def test_a_configuration_s_folder_says_what_differs_from_the_defaults():
    """OUT/DATA/layer-3."""
    changes = [("layer", "4"), ("layer", "3"), ("augment", True), ("stop_after", 5)]
    lines = [Line("", "b"), *(Line("", "b", *change) for change in changes)]
    lines += [Line("", "b", session=Full), Line("", "c", setting="augment", value=True, session=Global)]
    assert [v.folder for v in lines] == ["paper", "paper", "layer-3", "augment", "stop-after-5", "full", "global"]
    assert lines[2].settings(64) == Settings(size=64, layer="3")


def test_every_entry_has_its_reference_and_labels_of_their_own():
    """The line that the others are compared with is one of them; published figures have a line."""
    for name, e in EXPERIMENTS.items():
        labels = [v.label for v in e.lines]
        assert e.reference in labels or name in ("figure-5", "figure-6")
        assert len(set(labels)) == len(labels), name
        assert {label for figures in (e.paper or {}).values() for label in figures} <= set(labels), name
