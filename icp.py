"""Sec. 3.2, Eqs. 2-3: the initial click proposal (ICP).

Symbols: F the features that proposals are made from, F(p) the vector at pixel p, phi the cosine similarity,
p_1 .. p_{n-1} the previous first clicks, whose vectors are the bank, I the ignore mask, p-hat the proposal.
Knows neither data sets nor networks. Decisions owned here: D17, D18, D34.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor

from clicks import to_network

FILTER = 3  # side of the mean filter in feature cells, D18

ClickBank = list[Tensor]  # F(p_1) .. F(p_{n-1}), (C,) each, as they were when clicked; initially empty (Sec. 3.2, D19)


class Point(NamedTuple):
    """A pixel, origin top left."""

    row: int
    col: int


def phi(a: Tensor, b: Tensor) -> Tensor:
    """Eq. 3, a . b / (||a|| ||b||): the cosine of every row of a (m, C) with every row of b (n, C), (m, n) in [-1, 1].

    It is 0 where one of the two is zero.
    """
    return nnf.normalize(a, dim=1) @ nnf.normalize(b, dim=1).T


def confidence_map(F: Tensor, bank: ClickBank, image: Sequence[int]) -> Tensor:
    """Mean similarity of every pixel to the previous first clicks: what Eq. 2 takes its argmax over.

    Source:   Sec. 3.2, Eqs. 2-3, D18.
    F:        (C, h, w) features of the image;  bank: n - 1 vectors (C,);  image: its size (H, W).
    Returns:  (H, W) float32 in [-1, 1]: Eq. 2 for every cell, mean filter, bilinear resize to the image.
    Raises:   ValueError for an empty bank.
    """
    if not bank:
        raise ValueError("bank: empty; there is nothing to compare with")
    F_p, F_i = F.flatten(1).T, torch.stack(bank)  # (h*w, C), (n-1, C)
    confidence = phi(F_p, F_i).sum(dim=1) / len(bank)  # Eq. 2
    return resize(mean_filter(confidence.reshape(F.shape[1:])), image)


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


def vector_at(F: Tensor, p: Sequence[int], image: Sequence[int]) -> Tensor:
    """F(p): a copy of the vector of the cell that pixel p falls into (D17).

    F:        (C, h, w);  p: (row, col) in pixels of an image of size `image` = (H, W).
    Returns:  (C,), the cell that `to_network` gives (D9).
    """
    row, col = to_network(torch.tensor([p[:2]], device="cpu"), image, F.shape[1:])[0].tolist()
    return F[:, row, col].clone()


def multi_scale(R: Sequence[Tensor]) -> Tensor:
    """R-MS of Tab. 3, D34: the layers (C_i, h_i, w_i) at the size of the first, the finest, joined: (sum C_i, h, w)."""
    finest = R[0].shape[1:]
    return torch.cat([nnf.interpolate(R_i[None], size=finest, mode="bilinear")[0] for R_i in R])


def mean_filter(x: Tensor) -> Tensor:
    """3x3 mean of an (h, w) map, "to prevent the occasional extreme points"; borders average what exists (D18)."""
    return nnf.avg_pool2d(x[None, None], FILTER, stride=1, padding=FILTER // 2, count_include_pad=False)[0, 0]


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """An (h, w) map, bilinearly at another size (H, W)."""
    return nnf.interpolate(x[None, None], size=tuple(size), mode="bilinear")[0, 0]
