"""Sec. 3.3: online purification optimisation (OPO).

After every finished instance, four SGD steps on the purification module, taught by the masks that the user accepted.
Backbone features are taken from the memory, so the backbone runs once per image. Decisions owned here: D20-D24.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from clicks import Click, click_maps, simulate_clicks
from model import SIZE, STRIDE, SIISNet, network_mask, normalise

ITERATIONS, BATCH, LEARNING_RATE = 4, 8, 5e-3  # Sec. 3.3
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4  # as in baseline training, Sec. 4.1, D22
POSITIVE, NEGATIVE = (1, 5), (0, 5)  # numbers of clicks, Sec. 3.3, D21
CAPACITY = 256  # finished samples kept, D22


class Finished(NamedTuple):
    """An annotated instance at network resolution, whose mask is the label (D20)."""

    image: Tensor  # (3, h, w) uint8
    features: list[Tensor]  # F_1..F_4, (C_i, h_i, w_i) half precision; empty until they are needed
    mask: Tensor  # (h, w) bool, the accepted mask; on the CPU, where clicks are simulated
    category: str = ""


class Memory:
    """The finished samples OPO learns from, of all categories together, oldest out first (D22, D27)."""

    def __init__(self, capacity: int = CAPACITY, samples: Iterable[Finished] = ()):
        if capacity < 1:
            raise ValueError(f"capacity {capacity}: expected at least 1")
        self.samples = deque(samples, maxlen=capacity)

    def __len__(self) -> int:
        return len(self.samples)

    def add(self, image: Tensor, F: Sequence[Tensor], mask: Tensor, category: str = "") -> None:
        """Remember an instance.

        image:  (3, h, w) uint8 network input;  F: its backbone features (1, C_i, h_i, w_i), empty if optimisation
        will look at the image instead;
        mask:   (H, W) bool at the image's own resolution. An empty mask teaches nothing and is left out;
        category:  whose rounds it is for (D27).
        """
        mask = network_mask(mask, image.shape[-2:]).cpu()
        if mask.any():
            self.samples.append(Finished(image, [f[0].detach().half() for f in F], mask, category))

    def of_category(self, category: str) -> "Memory":
        """A memory of the category's samples alone (D27), which later ones do not change."""
        return Memory(self.samples.maxlen or CAPACITY, [s for s in self.samples if s.category == category])

    def draw(self, rng: np.random.Generator, n: int) -> list[Finished]:
        """The newest sample and n - 1 others at random, with repetition (D22)."""
        others = rng.integers(len(self), size=n - 1)
        return [self.samples[-1], *(self.samples[i] for i in others)]


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.SGD:
    """SGD for a category; its momentum is carried from round to round (Sec. 3.3, D22)."""
    return torch.optim.SGD(parameters, LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def optimise(
    net: SIISNet,
    optimiser: torch.optim.Optimizer,
    memory: Memory,
    rng: np.random.Generator,
    size: int = SIZE,
    from_images: bool = False,
) -> list[float]:
    """One round of online optimisation: changes the optimiser's parameters, and puts the network into eval mode.

    Source:       Secs. 3.3 and 4.3, D20-D24.
    optimiser:    `sgd` of the purification module's parameters (of all parameters in Tab. 7's comparison).
    memory:       not empty;  rng: draws samples, windows and clicks;  size: side of the windows in network pixels.
    from_images:  recompute features on flipped and cropped views instead of windows of the cached maps (D24).
    Returns:      the loss of each iteration before its step.
    Raises:       ValueError for an empty memory or a loss that is not finite.
    """
    if not len(memory):
        raise ValueError("memory: empty; there is nothing to learn from")
    net.eval()  # BatchNorm statistics never move (D23)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    losses = []
    for _ in range(ITERATIONS):
        samples = memory.draw(rng, BATCH)
        if not from_images:
            _fill_features(net, samples)
        loss, _ = click_loss(net, view_batch(samples, size, rng, from_images))
        optimiser.zero_grad()
        loss.backward(inputs=parameters)
        optimiser.step()
        losses.append(loss.detach())
    optimiser.zero_grad()
    values = torch.stack(losses).tolist()  # read once per round
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"online optimisation: the loss is {value}; are the weights broken?")
    return values


@torch.no_grad()
def _fill_features(net: SIISNet, samples: Sequence[Finished]) -> None:
    """Compute the features of samples that came from a file, in place."""
    for s in samples:
        if not s.features:
            s.features.extend(f[0].half() for f in net.features(normalise(s.image[None])))


# ---- batches ---------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Network input with its labels; every tensor has B as its first axis."""

    x: Tensor | list[Tensor]  # normalised images (B, 3, h, w), or windows of F_1..F_4 (B, C_i, h/s, w/s); float32
    mask: Tensor  # (B, h, w) bool
    void: Tensor  # (B, h, w) bool
    clicks: list[list[Click]]


def view_batch(samples: Sequence[Finished], size: int, rng: np.random.Generator, from_images: bool = False) -> Batch:
    """One random window of each sample that holds foreground, with simulated clicks (D21, D24).

    size:         side of the windows in network pixels. A smaller sample is used whole, padded to the size of the
                  largest window; what is padded is void, neither clicked nor learned from.
    from_images:  cut the images and flip them at random, instead of cutting the feature maps on the 16-pixel grid.
    Returns:      a batch, B = len(samples), (h, w) the size of the largest window.
    Raises:       ValueError for a sample without foreground, where no click can be simulated.
    """
    views, masks, clicks = [], [], []
    for s in samples:
        h, w = (min(size, side) for side in s.mask.shape)
        top, left = random_window(s.mask, (h, w), rng, step=1 if from_images else STRIDE)
        box = (..., slice(top, top + h), slice(left, left + w))
        flip = [-1] if from_images and rng.random() < 0.5 else []
        views.append(
            [s.image[box].flip(flip)] if from_images else crop_features(s.features, s.mask.shape, (top, left), (h, w))
        )
        masks.append(s.mask[box].flip(flip))
        clicks.append(simulate_clicks(masks[-1], rng, POSITIVE, NEGATIVE))
    columns = [_padded(c, torch.float32, torch.channels_last) for c in zip(*views, strict=True)]
    x = normalise(columns[0]) if from_images else columns
    mask, inside = (_padded(column).to(columns[0].device) for column in (masks, [torch.ones_like(m) for m in masks]))
    return Batch(x, mask, ~inside, clicks)


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


def click_loss(net: SIISNet, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean binary cross-entropy between predictions and masks over the pixels that are not void.

    Source:   Secs. 4.1 and 4.3, D12.
    Returns:  the loss, a scalar, 0 if every pixel is void, and the logits z (B, h, w) that it is computed from.
    """
    F = batch.x if isinstance(batch.x, list) else net.features(batch.x)
    E_0 = click_maps(batch.clicks, batch.mask.shape[-2:], device=batch.mask.device)
    z = net.segment(net.purify(F), E_0)[:, 0].float()
    weight = (~batch.void).float()
    loss = nnf.binary_cross_entropy_with_logits(z, batch.mask.float(), weight, reduction="sum")
    return loss / weight.sum().clamp_min(1), z


def _padded(
    parts: Sequence[Tensor], dtype: torch.dtype = torch.bool, order: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """Tensors (..., h, w) as one, each in the top left corner of its place and zeros elsewhere.

    The network computes channels last and the memory keeps its features so: one copy that widens them and keeps that
    order takes a third of the time of stacking first.
    """
    shape = (len(parts), *parts[0].shape[:-2], *(max(p.shape[i] for p in parts) for i in (-2, -1)))
    batch = torch.empty(shape, dtype=dtype, device=parts[0].device, memory_format=order)
    if any(p.shape != shape[1:] for p in parts):
        batch.zero_()
    for place, part in zip(batch, parts, strict=True):
        place[..., : part.shape[-2], : part.shape[-1]].copy_(part)
    return batch
