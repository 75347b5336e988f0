"""Sec. 4: the table of experiments: what each compares, which runs it needs."""

import pytest

import report
from experiments import catalogue as module
from experiments.catalogue import Line, catalogue
from experiments.ledger import Run
from experiments.runs import OpenDataset
from experiments.sessions import Full, Global
from session import Settings

EVERYTHING = ["--tables", *report.TABLES, "--figures", *report.FIGURES]


@pytest.fixture
def needed(monkeypatch, tmp_path, sequence):
    """A function: {folder: runs} that a command line needs on six instances of two categories, four in one of them."""

    def planned(*arguments, stops, memories):
        monkeypatch.setattr(module, "STOPS", stops)
        monkeypatch.setattr(module, "MEMORIES", memories)
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
    runs = needed(*EVERYTHING, "--seeds", "2", stops=(0, 3), memories=(2, 256))
    assert all(len(set(own)) == len(own) for own in runs.values())
    paper = {Run(row, 0.9, seed) for row in "abcd" for seed in (0, 1) if row in "cd" or not seed}
    assert set(runs.pop("paper")) == paper
    assert set(runs) == {
        *("layer-1", "layer-2", "layer-3", "layer-ms", "full", "foreground", "global", "augment", "zoomed"),
        *("stop-after-3", "memory-2", "delta-2", "delta-4"),
    }
    assert set(runs["full"]) == {Run("b", 0.9, 0), Run("b", 0.9, 1)}
    assert runs["layer-3"] == [Run("b", 0.9, 0)]
    assert set(runs["global"]) == {Run("c", 0.9, 0), Run("c", 0.9, 1)}
    assert set(runs["augment"]) == {Run(row, 0.9, seed) for row in "cd" for seed in (0, 1)}


def test_beyond_the_largest_category_nothing_is_run_twice(needed):
    """D27, Fig. 4: optimisation learns from one category's samples, so a memory or a stop beyond it changes nothing."""
    runs = needed("--figures", "4", "--seeds", "1", stops=(0, 4, 5), memories=(1, 4, 5, 256, 512))
    assert set(runs) == {"paper", "stop-after-4", "memory-1", "memory-4"}
    assert set(runs["paper"]) == {Run("b", 0.9, 0), Run("d", 0.9, 0)}


def test_figure_4_begins_without_optimisation_and_has_the_default_memory():
    """Fig. 4, D35: 0 is row (b), 'never' and the default memory are row (d)."""
    found = catalogue()
    stops = [(v.label, v.row, v.folder) for v in found["figure-4a"].lines]
    assert stops[:2] + stops[-1:] == [("0", "b", "paper"), ("1", "d", "stop-after-1"), ("never", "d", "paper")]
    memories = [(v.label, v.folder) for v in found["figure-4b"].lines]
    assert memories[0] == ("1", "memory-1")
    assert memories[-2:] == [("256", "paper"), ("512", "memory-512")]


def test_a_configuration_s_folder_says_what_differs_from_the_defaults():
    """OUT/DATA/layer-3."""
    lines = [
        Line("", "b"),
        Line("", "b", ("layer", "4")),
        Line("", "b", ("layer", "3")),
        Line("", "d", ("augment", True)),
    ]
    lines += [Line("", "d", ("stop_after", 5)), Line("", "b", session=Full), Line("", "c", session=Global)]
    assert [v.folder for v in lines] == ["paper", "paper", "layer-3", "augment", "stop-after-5", "full", "global"]
    assert lines[2].settings(64) == Settings(size=64, layer="3")


def test_every_entry_has_its_reference_and_labels_of_their_own():
    """The line that the others are compared with is one of them; published figures have a line."""
    for name, e in catalogue().items():
        labels = [v.label for v in e.lines]
        assert e.reference in labels, name
        assert len(set(labels)) == len(labels), name
        assert {label for figures in e.paper.values() for label in figures} <= set(labels), name
