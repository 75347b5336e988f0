"""Sec. 4.1, Implementation Details: the command line of baseline training.

    python train.py                         our recipe (D30), for a GPU, on PASCAL VOC, from ImageNet weights
    python train.py --recipe paper          the paper's (D28), which also needs SBD

What is missing is fetched. A stopped run continues from its checkpoint when the same command is run again.
"""

import argparse
import glob
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from data import Sample, Synthetic, builtin, open_dataset
from loaders.pictures import MASKS
from model import BACKBONES, SIISNet
from support.command_line import (
    LineParser,
    cache_folder,
    default_device,
    device_name,
    exclusive,
    positive_int,
    run_main,
    size_int,
    whole_number,
)
from support.files import sweep
from training.checkpoints import export, load_checkpoint, pretrained
from training.recipe import RECIPES, Recipe
from training.trainer import Trainer

BFLOAT16 = (8, 0)  # compute capability from which a GPU computes in bfloat16


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python train.py`."""
    p = LineParser(prog="train", description="Train the baseline of SIIS (Sec. 4.1).")
    p.add_argument("--data", default="PascalVOC", help="a data set by its name, or a folder of images and masks")
    p.add_argument("--root", type=Path, help="folder that holds the data set; without it DATA in the cache folder")
    p.add_argument("--limit", type=positive_int, help="train on this many instances, evenly spaced in file order")
    p.add_argument("--min-area", type=positive_int, default=0, help="pixels below which an instance is left out")
    p.add_argument("--masks", choices=MASKS, help="what the masks of a folder are; else decided for each")
    p.add_argument("--offline", action="store_true", help="fetch nothing from the network")
    val = "instances to validate on: of PascalVOC's val split, of other data those it trains on"
    p.add_argument("--val", type=positive_int, default=60, help=val)
    p.add_argument("--init", default="imagenet", help="torchvision ResNet weights to start from, a file, or 'none'")
    p.add_argument("--recipe", choices=RECIPES, default="cuda", help="'paper' is Sec. 4.1's")
    varied = p.add_argument_group("instead of the recipe's own")
    varied.add_argument("--backbone", choices=BACKBONES, help="the paper's is resnet101; ours are resnet50")
    varied.add_argument("--size", type=size_int, help="short side of the images and side of the crops")
    varied.add_argument("--epochs", type=positive_int, help="passes over the instances")
    varied.add_argument("--batch", type=positive_int, help="instances per step")
    varied.add_argument("--lr", type=float, help="largest learning rate")
    p.add_argument("--seed", type=whole_number, default=0, help="of all random numbers; default: 0")
    p.add_argument("--device", type=device_name, default=default_device())
    workers = min(8, os.cpu_count() or 1) - 1
    p.add_argument("--workers", type=whole_number, default=workers, help="processes that prepare batches")
    p.add_argument("--out", type=Path, help="checkpoint to write; default: baseline-BACKBONE.pt in the cache folder")
    p.add_argument("--export", type=Path, help="train nothing; write the network in --out to this file, as it ships")
    return p.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """`python train.py`: make the data, the network and the recipe from the command line, and train."""
    args = parse(argv)
    out = args.out or cache_folder() / f"baseline-{recipe_of(args, 0).backbone}.pt"
    if args.export:
        export(out, args.export)
        print(args.export)
        return
    with locked_checkpoint(out):
        samples, validation = data_of(args)
        recipe = recipe_of(args, len(samples))
        torch.manual_seed(args.seed)
        net, state = start_from(out, recipe, args.offline)
        net.to(args.device)
        typed = shlex.join(["python", "train.py", *(sys.argv[1:] if argv is None else argv)])
        Trainer(net, samples, recipe, out, state, args.workers, typed).fit(validation)
    print(out)


def data_of(args: argparse.Namespace) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """The samples for training and those for validation."""
    if args.data == "Synthetic":
        builtin(root=args.root, masks=args.masks, min_area=args.min_area)
        return Synthetic(args.limit or 512, seed=1), Synthetic(args.val)
    filters = {"masks": args.masks, "offline": args.offline, "min_area": args.min_area}
    sbd = recipe_of(args, 0).paper if args.root is None else None
    samples = open_dataset(args.data, args.root, "train", sbd=sbd, limit=args.limit, **filters)
    return samples, open_dataset(args.data, args.root, "val", limit=args.val, **filters)


def recipe_of(args: argparse.Namespace, samples: int) -> Recipe:
    """The recipe that the command line describes; ValueError for one that cannot work."""
    base, cuda = RECIPES[args.recipe], args.device.startswith("cuda")
    amp = base.amp and cuda and torch.cuda.get_device_capability(args.device) >= BFLOAT16
    varied = {k: v for k in ("backbone", "size", "epochs", "batch", "lr") if (v := getattr(args, k)) is not None}
    init = None if args.init == "none" else args.init
    recipe = base._replace(data=args.data, samples=samples, init=init, seed=args.seed, amp=amp, **varied)
    if recipe.batch < 2:
        raise ValueError(f"--batch {recipe.batch}: expected at least 2, since BatchNorm needs a spread (D5)")
    return recipe


def start_from(out: Path, recipe: Recipe, offline: bool) -> tuple[SIISNet, dict | None]:
    """The network to train: new, or that of the unfinished run in `out`, with the state to continue from.

    Raises:  ValueError if `out` is there already and is not of this run: it is never overwritten.
    """
    if not out.exists():
        return pretrained(recipe.backbone, recipe.init, offline), None
    net, meta = load_checkpoint(out)
    made, asked = meta.get("recipe") or {}, recipe._asdict()
    if made != asked:
        other = ", ".join(f"{k} {made.get(k)} not {asked.get(k)}" for k in made | asked if made.get(k) != asked.get(k))
        raise ValueError(f"--out {out}: made by another recipe ({other}); choose another file or remove it")
    state = meta["training"]
    if not state:
        raise ValueError(f"--out {out}: already trained, {recipe.epochs} epochs; choose another file or remove it")
    print(f"train: continuing after step {state['done']} of {recipe.steps} in {out}", file=sys.stderr)
    return net, state | {"command": meta.get("command")}


@contextmanager
def locked_checkpoint(out: Path) -> Iterator[None]:
    """Within the block no other run writes the checkpoint `out`."""
    with exclusive(out, out.with_name(f".{out.name}.lock")):
        sweep(out.with_name(glob.escape(out.name)))
        yield


if __name__ == "__main__":
    run_main(main, "train")
