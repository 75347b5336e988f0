"""Secs. 3.1 and 4.1: clicks, the maps that the network sees of them, and simulated ones.

Points are (row, col) in pixels, origin top left. Decisions owned here: D8, D9, D21.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from support.distances import distance_transform

WIDTH = 10.0  # full width at half maximum of a click's Gaussian, network pixels, D8
BASELINE_POSITIVE, BASELINE_NEGATIVE = (1, 10), (0, 10)  # clicks in baseline training, Sec. 3.3, D28
POSITIVE_MARGINS, POSITIVE_SPACINGS = (5, 10, 15, 20), (7, 10, 20)  # pixels at SCALE, D21
NEGATIVE_MARGINS, NEGATIVE_REACH, NEGATIVE_SPACINGS = (15, 40, 60), 80, (10, 15, 25)  # pixels at SCALE, D21
SCALE = 384  # side of the training images that those pixels are of, Sec. 4.1
CANDIDATES = 512  # pixels of each sign among which clicks are drawn, D21


class Click(NamedTuple):
    """A user's click: pixel (row, col), origin top left; positive on the object, negative on the background."""

    row: int
    col: int
    positive: bool


# ---- E_0 -------------------------------------------------------------------------------------------------------------


def click_map(clicks: Iterable[Sequence], size: Sequence[int], src: Sequence[int] | None = None, device=None) -> Tensor:
    """Draw the annotation guidance maps E_0: one Gaussian map for each sign.

    Source:   Sec. 3.1 ("two Gaussian maps based on points"), D8, D9.
    clicks:   (row, col, positive) in pixels of an image of size `src`.
    size:     (h, w) of the network input;  src: (H, W) of the image clicked on, `size` if None.
    Returns:  (2, h, w) float32 in [0, 1]; channel 0 foreground, 1 background; zeros for a sign without clicks.
    Raises:   ValueError for a click outside `src`.
    """
    return click_maps([list(clicks)], size, src, device)[0]


def click_maps(
    clicks: Sequence[Sequence[Sequence]], size: Sequence[int], src: Sequence[int] | None = None, device=None
) -> Tensor:
    """`click_map` of B lists of clicks at once: (B, 2, h, w) float32. Raises ValueError for a click outside `src`."""
    (h, w), (H, W) = size, src or size
    by_map = [[c[:2] for c in each if bool(c[2]) == sign] for each in clicks for sign in (True, False)]
    points = torch.tensor([p for each in by_map for p in each], dtype=torch.float64, device="cpu").reshape(-1, 2)
    if (points < 0).any() or (points >= points.new_tensor([H, W])).any():
        raise ValueError(f"clicks {points.tolist()}: outside the image of {H}x{W} pixels")
    points = to_network(points, (H, W), (h, w)).to(device, torch.float32, non_blocking=True)
    maps = [_gaussians(p, (h, w)) for p in points.split([len(each) for each in by_map])]
    return torch.stack(maps).reshape(-1, 2, h, w)


def _gaussians(points: Tensor, size: Sequence[int]) -> Tensor:
    """exp(-4 ln 2 d^2 / WIDTH^2) of each pixel, d its distance to the nearest of (n, 2) points; 0 if there is none."""
    if not len(points):
        return torch.zeros(*size, dtype=torch.float32, device=points.device)
    rows, cols = (torch.arange(n, dtype=torch.float32, device=points.device) for n in size)
    d2 = ((rows - points[:, :1]) ** 2)[:, :, None] + ((cols - points[:, 1:]) ** 2)[:, None]  # (n, h, w)
    return torch.exp2(-4 * d2.amin(dim=0).double() / WIDTH**2).float()


def to_network(points: Tensor, src: Sequence[int], dst: Sequence[int]) -> Tensor:
    """Carry (n, 2) pixel coordinates from a `src`-sized grid to a `dst`-sized one: floor((p + 0.5) dst / src) (D9)."""
    new, old = (points.new_tensor(size, dtype=torch.float64) for size in (dst, src))
    return ((points.double() + 0.5) * new / old).floor().long()


# ---- simulated clicks ------------------------------------------------------------------------------------------------


def simulate_clicks(
    mask: Tensor,
    rng: np.random.Generator,
    positive: tuple[int, int] = BASELINE_POSITIVE,
    negative: tuple[int, int] = BASELINE_NEGATIVE,
    void: Tensor | None = None,
) -> list[Click]:
    """Draw clicks as a user might place them on an instance.

    Source:     Secs. 3.3 and 4.1 ("a similar strategy in [34]"), D21.
    mask:       (h, w) bool with foreground, at network resolution;  void: (h, w) bool, never clicked.
    positive, negative:  inclusive ranges of the numbers of clicks; fewer where no place is left.
    Returns:    the first click at the object's centre (deepest pixel), then random ones: on the object with a margin to
                its border, on the background in a band around it, each sign with a minimum spacing.
    Raises:     ValueError for a mask without foreground.
    """
    inside = mask.cpu().numpy()
    taken = inside if void is None else inside | void.cpu().numpy()
    if not inside.any():
        raise ValueError("mask: no foreground to click on")
    scale = min(mask.shape) / SCALE
    n_positive, n_negative = (int(rng.integers(*r, endpoint=True)) for r in (positive, negative))
    margin, spacing = (scale * rng.choice(values) for values in (POSITIVE_MARGINS, POSITIVE_SPACINGS))
    depth, inner = distance_transform(mask.cpu()).numpy(), _candidates(inside, rng)
    inner = inner[depth[tuple(inner.T)] > margin] if n_positive > 1 else inner[:0]
    centre = divmod(int(depth.argmax()), mask.shape[1])
    clicks = [Click(r, c, True) for r, c in _scatter([centre], inner, n_positive, spacing, rng).tolist()]
    if not n_negative:
        return clicks
    near, corner = _around(inside, math.ceil(scale * NEGATIVE_REACH))  # no click is further off
    if not taken[near].all():
        margin, spacing = (scale * rng.choice(values) for values in (NEGATIVE_MARGINS, NEGATIVE_SPACINGS))
        outer = corner + _candidates(~taken[near], rng)
        border = np.argwhere(depth == 1)  # of the object: what is nearest to a pixel outside
        points, others = (torch.from_numpy(p).float() for p in (outer, border))
        away = torch.cdist(points, others).amin(dim=1).numpy()
        outer = outer[(away > margin) & (away < scale * NEGATIVE_REACH)]
        clicks += [Click(r, c, False) for r, c in _scatter([], outer, n_negative, spacing, rng).tolist()]
    return clicks


def _around(mask: np.ndarray, reach: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of an (H, W) mask that holds all its True pixels and `reach` more on each side, and its corner (2,)."""
    rows, cols = (np.flatnonzero(mask.any(axis=d)) for d in (1, 0))
    top, left = max(rows[0] - reach, 0), max(cols[0] - reach, 0)
    return (slice(top, rows[-1] + reach + 1), slice(left, cols[-1] + reach + 1)), np.array((top, left))


def _candidates(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels (n, 2) of an (H, W) mask: all of them, or CANDIDATES random ones."""
    index = np.flatnonzero(mask)
    if len(index) > CANDIDATES:
        index = index[rng.integers(len(index), size=CANDIDATES)]
    return np.stack(np.divmod(index, mask.shape[1]), axis=1)


def _scatter(points: Sequence, candidates: np.ndarray, n: int, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """Up to n points (m, 2) more than `spacing` apart: those given, then random ones of the (k, 2) candidates."""
    points, remaining = list(points), candidates

    def apart(p: Sequence[int]) -> np.ndarray:
        return remaining[((remaining - p) ** 2).sum(axis=1) > spacing**2]

    for p in points:
        remaining = apart(p)
    while len(points) < n and len(remaining):
        points.append(remaining[rng.integers(len(remaining))])
        remaining = apart(points[-1])
    return np.array(points, int).reshape(-1, 2)
