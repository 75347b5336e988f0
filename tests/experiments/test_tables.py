"""Sec. 4: tables and intervals from the records of ledgers."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import ledger, tables


def record(row="a", target=0.85, seed=0, index=0, ious=(0.0, 0.9), **more):
    base = {"row": row, "target": target, "seed": seed, "index": index, "ious": list(ious), "config": "x"}
    base |= {"noc": report_noc(ious, target), "hit": None, "obeyed": [True], "clicks": [[1, 1, True]]}
    return base | {"seconds": {"clicks": 0.5}} | more


def report_noc(ious, target):
    return next((k for k, v in enumerate(ious) if v >= target), 20)


def test_the_table_is_a_mean_over_instances_then_over_seeds():
    """D29; a row of Tab. 1 with the paper's figure beside ours."""
    records = [
        record("d", seed=s, index=i, ious=[0.0] * n + [0.9])
        for s, ns in ((0, (1, 3)), (1, (3, 5)))
        for i, n in enumerate(ns)
    ]
    line = tables.table(records, "LeedsButterfly").splitlines()[2]
    assert [c.strip() for c in line.split("|")][1:6] == ["(d)", "yes", "yes", "3.00 ± 12.71", "0 ± 0.00"]
    assert line.endswith("| 0.29 |")


def test_never_reached_counts_twenty_clicks_and_a_failure():
    """D13: NoF stays apart from 'reached at click 20'."""
    records = [record(ious=[0.0] * 20 + [0.9]), record(index=1, ious=[0.0] * 21)]
    cells = [c.strip() for c in tables.table(records, "x").splitlines()[2].split("|")]
    assert cells[4:6] == ["20.00", "1"]


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_the_interval_is_student_s(values):
    """95 %, two-sided; quantiles from a table of the t distribution."""
    quantile = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201][len(values) - 2]
    expected = quantile * np.std(values, ddof=1) / len(values) ** 0.5
    assert tables.interval(values) == pytest.approx(expected, rel=1e-3 if len(values) > 11 else 1e-6, abs=1e-9)


@pytest.mark.parametrize(("n", "quantile"), [(3, 4.303), (5, 2.776), (6, 2.571), (12, 2.201)])
def test_the_interval_over_seeds_has_the_quantile_of_its_degrees_of_freedom(n, quantile):
    """D29: 97.5 % of Student's t with n - 1 degrees, such as 2.776 for five seeds."""
    values = list(range(n))
    assert tables.interval(values) * n**0.5 / np.std(values, ddof=1) == pytest.approx(
        quantile, rel=1e-3 if n > 11 else 1e-6
    )


def test_an_instance_without_a_proposal_counts_in_no_share():
    """Tab. 1's share of correct proposals: a category's first has none."""
    records = [record("b", index=i, hit=hit) for i, hit in enumerate((None, True, True, False))]
    assert "| 67% |" in tables.table(records, "x")


def test_one_seed_has_no_interval():
    """A single value says nothing about its spread."""
    assert math.isnan(tables.interval([1.0]))
    assert "±" not in tables.table([record()], "x")


def test_a_broken_line_within_a_ledger_is_an_error_that_names_it(tmp_path):
    """Only a last line can have been cut short by a kill."""
    whole = json.dumps(dict.fromkeys(ledger.NEEDED))
    (tmp_path / "clicks.jsonl").write_text(f"{whole}\nnonsense\n{whole}\n")
    with pytest.raises(ValueError, match="line 2"):
        ledger.read_ledger(tmp_path / "clicks.jsonl")
