"""Sec. 4.1, Implementation Details: simulated clicks and the training of the baseline.

The clicks, windows and the loss are shared with OPO ("similar to that when training the baseline model", Sec. 3.3).
Two recipes: the paper's (D28), every layer on augmented images; and `--freeze-backbone` (D30), a quick baseline whose
backbone features are computed once and whose head learns on mosaics of random windows of them.
Decisions owned here: D21 (with opo.py), D24 (windows), D28, D30.
"""

import argparse
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
import torch.nn.functional as nnf
from torch import Tensor

from console import LineParser, cache_folder, default_device, device_name, positive_int, progress, run_main, size_int
from data import Sample, Synthetic, open_dataset
from model import (
    BACKBONES,
    SIZE,
    STRIDE,
    SIISNet,
    atomic,
    click_map,
    digest,
    load_checkpoint,
    network_image,
    network_mask,
    normalise,
    save_checkpoint,
)
from robot_user import Click, distance_transform, interact, next_click, noc

EPOCHS, BATCH = 30, 8  # Sec. 4.1
LEARNING_RATE, GAMMA, MOMENTUM, WEIGHT_DECAY = 7e-3, 0.95, 0.9, 5e-4  # Sec. 4.1
POSITIVE, NEGATIVE = (1, 10), (0, 10)  # clicks in baseline training, Sec. 3.3
POSITIVE_MARGINS, POSITIVE_SPACINGS = (5, 10, 15, 20), (7, 10, 20)  # pixels at 384, D28
NEGATIVE_MARGINS, NEGATIVE_REACH, NEGATIVE_SPACINGS = (15, 40, 60), 80, (10, 15, 25)  # pixels at 384, D28
CANDIDATES = 512  # background pixels among which negative clicks are drawn
MIN_AREA = 256  # pixels of foreground (one 16x16 cell) below which an instance teaches nothing, D30
PARTS = (1, 2, 4)  # of a mosaic, drawn with MOSAIC_P, D30
MOSAIC_P = (0.25, 0.35, 0.40)
EMPHASIS = 10.0  # weight of a clicked pixel in the quick baseline's loss, beside 1, D30
ROBOT_P = 0.6  # share of quick-baseline batches with corrective clicks on the prediction in force, D30
TARGET = 0.85  # of validation


class Batch(NamedTuple):
    """Network input with its labels; every tensor has B as its first axis."""

    x: Tensor | list[Tensor]  # images (B, 3, h, w), or windows of F_1..F_4
    mask: Tensor  # (B, h, w) bool
    void: Tensor  # (B, h, w) bool
    clicks: list[list[Click]]

    def click_maps(self) -> Tensor:
        """E_0 (B, 2, h, w) of the clicks."""
        size = self.mask.shape[-2:]
        return torch.stack([click_map(c, size, device=self.mask.device) for c in self.clicks])


# ---- clicks, windows, loss: shared with opo.py -----------------------------------------------------------------------


def simulate_clicks(
    mask: Tensor,
    rng: np.random.Generator,
    positive: tuple[int, int] = POSITIVE,
    negative: tuple[int, int] = NEGATIVE,
    void: Tensor | None = None,
) -> list[Click]:
    """Draw clicks as a user might place them on an instance.

    Source:     Secs. 3.3 and 4.1 ("a similar strategy in [34]"), D21, D28.
    mask:       (h, w) bool with foreground, at network resolution;  void: (h, w) bool, never clicked.
    positive, negative:  inclusive ranges of the numbers of clicks; fewer where no place is left.
    Returns:    the first click at the object's centre (deepest pixel), then random ones: on the object with a margin to
                its border, on the background in a band around it, each sign with a minimum spacing.
    Raises:     ValueError for a mask without foreground.
    """
    depth = distance_transform(mask)
    if not depth.any():
        raise ValueError("mask: no foreground to click on")
    scale = min(mask.shape) / SIZE
    n_positive, n_negative = (int(rng.integers(*r, endpoint=True)) for r in (positive, negative))
    centre = divmod(int(depth.argmax()), mask.shape[1])
    margin, spacing = scale * rng.choice(POSITIVE_MARGINS), scale * rng.choice(POSITIVE_SPACINGS)
    inner = (depth > margin).nonzero()
    clicks = [Click(r, c, True) for r, c in _scatter([centre], inner, n_positive, spacing, rng)]
    outer = (~mask if void is None else ~mask & ~void).nonzero()
    if n_negative and len(outer):
        margin, spacing = scale * rng.choice(NEGATIVE_MARGINS), scale * rng.choice(NEGATIVE_SPACINGS)
        outer = outer[rng.integers(len(outer), size=CANDIDATES)]  # spares the distances of all the others
        rim = (mask & (depth == 1)).nonzero()  # holds the pixel of the mask that is nearest to any other pixel
        away = torch.cdist(outer.float(), rim.float()).amin(dim=1)
        band = outer[(away > margin) & (away < scale * NEGATIVE_REACH)]
        clicks += [Click(r, c, False) for r, c in _scatter([], band, n_negative, spacing, rng)]
    return clicks


def random_window(mask: Tensor, size: Sequence[int], rng: np.random.Generator, step: int = STRIDE) -> tuple[int, int]:
    """Corner (top, left) of a random window that holds foreground, on a grid of `step` pixels (D24).

    mask:  (H, W) bool with foreground;  size: (h, w) of the window, at most (H, W), multiples of `step`.
    """
    pixels = mask.nonzero()
    pixel = pixels[int(rng.integers(len(pixels)))].tolist()
    corner = []
    for p, whole, part in zip(pixel, mask.shape, size, strict=True):
        first, last = max(0, p // step - part // step + 1), min(p // step, (whole - part) // step)
        corner.append(step * int(rng.integers(first, last, endpoint=True)))
    return corner[0], corner[1]


def crop_features(
    F: Sequence[Tensor], image: Sequence[int], corner: Sequence[int], size: Sequence[int]
) -> list[Tensor]:
    """Windows of feature maps (..., C_i, H/s, W/s) that lie under a window of an H x W input (D24)."""
    windows = []
    for f in F:
        s = image[0] // f.shape[-2]
        (top, left), (h, w) = (v // s for v in corner), (v // s for v in size)
        windows.append(f[..., top : top + h, left : left + w])
    return windows


def click_loss(net: SIISNet, batch: Batch, emphasis: float = 0.0) -> Tensor:
    """Mean binary cross-entropy between predictions and masks over the pixels that are not void (Sec. 4.1, D12).

    emphasis:  a pixel weighs 1 + emphasis * (the larger of its two click map values): 0, except in D30.
    """
    F, E_0 = batch.x if isinstance(batch.x, list) else net.features(batch.x), batch.click_maps()
    z = net.segment(net.purify(F), E_0)[:, 0]
    weight = (1 + emphasis * E_0.amax(dim=1)) * ~batch.void
    loss = nnf.binary_cross_entropy_with_logits(z, batch.mask.float(), weight, reduction="sum")
    return loss / weight.sum().clamp_min(1)


def _scatter(
    points: list, candidates: Tensor, n: int, spacing: float, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Up to n points more than `spacing` apart: those given, then random ones of the (m, 2) candidates."""
    left = candidates.cpu().numpy()
    for p in points:
        left = left[((left - p) ** 2).sum(axis=1) > spacing**2]
    while len(points) < n and len(left):
        row, col = left[rng.integers(len(left))].tolist()
        points = [*points, (row, col)]
        left = left[((left - (row, col)) ** 2).sum(axis=1) > spacing**2]
    return points


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


class FeatureCache:
    """Half-precision backbone features and masks of a data set at network resolution, one file an image (D30)."""

    def __init__(self, net: SIISNet, samples: Sequence[Sample], size: int, folder: Path, device):
        self.folder, self.names, self.masks = folder, [], []
        seen: set[str] = set()
        for sample in progress(samples, "backbone features", len(samples)):
            image = network_image(sample.image, size, longest=math.inf)
            mask, void = (network_mask(m, image.shape[-2:]) for m in (sample.mask, sample.void))
            if int(mask.sum()) < MIN_AREA:
                continue
            self.names.append(sample.name)
            self.masks.append((mask, void))
            file = folder / f"{sample.name}.pt"
            if sample.name not in seen and not file.exists():
                with torch.inference_mode():
                    F = net.features(normalise(image[None].to(device)))
                with atomic(file) as temporary:
                    torch.save([f[0].half().cpu().clone() for f in F], temporary)
            seen.add(sample.name)

    def __len__(self) -> int:
        return len(self.names)

    def window(self, i: int, size: Sequence[int], rng: np.random.Generator) -> tuple[list[Tensor], Tensor, Tensor]:
        """Random window of sample i that holds foreground: (F_1..F_4, mask, void)."""
        F = torch.load(self.folder / f"{self.names[i]}.pt", mmap=True, weights_only=True)
        mask, void = self.masks[i]
        corner = random_window(mask, size, rng)
        (top, left), (h, w) = corner, size
        box = (slice(top, top + h), slice(left, left + w))
        return crop_features(F, mask.shape, corner, size), mask[box], void[box]


def mosaic_batch(cache: FeatureCache, indices: Sequence[int], size: int, rng: np.random.Generator, device) -> Batch:
    """size x size inputs put together from 1, 2 or 4 windows of different images; one holds the target (D30).

    Every part shows an object in full right, so that only the click tells which of them is meant.
    """
    columns: list[list[Tensor]] = [[] for _ in range(4)]
    masks, voids = [], []
    for i in indices:
        parts = int(rng.choice(PARTS, p=MOSAIC_P))
        grid = {1: (1, 1), 2: ((1, 2), (2, 1))[rng.integers(2)], 4: (2, 2)}[parts]
        part = [size // g // STRIDE * STRIDE for g in grid]
        chosen = [i, *(int(j) for j in rng.integers(len(cache), size=parts - 1))]
        order = rng.permutation(parts)
        windows = [cache.window(chosen[k], part, rng) for k in order]
        target = int(np.flatnonzero(order == 0)[0])
        masks.append(_tile([m if k == target else torch.zeros_like(m) for k, (_, m, _) in enumerate(windows)], grid))
        voids.append(_tile([v for _, _, v in windows], grid))
        for layer, column in enumerate(columns):
            column.append(_tile([F[layer] for F, _, _ in windows], grid))
    x = [torch.stack(column).to(device).float() for column in columns]
    clicks = [simulate_clicks(m, rng, void=v) for m, v in zip(masks, voids, strict=True)]
    return Batch(x, torch.stack(masks).to(device), torch.stack(voids).to(device), clicks)


def _tile(parts: Sequence[Tensor], grid: Sequence[int]) -> Tensor:
    rows = [torch.cat(list(parts[r * grid[1] : (r + 1) * grid[1]]), dim=-1) for r in range(grid[0])]
    return torch.cat(rows, dim=-2)


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
    freeze_backbone: bool
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


def train_epoch(net: SIISNet, optimiser, source, recipe: Recipe, epoch: int, device) -> float:
    """One epoch of SGD on `click_loss`: the mean loss (Sec. 4.1, D28, D30)."""
    net.train()
    if recipe.freeze_backbone:
        net.backbone.eval()
    for group in optimiser.param_groups:
        group["lr"] = recipe.lr * recipe.gamma**epoch
    rng = np.random.default_rng([recipe.seed, epoch, 1])
    losses = []
    batches = prefetch(epoch_batches(source, recipe, epoch, device))
    for batch in progress(batches, f"epoch {epoch + 1}/{recipe.epochs}", len(source) // recipe.batch):
        if recipe.freeze_backbone and rng.random() < ROBOT_P:
            batch = add_robot_clicks(net, batch)
        loss = click_loss(net, batch, EMPHASIS if recipe.freeze_backbone else 0)
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
    samples: Sequence[Sample]
    validation: Sequence[Sample]
    if args.data == "Synthetic":
        samples, validation = Synthetic(args.limit or 512, split="train"), Synthetic(args.val)
    else:
        samples = open_dataset(args.data, args.root, args.limit, split="train")
        validation = open_dataset(args.data, args.root, args.val, split="val")
    names = ("backbone", "size", "epochs", "freeze_backbone", "batch", "lr", "gamma", "seed")
    fixed = {k: getattr(args, k) for k in names}
    recipe = Recipe(args.data, len(samples), window=args.window or args.size, **fixed)
    torch.manual_seed(args.seed)
    net, state = start_from(out, recipe, args.init)
    net.to(args.device)
    source: Any = samples
    if args.freeze_backbone:
        folder = args.cache / f"features-{digest(net.backbone)}-{Path(args.data).name}-{args.size}"
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
