"""Sec. 4.1, Metrics: the robot user, who clicks the centre of the largest error, and the measures NoC and NoF.

Knows neither data sets nor networks: masks are (H, W) boolean tensors (or arrays), points are (row, col) pixels.
Decisions owned here: D11-D13; `interact` also carries D14 (a correct proposal is free) for a caller that passes one.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clicks import Click
from support.distances import distance_transform

MAX_CLICKS = 20  # D13

Mask = Tensor | np.ndarray


class Interaction(NamedTuple):
    """Outcome of annotating one instance: `ious[k]` is the IoU after k of the user's clicks."""

    clicks: list[Click]  # in order; a correct proposal stands first and is not the user's (D14)
    ious: list[float]  # ious[0] is the IoU after a correct proposal, else 0
    consistent: list[bool]  # for each of the user's clicks, whether the clicked pixel got its label: click consistency
    mask: Tensor  # (H, W) bool, after the last click: what the user accepted or gave up on


def next_click(pred: Mask, gt: Mask, void: Mask | None = None, clicks: Iterable[Sequence] = ()) -> Click | None:
    """Click the deepest error pixel: the centre of the "largest error region".

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
        places = torch.tensor(earlier, device="cpu").to(depth.device, non_blocking=True)
        depth.movedim(0, -1).index_put_(tuple(places.T), depth.new_zeros(()))
    deepest, index = depth.flatten(2).max(dim=2)  # (2, B); the first of equal ones
    deepest, positive = deepest.max(dim=0)  # background on a tie
    index = index.gather(0, positive[None])[0]
    w = gt.shape[-1]  # below, a depth of 0 says that no error is left
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
    at_least: int = 0,
    max_clicks: int = MAX_CLICKS,
) -> Interaction:
    """Annotate one instance: click, look at the prediction, click again until the target IoU or `max_clicks`.

    Source:    Sec. 4.1 Metrics; Sec. 4.3, "inference process"; D13, D14, D26.
    predict:   clicks -> (H, W) bool, on the device of `gt`.
    gt:        (H, W) bool;  void: (H, W) bool, pixels that count nowhere (D12), or None.
    proposal:  (row, col) of a correct proposal: the first foreground click, at no cost; None without one.
    target:    IoU in [0, 1];  max_clicks: of the user, without the proposal.
    at_least:  the smallest number of clicks, a correct proposal among them (D26).
    Returns:   the Interaction: clicks, IoU after each, and the last mask.
    Raises:    ValueError if the shapes differ.
    """
    gt = torch.as_tensor(gt)
    clicks: list[Click] = []
    ious, consistent = [0.0], list[bool]()
    pred = torch.zeros_like(gt)
    if proposal is not None:
        clicks.append(Click(proposal[0], proposal[1], True))
        pred = predict(clicks)
        ious[0] = iou(pred, gt, void)
    while (ious[-1] < target or len(clicks) < at_least) and len(consistent) < max_clicks:
        click = next_click(pred, gt, void, clicks)
        if click is None:
            break
        clicks.append(click)
        pred = predict(clicks)
        ious.append(iou(pred, gt, void))
        consistent.append(bool(pred[click.row, click.col]) is click.positive)
    return Interaction(clicks, ious, consistent, pred)


def _masks(pred: Mask, gt: Mask, void: Mask | None, form: str = "(H, W)") -> tuple[Tensor, Tensor, Tensor]:
    pred, gt = torch.as_tensor(pred), torch.as_tensor(gt)
    valid = ~torch.as_tensor(void) if void is not None else torch.ones_like(gt)
    if not pred.shape == gt.shape == valid.shape or gt.ndim != form.count(",") + 1:
        shapes = [tuple(m.shape) for m in (pred, gt, valid)]
        raise ValueError(f"masks of shapes {shapes}: expected one shape {form} for pred, gt and void")
    return pred, gt, valid
