"""Figs. 5-6 and the sheet of a run: pictures of some instances, kept as they are annotated, laid out at the end."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from experiments.drawing import GREEN, Row, blank, heated, joined, marked, masked, page, parted, plain
from experiments.ledger import ROWS, Ledger, Record, Run, data_name
from robot_user import noc
from siis import Annotated
from support.files import atomic

SHEET = 6  # instances of a run that are drawn
FIRST_CLICKS = 3  # Fig. 6
HEADINGS = ("Image", "Confidence map, proposal", "Prediction, clicks", "Ground truth")
ASSISTANCE = {"a": "clicks alone", "b": "proposals", "c": "online optimisation", "d": "proposals, online optimisation"}
VERDICTS = {None: "", True: "proposal correct", False: "proposal wrong"}
FIGURES = {"5": "d", "6": "ac"}  # their rows; Fig. 6 compares "B+OPO" with the baseline "B"
CAPTIONS = {
    "5": "image, confidence map with the proposal, prediction from the first click",
    "6": "ground truth, then rows (a) and (c) after 1, 2 and 3 clicks",
}


# ---- the pictures of an instance -------------------------------------------------------------------------------------


def drawn(instances: int) -> set[int]:
    """The places of the instances that are drawn, evenly spaced."""
    return {i * instances // SHEET for i in range(SHEET)}


def save_tile(done: Annotated, masks: Sequence[torch.Tensor], folder: Path, run: Run) -> None:
    """Write the pictures of an instance, without text, to FOLDER/sheet.

    masks:  (H, W) bool each, the predictions after 1, 2 and 3 of its clicks.
    """
    image, shape, star = done.sample.image, done.sample.mask.shape, done.proposal if done.correct else None
    confidence = blank(
        image, "first image:\nno proposal yet" if ROWS[run.row].icp else f"row ({run.row}):\nno proposals"
    )
    if done.confidence is not None:
        confidence = marked(heated(image, done.confidence), shape, (), done.proposal)
    pictures = [plain(image), confidence]
    clicked = [(done.mask, done.clicks), *((mask, done.clicks[:k]) for k, mask in enumerate(masks, start=1))]
    pictures += [marked(masked(image, mask), shape, clicks[bool(done.correct) :], star) for mask, clicks in clicked]
    pictures.insert(3, masked(image, done.sample.mask, GREEN))
    with atomic(folder / "sheet" / f"{run.name}-{done.index:06d}.png") as temporary:
        joined(pictures).save(temporary, format="png")


def tiles(ledger: Ledger, run: Run) -> Iterator[tuple[Record, list[Image.Image]]]:
    """The records of a run that have pictures, with these: those of HEADINGS, then those after 1, 2 and 3 clicks."""
    for file in sorted((ledger.folder / "sheet").glob(f"{run.name}-[0-9]*.png")):
        index = int(file.stem.removeprefix(f"{run.name}-"))
        if index < len(ledger.of(run)):
            with Image.open(file) as whole:
                yield ledger.of(run)[index], parted(whole.convert("RGB"), len(HEADINGS) + FIRST_CLICKS)


# ---- pages -----------------------------------------------------------------------------------------------------------


def sheet(ledger: Ledger, data: str) -> Path | None:
    """Lay out the pictures of the last run that has some, with what its ledger says: OUT/sheet.png, or None."""
    for run in sorted(ledger.runs, reverse=True):
        rows = [
            Row(pictures[: len(HEADINGS)], _captions(record, run, ledger)) for record, pictures in tiles(ledger, run)
        ]
        if rows:
            name = "Built-in sequence" if data == "Synthetic" else data_name(data)
            title = f"{name}, row ({run.row}) of Tab. 1: {ASSISTANCE[run.row]}. Target: IoU {run.target * 100:g} %"
            page(title, HEADINGS, rows, ledger.folder / "sheet.png")
            return ledger.folder / "sheet.png"
    return None


def _captions(record: Record, run: Run, ledger: Ledger) -> list[str]:
    """What stands below the four pictures of an instance."""
    index, category = record["index"], record["category"]
    nth = sum(c == category for _, c in ledger.labels[: index + 1])
    row_a = ledger.of(run._replace(row="a", seed=0))
    versus = f" (row (a): {noc(row_a[index]['ious'], run.target)})" if run.row != "a" and index < len(row_a) else ""
    clicks, reached = noc(record["ious"], run.target), max(record["ious"]) >= run.target
    needed = f"{clicks} click{'s' * (clicks != 1)}" if reached else "not reached"
    return [f"{category} no. {nth}", VERDICTS[record["correct"]], needed + versus, f"IoU {record['ious'][-1]:.0%}"]


def figure(number: str, file: Path, data: str, ledger: Ledger, target: float) -> bool:
    """Write Fig. 5 or 6 of a data set as PNG; False where its runs have no pictures."""
    shots = [list(tiles(ledger, Run(row, target, 0))) for row in FIGURES[number]]
    title = f"Fig. {number}: {data}, IoU {target * 100:g} %, "
    if not all(shots):
        return False
    if number == "5":
        headings = ["Image", "Confidence map, proposal", "Prediction from one click"]
        page(title + "row (d)", headings, [_proposal(*shot) for shot in shots[0]], file)
    else:
        clicks = [f"{k} click{'s' * (k > 1)}" for k in range(1, FIRST_CLICKS + 1)]
        headings = ["Ground truth", *(f"({row}), {k}" for row in FIGURES[number] for k in clicks)]
        page(title + "rows (a) and (c)", headings, [_first_clicks(*pair) for pair in zip(*shots, strict=True)], file)
    return True


def _proposal(record: Record, pictures: list[Image.Image]) -> Row:
    """Fig. 5: image, confidence map with the proposal, prediction from it, or from the user's first click, alone."""
    image, confidence, first = pictures[0], pictures[1], pictures[len(HEADINGS)]
    captions = [record["category"], VERDICTS[record["correct"]]]
    return Row([image, confidence, first], [*captions, "" if record["correct"] else "the user's first click"])


def _first_clicks(*pair: tuple[Record, list[Image.Image]]) -> Row:
    """Fig. 6: ground truth, then the predictions of two rows; where fewer clicks were enough, the last one stays."""
    (record, pictures), _ = pair
    row, captions = [pictures[3]], [record["category"]]
    for record, pictures in pair:
        row += pictures[len(HEADINGS) :]
        captions += ["" if k <= len(record["clicks"]) else "content before" for k in range(1, FIRST_CLICKS + 1)]
    return Row(row, captions)
