"""Sec. 4.1, Datasets: the built-in sequence. Rows: D27."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from loaders import shapes, synthetic
from loaders.synthetic import Synthetic
from robot_user import iou


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
def test_a_scene_is_the_same_at_every_size(seed, i):
    """Synthetic: `size` is the resolution alone, so that a small test sees the scenes of the demonstration."""
    small, large = (Synthetic(4, seed, size)[i] for size in (64, 128))
    halved = torch.from_numpy(large.mask).reshape(64, 2, 64, 2).float().mean(dim=(1, 3)) >= 0.5
    assert iou(halved, small.mask) > 0.75


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


@settings(max_examples=20)
@given(seeds(), st.integers(1, 6))
def test_the_objects_of_a_scene_leave_room_for_each_other(seed, n):
    """Synthetic: the target among others, none of which reaches over it; the target is the largest."""
    circles = synthetic._places(n, np.random.default_rng(seed))
    gaps = [np.hypot(*(a - b)[:2]) - 0.95 * (a[2] + b[2]) for k, a in enumerate(circles) for b in circles[:k]]
    assert circles.shape == (n, 3)
    assert min(gaps, default=1) > 0
    assert circles[:, 2].argmax() == 0


# ---- edge cases ------------------------------------------------------------------------------------------------------


def test_a_synthetic_sequence_has_the_indices_of_a_sequence():
    """`Synthetic` is a Sequence: negative indices count from the end, those outside are IndexErrors."""
    data = Synthetic(3, size=16)
    assert len(list(data)) == len(data) == 3
    assert data[-1].name == data[2].name != data[1].name
    for outside in (3, -4):
        with pytest.raises(IndexError):
            data[outside]


def test_an_edge_of_a_synthetic_object_is_smooth():
    """Synthetic: drawn on a finer grid, so that a pixel of the outline is covered in part and keeps its colour."""
    red = shapes.Part(shapes.oval(0, 0, 1, 1), np.array([1.0, 0, 0]), np.array([1.0, 0, 0]))
    painted = synthetic._painted([red], 12 * np.eye(2), np.array([15.0, 15.0]), 10)
    colours, covered = painted[..., :3], painted[..., 3]
    assert len(np.unique(covered)) > 4
    assert covered.sum() == pytest.approx(np.pi * 4**2, rel=0.1)
    assert np.allclose(colours[covered > 0], [1, 0, 0], atol=0.02)
