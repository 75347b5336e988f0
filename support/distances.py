"""Exact Euclidean distances of the pixels of masks, on any device (D11)."""

import torch
import torch.nn.functional as nnf
from torch import Tensor

SLAB = 256  # image rows that the CPU works on at once: what stays in its cache
BLOCK = 2**26  # distances that another device compares at once: 256 MiB


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
