"""Figs. 5 and 6: recorded runs gone through again, click by click, for the pictures of some instances."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from clicks import Click
from data import Sample
from experiments.figures import SHEET, save_first_clicks, save_proposals
from experiments.ledger import ROWS, Ledger, Record, Run
from experiments.runs import OpenDataset
from robot_user import mask_digest
from session import Session, Settings
from support.command_line import progress

WITHIN = 100  # the pictures are of some of the first so many instances, so that little is gone through again
FIRST_CLICKS = 3  # Fig. 6
SHEET_ROWS = {"5": "d", "6": "ac"}  # Fig. 6 compares "B+OPO" with the baseline "B"
CAPTIONS = {
    "5": "image with the proposal, confidence map, prediction from the first click",
    "6": "ground truth, then rows (a) and (c) after 1, 2 and 3 clicks",
}


def replay(session: Session, samples: Sequence[Sample], records: Sequence[Record], draw: set[int]) -> Iterator[Record]:
    """Go through a recorded run again, click by click, for the pictures of some instances (Figs. 5-6).

    records:  of the run, from instance 0 on;  draw: indices.
    Yields:   the drawn records with `sample`, `confidence`, `mask` and `masks`, those after 1, 2 and 3 clicks.
    """
    for record in records[: max(draw) + 1]:
        sample = samples[record["index"]]
        view = session.open(sample.image, sample.name, sample.category)
        clicks = [Click(*click) for click in record["clicks"]]
        mask = session.segment(view, clicks)
        if record["mask_digest"] != mask_digest(mask):
            other = "the number of threads or the version of PyTorch is another"
            warnings.warn(f"pictures of {sample.name} are not quite those of the run: {other}", stacklevel=2)
        if record["index"] in draw:
            masks = [session.segment(view, clicks[:k]) for k in range(1, FIRST_CLICKS + 1)]
            more = {"sample": sample, "confidence": session.propose(view).confidence, "mask": mask, "masks": masks}
            yield {**record, "clicks": clicks, **more}
        session.finish(view, clicks, mask)


def sheet_file(out: Path, data: str, number: str) -> Path:
    """Where Fig. 5 or 6 of a data set is written."""
    return out / data / f"figure-{number}.png"


def draw_sheet(number: str, file: Path, data: str, opened: OpenDataset, ledger: Ledger, target: float) -> None:
    """Fig. 5 or 6 of a data set as PNG, unless it is there and the ledger has not changed since."""
    runs = [Run(row, target, 0) for row in SHEET_ROWS[number]]
    if file.exists() and file.stat().st_mtime > max(ledger.file(run).stat().st_mtime for run in runs):
        return
    within = min(WITHIN, len(opened.samples))
    draw = {(2 * i + 1) * within // (2 * SHEET) for i in range(SHEET)}
    shots = []
    for run in runs:
        icp, opo = ROWS[run.row]
        session = Session(opened.net, replace(Settings(size=opened.size), icp=icp, opo=opo))
        drawn = replay(session, opened.samples, ledger.of(run), draw)
        shots.append(list(progress(drawn, f"pictures, {run}", len(draw))))
    title = f"Fig. {number}: {data}, IoU {target * 100:g} %, "
    if number == "5":
        save_proposals(shots[0], title + "row (d)", file)
    else:
        save_first_clicks(list(zip(*shots, strict=True)), title + "rows (a) and (c)", file)
