"""Beyond the paper: how a sequence goes, from the runs of Tab. 1: IoU after k clicks, hits along the way."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from experiments.figures import Curve
from experiments.ledger import ROWS
from experiments.results import Results
from experiments.tables import NOTHING, Record, Table, by_instance
from robot_user import MAX_CLICKS


def iou_after(record: Record, k: int) -> float:
    """The IoU after k of the user's clicks; once the user is content it stays."""
    return record["ious"][min(k, len(record["ious"]) - 1)]


def curves(results: Results, data: Sequence[str], target: float) -> tuple[Table, list[Curve]]:
    """IoU after 0 .. 20 clicks, mean over instances and seeds, and the area under it as a share of the whole."""
    lines, drawn = [], []
    clicks = range(MAX_CLICKS + 1)
    for d in data:
        for row in ROWS:
            records = results.of(d, (), row, target)
            if not records:
                lines.append([d, f"({row})", *[NOTHING] * (len(clicks) + 1)])
                continue
            y = [float(by_instance(records, partial(iou_after, k=k)).mean()) for k in clicks]
            area = float(np.mean([(a + b) / 2 for a, b in pairwise(y)]))
            lines.append([d, f"({row})", f"{area:.3f}", *(f"{v:.3f}" for v in y)])
            drawn.append(Curve(f"{d} ({row})", [float(k) for k in clicks], y, [], []))
    head = ["data", "row", "area", *(str(k) for k in clicks)]
    note = f"Runs to {target:.0%}: from there on a curve stays where it is."
    return Table("curves", "IoU after k clicks", head, lines, (note,)), drawn


def hits(results: Results, data: Sequence[str], target: float) -> tuple[Table, list[Curve]]:
    """The share of correct proposals by the place of an instance in its category: 2, 3-4, 5-8, 9-16 ..."""
    found = {(d, row): _hits_by_place(results.of(d, (), row, target)) for d in data for row in "bd"}
    last = max((place for by_place in found.values() for place in by_place), default=2)
    bins, start = list[tuple[int, int]](), 2
    while start <= last:
        stop = min(2 ** (start - 1).bit_length(), last)
        bins.append((start, stop))
        start = stop + 1
    lines, drawn = [], []
    for (d, row), by_place in found.items():
        flags = [[hit for place in range(a, b + 1) for hit in by_place.get(place, [])] for a, b in bins]
        lines.append([d, f"({row})", *(f"{np.mean(f):.0%}" if f else NOTHING for f in flags)])
        there = [(float(b), float(np.mean(f))) for (_, b), f in zip(bins, flags, strict=True) if f]
        if there:
            drawn.append(Curve(f"{d} ({row})", [x for x, _ in there], [y for _, y in there], [], []))
    head = ["data", "row", *(f"{a}-{b}" if a < b else str(a) for a, b in bins)]
    note = f"Columns are places in the category; the first has no proposal. Runs to {target:.0%}."
    return Table("hits", "Proposals right along the sequence", head, lines, (note,)), drawn


def _hits_by_place(records: Sequence[Record]) -> dict[int, list[bool]]:
    """Whether proposals hit, by the place (1, 2, ...) of the instance among those of its category and seed."""
    by_place: dict[int, list[bool]] = {}
    places: dict[tuple[int, str], int] = {}
    for r in sorted(records, key=lambda r: (r["seed"], r["index"])):
        key = r["seed"], r["category"]
        places[key] = places.get(key, 0) + 1
        if r["hit"] is not None:
            by_place.setdefault(places[key], []).append(r["hit"])
    return by_place
