"""Secs. 3.3 and 4.1: simulated clicks beside the plain form of what is written for speed; laws: test_train.py."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks, seeds

from clicks import _scatter


def plain_scatter(points, candidates, n, spacing, rng):
    """Up to n points more than `spacing` apart, with the distance of every candidate to every point."""
    while True:
        free = [c for c in candidates.tolist() if all(np.hypot(*np.subtract(c, p)) > spacing for p in points)]
        if len(points) >= n or not free:
            return points
        points = [*points, tuple(free[rng.integers(len(free))])]


@given(masks(min_side=2, max_side=16), st.integers(0, 6), st.sampled_from([0, 1.5, 4, 7.2]), seeds(), st.booleans())
def test_scattered_points_are_those_of_the_plain_form_with_the_same_draws(mask, n, spacing, seed, given_one):
    """D21, D28: random candidates with a minimum spacing; the same generator, the same clicks."""
    points, candidates = [(1, 1)] if given_one else [], mask.nonzero()
    drawn = (f(points, candidates, n, spacing, np.random.default_rng(seed)) for f in (_scatter, plain_scatter))
    assert next(drawn) == next(drawn)
    assert torch.equal(candidates, mask.nonzero())
