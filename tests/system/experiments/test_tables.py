"""Sec. 4: tables, intervals and curves from the records of ledgers."""

import numpy as np
import pytest

from experiments import tables
from experiments.catalogue import EXPERIMENTS
from experiments.tables import NOTHING, compare, gain
from support.bootstrap import bootstrap


def record(row="a", seed=0, index=0, noc=1, order=0, **more):
    ious = [0.0] * noc + [0.95] if noc < 20 else [0.0] * 21
    base = {"row": row, "target": 0.85, "seed": seed, "order": order, "index": index, "instance": index, "ious": ious}
    base |= {"category": "x", "correct": None, "consistent": [True], "clicks": [[1, 1, True]]}
    return base | {"seconds": {"clicks": 0.5}} | more


def compared(name, *records, data="LeedsButterfly", targets=(0.85,)):
    """The lines of a table of records that are all of one configuration."""
    return compare(EXPERIMENTS[name], {(data, "paper"): records}, [data], targets)[1:]


def cells(*records, data="x", targets=(0.85,)):
    """The first line of the table of `siis.py`."""
    return [c.strip() for c in tables.ablation(records, data, targets).splitlines()[2].split("|")][1:-1]


# ---- statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "quantile"), [(3, 4.303), (5, 2.776), (6, 2.571), (12, 2.201)])
def test_the_interval_over_seeds_has_the_quantile_of_its_degrees_of_freedom(n, quantile):
    """D29: 97.5 % of Student's t with n - 1 degrees, such as 2.776 for five seeds."""
    values, within = list(range(n)), 1e-3 if n > 11 else 1e-6
    assert tables.interval(values) * n**0.5 / np.std(values, ddof=1) == pytest.approx(quantile, rel=within)


def test_the_paired_interval_is_that_of_an_independent_bootstrap():
    """Instances are drawn with replacement, both runs' figures together."""
    rng = np.random.default_rng(1)
    base = rng.integers(1, 20, 60).astype(float)
    ours = np.maximum(base - rng.integers(0, 4, 60), 0)
    picked = rng.integers(60, size=(4000, 60))
    drawn = sorted(1 - sum(ours[i] for i in p) / sum(base[i] for i in p) for p in picked.tolist())
    got = bootstrap(np.stack([base, ours], axis=1), gain)
    assert got == pytest.approx((drawn[100], drawn[3900]), abs=0.012)
    unpaired = 1.96 * np.sqrt(base.var() / 60 + ours.var() / 60) / base.mean()
    assert got[1] - got[0] < unpaired


# ---- the table of siis.py --------------------------------------------------------------------------------------------


def test_the_table_is_a_mean_over_instances_then_over_seeds():
    """D29; a row of Tab. 1 with the paper's figure beside ours."""
    ns = ((1, 3), (3, 5))
    records = [record("d", seed=s, index=i, noc=n) for s, own in enumerate(ns) for i, n in enumerate(own)]
    line = cells(*records, data="LeedsButterfly")
    assert line[:5] == ["(d)", "yes", "yes", "3.00 ± 12.71", "0"]
    assert line[-1] == "0.29"


def test_where_there_are_orders_the_interval_is_over_them():
    """D29: two orders of two seeds each are two values, 2 and 5."""
    nocs = {(0, 0): 1, (0, 1): 3, (1, 0): 4, (1, 1): 6}
    records = [record("d", order=order, seed=seed, noc=n) for (order, seed), n in nocs.items()]
    assert tables.repeated(records, tables.noc_at(0.85)) == [2, 5]
    assert cells(*records)[3] == "3.50 ± 19.06"


def test_noc_and_nof_are_read_from_the_curves_of_ious():
    """D13: 'never reached' counts 20 and stays apart from 'reached at click 20'; D26: every target from one run."""
    assert cells(record(ious=[0.0] * 20 + [0.9]), record(index=1, ious=[0.0] * 21))[3:5] == ["20.00", "1"]
    assert cells(record(ious=[0.0, 0.7, 0.86, 0.8, 0.93]), targets=(0.6, 0.85, 0.9))[3:6] == ["1.00", "2.00", "4.00"]
    assert [tables.count(values) for values in ([0.0, 0.0], [3], [1, 2, 3])] == ["0", "3", "2.0 ± 2.5"]


def test_click_consistency_is_the_share_of_clicks_that_got_their_own_pixel_right():
    """`ablation`: over all clicks, not the mean over instances."""
    assert cells(record(consistent=[True, False, False]), record(index=1, consistent=[True]))[6] == "50%"


# ---- the tables of report.py -----------------------------------------------------------------------------------------


def test_an_instance_counts_once_whatever_the_seeds_and_orders():
    """D29: five runs over the same images are not five times as many images, wherever an image stands in an order."""
    one = [record("b", index=i, noc=i + 1) for i in range(8)]
    five = [record("b", index=(i + s) % 8, instance=i, noc=i + 1, seed=s) for i in range(8) for s in range(5)]
    lines = [compared("table-1", *own, *(r | {"row": "a"} for r in own))[1] for own in (one, five)]
    assert lines[0][6:] == lines[1][6:]
    assert [line[2:5] for line in lines] == [["8", "1", "1"], ["8", "5", "1"]]


def test_a_table_pairs_every_row_with_row_a_and_the_paper():
    """Tab. 1: butterflies, "the improvement reaches 36.62%"; what was not run is left out.

    D29: where row (b) saves half of every instance it saves half for sure, however much the instances differ.
    """
    nocs = [(row, i, k * n) for row, k in (("a", 2), ("b", 1)) for i, n in enumerate((1, 9, 3, 7, 5))]
    a, b = compared("table-1", *(record(row, index=i, noc=n) for row, i, n in nocs))
    assert [*a[:2], a[6], *a[8:]] == ["LeedsButterfly", "(a)", "10.00", "—", "—", "2.16", "—"]
    assert [b[6], *b[8:]] == ["5.00", "50.0%", "50.0% to 50.0%", "1.37", "36.6%"]
    low, high = (float(v) for v in b[7].split(" to "))
    assert high - low > 3


@pytest.mark.parametrize(
    ("name", "row", "data", "figures"),
    [("table-3", "b", "CoCA", ["—", "9.32"]), ("table-1", "c", "CoSOD3k", ["4.47", "6.82"])],
)
def test_the_published_figures_stand_beside_ours_at_their_targets(name, row, data, figures):
    """Tab. 3 is @90, Tab. 1 @85 and @90; there are none for other targets and other data."""
    (line,) = compared(name, record(row), data=data, targets=(0.85, 0.9))
    assert [line[10], line[16]] == figures
    for where, target in ((data, 0.8), ("mugs", 0.9)):
        (line,) = compared(name, record(row), data=where, targets=(target,))
        assert line[10:] == ["—", "—"]


@pytest.mark.parametrize(
    ("name", "row", "data", "quoted"),
    [("table-6", "d", "COCO-individual", "BRS"), ("table-peers", "a", "DAVIS", "RITM")],
)
def test_other_methods_are_quoted_where_they_were_measured(name, row, data, quoted):
    """Tab. 6 and the field's benchmarks: their figures are not ours."""
    ours, *others = compared(name, record(row), data=data)
    assert ours[1:3] == ["Ours", "1"]
    assert {line[2] for line in others} == {"quoted"}
    assert any(quoted in line[1] and line[6] == NOTHING and float(line[10]) > 0 for line in others)
    assert len(compared(name, record(row), data="mugs")) == 1


def test_fig_4_ends_at_the_largest_category():
    """D27, Fig. 4 (a): 'never' stands where the instances end."""
    records = [record(row, index=i, category="xxxyy"[i], noc=n) for row, n in (("d", 1), ("b", 4)) for i in range(5)]
    (curve,) = tables.over_axis(EXPERIMENTS["figure-4a"], {("x", "paper"): records}, ["x"], (0.85,)).values()
    assert curve.tolist() == [[0, 4, 4, 4], [3, 1, 1, 1]]
