"""Sec. 3.2, Eqs. 2-3: the initial click proposal (ICP).

Symbols: F the features proposals are made from, F(p) the vector at pixel p, phi the cosine similarity, p_1 .. p_{n-1}
the previous first clicks (the bank), I the ignore mask, p-hat the proposal. Knows neither data sets nor networks: a
bank holds one vector for each feature layer it is given, one layer (R_4) or four (R-MS of Tab. 3).
Decisions owned here: D17-D19; D14-D16 are the caller's.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

FILTER = 3  # side of the mean filter in feature cells, D18


class Point(NamedTuple):
    """A pixel, origin top left."""

    row: int
    col: int


class ClickBank:
    """The first clicks of one category, p_1 .. p_{n-1}, initially none (Sec. 3.2, D19).

    Each counts as its vector was when it was clicked. Eq. 2 needs no more of them than their number and, for each
    layer, S = sum_i F(p_i) / ||F(p_i)||: see `mean_phi`. So the cost of a bank does not grow with its clicks.
    """

    def __init__(self) -> None:
        self.count = 0  # n - 1
        self.sums: list[Tensor] = []  # S of each layer, (C,)

    def __len__(self) -> int:
        return self.count

    def add(self, vectors: Sequence[Tensor]) -> None:
        """Store a first click: its (C,) feature vector for each layer. Raises ValueError if the layers are others."""
        units = [_unit(v) for v in vectors]
        if self.sums and [u.shape for u in units] != [S.shape for S in self.sums]:
            got, expected = ([tuple(v.shape) for v in vs] for vs in (units, self.sums))
            raise ValueError(f"vectors of shapes {got}: the bank holds {expected}")
        self.sums = [S + u for S, u in zip(self.sums, units, strict=True)] if self.sums else units
        self.count += 1

    def state(self) -> dict[str, Any]:
        """Everything as plain tensors and numbers, for saving; later clicks do not change it."""
        return {"count": self.count, "sums": self.sums}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "ClickBank":
        """The bank that `state` was taken from."""
        bank = cls()
        bank.count, bank.sums = state["count"], state["sums"]
        return bank


def phi(a: Tensor, b: Tensor) -> Tensor:
    """Eq. 3: a . b / (||a|| ||b||), the cosine of two (..., C) vectors, in [-1, 1]; 0 where one of them is zero."""
    return (_unit(a) * _unit(b)).sum(dim=-1).clamp(-1, 1)


def mean_phi(F: Tensor, S: Tensor, n: int) -> Tensor:
    """Eq. 2 before its argmax: sum_i phi(F(p), F(p_i)) / (n - 1) for every cell p.

    F:        (C, h, w) features of the image;  S: (C,) sum of the unit vectors of p_1 .. p_{n-1}.
    Returns:  (h, w) in [-1, 1]. The sum is ||S|| phi(F(p), S), for phi is linear in the unit vectors.
    """
    return S.norm() * phi(F.movedim(0, -1), S) / (n - 1)


def vector_at(F: Tensor, p: Sequence[int], image: Sequence[int]) -> Tensor:
    """F(p): the vector of the cell that pixel p falls into (D17).

    F:        (C, h, w);  p: (row, col) in pixels of an image of size `image` = (H, W).
    Returns:  (C,), the cell floor((p + 0.5) * h / H).
    """
    row, col = (int((p[i] + 0.5) * F.shape[i + 1] / image[i]) for i in range(2))
    return F[:, row, col]


def confidence_map(bank: ClickBank, features: Sequence[Tensor], image: Sequence[int]) -> Tensor:
    """Mean similarity of every pixel to the bank, filtered: what Eq. 2 takes its argmax over.

    Source:    Sec. 3.2, Eqs. 2-3, D18; several layers: Tab. 3, "R-MS".
    features:  (C, h, w) for each layer of the bank;  image: its size (H, W).
    Returns:   (H, W) float32 in [-1, 1]: cosine, mean filter on the layer's grid, mean over layers at the finest
               size, bilinear resize to the image.
    Raises:    ValueError for an empty bank.
    """
    if not len(bank):
        raise ValueError("bank: empty; there is nothing to compare with")
    finest = max((F.shape[-2:] for F in features), key=lambda size: size[0] * size[1])
    maps = []
    for F, S in zip(features, bank.sums, strict=True):
        maps.append(_resize(mean_filter(mean_phi(F, S, n=len(bank) + 1)), finest))
    return _resize(torch.stack(maps).mean(dim=0), image).clamp(-1, 1)


def mean_filter(x: Tensor) -> Tensor:
    """3x3 mean of an (h, w) map, "to prevent the occasional extreme points"; borders average what exists (D18)."""
    return nnf.avg_pool2d(x[None, None], FILTER, stride=1, padding=FILTER // 2, count_include_pad=False)[0, 0]


def propose(confidence: Tensor, ignore: Tensor) -> Point | None:
    """Pick the most similar pixel outside the ignore mask.

    Source:      Eq. 2, p_n in T - I; D18.
    confidence:  (H, W) float, from `confidence_map`.
    ignore:      (H, W) bool, True where an instance is already annotated.
    Returns:     the pixel, first in row-major order; None when every pixel is ignored.
    Raises:      ValueError if the shapes differ or the confidence is not finite.
    """
    if confidence.shape != ignore.shape:
        raise ValueError(f"ignore: shape {tuple(ignore.shape)}, but the confidence map has {tuple(confidence.shape)}")
    if not torch.isfinite(confidence).all():
        raise ValueError("confidence: holds NaN or infinity; are the weights broken?")
    if ignore.all():
        return None
    allowed = confidence.masked_fill(ignore, -torch.inf)
    return Point(*(allowed == allowed.amax()).nonzero()[0].tolist())


def random_point(allowed: Tensor, rng: np.random.Generator) -> Point | None:
    """Any True pixel of an (H, W) bool mask, all equally likely (Tab. 5); None when there is none."""
    pixels = allowed.flatten().nonzero()[:, 0]
    if not len(pixels):
        return None
    return Point(*divmod(int(pixels[rng.integers(len(pixels))]), allowed.shape[1]))


def _unit(v: Tensor) -> Tensor:
    """(..., C) vectors to length 1; a zero vector stays zero, so that its phi is 0."""
    v = v.float()
    v = v / v.abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)  # no square under- or overflows
    return nnf.normalize(v, dim=-1)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if x.shape == tuple(size):
        return x
    return nnf.interpolate(x[None, None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0]
