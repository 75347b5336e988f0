"""Figs. 5 and 6: recorded runs gone through again, click by click, for the pictures of some instances."""

import argparse
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from data import Sample
from experiments.figures import SHEET, save_first_clicks, save_proposals
from experiments.ledger import ROWS, Ledger, Run, run_files
from experiments.measured import Measured
from experiments.plan import sheet_target
from experiments.results import Changes
from experiments.runs import OpenDataset
from experiments.tables import Record
from robot_user import Click, mask_digest
from session import Session
from settings import Settings
from support.command_line import progress

WITHIN = 100  # the pictures are of some of the first so many instances, so that little is gone through again
FIRST_CLICKS = 3  # Fig. 6
CAPTIONS = {
    "5": "image with the proposal, confidence map, prediction from the first click",
    "6": "ground truth, then (a) and (d) after 1, 2 and 3 clicks, a proposal included",
}


def settings_of(job_changes: Changes, size: int) -> Settings:
    """The settings of a configuration at an input size."""
    return Settings(size=size)._replace(**dict(job_changes))


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
            more = {"sample": sample, "confidence": session.confidence(view), "mask": mask, "masks": masks}
            yield {**record, "clicks": clicks, **more}
        session.finish(view, clicks, mask)


def sheets(args: argparse.Namespace, data: str) -> list[tuple[Path, str]]:
    """The sheets of a data set that the command line names: file and a line of Markdown for each."""
    folder = args.out / data
    found = []
    for number in sorted({"5", "6"} & set(args.figures)):
        file = folder / f"figure-{number}-at-{sheet_target(args) * 100:g}.png"
        found.append(
            (file, f"Fig. {number}, {data}: {CAPTIONS[number]}: ![]({quote(os.fsencode(folder.name))}/{file.name})")
        )
    return found


def draw_sheets(args: argparse.Namespace, data: str, opened: OpenDataset, ledger: Ledger) -> None:
    """Figs. 5 and 6 of a data set as PNG in its folder, unless they are there and the ledger has not changed since."""
    files = dict(zip(sorted({"5", "6"} & set(args.figures)), (file for file, _ in sheets(args, data)), strict=True))
    written = max(file.stat().st_mtime for file in run_files(ledger.folder))
    if all(file.exists() and file.stat().st_mtime > written for file in files.values()):
        return
    shots: dict[str, list[Record]] = {}
    within = min(WITHIN, len(opened.samples))
    draw = {(2 * i + 1) * within // (2 * SHEET) for i in range(SHEET)}
    for row in "ad" if "6" in args.figures else "d":
        run = Run(row, sheet_target(args), 0)
        settings = settings_of((), opened.size)._replace(icp=ROWS[row].icp, opo=ROWS[row].opo)
        records = progress(
            replay(Measured(opened.net, settings), opened.samples, ledger.of(run), draw), f"pictures, {run}", len(draw)
        )
        shots[row] = list(records)
    title = f"{data}, IoU {sheet_target(args) * 100:g} %"
    if "5" in files:
        save_proposals(shots["d"], f"Fig. 5: {title}, row (d)", files["5"])
    if "6" in files:
        save_first_clicks(
            list(zip(shots["a"], shots["d"], strict=True)), f"Fig. 6: {title}, rows (a) and (d)", files["6"]
        )
