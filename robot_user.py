"""Sec. 4.1, Metrics: the robot user, who clicks the centre of the largest error, and the measures NoC and NoF.

Knows neither data sets nor networks: masks are (H, W) boolean tensors (or arrays), points are (row, col) pixels.
Decisions owned here: D11-D13; `interact` also carries D14 (a correct proposal is free) for a caller that passes one.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from support.distances import deepest, distance_transform, distances_within

MAX_CLICKS = 20  # D13
POSITIVE, NEGATIVE = (1, 10), (0, 10)  # clicks in baseline training, Sec. 3.3
POSITIVE_MARGINS, POSITIVE_SPACINGS = (5, 10, 15, 20), (7, 10, 20)  # pixels at SCALE, D28
NEGATIVE_MARGINS, NEGATIVE_REACH, NEGATIVE_SPACINGS = (15, 40, 60), 80, (10, 15, 25)  # pixels at SCALE, D28
SCALE = 384  # side of the training images that those pixels are of, Sec. 4.1
CANDIDATES = 512  # pixels of each sign among which clicks are drawn
FAR = 10**4  # pixels, more than any image's side

Mask = Tensor | np.ndarray


class Click(NamedTuple):
    """A user's click: pixel (row, col), origin top left; positive on the object, negative on the background."""

    row: int
    col: int
    positive: bool


class Interaction(NamedTuple):
    """Outcome of annotating one instance; `ious[k]` and `mask` are after k and after all of the user's clicks."""

    clicks: list[Click]  # in order; a correct proposal stands first and is not the user's (D14)
    ious: list[float]  # ious[0] is the IoU after a correct proposal, else 0
    obeyed: list[bool]  # whether each of the user's clicks got its own pixel right
    mask: Tensor  # (H, W) bool, what the user accepted or gave up on


def next_click(pred: Mask, gt: Mask, void: Mask | None = None, clicks: Iterable[Sequence] = ()) -> Click | None:
    """Click the centre of the largest error region.

    Source:    Sec. 4.1 Metrics, D11, D12.
    pred, gt:  (H, W) bool;  void: (H, W) bool, pixels that count nowhere, or None.
    clicks:    earlier clicks (row, col, ...); their pixels are not clicked again.
    Returns:   the deepest pixel of the false negatives (positive) or false positives (negative), whichever is deeper,
               background on a tie, the first in row-major order; None when no error is left that was not clicked.
    Raises:    ValueError if the shapes differ.
    """
    pred, gt, valid = _masks(pred, gt, void)
    return _deepest(pred[None], gt[None], valid[None], [list(clicks)])[0]


def next_clicks(
    pred: Tensor, gt: Tensor, void: Tensor | None, clicks: Sequence[Sequence[Sequence]]
) -> list[Click | None]:
    """`next_click` of every instance of a batch, which waits for the device once.

    Source:    Sec. 4.1 Metrics, D11, D12.
    pred, gt:  (B, H, W) bool;  void: (B, H, W) bool or None;  clicks: the earlier clicks of each instance.
    Raises:    ValueError if the shapes or the numbers of instances differ.
    """
    pred, gt, valid = _masks(pred, gt, void, "(B, H, W)")
    if len(clicks) != len(gt):
        raise ValueError(f"clicks of {len(clicks)} instances: expected {len(gt)}, one list for each mask")
    return _deepest(pred, gt, valid, clicks)


def _deepest(pred: Tensor, gt: Tensor, valid: Tensor, clicks: Sequence[Sequence[Sequence]]) -> list[Click | None]:
    """The clicks of `next_clicks`, from (B, H, W) masks on one device."""
    depth = distance_transform(torch.stack([pred & ~gt & valid, gt & ~pred & valid]))  # (2, B, H, W): FP, FN
    earlier = [(i, *click[:2]) for i, before in enumerate(clicks) for click in before]
    if earlier:
        places = torch.tensor(earlier).to(depth.device, non_blocking=True)
        depth.movedim(0, -1).index_put_(tuple(places.T), depth.new_zeros(()))
    deepest, index = depth.flatten(2).max(dim=2)  # (2, B); the first of equal ones
    deepest, positive = deepest.max(dim=0)  # background on a tie
    index = index.gather(0, positive[None])[0]
    w = gt.shape[-1]
    found = torch.stack([deepest.ceil(), index // w, index % w, positive]).int().tolist()
    return [Click(r, c, bool(p)) if d else None for d, r, c, p in zip(*found, strict=True)]


def iou(pred: Mask, gt: Mask, void: Mask | None = None) -> float:
    """Intersection over union of two masks outside `void`.

    Source:    Sec. 4.1 Metrics, D12.
    pred, gt:  (H, W) bool;  void: (H, W) bool, pixels that count nowhere, or None.
    Returns:   a float in [0, 1]; 1 if both masks are empty.
    Raises:    ValueError if the shapes differ.
    """
    pred, gt, valid = _masks(pred, gt, void)
    counts = [(pred & gt & valid).count_nonzero(), ((pred | gt) & valid).count_nonzero()]
    both, union = torch.stack(counts).tolist()
    return both / union if union else 1.0


def mask_digest(mask: Mask) -> str:
    """Twelve hexadecimal digits that stand for an (H, W) bool mask, so that records tell whether two runs agree."""
    mask = np.asarray(torch.as_tensor(mask).cpu())
    return hashlib.sha256(f"{mask.shape}".encode() + np.packbits(mask).tobytes()).hexdigest()[:12]


def noc(ious: Sequence[float], target: float, max_clicks: int = MAX_CLICKS) -> int:
    """Number of clicks until the IoU first reaches `target`; `ious[k]` is the IoU after k clicks.

    Source:   Sec. 4.1 Metrics, D13. An instance that never reaches the target counts `max_clicks`: see `nof`.
    """
    return next((k for k, value in enumerate(ious[: max_clicks + 1]) if value >= target), max_clicks)


def nof(curves: Iterable[Sequence[float]], target: float, max_clicks: int = MAX_CLICKS) -> int:
    """Number of failures: how many IoU curves never reach `target`, 'reached at click 20' not among them (D13)."""
    return sum(not any(value >= target for value in ious[: max_clicks + 1]) for ious in curves)


def interact(
    predict: Callable[[list[Click]], Tensor],
    gt: Mask,
    void: Mask | None = None,
    proposal: Sequence[int] | None = None,
    target: float = 0.85,
    max_clicks: int = MAX_CLICKS,
) -> Interaction:
    """Annotate one instance: click, look at the prediction, click again until the target IoU or `max_clicks`.

    Source:    Sec. 4.1 Metrics; Sec. 4.3, "inference process"; D13, D14.
    predict:   clicks -> (H, W) bool, on the device of `gt`.
    gt:        (H, W) bool;  void: (H, W) bool, pixels that count nowhere (D12), or None.
    proposal:  (row, col) of a correct proposal: the first foreground click, at no cost; None without one.
    target:    IoU in [0, 1];  max_clicks: of the user, without the proposal.
    Returns:   the Interaction: clicks, IoU after each, and the last mask.
    Raises:    ValueError if the shapes differ.
    """
    gt = torch.as_tensor(gt)
    clicks: list[Click] = []
    ious, obeyed = [0.0], list[bool]()
    pred = torch.zeros_like(gt)
    if proposal is not None:
        clicks.append(Click(proposal[0], proposal[1], True))
        pred = predict(clicks)
        ious[0] = iou(pred, gt, void)
    while ious[-1] < target and len(obeyed) < max_clicks:
        click = next_click(pred, gt, void, clicks)
        if click is None:
            break
        clicks.append(click)
        pred = predict(clicks)
        ious.append(iou(pred, gt, void))
        obeyed.append(bool(pred[click.row, click.col]) is click.positive)
    return Interaction(clicks, ious, obeyed, pred)


# ---- simulated clicks ---


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
    inside = mask.cpu().numpy()
    taken = inside if void is None else inside | void.cpu().numpy()
    if not inside.any():
        raise ValueError("mask: no foreground to click on")
    scale = min(mask.shape) / SCALE
    n_positive, n_negative = (int(rng.integers(*r, endpoint=True)) for r in (positive, negative))
    margin, spacing = (scale * _one_of(values, rng) for values in (POSITIVE_MARGINS, POSITIVE_SPACINGS))
    box, corner = _around(inside, 0)
    depth, inner = distances_within(inside[box]), _candidates(inside[box], rng)
    inner = inner[depth(inner) > margin] if n_positive > 1 else inner[:0]
    points = _scatter([deepest(depth, inside[box].shape)], inner, n_positive, spacing, rng)
    clicks = [Click(r, c, True) for r, c in (corner + points).tolist()]
    if not n_negative:
        return clicks
    box, corner = _around(inside, math.ceil(scale * NEGATIVE_REACH))  # no click is further off
    if not taken[box].all():
        margin, spacing = (scale * _one_of(values, rng) for values in (NEGATIVE_MARGINS, NEGATIVE_SPACINGS))
        outer = _candidates(~taken[box], rng)
        away = distances_within(~inside[box], beyond=FAR)(outer)
        outer = outer[(away > margin) & (away < scale * NEGATIVE_REACH)]
        clicks += [Click(r, c, False) for r, c in (corner + _scatter([], outer, n_negative, spacing, rng)).tolist()]
    return clicks


def _one_of(values: Sequence[int], rng: np.random.Generator) -> np.float64:
    """What rng.choice(values) draws, sooner."""
    return np.float64(values[int(rng.integers(len(values)))])


def _around(mask: np.ndarray, reach: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of an (H, W) mask that holds all its True pixels and `reach` more on each side, and its corner (2,)."""
    rows, cols = (np.flatnonzero(mask.any(axis=d)) for d in (1, 0))
    top, left = max(rows[0] - reach, 0), max(cols[0] - reach, 0)
    return (slice(top, rows[-1] + reach + 1), slice(left, cols[-1] + reach + 1)), np.array((top, left))


def _candidates(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels (n, 2) of an (H, W) mask: all of them, or CANDIDATES at random of more."""
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


def _masks(pred: Mask, gt: Mask, void: Mask | None, form: str = "(H, W)") -> tuple[Tensor, Tensor, Tensor]:
    pred, gt = torch.as_tensor(pred), torch.as_tensor(gt)
    valid = ~torch.as_tensor(void) if void is not None else torch.ones_like(gt)
    if not pred.shape == gt.shape == valid.shape or gt.ndim != form.count(",") + 1:
        shapes = [tuple(m.shape) for m in (pred, gt, valid)]
        raise ValueError(f"masks of shapes {shapes}: expected one shape {form} for pred, gt and void")
    return pred, gt, valid
