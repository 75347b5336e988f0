"""Sec. 4: the table of experiments: what each compares, which runs it needs."""

import report
from experiments.catalogue import EXPERIMENTS
from experiments.ledger import Run
from experiments.runs import OpenDataset


def test_runs_that_two_tables_need_are_one_run(monkeypatch, tmp_path, sequence):
    """Tab. 3's R_4 is Tab. 1's row (b); Fig. 4's default memory and 'never' are its row (d); sheets too.

    D27, D35: a memory or a stop beyond the instances of a category changes nothing; a stop at 0 is row (b).
    """
    monkeypatch.setattr("experiments.runs.digest", lambda net: "")
    line = ["--tables", *report.TABLES, "--figures", "5", "6", "4", "--seeds", "2", "--data", "mugs"]
    samples = [sequence[0]._replace(category=category) for category in "xxxxyy"]
    opened, runs = {"mugs": OpenDataset(samples, "", None, 64)}, {}
    for task in report.tasks_of(report.parse([*line, "--out", str(tmp_path)]), opened):
        runs.setdefault(task.ledger.folder.name, []).append(task.run)
    assert all(len(set(own)) == len(own) for own in runs.values())
    once = {row: {Run(row, 0.9, 0)} for row in "abcd"}
    twice = {row: own | {Run(row, 0.9, 1)} for row, own in once.items()}
    paper = once["a"] | once["b"] | twice["c"] | twice["d"]
    assert {name: set(own) for name, own in runs.items()} == {
        **{"paper": paper, "zoomed": once["a"], "global": twice["c"], "augment": twice["c"]},
        **{f"layer-{layer}": once["b"] for layer in ("1", "2", "3", "ms")},
        **dict.fromkeys(("full", "foreground"), twice["b"]),
        **dict.fromkeys(("stop-after-1", "stop-after-2", "memory-1", "memory-2", "memory-4"), twice["d"]),
    }


def test_fig_6_compares_rows_a_and_c_and_fig_5_shows_row_d():
    """Fig. 6, D35: B and B + OPO after the same numbers of clicks."""
    assert [[v.row for v in EXPERIMENTS[f"figure-{n}"].lines] for n in (5, 6)] == [["d"], ["a", "c"]]


def test_every_entry_has_its_reference_and_labels_of_their_own():
    """The line that the others are compared with is one of them; published figures have a line."""
    for name, e in EXPERIMENTS.items():
        labels = [v.label for v in e.lines]
        assert e.reference in labels or name in ("figure-5", "figure-6")
        assert len(set(labels)) == len(labels), name
        assert {label for figures in (e.paper or {}).values() for label in figures} <= set(labels), name
