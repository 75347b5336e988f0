"""Tabs. 2 and 7: times as medians with their quartiles, and the tables of the benchmark that hold them."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.tables import grid


class Timing(NamedTuple):
    """Seconds: median and quartiles."""

    median: float
    low: float
    high: float


class Costs(NamedTuple):
    """What is printed as Markdown and written as JSON: a cell is a text, a number or a Timing."""

    title: str
    columns: list[str]
    rows: list[list[Any]]

    def plain(self) -> dict[str, Any]:
        """For JSON: a Timing as its three numbers."""
        rows = [[c._asdict() if isinstance(c, Timing) else c for c in row] for row in self.rows]
        return self._asdict() | {"rows": rows}


class Target(NamedTuple):
    """A ratio within this run and what it should be at most, or at least."""

    what: str
    ratio: float
    bound: float
    least: bool = False

    def row(self) -> list[Any]:
        """Its line in the table of targets."""
        met = self.ratio >= self.bound if self.least else self.ratio <= self.bound
        bound = f"at {'least' if self.least else 'most'} {self.bound:.3f}"
        return [self.what, bound, f"{self.ratio:.3f}", "met" if met else "not met"]


def quartiles(values: Sequence[float]) -> Timing:
    """Median and quartiles."""
    if len(values) == 1:
        return Timing(*values, *values, *values)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, low, high)


def markdown(table: Costs) -> str:
    """A table as Markdown."""
    return f"**{table.title}**\n\n{grid(table.columns, [[show(c) for c in row] for row in table.rows])}\n"


def show(cell: Any) -> str:
    """A cell as text: `0.0441 (0.0432-0.0459) s`, in milliseconds below a tenth of a second."""
    if not isinstance(cell, Timing):
        return str(cell)
    unit, factor = ("s", 1) if cell.median >= 0.1 else ("ms", 1e3)
    median, low, high = (f"{v * factor:.3g}" for v in cell)
    return f"{median} ({low}-{high}) {unit}"
