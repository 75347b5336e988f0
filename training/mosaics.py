"""D30: the quick baseline's inputs, mosaics of windows of backbone features that are computed once.

Our own shortcut, no part of the paper's recipe: see the README, Decisions, D30.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from loaders.samples import Sample, within
from model import STRIDE, SIISNet, network_image, network_mask, normalise
from opo import Batch, crop_features, random_window
from robot_user import simulate_clicks
from support.command_line import progress
from support.files import read_tensors, write_tensors

MIN_AREA = 256  # pixels of foreground (one 16x16 cell) below which an instance teaches nothing, D30
SURE = 50  # instances after which the size of the cache can be foretold
GIB = 2**30
PARTS = (1, 2, 4)  # of a mosaic, drawn with MOSAIC_P, D30
MOSAIC_P = (0.25, 0.35, 0.40)


class FeatureCache:
    """Half-precision backbone features and masks of a data set at network resolution, one file an image (D30).

    limit:   bytes that the files may take.
    Raises:  ValueError once the files so far make it plain that they will take more.
    """

    def __init__(
        self, net: SIISNet, samples: Sequence[Sample], size: int, folder: Path, device, limit: float = math.inf
    ):
        self.folder, self.names, self.masks = folder, [], []
        seen: set[str] = set()
        held = 0
        for done, sample in enumerate(progress(samples, "backbone features", len(samples)), start=1):
            image = network_image(sample.image, size, longest=math.inf)
            mask, void = (network_mask(m, image.shape[-2:]) for m in (sample.mask, sample.void))
            if int(mask.sum()) < MIN_AREA:
                continue
            self.names.append(sample.name)
            self.masks.append((mask, void))
            file = within(folder, f"{sample.name}.pt")
            if sample.name not in seen and not file.exists():
                with torch.inference_mode():
                    F = net.features(normalise(image[None].to(device)))
                write_tensors(file, [f[0].half().cpu().contiguous().clone() for f in F])
            held += 0 if sample.name in seen else file.stat().st_size
            seen.add(sample.name)
            expected = held / done * len(samples)
            if done >= min(SURE, len(samples)) and expected > limit:
                raise ValueError(
                    f"features of {len(samples)} instances take about {expected / GIB:.0f} GiB, the limit is "
                    f"{limit / GIB:.3g}; raise --cache-limit, or use a smaller --size or --limit"
                )

    def __len__(self) -> int:
        return len(self.names)

    def window(self, i: int, size: Sequence[int], rng: np.random.Generator) -> tuple[list[Tensor], Tensor, Tensor]:
        """Random window of sample i that holds foreground: (F_1..F_4, mask, void)."""
        F = read_tensors(self.folder / f"{self.names[i]}.pt", mmap=True)
        mask, void = self.masks[i]
        corner = random_window(mask, size, rng)
        (top, left), (h, w) = corner, size
        box = (slice(top, top + h), slice(left, left + w))
        return crop_features(F, mask.shape, corner, size), mask[box], void[box]


def mosaic_batch(cache: FeatureCache, indices: Sequence[int], size: int, rngs: Sequence[np.random.Generator]) -> Batch:
    """size x size inputs put together from 1, 2 or 4 windows of different images; one holds the target (D30).

    Every part shows an object in full right, so that only the click tells which of them is meant.
    rngs:     one for each instance.
    Returns:  a batch of feature maps in half precision.
    """
    columns: list[list[Tensor]] = [[] for _ in range(4)]
    masks, voids, clicks = [], [], []
    for i, rng in zip(indices, rngs, strict=True):
        parts = int(rng.choice(PARTS, p=MOSAIC_P))
        grid = {1: (1, 1), 2: ((1, 2), (2, 1))[rng.integers(2)], 4: (2, 2)}[parts]
        rows, cols = (_split(size, n) for n in grid)
        chosen = [i, *(int(j) for j in rng.integers(len(cache), size=parts - 1))]
        order = rng.permutation(parts)
        places = [(h, w) for h in rows for w in cols]
        windows = [cache.window(chosen[k], place, rng) for k, place in zip(order, places, strict=True)]
        target = int(np.flatnonzero(order == 0)[0])
        masks.append(_tile([m if k == target else torch.zeros_like(m) for k, (_, m, _) in enumerate(windows)], grid))
        voids.append(_tile([v for _, _, v in windows], grid))
        for layer, column in enumerate(columns):
            column.append(_tile([F[layer] for F, _, _ in windows], grid))
        clicks.append(simulate_clicks(masks[-1], rng, void=voids[-1]))
    return Batch([torch.stack(column) for column in columns], torch.stack(masks), torch.stack(voids), clicks)


def _split(size: int, n: int) -> list[int]:
    """A side in n parts on the 16-pixel grid, as equal as it allows."""
    edges = [size // STRIDE * k // n * STRIDE for k in range(n + 1)]
    return [b - a for a, b in pairwise(edges)]


def _tile(parts: Sequence[Tensor], grid: Sequence[int]) -> Tensor:
    rows = [torch.cat(list(parts[r * grid[1] : (r + 1) * grid[1]]), dim=-1) for r in range(grid[0])]
    return torch.cat(rows, dim=-2)
