"""Sec. 4, D27: long runs divided into parts of whole categories, whose results are those of the undivided run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locks import locked_by_another
from PIL import Image
from settings import Settings

import siis
from data import Synthetic
from experiments import figures, ledger, work
from experiments.ledger import NEEDED, Ledger, Run, complete, division, read_ledger, run_files
from experiments.runs import OpenDataset
from loaders.samples import labels

pytestmark = pytest.mark.usefixtures("short_runs")

RUN = Run("d", 0.3, 1)


@pytest.fixture(scope="module")
def samples():
    """Seven images of three categories, as they follow each other in a data set."""
    drawn = Synthetic(7, size=64)
    return [drawn[i]._replace(category=category) for i, category in enumerate("aaabbbc")]


def carried_out(folder, net, samples, run=RUN, **settings):
    """The ledger of a run as this process does it."""
    held = Ledger(folder, {}, labels(samples))
    opened = OpenDataset(samples, "", net, 64)
    tasks = [work.Task(held, part, opened, Settings(size=64, **settings)) for part in held.parts(run)]
    work.carry_out(tasks, siis.annotate_sequence)
    return held


def indices(file):
    return [r["index"] for r in read_ledger(file)[0]]


def timeless(records):
    return [{k: v for k, v in r.items() if k not in ("seconds", "config")} for r in records]


def line(place, category, name="x", **more):
    """A record of an instance that nobody annotated."""
    plain = {"index": place, "name": name, "category": category, "noc": 1, "hit": None, "ious": [0.0, 0.9]}
    return dict.fromkeys(NEEDED - {"config", "length", "row", "target", "seed"}) | plain | more


# ---- how a run is divided --------------------------------------------------------------------------------------------


@given(st.text("abcde", max_size=12), st.integers(1, 5))
def test_parts_hold_whole_categories_and_as_few_as_make_the_least_number(categories, least):
    """`division`: no category on both sides of a border, every border that a part could end at tried in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "PART", least)
        parts = division(categories)
    assert [place for first, stop in parts for place in range(first, stop)] == list(range(len(categories)))
    borders = [n for n in range(1, len(categories)) if not set(categories[:n]) & set(categories[n:])]
    for first, stop in parts:
        possible = [n for n in borders if n - first >= least]
        assert stop == (possible[0] if possible else len(categories))


def test_one_category_or_a_small_sequence_is_one_part_known_as_it_always_was(tmp_path):
    """Ledgers of versions that divided nothing go on: the same file and the same digest of the configuration."""
    for categories in ("a" * 1000, "ab" * 100, "ab" * 500):
        held = Ledger(tmp_path, {"data": "x", "size": 64}, [("x", category) for category in categories])
        (part,) = held.parts(RUN)
        assert part.name == "d-0.3-1"
        assert str(part) == "row (d) @30%, seed 1"
        assert held.config == "2c9e830d7ee5"


def test_eighty_categories_of_ten_are_four_parts():
    """PART: with another number, results that were divided by this one could not be continued."""
    categories = [str(place // 10) for place in range(800)]
    assert division(categories) == [(0, 250), (250, 500), (500, 750), (750, 800)]


# ---- what comes out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"memory": 2},
        {"memory": 4, "delta": 2},
        {"stop_after": 1, "delta": 2},
        {"memory": 4, "augment": True},
        {"memory": 4, "scope": "global"},
        {"proposal": "random"},
    ],
    ids=str,
)
def test_the_parts_of_a_run_have_the_records_of_the_undivided_run(net, samples, tmp_path, monkeypatch, settings):
    """D27, D29: bank and parameters are a category's, random numbers follow from the place, old samples go first."""
    whole = carried_out(tmp_path / "whole", net, samples, **settings)
    monkeypatch.setattr(ledger, "PART", 2)
    parts = carried_out(tmp_path / "parts", net, samples, **settings)
    assert [file.name for file in run_files(parts.folder)] == [f"d-0.3-1-part-{n}.jsonl" for n in (1, 2, 3)]
    assert [indices(file) for file in run_files(parts.folder)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert timeless(parts.of(RUN)) == timeless(whole.of(RUN))


def test_masks_of_short_runs_show_what_was_learnt(net, samples, tmp_path):
    """Sec. 3.3; else no test of divided, shared or interrupted runs would see that something else was."""
    held = [carried_out(tmp_path / str(seed), net, samples, RUN._replace(seed=seed)) for seed in (0, 1)]
    runs = [[r["mask_digest"] for of in ledger_of.runs.values() for r in of.values()] for ledger_of in held]
    same = [a == b for a, b in zip(*runs, strict=True)]
    assert same == [True, False, False] * 2 + [True]  # before the first of a category nothing is learnt


@pytest.mark.parametrize(("seconds", "place"), [(-1, 4), (math.inf, 3)])
def test_a_part_goes_on_from_its_own_saved_session_or_from_its_first_place(
    net, samples, tmp_path, monkeypatch, seconds, place
):
    """Interrupted within the second part: the first is not done again, and both end in the records of the whole."""
    whole = carried_out(tmp_path / "whole", net, samples)
    monkeypatch.setattr(ledger, "PART", 2)
    append = Ledger.append

    def interrupted(self, part, record):
        if record["index"] == 4:
            raise KeyboardInterrupt
        append(self, part, record)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", interrupted)
        patch.setattr(work, "SAVE_SECONDS", seconds)
        with pytest.raises(KeyboardInterrupt):
            carried_out(tmp_path / "parts", net, samples)
    done, perform = [], work.perform
    monkeypatch.setattr(
        work, "perform", lambda task, session, rest: done.append(session.done) or perform(task, session, rest)
    )
    parts = carried_out(tmp_path / "parts", net, samples)
    assert done == [place, 6]
    assert [indices(file) for file in run_files(parts.folder)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert timeless(parts.of(RUN)) == timeless(whole.of(RUN))
    assert not list(parts.folder.rglob("*.pt"))


# ---- what reads it ---------------------------------------------------------------------------------------------------


def test_process_0_waits_for_runs_however_many_of_their_parts_are_at_work(samples, tmp_path, monkeypatch, capsys):
    """A lock per part; what is said counts runs, as the tables do."""
    monkeypatch.setattr(ledger, "PART", 2)
    held = Ledger(tmp_path, {}, labels(samples))
    tasks = [work.Task(held, part, OpenDataset(samples, "", None, 64), Settings()) for part in held.parts(RUN)]
    lock = tmp_path / "runs"
    with (
        locked_by_another(lock / ".d-0.3-1-part-1.lock") as one,
        locked_by_another(lock / ".d-0.3-1-part-3.lock") as other,
    ):

        def died(_):
            for process in (one, other):
                process.kill()
                process.wait()

        monkeypatch.setattr(work.time, "sleep", died)
        assert [str(task.part) for task in work.take(tasks)] == [f"{RUN}, part {n} of 3" for n in (2, 1, 3)]
    assert capsys.readouterr().err == "1 runs are at work in other processes; waiting for them\n"


@pytest.mark.parametrize(("before", "after"), [(250, 2), (2, 250), (2, 3)])
def test_results_that_were_divided_otherwise_are_refused_in_one_line(tmp_path, monkeypatch, before, after):
    """No instance is counted twice: how a run is divided belongs to the configuration."""
    instances = [("x", category) for category in "aabbcc"]
    monkeypatch.setattr(ledger, "PART", before)
    held = Ledger(tmp_path, {}, instances)
    for part in held.parts(RUN):
        for place in range(part.first, part.stop):
            held.append(part, line(place, instances[place][1]))
    assert Ledger(tmp_path, {}, instances).finished(held.parts(RUN)[0])
    monkeypatch.setattr(ledger, "PART", after)
    with pytest.raises(ValueError, match=r"^--out .*another configuration .*earlier version; choose another folder$"):
        Ledger(tmp_path, {}, instances)


def test_the_records_of_a_run_are_in_order_whatever_the_names_of_its_files(tmp_path, monkeypatch):
    """Of twelve parts the tenth comes second by its name; a run is complete once all of its parts are."""
    monkeypatch.setattr(ledger, "PART", 1)
    instances = [("x", str(k)) for k in range(12)]
    held = Ledger(tmp_path, {}, instances)
    for part in reversed(held.parts(RUN)):
        read = [r for file in run_files(tmp_path) for r in read_ledger(file)[0]]
        assert complete(read, 12) == ({}, [RUN] if read else [])
        held.append(part, line(part.first, str(part.first)))
    read = [r for file in run_files(tmp_path) for r in read_ledger(file)[0]]
    assert [r["index"] for r in read] != list(range(12))
    for records in (complete(read, 12)[0][RUN], Ledger(tmp_path, {}, instances).of(RUN), held.of(RUN)):
        assert [r["index"] for r in records] == list(range(12))


def test_pictures_of_one_part_are_shown_before_the_others_are_there(tmp_path, monkeypatch):
    """A picture has what its own record says, and the place in its category that the whole sequence gives it."""
    monkeypatch.setattr(ledger, "PART", 2)
    held = Ledger(tmp_path, {}, [("x", category) for category in "aabb"])
    first, second = held.parts(RUN)
    for place in (2, 3):
        held.append(second, line(place, "b", noc=place))
    held.append(first, line(0, "a", noc=9))
    for place in range(1, 4):
        figures.tile(tmp_path, RUN, place).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(figures.tile(tmp_path, RUN, place))
    shown = []
    monkeypatch.setattr(figures, "page", lambda title, headings, rows, file: shown.extend(rows))
    figures.sheet(held, "x")
    assert [(row.captions[0], row.captions[2]) for row in shown] == [("b no. 1", "2 clicks"), ("b no. 2", "3 clicks")]
