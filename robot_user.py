"""Sec. 4.1, Metrics: the robot user, who clicks the centre of the largest error, and the measures NoC and NoF.

Knows neither data sets nor networks: masks are (H, W) boolean tensors (or arrays), points are (row, col) pixels.
Decisions owned here: D11-D13; `interact` also carries D14 (a correct proposal is free) for whoever passes one.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

MAX_CLICKS = 20  # D13
POSITIVE, NEGATIVE = (1, 10), (0, 10)  # clicks in baseline training, Sec. 3.3
POSITIVE_MARGINS, POSITIVE_SPACINGS = (5, 10, 15, 20), (7, 10, 20)  # pixels at SCALE, D28
NEGATIVE_MARGINS, NEGATIVE_REACH, NEGATIVE_SPACINGS = (15, 40, 60), 80, (10, 15, 25)  # pixels at SCALE, D28
SCALE = 384  # side of the training images that those pixels are of, Sec. 4.1
CANDIDATES = 512  # background pixels among which negative clicks are drawn
SLAB = 256  # image rows that a distance transform works on at once: what stays in a CPU's cache
BLOCK = 2**26  # distances that another device compares at once: 256 MiB

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


def distance_transform(mask: Tensor) -> Tensor:
    """Exact Euclidean distance of every True pixel to the nearest False one; outside the image counts as False.

    Source:   Sec. 4.1 Metrics ("the center of the largest error region"), D11.
    mask:     (..., H, W) bool, any device.
    Returns:  (..., H, W) float32 in pixels, 0 where the mask is False.

    Distances along one axis first, then along the other. The CPU leaves out what cannot matter, mask by mask; another
    device does the same work whatever the mask holds, so that nothing waits for it.
    """
    if mask.device.type != "cpu":
        return _everywhere(mask)
    each = [_within_box(m) for m in mask.reshape(-1, *mask.shape[-2:])]
    return torch.stack(each).reshape(mask.shape) if each else torch.zeros(mask.shape)


def _everywhere(mask: Tensor) -> Tensor:
    """The transform by trying every offset along the shorter axis, in blocks whose number follows from the shape."""
    h, w = mask.shape[-2:]
    if w > h:
        return _everywhere(mask.mT).mT
    g2 = nnf.pad(_along_columns(mask.mT).mT, (1, 1)).reshape(-1, w + 2)  # with False columns beside the image
    k = torch.arange(w + 2, device=mask.device)
    offsets = (k[1:-1, None] - k).float() ** 2  # (w, w + 2)
    blocks = g2[:, None].split(max(1, BLOCK // offsets.numel()))
    return torch.cat([(block + offsets).amin(dim=-1) for block in blocks]).sqrt().reshape(mask.shape)


def _within_box(mask: Tensor) -> Tensor:
    """The transform of an (H, W) mask from the bounding box of its True pixels: all is False beyond it."""
    out = torch.zeros(mask.shape, device=mask.device)
    ends = [mask.any(dim=d).nonzero()[[0, -1], 0].tolist() for d in (1, 0)] if mask.any() else []
    if ends:
        box = tuple(slice(first, last + 1) for first, last in ends)
        g2 = _along_columns(mask[box].mT.contiguous())  # (w, h): the offsets then move whole rows of memory
        out[box] = torch.cat([_along_rows(slab) for slab in g2.split(SLAB, dim=-1)], dim=-1).sqrt().mT
    return out


def _along_columns(inside: Tensor) -> Tensor:
    """Squared distance (..., w, h) to the nearest False pixel of the same column, of a mask turned to (..., w, h)."""
    h = inside.shape[-1]
    index = torch.arange(h, dtype=torch.int32, device=inside.device)
    above = torch.where(inside, -1, index).cummax(dim=-1).values  # nearest False before, -1 outside
    below = torch.where(inside, h, index).flip(-1).cummin(dim=-1).values.flip(-1)  # nearest False after, h outside
    return torch.minimum(index - above, below - index).float() ** 2


def _along_rows(g2: Tensor) -> Tensor:
    """Squared distances (w, h) from those along columns: the minimum over column offsets k of g2 + k^2.

    The loop ends once k alone exceeds every distance, and leaves out the outer columns where it already does.
    """
    g2, w = g2.contiguous(), g2.shape[0]
    far = torch.arange(w, device=g2.device)
    d2 = torch.minimum(g2, torch.minimum(far + 1, w - far)[:, None] ** 2.0)  # False columns beside the box
    for k in range(1, w):
        if k % 8 == 1:
            left = (d2.amax(dim=-1) > k * k).nonzero()[:, 0].tolist()
        if not left:
            break
        start, stop = left[0], left[-1] + 1
        for first, last, step in ((max(start, k), stop, -k), (start, min(stop, w - k), k)):
            if first < last:
                columns = d2[first:last]
                torch.minimum(columns, g2[first + step : last + step] + k * k, out=columns)
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


def _masks(pred: Mask, gt: Mask, void: Mask | None, form: str = "(H, W)") -> tuple[Tensor, Tensor, Tensor]:
    pred, gt = torch.as_tensor(pred), torch.as_tensor(gt)
    valid = ~torch.as_tensor(void) if void is not None else torch.ones_like(gt)
    if not pred.shape == gt.shape == valid.shape or gt.ndim != form.count(",") + 1:
        shapes = [tuple(m.shape) for m in (pred, gt, valid)]
        raise ValueError(f"masks of shapes {shapes}: expected one shape {form} for pred, gt and void")
    return pred, gt, valid
