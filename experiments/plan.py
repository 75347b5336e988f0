"""Sec. 4: which runs the tables and figures of a report need, each once, and how long those will take."""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.comparisons import BOTH, Comparison, Variant, comparisons
from experiments.ledger import ROWS, Ledger, Run
from experiments.results import Changes
from experiments.runs import DEMO_SEEDS, SEEDS, planned_runs
from loaders.samples import Sample, labels
from settings import Settings

SHEET_TARGET = 0.85  # Figs. 5-6; the first of --targets if there are some


class Job(NamedTuple):
    """The runs of one configuration on one data set."""

    data: str
    changes: Changes
    runs: list[Run]


def wanted(args: argparse.Namespace) -> list[Comparison]:
    """The comparisons that the command line names; Tab. 1's are also the runs of sheets and sequences."""
    every = comparisons(args.stops, args.memories)
    names = [f"table-{n}" for n in args.tables]
    names += [f"figure-4{part}" for part in "ab"] if "4" in args.figures else []
    return [every[name] for name in [*names, *(e for e in args.extras if e in every)]]


def planned(args: argparse.Namespace, largest: dict[str, int]) -> list[Job]:
    """Every run that is needed, each once, by data set and configuration.

    largest:  instances of the largest category of each data set.
    """
    jobs: dict[tuple[str, Changes], dict[Run, None]] = {}
    for data, length in largest.items():
        needs = [(v, t) for c in wanted(args) for v in c.variants(length) for t in args.targets or c.targets(data)]
        needs += [(Variant("", row), t) for row, t in _of_tab_1(args)]
        for v, t in needs:
            seeds = args.seeds or (DEMO_SEEDS if data == "Synthetic" else SEEDS)
            proposal = dict(v.changes).get("proposal", Settings().proposal)
            jobs.setdefault((data, v.changes), {}).update(dict.fromkeys(planned_runs(v.row, (t,), seeds, proposal)))
    return [Job(data, changes, list(runs)) for (data, changes), runs in jobs.items()]


def _of_tab_1(args: argparse.Namespace) -> list[tuple[str, float]]:
    targets = tuple(args.targets or BOTH)
    needs = [(row, max(targets)) for row in ROWS] if "curves" in args.extras else []
    needs += [(row, max(targets)) for row in "bd"] if "hits" in args.extras else []
    needs += [("d", sheet_target(args))] if {"5", "6"} & set(args.figures) else []
    return needs + ([("a", sheet_target(args))] if "6" in args.figures else [])


def largest_category(samples: Sequence[Sample]) -> int:
    """Instances of the largest category: optimisation learns from one category's samples (D27)."""
    return max(Counter(category for _, category in labels(samples)).values())


def remaining_runs(jobs: Sequence[Job], ledgers: dict[tuple[str, Changes], Ledger]) -> list[tuple[Job, Run, int]]:
    """The runs that the ledgers lack, with the instances missing from each."""
    remaining = []
    for job in jobs:
        ledger = ledgers[job.data, job.changes]
        remaining += [(job, run, n) for run in job.runs if (n := ledger.length - len(ledger.of(run)))]
    return remaining


def estimate(remaining: Sequence[tuple[Job, Run, int]], ledgers: dict[tuple[str, Changes], Ledger]) -> float | None:
    """Seconds that the runs will take, by the mean of like instances in the ledgers; None where there are none.

    Most alike: same data set, configuration and row; then data set and row; then whether the row optimises. What is
    optimised, and from what, must always be the same: it changes the cost by more than an order of magnitude.
    """
    spent: dict[tuple, list[float]] = {}
    for (data, changes), ledger in ledgers.items():
        for r in ledger.records:
            for key in _alike(data, changes, r["row"]):
                spent.setdefault(key, []).append(sum(r["seconds"].values()))
    total = 0.0
    for job, run, missing in remaining:
        known = [spent[key] for key in _alike(job.data, job.changes, run.row) if key in spent]
        if not known:
            return None
        total += missing * float(np.mean(known[0]))
    return total


def _alike(data: str, changes: Changes, row: str) -> tuple[tuple, ...]:
    costly = tuple(change for change in changes if change[0] in ("scope", "augment"))
    return (data, changes, row), (data, row, costly), (ROWS[row].opo, costly)


def sheet_target(args: argparse.Namespace) -> float:
    """The target of the runs that Figs. 5 and 6 show."""
    return args.targets[0] if args.targets else SHEET_TARGET
