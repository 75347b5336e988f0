"""Sec. 4: the runs of an ablation: which there are, how one goes on where it stopped, what fixes its results.

Decisions owned here: D26, D29 (runs).
"""

import argparse
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from data import Sample, Synthetic, open_dataset
from experiments import figures
from experiments.ledger import ROWS, Ledger, Run
from model import SIISNet, digest
from session import PROPOSALS, Session, Settings
from support.command_line import cache_folder, default_device, device_name, exclusive, positive_int, size_int
from support.files import sweep
from training import trainer
from training.checkpoints import load_checkpoint, open_network
from training.recipe import Recipe

SEEDS = 5  # D29
SAVE_SECONDS = 30  # between two saved sessions: what a kill can cost
WRITTEN = ("clicks.jsonl", "session-*.pt", "sheet.png", "sheet/*.png")  # in --out
DEMO_LIMIT, DEMO_TARGETS, DEMO_SEEDS = 40, (0.85,), 1  # what the built-in sequence runs with
DEMO_RECIPE = Recipe("Synthetic", 600, "resnet18", size=128, window=80, epochs=4, quick=True, lr=0.03, gamma=0.6)


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


def perform(
    run: Run, session: Session, records: Iterable[dict[str, Any]], ledger: Ledger, draw=()
) -> Iterator[dict[str, Any]]:
    """Carry out what is left of one run, yielding each record when it stands in the ledger.

    records:  of `annotate_sequence` with this session;  draw: indices whose pictures go to the sheet.
    """
    saved, last = session_file(ledger.folder, run), time.monotonic()
    try:
        for record in records:
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
    return open_dataset(
        data, root, offline=args.offline, limit=args.limit, min_area=args.min_area, min_count=args.min_count
    )


def network(data: str, args: argparse.Namespace) -> tuple[SIISNet, int]:
    """The baseline for a data set, in place and frozen, and the short side of its input (D10)."""
    net, meta = demo_baseline(args) if data == "Synthetic" and not args.weights else open_network(args.weights)
    net.to(args.device).requires_grad_(False)
    return net, args.size or meta["size"]


def configuration(
    data: str, samples: Sequence[Sample], net: SIISNet, args: argparse.Namespace, settings: Settings
) -> dict[str, Any]:
    """Plain values that, with a run's row, target and seed, fix its results: what a ledger is known by."""
    config = {"data": data, "samples": len(samples), "net": digest(net), "device": args.device.split(":")[0]}
    return config | {"min_area": args.min_area, "min_count": args.min_count} | settings.plain()


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


def shared_arguments(p: argparse.ArgumentParser) -> None:
    """Network, device, targets, seeds and samples: the same for `report.py`."""
    p.add_argument("--weights", type=Path, help="checkpoint of train.py; without it the network that ships")
    p.add_argument("--offline", action="store_true", help="fetch nothing from the network")
    p.add_argument("--device", type=device_name, default=default_device())
    p.add_argument("--size", type=size_int, help="short side of the network input; without it the checkpoint's")
    p.add_argument(
        "--targets", type=target, nargs="+", help="IoU at which the user is content; without it those of the table"
    )
    p.add_argument("--seeds", type=positive_int, help=f"runs of rows c and d; else {SEEDS} (demo {DEMO_SEEDS})")
    p.add_argument("--limit", type=positive_int, help="this many instances, evenly spaced in file order")
    p.add_argument("--min-area", type=positive_int, default=0, help="pixels below which an instance is left out")
    p.add_argument("--min-count", type=positive_int, default=1, help="instances below which a category is left out")


def target(text: str) -> float:
    """argparse type: an IoU above 0 and at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an IoU above 0 and at most 1, such as 0.85")
    return value
