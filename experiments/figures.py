"""Figs. 4-6 and the sheet of a run: pictures of some instances, kept as they are annotated, laid out at the end."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from experiments.drawing import GREEN, Row, blank, heated, marked, masked, page, plain
from experiments.ledger import ROWS, Ledger, Record, Run, data_name, run_of
from robot_user import noc
from siis import Annotated
from support.files import atomic

SHEET = 6  # instances of a run that are drawn
CLICKS = ("1 click", "2 clicks", "3 clicks")  # Fig. 6
HEADINGS = ("Image", "Confidence map, proposal", "Prediction, clicks", "Ground truth")
ASSISTANCE = {"a": "clicks alone", "b": "proposals", "c": "online optimisation", "d": "proposals, online optimisation"}
VERDICTS = {None: "", True: "proposal correct", False: "proposal wrong"}

Tile = tuple[Record, list[Image.Image]]  # an instance and its pictures: those of HEADINGS, then those of CLICKS


# ---- the pictures of an instance -------------------------------------------------------------------------------------


def drawn(instances: int) -> set[int]:
    """The places of the instances that are drawn, evenly spaced."""
    return {i * instances // SHEET for i in range(SHEET)}


def save_tile(done: Annotated, masks: Sequence[torch.Tensor], folder: Path, run: Run) -> None:
    """Write the pictures of an instance, without text, to FOLDER/sheet.

    masks:  (H, W) bool each, the predictions after 1, 2 and 3 of its clicks.
    """
    image, shape, star = done.sample.image, done.sample.mask.shape, done.proposal if done.correct else None
    if done.confidence is None:
        why = "first image:\nno proposal yet" if ROWS[run.row].icp else f"row ({run.row}):\nno proposals"
        confidence = blank(image, why)
    else:
        confidence = marked(heated(image, done.confidence), shape, (), done.proposal)
    clicked = [(done.mask, done.clicks), *((mask, done.clicks[:k]) for k, mask in enumerate(masks, start=1))]
    last, *first = (marked(masked(image, mask), shape, clicks[bool(done.correct) :], star) for mask, clicks in clicked)
    with atomic(_tile(folder, run, done.index)) as temporary:
        pictures = [plain(image), confidence, last, masked(image, done.sample.mask, GREEN), *first]
        Image.fromarray(np.hstack([np.asarray(picture) for picture in pictures])).save(temporary, format="png")


def tiles(folder: Path, records: Iterable[Record]) -> Iterator[Tile]:
    """Those of some records of a ledger in `folder` that have pictures, in their order."""
    for record in records:
        if (file := _tile(folder, run_of(record), record["index"])).exists():
            with Image.open(file) as whole:
                parts = np.hsplit(np.asarray(whole.convert("RGB")), len(HEADINGS) + len(CLICKS))
            yield record, [Image.fromarray(part) for part in parts]


def _tile(folder: Path, run: Run, index: int) -> Path:
    return folder / "sheet" / f"{run.name}-{index:06d}.png"


# ---- pages -----------------------------------------------------------------------------------------------------------


def sheet(ledger: Ledger, data: str) -> Path | None:
    """Lay out the pictures of the last run that has some, with what its ledger says: OUT/sheet.png, or None."""
    for run in sorted(ledger.runs, reverse=True):
        found = list(tiles(ledger.folder, ledger.runs[run]))
        if found:
            name = "Built-in sequence" if data == "Synthetic" else data_name(data)
            title = f"{name}, row ({run.row}) of Tab. 1: {ASSISTANCE[run.row]}. Target: IoU {run.target * 100:g} %"
            rows = [list(zip(pictures, _captions(r, run, ledger), strict=False)) for r, pictures in found]
            page(title, HEADINGS, rows, ledger.folder / "sheet.png")
            return ledger.folder / "sheet.png"
    return None


def _captions(record: Record, run: Run, ledger: Ledger) -> list[str]:
    """What stands below the four pictures of an instance."""
    index, category = record["index"], record["category"]
    nth = ledger.categories[: index + 1].count(category)
    row_a = ledger.runs[run._replace(row="a", seed=0)]
    versus = f" (row (a): {noc(row_a[index]['ious'], run.target)})" if run.row != "a" and index < len(row_a) else ""
    clicks, reached = noc(record["ious"], run.target), max(record["ious"]) >= run.target
    needed = f"{clicks} click{'s' * (clicks != 1)}" if reached else "not reached"
    return [f"{category} no. {nth}", VERDICTS[record["correct"]], needed + versus, f"IoU {record['ious'][-1]:.0%}"]


def figure(number: str, file: Path, data: str, target: float, rows: Sequence[Sequence[Tile]]) -> None:
    """Write Fig. 5 (of row (d)) or 6 (of rows (a) and (c)) of a data set as PNG, from the tiles of these rows.

    Fig. 5: image, confidence map with the proposal, prediction from it, or from the user's first click, alone.
    Fig. 6: ground truth, then the predictions of two rows; where fewer clicks were enough, the last one stays.
    """
    first, body = len(HEADINGS), list[Row]()  # first: where the pictures after 1, 2 and 3 clicks begin
    if number == "5":
        names, headings = "row (d)", [*HEADINGS[:2], "Prediction from one click"]
        for record, pictures in rows[0]:
            whose = "" if record["correct"] else "the user's first click"
            captions = [record["category"], VERDICTS[record["correct"]], whose]
            body.append(list(zip([*pictures[:2], pictures[first]], captions, strict=True)))
    else:
        names = "rows (a) and (c)"
        headings = [HEADINGS[3], *(f"({row}), {clicks}" for row in "ac" for clicks in CLICKS)]
        for pair in zip(*rows, strict=True):
            row = [(pair[0][1][3], pair[0][0]["category"])]
            for record, pictures in pair:
                needed = ["" if k < len(record["clicks"]) else "content before" for k in range(len(CLICKS))]
                row += zip(pictures[first:], needed, strict=True)
            body.append(row)
    page(f"Fig. {number}: {data}, IoU {target * 100:g} %, {names}", headings, body, file)


# ---- curves ----------------------------------------------------------------------------------------------------------


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
