"""Sec. 4.1, Datasets: the built-in sequence. Rows: D27."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from loaders import shapes, synthetic
from loaders.synthetic import Synthetic


def painted(seed, i, value):
    """A scene whose target is of one colour, a grey value in [0, 1]."""

    def plain(kind):
        return lambda rng: [p._replace(inner=np.full(3, value), outer=np.full(3, value)) for p in kind[0](rng)], kind[1]

    with pytest.MonkeyPatch.context() as patch:
        worlds = [w._replace(kinds=(plain(w.kinds[0]), *w.kinds[1:])) for w in synthetic.WORLDS]
        patch.setattr(synthetic, "WORLDS", worlds)
        return Synthetic(4, seed, 64)[i]


# ---- laws ------------------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(seeds(), st.integers(0, 4))
def test_the_same_seed_draws_the_same_synthetic_pixels(seed, i):
    """Synthetic: "the same seed gives the same pixels", whatever else was read before."""
    a, c = Synthetic(5, seed, 64)[i], Synthetic(5, seed + 1, 64)[i]
    b = list(Synthetic(5, seed, 64))[i]
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a.image, c.image)


@settings(max_examples=20)
@given(seeds(), st.integers(0, 3), st.sampled_from([16, 64, 80, 128]))
def test_a_synthetic_target_is_one_object_that_leaves_room_for_others(seed, i, size):
    """Synthetic: images of `size`, an object that is neither a speck nor the scene; nothing is void."""
    sample = Synthetic(4, seed, size)[i]
    assert sample.image.shape == (size, size, 3)
    assert sample.image.dtype == np.uint8
    assert 0.02 < sample.mask.mean() < 0.25
    assert sample.mask.dtype == bool
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


@settings(max_examples=20)
@given(seeds(), st.sampled_from([draw for draw, _ in (*shapes.MEADOW, *shapes.REEF)]))
def test_no_two_of_a_kind_are_alike_and_each_fits_its_circle(seed, draw):
    """`Part`: "within about 1 of its origin"; Synthetic: categories recur in other colours and shapes."""
    a, b = (draw(np.random.default_rng(s)) for s in (seed, seed + 1))
    assert max(np.hypot(*p.outline.T).max() for p in a) < 1.25
    assert len(a) != len(b) or any(not np.array_equal(p.inner, q.inner) for p, q in zip(a, b, strict=True))
    assert len(a) != len(b) or any(not np.array_equal(p.outline, q.outline) for p, q in zip(a, b, strict=True))


# ---- edge cases ------------------------------------------------------------------------------------------------------


def test_a_synthetic_sequence_has_the_indices_of_a_sequence():
    """`Synthetic` is a Sequence: negative indices count from the end, those outside are IndexErrors."""
    data = Synthetic(3, size=16)
    assert len(list(data)) == len(data) == 3
    assert data[-1].name == data[2].name != data[1].name
    for outside in (3, -4):
        with pytest.raises(IndexError):
            data[outside]
