"""Sec. 4: sequential interactive image segmentation with a robot user, its ablation (Tab. 1) and its command line.

    python siis.py                                              the built-in sequence
    python siis.py --data LeedsButterfly --device cuda          the paper's headline experiment; data are fetched
    torchrun --nproc-per-node 8 siis.py --data ...              the same, its runs shared by eight processes

`annotate_sequence` is the algorithm. Every instance is written to OUT/runs as it finishes, and the table is made from
these files. The same command continues where it stopped; several processes share its runs.
Decisions owned here: D14-D16.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clicks import Click
from icp import Point
from robot_user import interact
from session import Session, Settings
from support.command_line import LineParser, positive_int, rank, run_main

if TYPE_CHECKING:
    from data import Sample


@dataclass(frozen=True)
class Annotated:
    """One annotated instance; the last four fields are those of `robot_user.Interaction`."""

    index: int
    sample: Sample
    confidence: Tensor | None  # (H, W) float, None for the first of a category and without ICP
    proposal: Point | None
    correct: bool | None  # whether the proposal lies on the instance (D16); None without one
    clicks: list[Click]  # a correct proposal stands first (D14)
    ious: list[float]  # after 0, 1, ... of the user's clicks
    consistent: list[bool]  # for each of the user's clicks, whether the clicked pixel got its label
    mask: Tensor  # (H, W) bool, what the user accepted


def annotate_sequence(
    session: Session, samples: Sequence[Sample], target: float, at_least: int = 0
) -> Iterator[Annotated]:
    """Annotate the samples from `session.done` on with the robot user: the algorithm of the paper.

    Source:    Secs. 3.2, 3.3, 4.1 and 4.3; D14-D16, D19-D20, D26.
    samples:   instances to annotate;  target: IoU in (0, 1] at which the user is content.
    at_least:  the smallest number of clicks for an instance, a correct proposal among them.
    Yields:    one record per instance, in order.
    """
    for index in range(session.done, len(samples)):
        sample = samples[index]
        gt, void = (torch.from_numpy(m).to(session.device) for m in (sample.mask, sample.void))
        view = session.open(sample.image, sample.name, sample.category)  # features and the category's parameters
        proposal, confidence = session.propose(view)  # Eq. 2
        correct = None if proposal is None else bool(gt[proposal])  # D16; a wrong one is dropped at no cost, D15
        first = proposal if correct else None
        done = interact(partial(session.segment, view), gt, void, first, target, at_least)
        session.finish(view, done.clicks, done.mask)  # bank, ignore mask, online optimisation
        yield Annotated(index, sample, confidence, proposal, correct, *done)


# ---- the command line: Tab. 1 on a data set --------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> None:
    """`python siis.py`: the ablation of Tab. 1 on a data set."""
    from experiments import published, runs, work
    from experiments.ledger import Ledger, data_name
    from experiments.sessions import Measured, Zoomed
    from loaders.samples import categories
    from training.checkpoints import description

    args = parse(argv)
    demo, benchmark = args.data == "Synthetic", args.data in published.PEERS
    if benchmark and not args.rows and not rank():
        alone = "are not a sequence, so only row (a) runs; choose others with --rows"
        print(f"siis: the images of {args.data} {alone}", file=sys.stderr)
    rows = args.rows or ("a" if benchmark else "abcd")
    opened = runs.open_task_data(args.data, args.root, args)
    settings = Settings(size=opened.size, delta=args.delta)
    targets = sorted(set(args.targets or ())) or (runs.DEMO_TARGETS if demo else published.TARGETS)
    seeds = args.seeds or (runs.DEMO_SEEDS if demo else runs.SEEDS)
    out = args.out or Path("runs") / data_name(args.data)
    session = Zoomed if args.zoom else Measured
    config = runs.configuration(args.data, opened, args, settings, session)
    ledger = Ledger(out, config, categories(opened.samples))
    planned = runs.planned_runs(rows, max(targets), seeds, args.orders)
    work.carry_out([work.Task(ledger, run, opened, settings, args.at_least, session) for run in planned])
    if not rank():
        work.show(ledger, args.data, targets)
        print(f"network: {description(args.weights, [args.data])}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python siis.py`."""
    from experiments.runs import row_names, shared_arguments

    p = LineParser(
        prog="siis",
        usage="siis.py [options]",
        description="Sequential interactive image segmentation with a robot user (Tab. 1).",
    )
    p.add_argument("--data", default="Synthetic", help="a data set by its name, or a folder of images and masks")
    p.add_argument("--root", metavar="DIR", type=Path, help="folder of the data set (default: in the cache)")
    p.add_argument("--rows", type=row_names, help="rows of Tab. 1: a neither, b ICP, c OPO, d both (default: abcd)")
    p.add_argument("--delta", metavar="N", type=positive_int, default=1, help="OPO's lag in instances (Sec. 3.3)")
    shared_arguments(p)
    p.add_argument("--zoom", action="store_true", help="look at small objects enlarged, from the second click on")
    p.add_argument("--out", metavar="DIR", type=Path, help="folder for the results (default: runs/DATA)")
    return p.parse_args(argv)


if __name__ == "__main__":
    run_main(main, "siis")
