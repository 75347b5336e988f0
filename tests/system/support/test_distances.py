"""D11: exact Euclidean distances, for the robot user and the simulated clicks."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from oracles import brute_distance
from strategies import masks

from support import distances
from support.distances import _everywhere, distance_transform

SIDES = st.integers(1, 12)
BATCHES = st.tuples(st.just(3), SIDES, SIDES).flatmap(lambda shape: masks(shape=shape))


@given(BATCHES)
@example(torch.ones(1, 24, 3, dtype=torch.bool))
@example(torch.ones(1, 9, 9, dtype=torch.bool))
def test_distances_are_exact_with_the_border_counted_as_outside(batch):
    """D11: exact Euclidean, pad 1; on the CPU and on an accelerator, of a mask and of a batch."""
    expected = torch.stack(list(map(brute_distance, batch))).float()
    for transform in (distance_transform, _everywhere):
        D = transform(batch)
        assert D.dtype == torch.float32
        assert torch.allclose(D, expected, rtol=1e-6)
        assert torch.equal(D[0], transform(batch[0]))


@pytest.mark.parametrize(("name", "size"), [("SLAB", 1), ("SLAB", 7), ("BLOCK", 1), ("BLOCK", 5000)])
def test_slabs_blocks_and_columns_left_out_change_no_distance_to_the_bit(name, size, monkeypatch):
    """D11: what the CPU's transform spares itself could not come closer; an accelerator's goes as memory allows."""
    yy, xx = torch.arange(90)[:, None], torch.arange(70)
    disc = (yy - 40) ** 2 + (xx - 30) ** 2 < 29**2
    holes = torch.rand(90, 70, generator=torch.Generator().manual_seed(0)) < 0.995
    batch = torch.stack([disc, ~disc, disc & holes, holes, disc & (xx > 20), torch.ones_like(holes)])
    expected = _everywhere(batch)  # every offset along one axis, whatever the masks hold
    assert torch.equal(distance_transform(batch), expected)
    monkeypatch.setattr(distances, name, size)
    for transform in (distance_transform, _everywhere):
        assert torch.equal(transform(batch), expected)
        assert torch.equal(transform(batch.mT), expected.mT)
        assert transform(batch[:0]).shape == (0, 90, 70)
