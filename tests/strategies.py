"""Masks and Hypothesis strategies shared by the tests."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def masks(min_side: int = 1, max_side: int = 24, shape=None):
    """(H, W) boolean tensors, empty and full ones among them."""
    sides = st.integers(min_side, max_side)
    shape = st.tuples(sides, sides) if shape is None else st.just(shape)
    return shape.flatmap(lambda s: hnp.arrays(np.bool_, s)).map(torch.from_numpy)


def seeds():
    """Seeds of random generators."""
    return st.integers(0, 2**32 - 1)


def disc(size: int = 96, radius: int = 24):
    """A (size, size) mask of a disc in its middle, large enough for many clicks inside and outside."""
    d = torch.arange(size) - size // 2
    return (d[:, None] ** 2 + d[None] ** 2) < radius**2
