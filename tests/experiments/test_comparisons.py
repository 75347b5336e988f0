"""Sec. 4: what tables compare and the statistics in them; random proposals (Tab. 5), early stops (Fig. 4)."""

import copy
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from experiments.comparisons import Variant, compare, comparisons
from experiments.measured import Measured
from experiments.plan import Job, estimate, largest_category, planned
from experiments.results import Results, folder_name
from hypothesis import given
from hypothesis import strategies as st
from settings import Settings
from strategies import masks, seeds

import report
from experiments import comparisons as experiments
from experiments import curves as sequences
from experiments import runs
from experiments.ledger import Ledger, Run
from experiments.tables import gain
from icp import random_point
from loaders.samples import Sample
from robot_user import Click
from siis import annotate_sequence
from support.bootstrap import bootstrap

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

SETTINGS = Settings(size=64, opo=False)


def record(row="a", target=0.85, seed=0, index=0, noc=1, **more):
    ious = [0.0] * noc + [0.95] if noc < 20 else [0.0] * 21
    base = {"row": row, "target": target, "seed": seed, "index": index, "noc": noc, "ious": ious}
    return base | {"category": "x", "hit": None} | more


def results(*records, name="paper", data="LeedsButterfly", n=None):
    return Results({(data, name): records}, {data: n or max(r["index"] for r in records) + 1})


# ---- Tab. 5 ----------------------------------------------------------------------------------------------


@given(masks(), seeds())
def test_a_random_point_is_a_pixel_of_the_mask(mask, seed):
    """Tab. 5; None of an empty mask."""
    point = random_point(mask, np.random.default_rng(seed))
    assert (point is None) == (not mask.any())
    assert point is None or mask[point]


def test_a_random_point_is_any_pixel_equally():
    """Tab. 5, "a random point"."""
    mask, rng = torch.tensor([[True, False, True], [False, True, True]]), np.random.default_rng(0)
    drawn = [random_point(mask, rng) for _ in range(4000)]
    shares = {tuple(p): drawn.count(p) / len(drawn) for p in drawn}
    assert set(shares) == {(0, 0), (0, 2), (1, 1), (1, 2)}
    assert all(abs(share - 0.25) < 0.03 for share in shares.values())


def same_object(sequence, n=6):
    return [sequence[0]._replace(name=str(i)) for i in range(n)]


def fixed(session, monkeypatch, point):
    """A session whose own proposal is always one pixel."""
    monkeypatch.setattr("session.propose", lambda confidence, ignore: point)
    return session


def test_a_random_pixel_of_the_object_is_used_only_when_the_proposal_is_correct(net, sequence, monkeypatch):
    """Tab. 5, "replace the initial click proposal with a random point on the object ... when ... correct"."""
    on, off = (tuple(m.nonzero()[0].tolist()) for m in map(torch.from_numpy, (sequence[0].mask, ~sequence[0].mask)))
    session = Measured(net, SETTINGS._replace(proposal="object"), same_object(sequence))
    wrong = list(annotate_sequence(fixed(session, monkeypatch, off), same_object(sequence), 0.85))[1:]
    assert [(r.proposal, r.hit) for r in wrong] == [(off, False)] * 5
    session = Measured(net, SETTINGS._replace(proposal="object"), same_object(sequence))
    right = list(annotate_sequence(fixed(session, monkeypatch, on), same_object(sequence), 0.85))[1:]
    assert all(r.hit and sequence[0].mask[r.proposal] and r.clicks[0][:2] == r.proposal for r in right)
    assert len({tuple(r.proposal) for r in right}) > 1


def test_a_random_pixel_of_the_image_stands_in_for_every_proposal(net, sequence):
    """Tab. 5, "select the random click from the full image"; the seed draws it, and the first has none."""
    runs = []
    for seed in (0, 0, 1):
        session = Measured(net, SETTINGS._replace(proposal="random", seed=seed))
        runs.append([r.proposal for r in annotate_sequence(session, same_object(sequence), 0.85)])
    assert runs[0] == runs[1] != runs[2]
    assert [p is None for p in runs[0]] == [True] + [False] * 5
    assert len(set(runs[0])) == 6


def test_a_random_pixel_is_never_on_what_is_annotated_already(net, sequence):
    """Eq. 2, p_n in T - I, holds for what replaces it."""
    session = Measured(net, SETTINGS._replace(proposal="random"))
    free = torch.zeros(64, 64, dtype=torch.bool)
    free[5, 7] = True
    view = session.open(sequence[0].image, "a", "x")
    session.finish(view, [Click(1, 1, True)], ~free)
    again = session.open(sequence[0].image, "a", "x")
    assert session.propose(again, session.confidence(again)) == (5, 7)


def test_rows_with_random_proposals_are_repeated_over_seeds():
    """Tab. 5, "the mean value from five experiments"; D29."""
    assert runs.planned_runs("ab", (0.9,), 3, "random") == [Run("a", 0.9, 0), *(Run("b", 0.9, s) for s in range(3))]


# ---- Fig. 4 (a) ----------------------------------------------------------------------------------------


def test_after_the_last_sample_the_parameters_stay_to_the_bit(net, sequence):
    """Fig. 4 (a), "stopping online training after a specified number of samples"; until then nothing differs."""
    seen = {}
    for stop in (None, 2):
        session = Measured(copy.deepcopy(net), Settings(size=64, stop_after=stop))
        seen[stop] = []
        for _ in annotate_sequence(session, same_object(sequence, 4), 0.3):
            seen[stop].append(session.category(sequence[0].category).history[0])
    same = [all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(seen[None], seen[2], strict=True)]
    assert same == [True, True, False, False]
    for later in seen[2][2:]:
        assert all(torch.equal(later[k], v) for k, v in seen[2][1].items())


def test_stopping_counts_within_a_category(net, sequence):
    """D27: each category has its own optimisation."""
    session = Measured(net, Settings(size=64, stop_after=1))
    steps = []
    for r in annotate_sequence(session, sequence, 0.3):
        steps.append(len(session.memory.of(r.sample.category)))
    assert steps == [1, 1, 1, 1]
    assert [c.finished for c in session.categories.values()] == [2, 2]


def test_with_a_lag_the_parameters_still_arrive_after_the_stop(net, sequence):
    """D25 with Fig. 4 (a): instance n uses what the first min(n - delta, N) taught."""
    session = Measured(net, Settings(size=64, stop_after=1, delta=2))
    versions = [session.baseline["0.0.weight"]]
    for _ in annotate_sequence(session, same_object(sequence, 4), 0.3):
        versions.append(session.category(sequence[0].category).history[0]["0.0.weight"])
    changed = [not torch.equal(a, b) for a, b in pairwise(versions)]
    assert changed == [False, True, False, False]


def test_a_saved_session_still_knows_when_to_stop(net, sequence, tmp_path):
    """A killed run goes on to the same result."""
    session = Measured(net, Settings(size=64, stop_after=1))
    some = same_object(sequence, 3)
    list(annotate_sequence(session, some[:2], 0.3))
    session.save(tmp_path / "session.pt")
    loaded = Measured.load(tmp_path / "session.pt", net)
    list(annotate_sequence(loaded, some, 0.3))
    assert len(loaded.memory) == 1
    assert loaded.category(some[0].category).finished == 3


def test_settings_that_are_off_leave_the_configuration_as_it_was():
    """A ledger from before an experiment's setting existed goes on."""
    assert set(Settings().plain()) == set(asdict(Settings())) - {"proposal", "stop_after"}
    assert Settings(stop_after=3).plain()["stop_after"] == 3
    assert Settings(proposal="random").plain()["proposal"] == "random"


# ---- statistics ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_a_run_saves_nothing_against_itself(values):
    """The paired interval of identical runs is zero."""
    pairs = np.stack([np.array(values, float)] * 2, axis=1)
    assert bootstrap(pairs, np.random.default_rng(0), gain) == (0.0, 0.0)
    assert bootstrap(pairs, np.random.default_rng(0), lambda m: m[:, 1] - m[:, 0]) == (0.0, 0.0)


def test_the_paired_interval_is_that_of_an_independent_bootstrap():
    """Instances are drawn with replacement, both runs' figures together."""
    rng = np.random.default_rng(1)
    base = rng.integers(1, 20, 60).astype(float)
    ours = np.maximum(base - rng.integers(0, 4, 60), 0)
    drawn = []
    for _ in range(4000):
        picked = [rng.integers(60) for _ in range(60)]
        drawn.append(1 - sum(ours[i] for i in picked) / sum(base[i] for i in picked))
    drawn.sort()
    expected = drawn[100], drawn[3900]
    got = bootstrap(np.stack([base, ours], axis=1), np.random.default_rng(0), gain)
    assert got == pytest.approx(expected, abs=0.012)
    unpaired = 1.96 * np.sqrt(base.var() / 60 + ours.var() / 60) / base.mean()
    assert got[1] - got[0] < unpaired


def test_the_interval_of_a_table_keeps_the_pairs():
    """D29: rows that save half of every instance save half for sure, however much the instances differ."""
    records = [record("a", index=i, noc=2 * n) for i, n in enumerate((1, 9, 3, 7, 5))]
    records += [record("b", index=i, noc=n) for i, n in enumerate((1, 9, 3, 7, 5))]
    lines = compare(comparisons()["table-1"], results(*records), ["LeedsButterfly"], [0.85]).lines
    assert lines[1][6:8] == ["50.0%", "50.0% to 50.0%"]
    low, high = (float(v) for v in lines[1][5].split(" to "))
    assert high - low > 3


def test_the_bootstrap_interval_holds_95_percent():
    """D29: for many instances it is the mean's normal interval, 1.96 standard errors to either side."""
    values = np.random.default_rng(3).normal(10, 4, (500, 1))
    low, high = bootstrap(values, np.random.default_rng(0))
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 500**0.5, rel=0.06)


def test_all_seeds_count():
    """D29, "the mean value of 5 experiments", in Tab. 1 and in the curves."""
    records = [record("c", seed=s, index=i, noc=n) for s, n in enumerate((2, 4, 9)) for i in range(2)]
    found = results(*records)
    line = compare(comparisons()["table-1"], found, ["LeedsButterfly"], [0.85]).lines[2]
    assert line[2:5] == ["2", "3", "5.00"]
    (curve,) = sequences.curves(found, ["LeedsButterfly"], 0.85)[1]
    assert curve.y[3] == pytest.approx(0.95 / 3)


def test_seeds_are_averaged_within_an_instance_before_instances_are_drawn():
    """Five runs over the same images are not five times as many images."""
    one = [record("a", index=i, noc=i + 1) for i in range(8)]
    five = [record("a", index=i, noc=i + 1, seed=s) for i in range(8) for s in range(5)]
    c = comparisons()["table-1"]
    lines = [compare(c, results(*records), ["LeedsButterfly"], [0.85]).lines[0] for records in (one, five)]
    assert lines[0][4:] == lines[1][4:]
    assert [line[2:4] for line in lines] == [["8", "1"], ["8", "5"]]


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_pairs_every_row_with_row_a_and_the_paper():
    """Tab. 1: butterflies, "the improvement reaches 36.62%"; a share saved of nothing measured is no number."""
    records = [record(row, index=i, noc=n) for row, n in (("a", 4), ("b", 3)) for i in range(5)]
    table = compare(comparisons()["table-1"], results(*records), ["LeedsButterfly"], [0.85])
    a, b, c, _ = table.lines
    assert a == ["LeedsButterfly", "(a)", "5", "1", "4.00", "4.00 to 4.00", "—", "—", "2.16", "—"]
    assert b == ["LeedsButterfly", "(b)", "5", "1", "3.00", "3.00 to 3.00", "25.0%", "25.0% to 25.0%", "1.37", "36.6%"]
    assert c[2:] == ["—"] * 6 + ["1.25", "42.1%"]


@pytest.mark.parametrize(
    ("name", "data", "figures"),
    [
        ("table-3", "CoSOD3k", ["7.00", "7.04", "6.84", "6.70", "6.64"]),
        ("table-3", "CoCA", ["9.43", "9.46", "9.37", "9.32", "9.23"]),
        ("table-5", "CoCA", ["9.61", "9.32", "9.56", "9.38"]),
        ("table-7", "CoSOD3k", ["6.82", "6.67"]),
        ("table-6", "COCO-individual", ["4.98", "9.07", "—", "7.86", "6.51", "—", "5.16", "5.90", "5.28", "5.75"]),
        ("table-8", "COCO-donut", ["—"]),
    ],
)
def test_the_paper_s_figures_stand_beside_ours(name, data, figures):
    """Tabs. 3, 5, 6, 7; Tab. 8's are not in the text."""
    table = compare(comparisons()[name], Results({}, {data: 10}), [data], None)
    assert [line[-2] for line in table.lines] == figures
    assert all(line[1].endswith("(quoted)") for line in table.lines[1:] if name == "table-6")


@pytest.mark.parametrize(
    ("name", "target"), [("table-3", 0.85), ("table-7", 0.85), ("table-1", 0.8), ("table-5", 0.8), ("table-6", 0.8)]
)
def test_the_paper_s_figures_stand_at_no_other_target(name, target):
    """Tabs. 3 and 7 are @90, Tabs. 1 and 5 @85 and @90."""
    table = compare(comparisons()[name], Results({}, {"CoCA": 10}), ["CoCA"], [target])
    assert {cell for line in table.lines for cell in line[-2:]} == {"—"}


@pytest.mark.parametrize(
    ("name", "label"), [("delta", "delta = 2"), ("delta", "delta = 4"), ("augment", "augmented images")]
)
def test_the_paper_s_figures_stand_at_no_other_setting(name, label):
    """Tab. 1 says nothing of a lag of two or of augmented optimisation."""
    table = compare(comparisons()[name], Results({}, {"CoCA": 10}), ["CoCA"], [0.85])
    by_label = {line[1]: line[-2] for line in table.lines}
    assert by_label[label] == "—"
    assert by_label[table.lines[0][1]] == "5.57"


def test_each_table_has_the_targets_of_the_paper_s():
    """Tabs. 1 and 5 @85 and @90, Tabs. 3 and 7 @90, Tab. 8 @85; Tab. 6 by data set, @90 for one not in the paper."""
    found = comparisons()
    targets = {name: c.targets("LeedsButterfly") for name, c in found.items() if name.startswith("table")}
    assert targets.pop("table-6") == (0.90,)
    both = (0.85, 0.90)
    assert targets == {"table-1": both, "table-3": (0.90,), "table-5": both, "table-7": (0.90,), "table-8": (0.85,)}
    assert [found["table-6"].targets(data) for data in ("PascalVOC", "CoCA", "mugs")] == [(0.85,), (0.90,), (0.90,)]


def test_figure_4_begins_without_optimisation_and_ends_without_a_stop():
    """Fig. 4: 0 is row (b), 'never' and the default memory are row (d); what exceeds the sequence is left out."""
    stops = experiments.stops((0, 5, 40, 400), 40)
    assert stops == [
        Variant("0", "b", (), 0),
        Variant("5", "d", (("stop_after", 5),), 5),
        Variant("never", "d", (), 40),
    ]
    sizes = experiments.memories((1, 64, 256), 40)
    assert sizes == [Variant("1", "d", (("memory", 1),), 1), Variant("256", "d", (), 40)]
    beyond = experiments.memories((1, 512, 1024), 832)[1:]
    assert [(v.label, v.changes, v.x) for v in beyond] == [
        ("256", (), 256),
        ("512", (("memory", 512),), 512),
        ("832", (("memory", 832),), 832),
    ]


def test_fig_4_counts_the_instances_of_a_category():
    """D27, Fig. 4: optimisation learns from one category's samples, so beyond the largest one nothing changes."""
    records = [record("d", index=i, category="xxxyy"[i]) for i in range(5)]
    found = results(*records)
    assert found.largest == {"LeedsButterfly": 3}
    table = compare(comparisons((0, 2, 4), (2, 4))["figure-4a"], found, ["LeedsButterfly"], None)
    assert [line[1] for line in table.lines] == ["0", "2", "never"]


def test_a_configuration_s_folder_says_what_differs():
    """OUT/DATA/layer-3."""
    assert folder_name(()) == folder_name((("layer", "4"),)) == "paper"
    assert folder_name((("layer", "3"),)) == "layer-3"
    assert folder_name((("stop_after", 5), ("layer", "3"))) == "layer-3_stop-after-5"


# ---- beyond the paper ------------------------------------------------------------------------------------------------


def test_the_curve_stays_where_the_user_was_content_and_its_area_is_a_share():
    """IoU after k clicks; the trapezium rule over 20 clicks."""
    table, curves = sequences.curves(results(record(ious=[0.0, 0.5, 1.0])), ["LeedsButterfly"], 0.85)
    assert curves[0].y == [0.0, 0.5] + [1.0] * 19
    assert table.lines[0][2] == f"{(0.25 + 0.75 + 18) / 20:.3f}"
    assert table.lines[1][2] == "—"


def test_a_curve_that_ends_below_the_target_stays_where_it_ended():
    """D13: giving up is not success."""
    ious = [0.0, 0.3] + [0.4] * 19
    found = results(record(ious=ious), record(index=1, ious=[0.0, 0.86]))
    (curve,) = sequences.curves(found, ["LeedsButterfly"], 0.85)[1]
    assert curve.y[1:] == pytest.approx([(0.3 + 0.86) / 2] + [(0.4 + 0.86) / 2] * 19)


def test_an_instance_without_a_proposal_is_neither_hit_nor_miss():
    """Where everything is annotated already nothing is proposed."""
    flags = [None, None, True, None, True]
    records = [record("d", index=i, hit=hit) for i, hit in enumerate(flags)]
    table, _ = sequences.hits(results(*records), ["LeedsButterfly"], 0.85)
    assert table.lines[1] == ["LeedsButterfly", "(d)", "—", "100%", "100%"]


def test_hits_are_counted_by_the_place_in_the_category():
    """Tab. 1's proposals along the sequence; a category's first has none."""
    flags = [None, True, False, True, None, True, True, True]
    records = [record("d", index=i, category="xy"[i // 4], hit=hit) for i, hit in enumerate(flags)]
    table, curves = sequences.hits(results(*records), ["LeedsButterfly"], 0.85)
    assert table.head[2:] == ["2", "3-4"]
    assert table.lines[1] == ["LeedsButterfly", "(d)", "100%", "75%"]
    assert curves[0].x == [2.0, 4.0]


# ---- the plan --------------------------------------------------------------------------------------------------------


def plan_of(*arguments):
    """{(folder, row): targets} that `report.py` needs on a data set of eight instances."""
    args = report.parse([*arguments, "--seeds", "1"])
    found = {}
    for job in planned(args, {"LeedsButterfly": 8}):
        for run in job.runs:
            found.setdefault((folder_name(job.changes), run.row), set()).add(run.target)
    return found


def test_the_sheets_need_their_rows_at_the_first_target():
    """Fig. 5 shows row (d), Fig. 6 rows (a) and (d)."""
    assert plan_of("--figures", "5") == {("paper", "d"): {0.85}}
    assert plan_of("--figures", "6") == {("paper", "a"): {0.85}, ("paper", "d"): {0.85}}
    assert plan_of("--figures", "5", "--targets", "0.9", "0.8") == {("paper", "d"): {0.9}}


def test_curves_and_hits_are_of_the_highest_target():
    """Where a curve is cut off says less than where it could have gone."""
    assert plan_of("--extras", "curves") == {("paper", row): {0.9} for row in "abcd"}
    assert plan_of("--extras", "hits") == {("paper", row): {0.9} for row in "bd"}
    args = report.parse(["--extras", "curves", "hits", "--targets", "0.85", "0.9"])
    records = [record(target=t, ious=[0.0, t]) for t in (0.85, 0.9)]
    tables = [table for table, _, _ in report.outcome(args, results(*records))]
    assert tables[0].lines[0][4] == "0.900"
    assert all("Runs to 90%" in table.notes[0] for table in tables)


def test_time_is_estimated_from_instances_of_the_same_kind_of_optimisation(tmp_path):
    """Learning from images or all layers costs ten times as much, so plain runs say nothing about it."""
    labels = [("a", "x"), ("b", "x")]
    plain, augmented, slow = (Ledger(tmp_path / name, {}, labels) for name in ("plain", "augmented", "slow"))
    run, changes = Run("d", 0.85, 0), (("augment", True),)
    (part,) = plain.parts(run)
    plain.append(part, {"index": 0, "seconds": {"clicks": 1.0, "opo": 2.0}})
    ledgers = {("x", ()): plain, ("x", changes): augmented, ("x", (("delta", 2),)): slow}
    remaining = [(Job("x", c, [run]), run, 2) for c in ((), changes, (("delta", 2),))]
    assert [estimate([t], ledgers) for t in remaining] == [6.0, None, 6.0]
    augmented.append(part, {"index": 0, "seconds": {"opo": 20.0}})
    assert estimate(remaining, ledgers) == 6.0 + 40.0 + 6.0


def test_fig_4_is_planned_by_the_largest_category():
    """D27: a memory beyond it is never full."""
    samples = [Sample(np.zeros(0), np.zeros(0), np.zeros(0), category, "a") for category in "xxxyy"]
    assert largest_category(samples) == 3
