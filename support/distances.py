"""Exact Euclidean distances of the pixels of masks: of all of them, on any device, or of some, on the CPU (D11)."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

SLAB = 256  # image rows that the CPU works on at once: what stays in its cache
BLOCK = 2**26  # distances that another device compares at once: 256 MiB
POINTS = 512  # pixels that are compared with their columns at once: what stays in a CPU's cache
DIAGONAL = math.sqrt(2) + 1e-3  # of a pixel, and what rounding takes
FINER = 4  # by which each grid is finer than the one before where the deepest pixel is looked for
WITHIN = np.argwhere(np.ones((FINER, FINER)))  # (FINER^2, 2) corners of a cell's parts


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
    return torch.stack(each).reshape(mask.shape) if each else torch.zeros(mask.shape, device=mask.device)


def distances_within(mask: np.ndarray, beyond: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pixels (n, 2) of an (H, W) mask to their distances (n,) from the nearest False one.

    beyond:  how many pixels further away than the border the False ones outside are.
    """
    h, w = mask.shape
    row, outside = np.arange(1 + beyond, h + 1 + beyond, dtype=np.int32), ~mask.T.copy()  # (h,), (w, h)

    def gap(outside: np.ndarray) -> np.ndarray:
        """(w, h) int32: how far above the nearest False pixel of the column is, or the outside."""
        return row - np.maximum.accumulate(row * outside, axis=1)

    g = np.full((h, w + 2), beyond, np.float32)  # above or below, with one column outside on each side
    g[:, 1:-1] = np.minimum(gap(outside), gap(outside[:, ::-1])[:, ::-1]).T
    column = np.arange(-1, w + 1, dtype=np.float32)
    g2, offset2 = g * g, (column[1:-1, None] - column) ** 2  # (h, w + 2), (w, w + 2)

    def distances(points: np.ndarray) -> np.ndarray:
        found = np.empty(len(points), np.float32)
        for i in range(0, len(points), POINTS):
            rows, columns = points[i : i + POINTS].T
            d2 = g2.take(rows, axis=0)  # (n, w + 2)
            d2 += offset2.take(columns, axis=0)
            d2.min(axis=1, out=found[i : i + POINTS])
        return np.sqrt(found)

    return distances


def deepest(depth: Callable[[np.ndarray], np.ndarray], size: Sequence[int]) -> tuple[int, int]:
    """The deepest pixel of an (H, W) mask, the first in row-major order.

    Depths are taken on a grid that gets finer where they are large: from a pixel to its neighbour they change by at
    most the distance between the two.
    """
    last, side = np.subtract(size, 1), FINER
    while side * FINER**2 < max(size):
        side *= FINER
    cells = np.argwhere(np.ones([-(-n // side) for n in size])) * side  # (n, 2) corners
    while True:
        found = depth(np.minimum(cells + side // 2, last))
        cells = cells[found + side // 2 * DIAGONAL >= found.max()]
        if side == 1:
            return min(map(tuple, cells.tolist()))
        side //= FINER
        cells = np.minimum((cells[:, None] + side * WITHIN).reshape(-1, 2), last)


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
    below = torch.where(inside, h, index).flip(-1).cummin(dim=-1).values.flip(-1)  # nearest after, h outside
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
            remaining = (d2.amax(dim=-1) > k * k).nonzero()[:, 0].tolist()
        if not remaining:
            break
        start, stop = remaining[0], remaining[-1] + 1
        for first, last, step in ((max(start, k), stop, -k), (start, min(stop, w - k), k)):
            if first < last:
                columns = d2[first:last]
                torch.minimum(columns, g2[first + step : last + step] + k * k, out=columns)
    return d2
