"""Sec. 4.1, Datasets: the built-in sequence. Rows: D27."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from loaders.synthetic import Synthetic

# ---- laws ------------------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(seeds(), st.sampled_from(["train", "test"]), st.integers(0, 4))
def test_the_same_seed_draws_the_same_synthetic_pixels(seed, split, i):
    """Synthetic: "the same seed gives the same pixels", whatever else was read before."""
    a, c = Synthetic(5, seed, split, 64)[i], Synthetic(5, seed + 1, split, 64)[i]
    b = list(Synthetic(5, seed, split, 64))[i]
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a.image, c.image)


@settings(max_examples=20)
@given(seeds(), st.sampled_from(["train", "test"]), st.sampled_from([64, 80, 128]))
def test_a_synthetic_target_is_one_of_four_objects_that_leave_room_for_each_other(seed, split, size):
    """Synthetic: four objects of one size, so that none covers a quarter of the image; nothing is void."""
    sample = Synthetic(2, seed, split, size)[1]
    assert sample.image.shape == (size, size, 3)
    assert sample.image.dtype == np.uint8
    assert 0 < sample.mask.mean() < 0.25
    assert sample.mask.dtype == bool
    assert not sample.void.any()


@settings(max_examples=10)
@given(st.integers(2, 30))
def test_the_two_synthetic_test_categories_come_in_two_blocks_of_half_the_samples(n):
    """Synthetic; D27: file order, one state per category."""
    data = Synthetic(n, size=16)
    blocks = [len(list(same)) for _, same in itertools.groupby(s.category for s in data)]
    assert len(blocks) == 2
    assert abs(blocks[0] - blocks[1]) <= 1


# ---- edge cases ------------------------------------------------------------------------------------------------------


def test_training_scenes_show_no_category_of_the_test():
    """Synthetic: 'test' has two categories of shapes that 'train' never shows."""
    shown = {s.category for s in Synthetic(40, size=16, split="train")}
    tested = {s.category for s in Synthetic(10, size=16)}
    assert len(tested) == 2
    assert not shown & tested


def test_a_synthetic_sequence_has_the_indices_of_a_sequence():
    """`Synthetic` is a Sequence: negative indices count from the end, those outside are IndexErrors."""
    data = Synthetic(3, size=16)
    assert len(list(data)) == len(data) == 3
    assert data[-1].name == data[2].name != data[1].name
    for outside in (3, -4):
        with pytest.raises(IndexError):
            data[outside]


def test_an_unknown_split_is_refused():
    """`Synthetic`: bad input raises ValueError with what was got and what was expected."""
    with pytest.raises(ValueError, match=r"'val'.*'train'"):
        Synthetic(split="val")
