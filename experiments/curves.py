"""Figures over an axis, from records alone: Fig. 4, and beyond the paper how a sequence goes."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from experiments.catalogue import Experiment, Line
from experiments.figures import Curve
from experiments.ledger import ROWS, Record
from experiments.tables import NOTHING, Results, Table, by_instance, noc_at, records_of, spread
from robot_user import MAX_CLICKS


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


def iou_after(k: int) -> Callable[[Record], float]:
    """The IoU of a record after k of the user's clicks; once the user is content it stays."""
    return lambda record: record["ious"][min(k, len(record["ious"]) - 1)]


def iou_curves(results: Results, data: Sequence[str]) -> tuple[Table, list[Curve]]:
    """IoU after 0 .. 20 clicks in the rows of Tab. 1, and the area under it as a share of the whole."""
    lines, drawn, clicks = [], [], range(MAX_CLICKS + 1)
    for d, row in ((d, row) for d in data for row in ROWS):
        if records := records_of(results, d, Line(row, row)):
            y = [float(by_instance(records, iou_after(k)).mean()) for k in clicks]
            area = float(np.mean([(a + b) / 2 for a, b in pairwise(y)]))
            lines.append([d, f"({row})", f"{area:.3f}", *(f"{v:.3f}" for v in y)])
            drawn.append(Curve(f"{d} ({row})", [float(k) for k in clicks], y, [], []))
    note = "Where the user is content, a curve stays where it is."
    return Table("curves", "IoU after k clicks", ["data", "row", "area", *map(str, clicks)], lines, note), drawn


def proposals(results: Results, data: Sequence[str]) -> tuple[Table, list[Curve]]:
    """The share of correct proposals by the place of an instance in its category: 2, 3-4, 5-8, 9-16 ..."""
    lines, drawn, longest = [], [], 0
    for d, row in ((d, row) for d in data for row in "bd"):
        bins: dict[int, list[bool]] = {}
        for place, correct in _in_category(records_of(results, d, Line(row, row))):
            bins.setdefault((place - 1).bit_length() - 1, []).append(correct)
        if bins:
            longest = max(longest, *bins)
            shares = {k: float(np.mean(flags)) for k, flags in sorted(bins.items())}
            lines.append(
                [d, f"({row})", *(f"{shares[k]:.0%}" if k in shares else NOTHING for k in range(max(bins) + 1))]
            )
            drawn.append(Curve(f"{d} ({row})", [2.0 ** (k + 1) for k in shares], list(shares.values()), [], []))
    head = ["data", "row", "2", *(f"{2**k + 1}-{2 ** (k + 1)}" for k in range(1, longest + 1))]
    lines = [line + [NOTHING] * (len(head) - len(line)) for line in lines]
    note = "Columns are places in the category; the first has no proposal."
    return Table("proposals", "Proposals correct along the sequence", head, lines, note), drawn


def _in_category(records: Sequence[Record]) -> Iterator[tuple[int, bool]]:
    """The place (1, 2, ...) in its category, and whether it was correct, of each proposal."""
    places: Counter[tuple] = Counter()
    for r in sorted(records, key=lambda r: (r["seed"], r["order"], r["index"])):
        key = r["seed"], r["order"], r["category"]
        places[key] += 1
        if r["correct"] is not None:
            yield places[key], r["correct"]
