"""Secs. 3.3 and 4.1: simulated clicks, windows and the loss, shared by baseline training and OPO.

"The most concise training settings, which is similar to that when training the baseline model" (Sec. 3.3).
Decisions owned here: D21 and D28 (clicks), D24 (windows), D12 (void in the loss).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from model import SIZE, STRIDE, SIISNet, click_map, normalise
from robot_user import Click, distance_transform

POSITIVE, NEGATIVE = (1, 10), (0, 10)  # clicks in baseline training, Sec. 3.3
POSITIVE_MARGINS, POSITIVE_SPACINGS = (5, 10, 15, 20), (7, 10, 20)  # pixels at 384, D28
NEGATIVE_MARGINS, NEGATIVE_REACH, NEGATIVE_SPACINGS = (15, 40, 60), 80, (10, 15, 25)  # pixels at 384, D28
CANDIDATES = 512  # background pixels among which negative clicks are drawn


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
        size = self.mask.shape[-2:]
        return torch.stack([click_map(c, size, device=self.mask.device) for c in self.clicks])


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
    return click_loss_and_logits(net, batch, emphasis)[0]


def click_loss_and_logits(net: SIISNet, batch: Batch, emphasis: float = 0.0) -> tuple[Tensor, Tensor]:
    """`click_loss` and the logits z (B, h, w) that it judges."""
    F, E_0 = batch.x if isinstance(batch.x, list) else net.features(batch.x), batch.click_maps()
    z = net.segment(net.purify(F), E_0)[:, 0].float()
    weight = (1 + emphasis * E_0.amax(dim=1)) * ~batch.void
    loss = nnf.binary_cross_entropy_with_logits(z, batch.mask.float(), weight, reduction="sum")
    return loss / weight.sum().clamp_min(1), z


def _scatter(
    points: list, candidates: Tensor, n: int, spacing: float, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Up to n points more than `spacing` apart: those given, then random ones of the (m, 2) candidates."""
    left = candidates.T.int().cpu().numpy()  # (2, m)

    def apart(p: Sequence[int]) -> np.ndarray:
        return left[:, (left[0] - p[0]) ** 2 + (left[1] - p[1]) ** 2 > spacing**2]

    for p in points:
        left = apart(p)
    while len(points) < n and left.shape[1]:
        row, col = left[:, rng.integers(left.shape[1])].tolist()
        points = [*points, (row, col)]
        left = apart((row, col))
    return points
