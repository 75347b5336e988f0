"""Sec. 4: tables as Markdown and CSV, and the statistics in them; pure functions of the records of ledgers.

Decisions owned here: D29 (intervals).
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from experiments import published
from experiments.ledger import ROWS, Record
from robot_user import nof

T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 97.5 %, 1 to 10 degrees
NOTHING = "—"  # where nothing is measured


class Table(NamedTuple):
    """A table of texts under a heading, with remarks below it."""

    name: str  # of its file
    title: str
    head: list[str]
    lines: list[list[str]]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Heading, table and remarks."""
        remarks = "".join(f"\n{note}\n" for note in self.notes)
        return f"## {self.title}\n\n{grid(self.head, self.lines)}\n{remarks}"

    def csv(self) -> str:
        """The same cells, separated by commas."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.head, *self.lines])
        return out.getvalue()


def grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Cells as a Markdown table; a bar or a line break in a cell does not end it."""
    plain = [[" ".join(cell.replace("|", "\\|").split("\n")) for cell in line] for line in [head, *lines]]
    plain.insert(1, ["---"] * len(head))
    return "\n".join("| " + " | ".join(line) + " |" for line in plain)


# ---- statistics ------------------------------------------------------------------------------------------------------


def interval(values: Sequence[float]) -> float:
    """Half width of the 95 % confidence interval of the mean over seeds (Student's t); NaN for a single value (D29)."""
    n = len(values)
    if n < 2:
        return math.nan
    z, v = 1.959964, n - 1
    t = (
        T_QUANTILES[v - 1]
        if v <= len(T_QUANTILES)
        else z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v * v)
    )
    return t * float(np.std(values, ddof=1)) / math.sqrt(n)


def by_instance(records: Iterable[Record], value: Callable[[Record], float]) -> np.ndarray:
    """(n,) values of the instances of a sequence, averaged over the seeds that are there."""
    by_index: dict[int, list[float]] = {}
    for r in records:
        by_index.setdefault(r["index"], []).append(value(r))
    return np.array([np.mean(by_index[i]) for i in sorted(by_index)])


def gain(means: np.ndarray) -> np.ndarray:
    """The share of the first that the second saves: (..., 2) means -> (...); 0 if the first is 0."""
    first, second = means[..., 0], means[..., 1]
    return np.where(first > 0, 1 - second / np.where(first > 0, first, 1), 0.0)


def number(value: float | None, nothing: str = NOTHING, form: str = "{:.2f}") -> str:
    """A figure as a text; `nothing` for None."""
    return nothing if value is None else form.format(value)


# ---- the table of siis -----------------------------------------------------------------------------------------------


def table(records: Sequence[Record], data: str) -> str:
    """Tab. 1 as Markdown, from the records of a ledger alone.

    NoC is the mean over instances, then over seeds, with a 95 % interval where there are several; NoF counts instances
    that never reached the target, averaged over seeds; obeyed is the share of clicks whose own pixel came out right.
    """
    targets = sorted({r["target"] for r in records})
    names = [f"@{t * 100:g}" for t in targets]
    head = ["row", "ICP", "OPO", *(f"NoC{n}" for n in names), *(f"NoF{n}" for n in names)]
    head += ["proposals right", "clicks obeyed", "s/click", *(f"paper NoC{n}" for n in names)]
    lines = []
    for row in sorted({r["row"] for r in records}):
        runs = {t: by_seed(r for r in records if r["row"] == row and r["target"] == t) for t in targets}
        of_row = [r for r in records if r["row"] == row]
        line = [f"({row})", *("yes" if flag else "" for flag in ROWS[row])]
        line += [_mean([float(np.mean([r["noc"] for r in run])) for run in runs[t]]) for t in targets]
        line += [_mean([nof([r["ious"] for r in run], t) for run in runs[t]], "{:g}") for t in targets]
        line += [_share([r["hit"] for r in of_row if r["hit"] is not None])]
        line += [_share([ok for r in of_row for ok in r["obeyed"]]), _seconds_per_click(of_row)]
        lines.append(line + [number(published.tab_1(data, row, t), "") for t in targets])
    return grid(head, lines)


def by_seed(records: Iterable[Record]) -> list[list[Record]]:
    """The records of each seed."""
    seeds: dict[int, list] = {}
    for r in records:
        seeds.setdefault(r["seed"], []).append(r)
    return list(seeds.values())


def _mean(values: Sequence[float], form: str = "{:.2f}") -> str:
    if not values:
        return ""
    half = interval(values)
    return form.format(float(np.mean(values))) + ("" if math.isnan(half) else f" ± {half:.2f}")


def _share(flags: Sequence[bool]) -> str:
    return f"{np.mean(flags):.0%}" if flags else ""


def _seconds_per_click(records: Sequence[Record]) -> str:
    clicks = sum(len(r["clicks"]) for r in records)
    return f"{sum(r['seconds']['clicks'] for r in records) / clicks:.3f}" if clicks else ""
