"""Fig. 4: NoC over the axis of an experiment, from records alone, drawn with matplotlib where it is."""

import importlib.util
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.catalogue import Experiment
from experiments.ledger import Record
from experiments.tables import Results, by_instance, noc_at, records_of, spread
from support.files import atomic


class Curve(NamedTuple):
    """Figures over an axis; `low` and `high` bound their 95 % intervals."""

    label: str
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


def over_axis(e: Experiment, results: Results, data: Sequence[str], targets: Sequence[float]) -> list[Curve]:
    """NoC with its interval over the axis of an experiment; what never ends ends with the largest category (D27)."""
    drawn = []
    for d in data:
        measured = [(v.x, own) for v in e.lines if v.x is not None and (own := records_of(results, d, v))]
        for t in targets if measured else ():
            points = []
            for x, records in measured:
                values = by_instance(records, noc_at(t))
                points.append((min(x, _largest(records)), float(values.mean()), *spread(values[:, None])))
            drawn.append(Curve(f"{d} @{t:.0%}", *(list(column) for column in zip(*points, strict=True))))
    return drawn


def _largest(records: Sequence[Record]) -> int:
    """Instances of the largest category."""
    labels = {r["instance"]: r["category"] for r in records}
    return max(Counter(labels.values()).values())


def can_plot() -> bool:
    """Whether matplotlib is there (extra `plots`)."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(curves: Sequence[Curve], axis: str, file: Path) -> None:
    """Draw curves into a PNG; small x are spread apart (logarithmic beyond 1)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel=axis, ylabel="NoC")
    for curve in curves:
        axes.plot(curve.x, curve.y, marker="o", markersize=3, label=curve.label)
        axes.fill_between(curve.x, curve.low, curve.high, alpha=0.2)
    axes.set_xscale("symlog", linthresh=1)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(file) as temporary:
        figure.savefig(temporary, format="png")
