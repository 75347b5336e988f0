"""Sec. 4.1, Datasets: the built-in sequence. Rows: D27."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from loaders import synthetic
from loaders.synthetic import Synthetic


def painted(seed, i, value):
    """A scene whose target is of one colour, a grey value in [0, 1]."""

    def plain(kind):
        return lambda rng: [p._replace(inner=np.full(3, value), outer=np.full(3, value)) for p in kind[0](rng)], kind[1]

    with pytest.MonkeyPatch.context() as patch:
        worlds = [w._replace(kinds=(plain(w.kinds[0]), *w.kinds[1:])) for w in synthetic.WORLDS]
        patch.setattr(synthetic, "WORLDS", worlds)
        return Synthetic(4, seed, 64)[i]


@settings(max_examples=10)
@given(seeds(), st.integers(0, 4))
def test_the_same_seed_draws_the_same_pixels_and_another_seed_or_place_others(seed, i):
    """Synthetic: "the same seed gives the same pixels", whatever else was read before; new each time."""
    a, b, other = Synthetic(5, seed, 64)[i], list(Synthetic(5, seed, 64)), Synthetic(5, seed + 1, 64)[i]
    assert all(np.array_equal(x, y) for x, y in zip(a, b[i], strict=True))
    assert not np.array_equal(a.image, other.image)
    assert len({s.image.tobytes() for s in b}) == len({s.name for s in b}) == 5


@settings(max_examples=20)
@given(seeds(), st.integers(0, 3), st.sampled_from([16, 64, 80, 128]))
def test_a_synthetic_target_is_one_object_that_leaves_room_for_others(seed, i, size):
    """Synthetic: images of `size`, an object that is neither a speck nor the scene; nothing is void."""
    sample = Synthetic(4, seed, size)[i]
    assert (sample.image.shape, sample.image.dtype) == ((size, size, 3), np.uint8)
    assert (sample.mask.shape, sample.mask.dtype) == ((size, size), bool)
    assert 0.02 < sample.mask.mean() < 0.25
    assert not sample.void.any()


@settings(max_examples=10)
@given(seeds(), st.integers(0, 3))
def test_the_mask_is_exactly_where_the_object_covers_the_image(seed, i):
    """Synthetic: "the object's own outline; nothing hides it"; the oracle paints the object black, then white."""
    black, white = (painted(seed, i, value).image.astype(int) for value in (0.0, 1.0))
    covered = (white - black).max(axis=2)  # 255 times coverage, light (0.6 to 1) and tint (0.85 to 1.15)
    mask = Synthetic(4, seed, 64)[i].mask
    assert covered[mask].min() > 40
    assert covered[~mask].max() < 150


@settings(max_examples=10)
@given(st.integers(2, 30))
def test_the_two_synthetic_categories_come_in_two_blocks_of_half_the_samples(n):
    """Synthetic; D27: file order, one state per category."""
    data = Synthetic(n, size=16)
    blocks = [(name, len(list(same))) for name, same in itertools.groupby(s.category for s in data)]
    assert [name for name, _ in blocks] == ["butterfly", "fish"]
    assert abs(blocks[0][1] - blocks[1][1]) <= 1
    assert data[-1].name == data[n - 1].name
