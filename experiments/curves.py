"""Fig. 4: NoC over the axis of an experiment, from records alone, drawn with matplotlib where it is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.catalogue import Experiment
from experiments.tables import Results, by_instance, noc_at, records_of
from support.bootstrap import bootstrap
from support.files import atomic


def over_axis(e: Experiment, results: Results, data: Sequence[str], targets: Sequence[float]) -> dict[str, np.ndarray]:
    """A curve for each data set and target: (n, 4), the places on the axis, NoC and the ends of its 95 % interval.

    What never ends ends with the largest category (D27).
    """
    curves = dict[str, list[tuple[float, ...]]]()
    for d, v in ((d, v) for d in data for v in e.lines if v.x is not None):
        if own := records_of(results, d, v):
            labels = {r["instance"]: r["category"] for r in own}
            x = min(v.x or 0, max(Counter(labels.values()).values()))
            for t in targets:
                values = by_instance(own, noc_at(t))
                curves.setdefault(f"{d} @{t:.0%}", []).append((x, values.mean(), *bootstrap(values[:, None])))
    return {label: np.array(points) for label, points in curves.items()}


def plot(curves: Mapping[str, np.ndarray], axis: str, file: Path) -> None:
    """Draw curves into a PNG; small x are spread apart (logarithmic beyond 1). ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel=axis, ylabel="NoC")
    for label, curve in curves.items():
        x, y, low, high = curve.T
        axes.plot(x, y, marker="o", markersize=3, label=label)
        axes.fill_between(x, low, high, alpha=0.2)
    axes.set_xscale("symlog", linthresh=1)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(file) as temporary:
        figure.savefig(temporary, format="png")
