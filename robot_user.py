"""Sec. 4.1, Metrics: the robot user, who clicks the centre of the largest error, and the measures NoC and NoF.

Knows neither data sets nor networks: masks are (H, W) boolean tensors (or arrays), points are (row, col) pixels.
Decisions owned here: D11-D13; `interact` also carries D14 (a correct proposal is free) for whoever passes one.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MAX_CLICKS = 20  # D13
POSITIVE, NEGATIVE = (1, 10), (0, 10)  # clicks in baseline training, Sec. 3.3
POSITIVE_MARGINS, POSITIVE_SPACINGS = (5, 10, 15, 20), (7, 10, 20)  # pixels at SCALE, D28
NEGATIVE_MARGINS, NEGATIVE_REACH, NEGATIVE_SPACINGS = (15, 40, 60), 80, (10, 15, 25)  # pixels at SCALE, D28
SCALE = 384  # side of the training images that those pixels are of, Sec. 4.1
CANDIDATES = 512  # background pixels among which negative clicks are drawn
SLAB = 256  # image rows that a distance transform works on at once: what stays in a CPU's cache

Mask = Tensor | np.ndarray


class Click(NamedTuple):
    """A user's click: pixel (row, col), origin top left; positive on the object, negative on the background."""

    row: int
    col: int
    positive: bool


class Interaction(NamedTuple):
    """What annotating one instance came to; `ious[k]` and `mask` are after k and after all of the user's clicks."""

    clicks: list[Click]  # in order; a correct proposal stands first and is not the user's (D14)
    ious: list[float]  # ious[0] is the IoU after a correct proposal, else 0
    obeyed: list[bool]  # whether each of the user's clicks got its own pixel right
    mask: Tensor  # (H, W) bool, what the user accepted or gave up on


def distance_transform(mask: Tensor, reach: float = math.inf) -> Tensor:
    """Exact Euclidean distance of every True pixel to the nearest False one; outside the image counts as False.

    Source:   Sec. 4.1 Metrics ("the center of the largest error region"), D11.
    mask:     (..., H, W) bool, any device.
    reach:    pixels; larger distances may come out too large, but still larger than `reach`. Saves time.
    Returns:  (..., H, W) float32 in pixels, 0 where the mask is False.

    Distances along columns first, then along rows. Only the bounding box of the mask is visited: beyond it everything
    is False.
    """
    out = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    anywhere = mask.reshape(-1, *mask.shape[-2:]).any(dim=0)
    if not anywhere.any():
        return out
    (top, bottom), (left, right) = (anywhere.any(dim=d).nonzero()[[0, -1], 0].tolist() for d in (1, 0))
    box = (..., slice(top, bottom + 1), slice(left, right + 1))
    inside = mask[box].mT.contiguous()  # (..., w, h): the offsets below then move whole rows of memory
    h = inside.shape[-1]
    index = torch.arange(h, dtype=torch.int32, device=mask.device)
    above = torch.where(inside, -1, index).cummax(dim=-1).values  # nearest False before, -1 outside
    below = torch.where(inside, h, index).flip(-1).cummin(dim=-1).values.flip(-1)  # nearest False after, h outside
    g2 = torch.minimum(index - above, below - index).float() ** 2  # squared distance along the column
    out[box] = torch.cat([_along_rows(slab, reach) for slab in g2.split(SLAB, dim=-1)], dim=-1).sqrt().mT
    return out


def _along_rows(g2: Tensor, reach: float) -> Tensor:
    """Squared distances (..., w, h) from those along columns: the minimum over column offsets k of g2 + k^2.

    The loop ends once k alone exceeds every distance, and leaves out the outer columns where it already does.
    """
    g2, w = g2.contiguous(), g2.shape[-2]
    far = torch.arange(w, device=g2.device)
    d2 = torch.minimum(g2, torch.minimum(far + 1, w - far)[:, None] ** 2.0)  # False columns beside the box
    for k in range(1, w):
        if k % 8 == 1:
            left = (d2.amax(dim=-1) > k * k).reshape(-1, w).any(dim=0).nonzero()[:, 0].tolist()
        if k > reach or not left:
            break
        start, stop = left[0], left[-1] + 1
        for first, last, step in ((max(start, k), stop, -k), (start, min(stop, w - k), k)):
            if first < last:
                columns = d2[..., first:last, :]
                torch.minimum(columns, g2[..., first + step : last + step, :] + k * k, out=columns)
    return d2


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
    errors = gt & ~pred & valid, pred & ~gt & valid
    depth = torch.stack([distance_transform(error) for error in errors])  # (2, H, W): FN, FP
    for row, col, *_ in clicks:
        depth[:, row, col] = 0
    fn, fp = depth.flatten(1).amax(dim=1).tolist()
    if max(fn, fp) == 0:
        return None
    positive = fn > fp
    row, col = (depth[0 if positive else 1] == max(fn, fp)).nonzero()[0].tolist()
    return Click(row, col, positive)


def iou(pred: Mask, gt: Mask, void: Mask | None = None) -> float:
    """Intersection over union of two (H, W) bool masks outside `void` (Sec. 4.1, D12); 1 if both are empty."""
    pred, gt, valid = _masks(pred, gt, void)
    union = int(((pred | gt) & valid).count_nonzero())
    return int((pred & gt & valid).count_nonzero()) / union if union else 1.0


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
    proposal:  (row, col) of a correct proposal: the first foreground click, at no cost; None without one.
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
    depth = distance_transform(mask)
    if not depth.any():
        raise ValueError("mask: no foreground to click on")
    scale = min(mask.shape) / SCALE
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


def _masks(pred: Mask, gt: Mask, void: Mask | None) -> tuple[Tensor, Tensor, Tensor]:
    pred, gt = torch.as_tensor(pred), torch.as_tensor(gt)
    valid = ~torch.as_tensor(void) if void is not None else torch.ones_like(gt)
    if not pred.shape == gt.shape == valid.shape or gt.ndim != 2:
        shapes = [tuple(m.shape) for m in (pred, gt, valid)]
        raise ValueError(f"masks of shapes {shapes}: expected one shape (H, W) for pred, gt and void")
    return pred, gt, valid
