"""Sec. 4: sequential interactive image segmentation with a robot user, its ablation (Tab. 1) and its command line.

    python siis.py                                              the built-in sequence
    python siis.py --data LeedsButterfly --device cuda          the paper's headline experiment

`annotate_sequence` is the algorithm. Every instance goes to DIR/clicks.jsonl as it finishes, the table is made from
that file, and the same command goes on where an earlier one stopped.
Decisions owned here: D14-D16.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from data import DATASETS, Sample, builtin
from experiments import figures, published, tables
from experiments.ledger import ROWS, Ledger, complete, data_folder
from experiments.runs import (
    DEMO_SEEDS,
    DEMO_TARGETS,
    SEEDS,
    configuration,
    network,
    open_samples,
    own,
    perform,
    planned_runs,
    resume,
    session_file,
    shared_arguments,
)
from icp import random_point
from loaders.samples import labels
from opo import CAPACITY, SCOPES
from robot_user import interact, mask_digest, noc
from session import LAYERS, PROPOSALS, VARIED, Session, Settings
from support.command_line import LineParser, positive_int, progress, run_main
from training.checkpoints import description


def annotate_sequence(session: Session, samples: Sequence[Sample], target: float) -> Iterator[dict[str, Any]]:
    """Annotate the samples from `session.done` on with the robot user: the algorithm of the paper.

    Source:  Secs. 3.2, 3.3, 4.1 and 4.3; D14-D16, D19-D20.
    samples: those of a category follow each other (D27), so that its memory can go when it is left.
    Yields:  a record for each instance: proposal and whether it hit, clicks, `ious` after 0, 1, ... user clicks, NoC,
             whether the target was reached, whether each click got its own pixel right, the digest of the accepted
             mask, seconds by part; and, not for the ledger, `sample`, `mask` and `confidence` for whoever draws them.
    """
    for index in range(session.done, len(samples)):
        sample = samples[index]
        for category in session.categories.keys() - {sample.category}:
            session.close(category)  # D27: the samples of a category follow each other
        gt, void = (torch.from_numpy(m).to(session.device) for m in (sample.mask, sample.void))
        watch = Stopwatch(session.device)
        view = session.open(sample.image, sample.name, sample.category)  # features once, the category's parameters
        watch.lap("features")
        confidence = session.confidence(view)
        proposal = session.propose(view, confidence)  # Eq. 2
        hit = proposal is not None and bool(gt[proposal])  # D16; a wrong one is dropped at no cost, D15
        if hit and session.settings.proposal == "object":
            proposal = random_point(gt, session.generator(sample.category, 2))  # Tab. 5, "Foreground"
        done = interact(partial(session.segment, view), gt, void, proposal if hit else None, target)
        watch.lap("clicks")
        session.finish(view, done.clicks, done.mask, void)  # bank, ignore mask, online optimisation
        watch.lap("opo")
        yield {
            "index": index,
            "name": sample.name,
            "category": sample.category,
            "proposal": proposal,
            "hit": hit if proposal is not None else None,
            "clicks": done.clicks,
            "ious": done.ious,
            "noc": noc(done.ious, target),
            "reached": done.ious[-1] >= target,
            "obeyed": done.obeyed,
            "mask_digest": mask_digest(done.mask),
            "seconds": watch.laps,
            "sample": sample,
            "mask": done.mask,
            "confidence": confidence,
        }


class Stopwatch:
    """Seconds by part; waits for the device before each reading."""

    def __init__(self, device: torch.device):
        self.device = device
        self.laps: dict[str, float] = {}
        self.last = self._now()

    def lap(self, part: str) -> None:
        """Book the time since the last lap on `part`."""
        now = self._now()
        self.laps[part], self.last = now - self.last, now

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


# ---- the ablation ----------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
    """`python siis.py`: the ablation of Tab. 1 on a data set."""
    args = parse(argv)
    demo = args.data == "Synthetic"
    if demo:
        builtin(root=args.root, min_area=args.min_area, min_count=args.min_count - 1)
    samples = open_samples(args.data, args.root, args)
    net, size = network(args.data, args)
    given = {name: getattr(args, name) for name in VARIED}
    settings = Settings(size=size, **given)
    targets, seeds = (DEMO_TARGETS, DEMO_SEEDS) if demo else (published.TARGETS, SEEDS)
    runs = planned_runs(args.rows, args.targets or targets, args.seeds or seeds, args.proposal)
    out = args.out or data_folder(Path("runs"), args.data)
    with own(out):
        ledger = Ledger(out, configuration(args.data, samples, net, args, settings), labels(samples))
        for run in runs:
            if not ledger.finished(run):
                draw = {i * len(samples) // figures.SHEET for i in range(figures.SHEET)} if run == runs[-1] else ()
                session = resume(run, net, settings, ledger)
                records = perform(run, session, annotate_sequence(session, samples, run.target), ledger, draw)
                for _ in progress(records, str(run), len(samples) - session.done):
                    pass
            session_file(out, run).unlink(missing_ok=True)
        done, partial = complete(ledger.records, len(samples))
        print(tables.table([r for records in done.values() for r in records], args.data))
        if partial:
            print(f"siis: {len(partial)} runs are not complete and were left out", file=sys.stderr)
        print(f"\n{len(ledger.records)} annotated instances: {ledger.file}; pictures: {figures.sheet(out) or 'none'}")
        if not demo or args.weights:
            print(f"network: {description(args.weights)}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python siis.py`."""
    p = LineParser(prog="siis", description="Sequential interactive image segmentation with a robot user (Tab. 1).")
    p.add_argument("--data", default="Synthetic", help=f"{', '.join(DATASETS)}, or a folder of images and masks")
    p.add_argument("--root", type=Path, help="folder that holds the data set; without it DATA in the cache folder")
    p.add_argument("--rows", type=row_names, default="abcd", help="of Tab. 1: a neither, b ICP, c OPO, d both")
    shared_arguments(p)
    p.add_argument("--out", type=Path, help="folder for the results; without it runs/DATA")
    p.add_argument("--delta", type=positive_int, default=1, help="optimisation lags this many instances (Sec. 3.3)")
    p.add_argument("--memory", type=positive_int, default=CAPACITY, help="finished instances OPO keeps (Q7)")
    p.add_argument("--layer", choices=LAYERS, default="4", help="R_i of the proposal, or ms for all four (Tab. 3)")
    p.add_argument("--refresh", action="store_true", help="purify the bank's clicks anew after each optimisation")
    p.add_argument(
        "--opo-augment",
        dest="augment",
        action="store_true",
        help="optimise on augmented images, not on cached features",
    )
    p.add_argument("--scope", choices=SCOPES, default=SCOPES[0], help="parameters that OPO trains (Tab. 7)")
    p.add_argument("--proposal", choices=PROPOSALS, default=PROPOSALS[0], help="or a random pixel instead (Tab. 5)")
    p.add_argument("--stop-after", type=positive_int, help="OPO ends after so many instances of a category (Fig. 4)")
    return p.parse_args(argv)


def row_names(text: str) -> str:
    """argparse type: rows of Tab. 1, such as 'abcd'."""
    if not text or set(text) - set(ROWS) or len(set(text)) < len(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected some of the letters {''.join(ROWS)}")
    return text


if __name__ == "__main__":
    run_main(main, "siis")
