"""Sec. 4.1, Implementation Details: the training of the baseline, and its command line.

Two recipes: the paper's (D28), every layer on augmented images; and `--freeze-backbone` (D30), a quick baseline whose
backbone features are computed once and whose head learns on mosaics of random windows of them.
Decisions owned here: D28, D30.
"""

import argparse
import hashlib
import math
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from clicks import Batch, click_loss, random_window, simulate_clicks
from console import LineParser, cache_folder, default_device, device_name, positive_int, progress, run_main, size_int
from data import Sample, Synthetic, open_dataset
from model import (
    BACKBONES,
    SIZE,
    SIISNet,
    digest,
    load_checkpoint,
    network_image,
    network_mask,
    normalise,
    save_checkpoint,
)
from mosaics import FeatureCache, mosaic_batch
from robot_user import Click, interact, next_click, noc

EPOCHS, BATCH = 30, 8  # Sec. 4.1
LEARNING_RATE, GAMMA, MOMENTUM, WEIGHT_DECAY = 7e-3, 0.95, 0.9, 5e-4  # Sec. 4.1
COOLDOWN = 0.1  # factor of the learning rate in the quick baseline's last epoch, D30
EMPHASIS = 10.0  # weight of a clicked pixel in the quick baseline's loss, beside 1, D30
ROBOT_P = 0.6  # share of quick-baseline batches with corrective clicks on the prediction in force, D30
TARGET = 0.85  # of validation


# ---- batches ---------------------------------------------------------------------------------------------------------


def image_batch(samples: Sequence[Sample], size: int, window: int, rng: np.random.Generator, device) -> Batch:
    """The paper's input: square crops around foreground, flipped at random, with simulated clicks (D28)."""
    images, masks, voids = list[Tensor](), list[Tensor](), list[Tensor]()
    for sample in samples:
        image = network_image(sample.image, size, longest=math.inf)
        mask, void = (network_mask(m, image.shape[-2:]) for m in (sample.mask, sample.void))
        if not mask.any():
            raise ValueError(f"{sample.name}: the instance vanishes at a short side of {size}; use a larger --size")
        top, left = random_window(mask, (window, window), rng, step=1)
        box = (..., slice(top, top + window), slice(left, left + window))
        flip = [-1] if rng.random() < 0.5 else []
        for out, x in zip((images, masks, voids), (image, mask, void), strict=True):
            out.append(x[box].flip(flip))
    clicks = [simulate_clicks(m, rng, void=v) for m, v in zip(masks, voids, strict=True)]
    x, mask, void = (torch.stack(v).to(device) for v in (images, masks, voids))
    return Batch(normalise(x), mask, void, clicks)


def add_robot_clicks(net: SIISNet, batch: Batch) -> Batch:
    """One more click each, where the robot user would correct the prediction in force (after [36]; D28, D30)."""
    with torch.no_grad():
        F = batch.x if isinstance(batch.x, list) else net.features(batch.x)
        pred = net.segment(net.purify(F), batch.click_maps())[:, 0] > 0
    more = []
    for p, mask, void, clicks in zip(pred, batch.mask, batch.void, batch.clicks, strict=True):
        click = next_click(p, mask, void, clicks)
        more.append([*clicks, click] if click else clicks)
    return batch._replace(clicks=more)


# ---- training --------------------------------------------------------------------------------------------------------


class Recipe(NamedTuple):
    """What a training run is made with; stored in the checkpoint, and equal when it is resumed."""

    data: str
    samples: int
    backbone: str
    size: int  # short side of the images, network pixels
    window: int  # side of the crops
    epochs: int
    freeze_backbone: bool = False
    quick: bool = False  # D30's robot corrections, emphasis and cool-down
    batch: int = BATCH
    lr: float = LEARNING_RATE
    gamma: float = GAMMA
    seed: int = 0


def epoch_batches(source: Sequence[Sample] | FeatureCache, recipe: Recipe, epoch: int, device) -> Iterator[Batch]:
    """The batches of one epoch: every instance once as target, in an order drawn from (seed, epoch)."""
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(source))
    for k in range(0, len(order) - recipe.batch + 1, recipe.batch):
        chosen = order[k : k + recipe.batch].tolist()
        if isinstance(source, FeatureCache):
            yield mosaic_batch(source, chosen, recipe.window, rng, device)
        else:
            yield image_batch([source[i] for i in chosen], recipe.size, recipe.window, rng, device)


def prefetch(batches: Iterator[Batch], ahead: int = 2) -> Iterator[Batch]:
    """The same batches, made by a thread while the network is busy with earlier ones."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming = deque(worker.submit(next, batches, None) for _ in range(ahead))
        while (batch := coming.popleft().result()) is not None:
            coming.append(worker.submit(next, batches, None))
            yield batch


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Exponential decay by the epoch (Sec. 4.1, D28); the quick baseline cools down in its last one (D30)."""
    cooling = recipe.quick and epoch == recipe.epochs - 1
    return recipe.lr * recipe.gamma**epoch * (COOLDOWN if cooling else 1)


def train_epoch(net: SIISNet, optimiser, source, recipe: Recipe, epoch: int, device) -> float:
    """One epoch of SGD on `click_loss`: the mean loss (Sec. 4.1, D28, D30)."""
    net.train()
    if recipe.freeze_backbone:
        net.backbone.eval()
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(recipe, epoch)
    rng = np.random.default_rng([recipe.seed, epoch, 1])
    losses = []
    batches = prefetch(epoch_batches(source, recipe, epoch, device))
    for batch in progress(batches, f"epoch {epoch + 1}/{recipe.epochs}", len(source) // recipe.batch):
        if recipe.quick and rng.random() < ROBOT_P:
            batch = add_robot_clicks(net, batch)
        loss = click_loss(net, batch, EMPHASIS if recipe.quick else 0)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def validate(net: SIISNet, samples: Sequence[Sample], size: int, device) -> dict[str, float]:
    """NoC@85 without proposal or optimisation (row (a)) and the share of clicks that got their own pixel right."""
    net.eval()
    clicks, obeyed = [], []
    for sample in samples:
        gt, void = (torch.from_numpy(m).to(device) for m in (sample.mask, sample.void))
        with torch.inference_mode():
            R = net.purify(net.features(normalise(network_image(sample.image, size)[None].to(device))))

            def predict(clicks: list[Click], R: list[Tensor] = R, size: torch.Size = gt.shape) -> Tensor:
                return net.predict(R, clicks, size) > 0.5

            result = interact(predict, gt, void, target=TARGET)
        clicks.append(noc(result.ious, TARGET))
        obeyed += result.obeyed
    return {"noc85": float(np.mean(clicks)), "obeyed": float(np.mean(obeyed))}


def fit(net: SIISNet, source, validation: Sequence[Sample], recipe: Recipe, out: Path, device, state=None) -> dict:
    """Train, validate and save after each epoch; `state` is the 'training' part of a checkpoint to go on from.

    Returns the last validation. The file of an unfinished run holds the optimiser too; a finished one does not.
    """
    if len(source) < recipe.batch:
        raise ValueError(f"{len(source)} instances to train on: fewer than a batch of {recipe.batch}")
    net.to(device)
    parts = [net.purification, net.encoder, net.aspp, net.decoder] + [net.backbone] * (not recipe.freeze_backbone)
    parameters = [p for part in parts for p in part.parameters()]
    net.backbone.requires_grad_(not recipe.freeze_backbone)
    optimiser = torch.optim.SGD(parameters, recipe.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    if state:
        optimiser.load_state_dict(state["optimiser"])
    result = {}
    for epoch in range(state["epoch"] if state else 0, recipe.epochs):
        start = time.monotonic()
        loss = train_epoch(net, optimiser, source, recipe, epoch, device)
        result = {"epoch": epoch + 1, "loss": loss}
        if len(validation):
            result |= validate(net, validation, recipe.size, device)
        seconds = time.monotonic() - start
        report = ", ".join(f"{k} {v:.4g}" for k, v in result.items())
        print(f"{report}, {seconds:.0f} s", file=sys.stderr, flush=True)
        done = epoch + 1 == recipe.epochs
        training = None if done else {"epoch": epoch + 1, "optimiser": optimiser.state_dict()}
        save_checkpoint(out, net, training=training, recipe=recipe._asdict(), size=recipe.size, validation=result)
    return result


# ---- command line ----------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python train.py`."""
    p = LineParser(prog="train", description="Train the baseline of SIIS (Sec. 4.1).")
    p.add_argument(
        "--data", required=True, help="PascalVOC, LeedsButterfly, Synthetic, or a folder of images/ and masks/"
    )
    p.add_argument("--root", type=Path, help="folder that holds the data set")
    p.add_argument("--limit", type=positive_int, help="train on this many instances, evenly spaced in file order")
    p.add_argument(
        "--val",
        type=positive_int,
        default=60,
        help="instances to validate on, of PascalVOC's val split, else of --data",
    )
    p.add_argument("--backbone", choices=BACKBONES, default=BACKBONES[0])
    p.add_argument("--init", help="torchvision ResNet weights to start from: a file, or 'imagenet' to download them")
    p.add_argument("--freeze-backbone", action="store_true", help="the quick baseline on cached features (D30)")
    p.add_argument("--size", type=size_int, default=SIZE, help="short side of the images, a multiple of 16")
    p.add_argument("--window", type=size_int, help="side of the training crops; without it --size")
    p.add_argument("--epochs", type=positive_int, default=EPOCHS)
    p.add_argument("--batch", type=positive_int, default=BATCH)
    p.add_argument("--lr", type=float, default=LEARNING_RATE, help="learning rate of the first epoch")
    p.add_argument("--gamma", type=float, default=GAMMA, help="its factor an epoch")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", type=device_name, default=default_device())
    p.add_argument("--cache", type=Path, default=cache_folder(), help="where --freeze-backbone keeps features")
    p.add_argument(
        "--out", type=Path, default=None, help="checkpoint to write; default: baseline-BACKBONE.pt in --cache"
    )
    return p.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """`python train.py`: make the data, the network and the recipe from the command line, and train."""
    args = parse(argv)
    out = args.out or args.cache / f"baseline-{args.backbone}.pt"
    if args.window and args.window > args.size:
        raise ValueError(f"--window {args.window}: larger than the images, whose short side is --size {args.size}")
    samples: Sequence[Sample]
    validation: Sequence[Sample]
    if args.data == "Synthetic":
        samples, validation = Synthetic(args.limit or 512, split="train"), Synthetic(args.val)
    else:
        samples = open_dataset(args.data, args.root, args.limit, split="train")
        validation = open_dataset(args.data, args.root, args.val, split="val")
    names = ("backbone", "size", "epochs", "freeze_backbone", "batch", "lr", "gamma", "seed")
    fixed = {k: getattr(args, k) for k in names}
    recipe = Recipe(args.data, len(samples), window=args.window or args.size, quick=args.freeze_backbone, **fixed)
    torch.manual_seed(args.seed)
    net, state = start_from(out, recipe, args.init)
    net.to(args.device)
    source: Any = samples
    if args.freeze_backbone:
        where = hashlib.sha256(str((args.root or Path(args.data)).resolve()).encode()).hexdigest()[:8]
        folder = args.cache / f"features-{digest(net.backbone)}-{Path(args.data).name}-{where}-{args.size}"
        print(f"train: features in {folder}, to be removed at will", file=sys.stderr)
        source = FeatureCache(net.eval(), samples, args.size, folder, args.device)
    fit(net, source, validation, recipe, out, args.device, state)
    print(out)


def start_from(out: Path, recipe: Recipe, init: str | None) -> tuple[SIISNet, dict | None]:
    """The network to train: new, or that of the unfinished run in `out`, with the state to go on from."""
    if not out.exists():
        return SIISNet(recipe.backbone, init), None
    net, meta = load_checkpoint(out)
    if meta.get("recipe") != recipe._asdict():
        raise ValueError(
            f"--out {out}: made by another recipe ({meta.get('recipe')}); choose another file or remove it"
        )
    if not meta["training"]:
        raise ValueError(f"--out {out}: already trained, {recipe.epochs} epochs; choose another file or remove it")
    print(f"train: going on after epoch {meta['training']['epoch']} of {out}", file=sys.stderr)
    return net, meta["training"]


if __name__ == "__main__":
    run_main(main, "train")
