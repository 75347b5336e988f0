"""D11: exact Euclidean distances, for the robot user and the simulated clicks."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from oracles import brute_distance, brute_distances
from strategies import masks

from support import distances
from support.distances import _everywhere, deepest, distance_transform, distances_within

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


@given(masks(max_side=40), st.sampled_from([1, 3]))
def test_distances_of_chosen_pixels_are_those_of_the_transform(mask, every):
    """D11, D28; simulated clicks look at some pixels only."""
    points = mask.nonzero().numpy()[::every]
    expected = distance_transform(mask)[mask][::every]
    assert np.allclose(distances_within(mask.numpy())(points), expected, rtol=1e-6)


@given(masks(min_side=2, max_side=12))
def test_with_the_outside_far_away_only_pixels_of_the_mask_are_near(mask):
    """D28: background clicks keep their distance to the object, and none to the border of the image."""
    points = mask.nonzero()
    away = distances_within(mask.numpy(), beyond=1000)(points.numpy())
    if mask.all():
        assert (away > 1000).all()
    else:
        assert np.allclose(away, brute_distances(points, (~mask).nonzero()))


@given(masks(max_side=70), st.floats(0.5, 1), st.integers(0, 10**6))
@example(torch.ones(65, 40, dtype=torch.bool), 1.0, 0)
@example(torch.ones(33, 70, dtype=torch.bool), 0.999, 1)
@example(torch.ones(70, 33, dtype=torch.bool), 0.99, 2)
def test_the_deepest_pixel_is_found_without_the_depths_of_all_the_others(mask, share, seed):
    """D11, D21: the first in row-major order of those that are deepest."""
    mask = mask | (torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed)) < share)
    D = distance_transform(mask)
    assert deepest(distances_within(mask.numpy()), mask.shape) == divmod(int(D.argmax()), mask.shape[1])
