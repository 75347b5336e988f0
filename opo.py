"""Sec. 3.3: online purification optimisation (OPO).

After every finished instance, four SGD steps on the purification module, taught by the masks that the user accepted.
Backbone features are taken from the memory, so the backbone runs once per image. Decisions owned here: D20-D24.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from model import SIZE, STRIDE, SIISNet, click_maps, network_mask, normalise
from robot_user import Click, simulate_clicks

ITERATIONS, BATCH, LEARNING_RATE = 4, 8, 5e-3  # Sec. 3.3
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4  # as in baseline training, Sec. 4.1, D22
POSITIVE, NEGATIVE = (1, 5), (0, 5)  # numbers of clicks, Sec. 3.3, D21
CAPACITY = 256  # finished samples kept, D22
SCOPES = ("purification", "global")  # Tab. 7


class Batch(NamedTuple):
    """Network input with its labels; every tensor has B as its first axis."""

    x: Tensor | list[Tensor]  # images (B, 3, h, w), uint8 until `to` normalises them, or windows of F_1..F_4
    mask: Tensor  # (B, h, w) bool
    void: Tensor  # (B, h, w) bool
    clicks: list[list[Click]]

    def to(self, device) -> "Batch":
        """On a device and ready for the network: images normalised, features in single precision."""
        mask, void = (t.to(device, non_blocking=True) for t in (self.mask, self.void))
        if isinstance(self.x, list):
            x: Tensor | list[Tensor] = [f.to(device, non_blocking=True).float() for f in self.x]
        else:
            x = normalise(self.x.to(device, non_blocking=True))
        return Batch(x, mask, void, self.clicks)

    def click_maps(self) -> Tensor:
        """E_0 (B, 2, h, w) of the clicks."""
        return click_maps(self.clicks, self.mask.shape[-2:], device=self.mask.device)


class Finished(NamedTuple):
    """An annotated instance at network resolution, whose mask is the label (D20)."""

    image: Tensor  # (3, h, w) uint8
    features: list[Tensor]  # F_1..F_4, (C_i, h_i, w_i) half precision
    mask: Tensor  # (h, w) bool, the accepted mask; on the CPU, where clicks are simulated
    category: str = ""
    number: int = 0  # it was the number-th of its category to be finished


class Memory:
    """The finished samples OPO learns from, of all categories together, oldest out first (D22)."""

    def __init__(self, capacity: int = CAPACITY):
        if capacity < 1:
            raise ValueError(f"capacity {capacity}: expected at least 1")
        self.samples: deque[Finished] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self.samples)

    def add(self, image: Tensor, F: list[Tensor], mask: Tensor, category: str = "", number: int = 0) -> None:
        """Remember an instance.

        image:  (3, h, w) uint8 network input;  F: its backbone features (1, C_i, h_i, w_i), empty if optimisation
        will look at the image instead;
        mask:   (H, W) bool at the image's own resolution. An empty mask teaches nothing and is left out.
        """
        mask = network_mask(mask, image.shape[-2:]).cpu()
        if mask.any():
            self.samples.append(Finished(image, [f[0].detach().half() for f in F], mask, category, number))

    def of(self, category: str, number: float = math.inf) -> "Memory":
        """A memory of the category's samples up to the number-th alone (D27), which later ones do not change."""
        memory = Memory(self.samples.maxlen or CAPACITY)
        memory.samples.extend(s for s in tuple(self.samples) if s.category == category and s.number <= number)
        return memory

    def draw(self, rng: np.random.Generator, n: int) -> list[Finished]:
        """The newest sample and n - 1 others at random, with repetition (D22)."""
        others = rng.integers(len(self), size=n - 1)
        return [self.samples[-1], *(self.samples[i] for i in others)]

    def state(self) -> dict[str, Any]:
        """Everything to save; features are left out, as the images give them."""
        samples = [s._replace(features=[])._asdict() for s in self.samples]
        return {"capacity": self.samples.maxlen, "samples": samples}

    @classmethod
    def from_state(cls, state: dict[str, Any], features: Callable[[Tensor], list[Tensor]]) -> "Memory":
        """The memory that `state` was taken from; `features` of a (3, h, w) uint8 image runs once per image."""
        memory, seen = cls(state["capacity"]), {}
        for s in state["samples"]:
            key = s["image"].data_ptr()
            if key not in seen:
                seen[key] = [f[0].half() for f in features(s["image"])]
            memory.samples.append(Finished(**{**s, "features": seen[key], "mask": s["mask"].cpu()}))
        return memory


def optimise(
    net: SIISNet,
    memory: Memory,
    rng: np.random.Generator,
    size: int = SIZE,
    scope: str = "purification",
    augment: bool = False,
    iterations: int = ITERATIONS,
) -> list[float]:
    """One round of online optimisation; changes `net`'s purification parameters and nothing else.

    Source:   Sec. 3.3, D20-D24; scope "global" and its cost: Tab. 7.
    memory:   not empty;  rng: draws samples, windows and clicks;  size: side of the windows in network pixels.
    augment:  recompute features on flipped and cropped views instead of windows of the cached maps (D24).
    Returns:  the loss of each iteration before its step.
    Raises:   ValueError for an empty memory, an unknown scope or a loss that is not finite.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope {scope!r}: expected one of {', '.join(SCOPES)}")
    if not len(memory):
        raise ValueError("memory: empty; there is nothing to learn from")
    net.eval()  # BatchNorm statistics never move (D23)
    parameters = list((net if scope == "global" else net.purification).parameters())
    optimiser = torch.optim.SGD(parameters, LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    from_images = augment or scope == "global"
    losses = []
    with _only_trainable(net, parameters):
        for _ in range(iterations):
            loss = click_loss(net, view_batch(memory.draw(rng, BATCH), size, rng, from_images))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        optimiser.zero_grad(set_to_none=True)
    values = torch.stack(losses).tolist() if losses else []  # read once per round
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"online optimisation: the loss is {value}; are the weights broken?")
    return values


def view_batch(samples: list[Finished], size: int, rng: np.random.Generator, from_images: bool = False) -> Batch:
    """One random window of each sample that holds foreground, with simulated clicks (D21, D24).

    size:         side of the windows in network pixels; that of a sample which is smaller is the whole of it, padded
                  with void to the size of the largest window: neither clicked nor learnt.
    from_images:  cut the images and flip them at random, instead of cutting the feature maps on the 16-pixel grid.
    Returns:      a batch, B = len(samples), (h, w) the size of the largest window: mask and void (B, h, w) bool; x
                  float32, windows of F_1..F_4 (B, C_i, h/s, w/s) or normalised images (B, 3, h, w).
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
    columns = [_join(column) for column in zip(*views, strict=True)]
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


def click_loss(net: SIISNet, batch: Batch) -> Tensor:
    """Mean binary cross-entropy between predictions and masks over the pixels that are not void.

    Source:   Sec. 4.1, D12.
    batch:    x normalised images (B, 3, h, w) or features (B, C_i, h/s, w/s), float32; mask and void (B, h, w) bool.
    Returns:  float32 scalar, with gradients; 0 if every pixel is void.
    """
    return click_loss_and_logits(net, batch)[0]


def click_loss_and_logits(net: SIISNet, batch: Batch) -> tuple[Tensor, Tensor]:
    """`click_loss` and the logits z (B, h, w) that it is computed from."""
    F = batch.x if isinstance(batch.x, list) else net.features(batch.x)
    z = net.segment(net.purify(F), batch.click_maps())[:, 0].float()
    weight = (~batch.void).float()
    loss = nnf.binary_cross_entropy_with_logits(z, batch.mask.float(), weight, reduction="sum")
    return loss / weight.sum().clamp_min(1), z


def _join(windows: Sequence[Tensor]) -> Tensor:
    """(C, h, w) windows as a batch (B, C, h, w) in single precision, channels last; smaller ones end in zeros.

    The network computes its features channels last and the memory keeps them so. One copy that widens and keeps that
    order takes a sixth of the time of stacking first.
    """
    return _padded(windows, memory_format=torch.channels_last, dtype=torch.float32)


def _padded(parts: Sequence[Tensor], **how: Any) -> Tensor:
    """Tensors (..., h, w) as one, each in the top left corner of its place and zeros elsewhere."""
    size = [max(p.shape[i] for p in parts) for i in (-2, -1)]
    shape = (len(parts), *parts[0].shape[:-2], *size)
    batch = torch.empty(shape, **{"dtype": parts[0].dtype, "device": parts[0].device, **how})
    if any(p.shape != shape[1:] for p in parts):
        batch.zero_()
    for to, part in zip(batch, parts, strict=True):
        to[..., : part.shape[-2], : part.shape[-1]].copy_(part)
    return batch


@contextmanager
def _only_trainable(net: nn.Module, parameters: list[nn.Parameter]) -> Iterator[None]:
    """Within the block only `parameters` take gradients, so that backward stops at them; as before afterwards."""
    before = [(p, p.requires_grad) for p in net.parameters()]
    net.requires_grad_(False)
    for p in parameters:
        p.requires_grad_(True)
    try:
        yield
    finally:
        for p, flag in before:
            p.requires_grad_(flag)
