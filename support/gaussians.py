"""Gaussians around pixels, drawn into maps that keep the largest value of each of their pixels (D8)."""

import math
from functools import lru_cache

import torch
from torch import Tensor


def draw_gaussians(maps: Tensor, places: Tensor, width: float) -> Tensor:
    """Raise maps to the Gaussians around some of their pixels, exp(-4 ln 2 d^2 / width^2) at a distance of d pixels.

    maps:     (P, h, w) float32, contiguous, changed in place;  places: (n, 3) int64 on the CPU: map, row, column.
    width:    full width at half maximum, pixels.
    Returns:  the maps.

    The CPU looks at each Gaussian's surroundings in turn; another device gets all places at once and waits for nothing.
    """
    if maps.device.type != "cpu":
        return _all_at_once(maps, places.to(maps.device, non_blocking=True), _stamp(width, maps.device))
    stamp = _stamp(width, maps.device)
    reach = len(stamp) // 2
    for i, row, col in places.tolist():
        top, left = max(row - reach, 0), max(col - reach, 0)
        near = maps[i, top : row + reach + 1, left : col + reach + 1]
        top, left = top - row + reach, left - col + reach  # in the stamp
        torch.maximum(near, stamp[top : top + near.shape[0], left : left + near.shape[1]], out=near)
    return maps


def _all_at_once(maps: Tensor, places: Tensor, stamp: Tensor) -> Tensor:
    """`draw_gaussians` without a loop; where a stamp leaves its map it raises the border to 0."""
    h, w = maps.shape[-2:]
    offsets = torch.arange(len(stamp), device=maps.device) - len(stamp) // 2
    i, row, col = places.T[..., None]  # (n, 1) each
    rows, cols = (row + offsets)[:, :, None], (col + offsets)[:, None]  # (n, k, 1), (n, 1, k)
    inside = (rows >= 0) & (rows < h) & (cols >= 0) & (cols < w)
    index = (i[:, None] * h + rows.clamp(0, h - 1)) * w + cols.clamp(0, w - 1)
    maps.view(-1).scatter_reduce_(0, index.flatten(), (stamp * inside).flatten(), "amax")
    return maps


@lru_cache(maxsize=8)
def _stamp(width: float, device: torch.device) -> Tensor:
    """(k, k) float32 Gaussian, k odd, that reaches to where single precision knows it from 0."""
    reach = math.ceil(width * math.sqrt(150 / 4))  # 2^-150 is 0
    d2 = torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2
    with torch.inference_mode(False):
        return torch.exp2(-4 * (d2[:, None] + d2) / width**2).float().to(device)
