"""Sec. 4: sequential interactive image segmentation with a robot user, its ablation (Tab. 1) and its command line.

    python siis.py                                              the built-in sequence
    python siis.py --data LeedsButterfly --device cuda          the paper's headline experiment

`annotate_sequence` is the algorithm. Every instance goes to DIR/clicks.jsonl as it finishes, the table is made from
that file, and the same command goes on where an earlier one stopped.
Decisions owned here: D14-D16, D26, D29.
"""

import argparse
import math
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

import figures
import published
import tables
import trainer
from console import (
    LineParser,
    cache_folder,
    default_device,
    device_name,
    exclusive,
    positive_int,
    progress,
    run_main,
    size_int,
)
from data import DATASETS, Sample, Synthetic, builtin, download, open_dataset
from files import sweep
from icp import random_point
from ledger import ROWS, Ledger, Run, complete, data_folder
from model import BACKBONES, SIISNet, digest, load_checkpoint
from opo import CAPACITY, SCOPES
from recipe import Recipe
from robot_user import interact, mask_digest, noc
from samples import labels
from session import LAYERS, PROPOSALS, VARIED, Session, Settings

SEEDS = 5  # D29
SAVE_SECONDS = 30  # between two saved sessions: what a kill can cost
WRITTEN = ("clicks.jsonl", "session-*.pt", "sheet.png", "sheet/*.png")  # in --out
SHEET = 8  # instances in the picture sheet
DEMO_LIMIT, DEMO_TARGETS, DEMO_SEEDS = 40, (0.85,), 1  # what the built-in sequence runs with
DEMO_RECIPE = Recipe("Synthetic", 600, "resnet18", size=128, window=80, epochs=4, quick=True, lr=0.03, gamma=0.6)
TRAIN_COMMAND = (
    "python train.py --data PascalVOC --root DIR --backbone resnet50 --init imagenet --freeze-backbone "
    "--size 256 --window 192 --epochs 4 --lr 0.03 --gamma 0.78"
)
TRAIN_TIME = "about half an hour on two cores"


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


def planned_runs(rows: str, targets: Sequence[float], seeds: int, proposal: str = PROPOSALS[0]) -> list[Run]:
    """The runs of a table: each row at each target; only what is random differs between seeds (D26, D29)."""
    return [
        Run(row, target, seed)
        for seed in range(seeds)
        for target in targets
        for row in rows
        if seed == 0 or ROWS[row].opo or (ROWS[row].icp and proposal != PROPOSALS[0])
    ]


def resume(run: Run, net: SIISNet, settings: Settings, ledger: Ledger) -> Session:
    """The session of a run, where it was saved last; what the ledger holds beyond that will be done again."""
    icp, opo = ROWS[run.row]
    settings = settings._replace(icp=icp, opo=opo, seed=run.seed)
    saved, written = session_file(ledger.folder, run), len(ledger.of(run))
    session = Session.load(saved, net) if written and saved.exists() else Session(net, settings)
    if session.done > written:  # lines of the ledger were taken away
        session = Session(net, settings)
    if not session.done:
        saved.unlink(missing_ok=True)
    ledger.keep(run, session.done)
    return session


def perform(run: Run, session: Session, samples: Sequence[Sample], ledger: Ledger, draw=()) -> Iterator[dict[str, Any]]:
    """Carry out what is left of one run, yielding each record when it stands in the ledger.

    draw:  indices of the instances whose pictures go to the sheet.
    """
    saved, last = session_file(ledger.folder, run), time.monotonic()
    try:
        for record in annotate_sequence(session, samples, run.target):
            if record["index"] in draw:
                figures.save_tile(record, ledger.folder)
            ledger.append(run, record)
            if time.monotonic() - last > SAVE_SECONDS:
                session.save(saved)
                last = time.monotonic()
            yield record
    finally:
        session.reset()
    saved.unlink(missing_ok=True)


def session_file(folder: Path, run: Run) -> Path:
    """Where the session of an unfinished run is saved."""
    return folder / f"session-{run.row}-{run.target}-{run.seed}.pt"


def main(argv: Sequence[str] | None = None) -> None:
    """`python siis.py`: the ablation of Tab. 1 on a data set."""
    args = parse(argv)
    demo = args.data == "Synthetic"
    if demo:
        builtin(root=args.root, download=args.download, min_area=args.min_area, min_count=args.min_count - 1)
    elif args.download:
        download(args.data, args.root)
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
                draw = {i * len(samples) // SHEET for i in range(SHEET)} if run == runs[-1] else ()
                session = resume(run, net, settings, ledger)
                records = perform(run, session, samples, ledger, draw)
                for _ in progress(records, str(run), len(samples) - session.done):
                    pass
            session_file(out, run).unlink(missing_ok=True)
        done, partial = complete(ledger.records, len(samples))
        print(tables.table([r for records in done.values() for r in records], args.data))
        if partial:
            print(f"siis: {len(partial)} runs are not complete and were left out", file=sys.stderr)
        print(f"\n{len(ledger.records)} annotated instances: {ledger.file}; pictures: {figures.sheet(out) or 'none'}")


@contextmanager
def own(out: Path, written: Sequence[str] = WRITTEN) -> Iterator[None]:
    """Within the block this process alone works on a folder of results, rid of what killed ones left half-written.

    written:  names or patterns of what is written there.
    """
    with exclusive(out, out / ".lock"):
        sweep(*(out / name for name in written))
        yield


def open_samples(data: str, root: Path | None, args: argparse.Namespace) -> Sequence[Sample]:
    """The samples of a data set, or of the built-in sequence."""
    if data == "Synthetic":
        return Synthetic(args.limit or DEMO_LIMIT)
    return open_dataset(data, root, limit=args.limit, min_area=args.min_area, min_count=args.min_count)


def network(data: str, args: argparse.Namespace) -> tuple[SIISNet, int]:
    """The baseline for a data set, in place and frozen, and the short side of its input (D10)."""
    net, meta = demo_baseline(args) if data == "Synthetic" and not args.weights else baseline(args)
    net.to(args.device).requires_grad_(False)
    return net, args.size or meta["size"]


def configuration(
    data: str, samples: Sequence[Sample], net: SIISNet, args: argparse.Namespace, settings: Settings
) -> dict[str, Any]:
    """Plain values that, with a run's row, target and seed, fix its results: what a ledger is known by."""
    config = {"data": data, "samples": len(samples), "net": digest(net), "device": args.device.split(":")[0]}
    return config | {"min_area": args.min_area, "min_count": args.min_count} | settings.plain()


def baseline(args: argparse.Namespace) -> tuple[SIISNet, dict[str, Any]]:
    """The network that --weights names, or else a baseline in the cache folder, and its metadata."""
    if args.weights and not args.weights.exists():
        raise ValueError(f"--weights {args.weights}: no such file")
    names = [args.backbone] if args.backbone else BACKBONES
    found = [path for name in names if (path := cache_folder() / f"baseline-{name}.pt").exists()]
    if not args.weights and not found:
        what = f"no baseline-{args.backbone or 'BACKBONE'}.pt in {cache_folder()}"
        raise ValueError(f"{what}; name a checkpoint with --weights or train one ({TRAIN_TIME}): {TRAIN_COMMAND}")
    path = args.weights or found[0]
    net, meta = load_checkpoint(path, args.backbone)
    if meta.get("training"):
        done, whole = meta["training"]["epoch"], meta["recipe"]["epochs"]
        warnings.warn(
            f"{path}: training is not finished, {done} of {whole} epochs; train.py goes on with it", stacklevel=2
        )
    return net, meta


def demo_baseline(args: argparse.Namespace) -> tuple[SIISNet, dict[str, Any]]:
    """The baseline of the built-in sequence, trained on the spot on other shapes than those of the sequence."""
    recipe = DEMO_RECIPE
    out = cache_folder() / "baseline-synthetic.pt"
    meta = load_checkpoint(out)[1] if out.exists() else {}
    if meta.get("recipe") != recipe._asdict() or meta["training"]:
        print("siis: training the baseline of the built-in sequence once, about two minutes", file=sys.stderr)
        torch.manual_seed(recipe.seed)
        net = SIISNet(recipe.backbone).to(args.device)
        trainer.fit(net, Synthetic(recipe.samples, split="train"), (), recipe, out, workers=1)
    return load_checkpoint(out)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python siis.py`."""
    p = LineParser(prog="siis", description="Sequential interactive image segmentation with a robot user (Tab. 1).")
    p.add_argument("--data", default="Synthetic", help=f"{', '.join(DATASETS)}, or a folder of images and masks")
    p.add_argument("--root", type=Path, help="folder that holds the data set")
    p.add_argument("--download", action="store_true", help="fetch LeedsButterfly or PascalVOC into --root first")
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


def shared_arguments(p: argparse.ArgumentParser) -> None:
    """Network, device, targets, seeds and samples: the same for `report.py`."""
    p.add_argument("--weights", type=Path, help="checkpoint of train.py; without it the baseline in the cache folder")
    p.add_argument("--backbone", choices=BACKBONES, help="what the checkpoint must be of")
    p.add_argument("--device", type=device_name, default=default_device())
    p.add_argument("--size", type=size_int, help="short side of the network input; without it the checkpoint's")
    p.add_argument(
        "--targets", type=target, nargs="+", help="IoU at which the user is content; without it those of the table"
    )
    p.add_argument("--seeds", type=positive_int, help=f"runs of rows c and d; else {SEEDS} (demo {DEMO_SEEDS})")
    p.add_argument("--limit", type=positive_int, help="this many instances, evenly spaced in file order")
    p.add_argument("--min-area", type=positive_int, default=0, help="pixels below which an instance is left out")
    p.add_argument("--min-count", type=positive_int, default=1, help="instances below which a category is left out")


def row_names(text: str) -> str:
    """argparse type: rows of Tab. 1, such as 'abcd'."""
    if not text or set(text) - set(ROWS) or len(set(text)) < len(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected some of the letters {''.join(ROWS)}")
    return text


def target(text: str) -> float:
    """argparse type: an IoU above 0 and at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an IoU above 0 and at most 1, such as 0.85")
    return value


if __name__ == "__main__":
    run_main(main, "siis")
