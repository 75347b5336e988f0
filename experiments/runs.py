"""Sec. 4: the runs of an ablation: which there are, what they need, what fixes their results.

Decisions owned here: D26, D29 (runs).
"""

import argparse
import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from data import Sample, Synthetic, builtin, open_dataset
from experiments.ledger import ROWS, Run, data_name
from experiments.sessions import Measured
from loaders.pictures import MASKS
from loaders.samples import FileSequence
from model import SIISNet, digest
from robot_user import MAX_CLICKS
from session import Settings
from support.command_line import default_device, device_name, positive_int, size_int, whole_number
from training.checkpoints import open_network

SEEDS = 5  # D29
DEMO_LIMIT, DEMO_SIZE, DEMO_TARGETS, DEMO_SEEDS = 10, 224, (0.85,), 1  # what the built-in sequence runs with


def planned_runs(rows: str, target: float, seeds: int, orders: int = 1, drawn: bool = False) -> list[Run]:
    """The runs of a table: each row to the highest target, whose IoU curve gives NoC at the lower ones (D26).

    drawn:    whether proposals are drawn, as in Tab. 5.
    Returns:  several seeds only of what is random, several orders only of what depends on earlier instances (D29).
    """
    return [
        Run(row, target, seed, order)
        for order in range(orders)
        for seed in range(seeds)
        for row in rows
        if (order == 0 or any(ROWS[row])) and (seed == 0 or ROWS[row].opo or (drawn and ROWS[row].icp))
    ]


class OpenDataset(NamedTuple):
    """A data set with the network for it, in place and frozen."""

    samples: Sequence[Sample]
    content: str  # from `content`
    net: SIISNet
    size: int  # short side of the network input, pixels


def open_samples(data: str, root: Path | None, args: argparse.Namespace) -> Sequence[Sample]:
    """The samples of a data set, or of the built-in sequence."""
    chosen = {"masks": args.masks, "min_area": args.min_area}
    if data == "Synthetic":
        builtin(root=root, **chosen, min_count=args.min_count - 1)
        return Synthetic(args.limit or DEMO_LIMIT)
    return open_dataset(data, root, offline=args.offline, limit=args.limit, min_count=args.min_count, **chosen)


def content(samples: Sequence[Sample]) -> str:
    """Twelve hexadecimal digits for what the samples are made of.

    A digest of the names, the categories and the bytes of every image and mask file, not of their sizes and times:
    those change when a folder is copied, and do not always change when a file does. Reading costs a second per 500 MB.
    Samples without files: a digest of their pixels.
    """
    found = hashlib.sha256()
    if isinstance(samples, FileSequence):
        for file in dict.fromkeys(file for item in samples.items for file in (item.image, item.mask)):
            found.update(file.read_bytes())
        found.update(repr([(item.value, item.name, item.category) for item in samples.items]).encode())
    else:
        for sample in samples:
            found.update(sample.image.tobytes() + sample.mask.tobytes() + sample.void.tobytes())
    return found.hexdigest()[:12]


def open_task_data(data: str, root: Path | None, args: argparse.Namespace) -> OpenDataset:
    """The samples, their digest, and the network for them (D10)."""
    samples = open_samples(data, root, args)
    net, meta = open_network(args.weights)
    net.to(own_device(args.device)).requires_grad_(False)
    size = args.size or (DEMO_SIZE if data == "Synthetic" else meta["size"])
    return OpenDataset(samples, content(samples), net, size)


def own_device(device: str) -> str:
    """The device of this process: under torchrun "cuda" is the GPU of its number on the machine, shared if it must."""
    if device != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    return f"cuda:{int(os.environ['LOCAL_RANK']) % max(1, torch.cuda.device_count())}"


def configuration(
    data: str, opened: OpenDataset, args: argparse.Namespace, settings: Settings, session: type[Measured] = Measured
) -> dict[str, Any]:
    """Plain values that, with a run's name, fix its results: what a ledger is known by."""
    config = {"data": data_name(data), "samples": len(opened.samples), "content": opened.content}
    config |= {"net": digest(opened.net), "device": args.device.split(":")[0], "session": session.__name__}
    return config | {n: getattr(args, n) for n in ("masks", "min_area", "min_count", "at_least")} | asdict(settings)


def shared_arguments(p: argparse.ArgumentParser) -> None:
    """Network, device, targets, seeds and samples: the same for `siis.py` and `report.py`."""
    whole, add = dict[str, Any](metavar="N", type=positive_int), p.add_argument
    add("--weights", metavar="FILE", type=Path, help="checkpoint of train.py (default: the network that ships)")
    add("--offline", action="store_true", help="fetch nothing from the network")
    add("--device", type=device_name, default=default_device(), help="such as cpu, cuda or cuda:1")
    add("--size", metavar="N", type=size_int, help="short side of the input in pixels (default: as trained)")
    ious = "IoU of NoC; runs go to the highest (default: 0.85 0.9)"
    add("--targets", metavar="IOU", type=target, nargs="+", help=ious)
    least = "clicks each instance gets even if the target is reached earlier, a correct proposal among them (D26)"
    add("--at-least", metavar="N", type=whole_number, choices=range(MAX_CLICKS + 1), default=0, help=least)
    add("--seeds", **whole, help=f"seeds of rows with random parts (default: {SEEDS}; built-in sequence: 1)")
    add("--orders", **whole, default=1, help="file order and N - 1 drawn ones, within the categories (D29)")
    add("--limit", **whole, help="only this many instances, evenly spaced")
    add("--min-area", **whole, default=0, help="leave out instances of fewer pixels")
    add("--masks", choices=MASKS, help="what the masks of a folder are (default: decided for each)")
    add("--min-count", **whole, default=1, help="leave out categories of fewer instances")


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
