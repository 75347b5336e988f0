"""annotator/masks.py: run lengths, outlines, strokes, and what a correction may change."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annotator.masks import Stroke, corrected, from_counts, outlines, painted, to_counts

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))
PAIRS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(hnp.arrays(np.bool_, shape), hnp.arrays(np.bool_, shape))
)


def filled(lines, shape):
    """Even-odd rule at the middle of every pixel, by counting crossings: the oracle."""
    inside = np.zeros(shape, bool)
    for line in lines:
        corners = [tuple(p) for p in np.asarray(line).tolist()]
        for (y0, x0), (y1, x1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if x0 == x1:  # a vertical edge: it turns all pixels on its right hand side
                inside[min(y0, y1) : max(y0, y1), x0:] ^= True
    return inside


def flooded(free, start=(0, 0)):
    """What can be reached from a pixel over free ones, diagonally too, step by step: the oracle."""
    reached = np.zeros_like(free)
    reached[start] = free[start]
    while True:
        wide = np.pad(reached, 1)
        near = [wide[r : r + free.shape[0], c : c + free.shape[1]] for r in range(3) for c in range(3)]
        grown = np.any(near, axis=0) & free
        if np.array_equal(grown, reached):
            return reached
        reached = grown


@given(MASKS)
def test_run_lengths_give_the_mask_back(mask):
    """Round trip; COCO's order: column by column, background first."""
    counts = to_counts(mask)
    assert np.array_equal(from_counts(counts, mask.shape), mask)
    assert sum(counts) == mask.size
    assert all(n > 0 for n in counts[1:])


def test_run_lengths_of_another_size_are_refused():
    """A line that was changed by hand is no mask."""
    with pytest.raises(ValueError, match="run lengths of 5 pixels for a mask of 2x3"):
        from_counts([2, 3], (2, 3))


@given(MASKS)
def test_outlines_filled_give_the_mask_back_and_without_the_inner_ones_it_has_no_holes(mask):
    """What the page draws is the mask itself; polygons alone lose holes, and nothing else."""
    outer, inner = outlines(mask)
    assert np.array_equal(filled([*outer, *inner], mask.shape), mask)
    outside = flooded(~np.pad(mask, 1))[1:-1, 1:-1]
    whole = np.zeros_like(mask)
    for line in outer:
        whole |= filled([line], mask.shape)
    assert np.array_equal(whole, ~outside)
    assert (not inner) == bool((mask == ~outside).all())


@given(
    MASKS,
    st.lists(
        st.builds(
            Stroke,
            st.sampled_from(["add", "erase"]),
            st.floats(0.5, 4),
            st.lists(st.tuples(*[st.floats(-3, 12)] * 2), min_size=1, max_size=4).map(tuple),
        ),
        max_size=3,
    ),
)
def test_a_stroke_sets_the_pixels_within_its_radius_in_order_and_no_others(mask, strokes):
    """The brush and the eraser, against distances to many points of the line; what is near the radius may be either."""
    expected, unsure = mask.copy(), np.zeros_like(mask)
    middles = np.stack(np.indices(mask.shape), axis=-1) + 0.5
    for stroke in strokes:
        points = np.array(stroke.points)
        ends = list(pairwise(points)) or [(points[0], points[0])]
        line = np.concatenate([a + np.linspace(0, 1, 200)[:, None] * (b - a) for a, b in ends])
        d = np.linalg.norm(middles[:, :, None] - line, axis=-1).min(axis=-1)
        edge = np.abs(d - stroke.radius) < 0.06
        expected[d <= stroke.radius] = stroke.mode == "add"
        unsure = (unsure & (d > stroke.radius)) | edge
    found = painted(mask, strokes)
    assert np.array_equal(found[~unsure], expected[~unsure])


@given(PAIRS, st.data())
def test_a_correction_changes_one_connected_part_of_what_the_network_changed_and_only_as_the_click_says(masks, data):
    """D36: A correction of a finished mask: a foreground click takes nothing away, a background click adds nothing."""
    before, after = masks
    row, col = (data.draw(st.integers(0, n - 1)) for n in before.shape)
    for positive in (True, False):
        found = corrected(before, after, (row, col, positive))
        asked = after & ~before if positive else before & ~after
        changed = found != before
        assert not (changed & ~asked).any()
        assert changed.any() == asked.any()
        if asked[row, col]:
            assert np.array_equal(changed, flooded(asked, (row, col)))
        if changed.any():
            assert np.array_equal(changed, flooded(asked, tuple(np.argwhere(changed)[0])))
