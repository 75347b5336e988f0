"""Sec. 3.2, Eqs. 2-3, D15, D17-D19, D34: the click bank, the confidence map and the proposal."""

import itertools
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from networks import noise
from strategies import seeds

from icp import Point, confidence_map, multi_scale, phi, propose, vector_at

IMAGE = (40, 56)
SIDES = st.integers(1, 6)


@st.composite
def confidences(draw):
    """A confidence map with many ties, and an ignore mask."""
    shape = draw(st.tuples(SIDES, SIDES))
    levels = draw(st.lists(st.integers(-4, 4), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    ignored = draw(st.lists(st.booleans(), min_size=len(levels), max_size=len(levels)))
    return torch.tensor(levels).reshape(shape) / 4, torch.tensor(ignored).reshape(shape)


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_the_confidence_is_eq_2_by_hand():
    """Eqs. 2-3: two clicks, one cell that looks like the first of them; phi is 1 and 0, their mean 1/2."""
    p_1, p_2 = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 5.0])
    F = torch.tensor([2.0, 0.0])[:, None, None]
    assert confidence_map(F, [p_1, p_2], image=(1, 1)).item() == (1 + 0) / 2


def test_the_proposal_lies_where_the_image_looks_like_the_earlier_clicks():
    """Sec. 3.2: "the most similar pixel will be marked as a initial click proposal"."""
    butterfly, leaf = noise(16, seed=1), noise(16, seed=2)
    bank = [butterfly, butterfly + 0.1 * noise(16, seed=3)]
    F = leaf[:, None, None].repeat(1, 10, 14)
    F[:, 6:9, 2:5] = 3 * butterfly[:, None, None]
    row, col = propose(confidence_map(F, bank, IMAGE), torch.zeros(IMAGE, dtype=torch.bool))
    assert 24 <= row < 36
    assert 8 <= col < 20


def test_a_single_extreme_cell_does_not_outweigh_a_region_that_is_similar_throughout():
    """Sec. 3.2: "a mean filtering on the confidence map ... to prevent the occasional extreme points"; D18."""
    F = torch.zeros(2, 10, 14)
    F[1] = 1
    F[:, 2, 2] = torch.tensor([1.0, 0.0])  # cosine 1 with the bank
    F[:, 6:9, 9:12] = torch.tensor([0.8, 0.6])[:, None, None]  # cosine 0.8
    bank = [torch.tensor([1.0, 0.0])]
    point = propose(confidence_map(F, bank, (10, 14)), torch.zeros(10, 14, dtype=torch.bool))
    assert point == Point(7, 10)


def test_multi_scale_features_are_the_layers_joined_at_the_finest_size():
    """Tab. 3, "R-MS"; D34: one vector, and so one cosine, of all layers."""
    R = [noise(2, 6, 8), noise(3, 3, 4, seed=1), noise(4, 3, 4, seed=2)]
    joined = multi_scale(R)
    assert joined.shape == (2 + 3 + 4, 6, 8)
    expected = torch.stack([literal_resize(channel, (6, 8)) for R_i in R for channel in R_i])
    assert torch.allclose(joined, expected, atol=1e-6)


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(confidences())
def test_a_pixel_of_the_ignore_mask_is_never_proposed(case):
    """Eq. 2, p_n in T - I; D18: None when every pixel is ignored, else no pixel outside is better."""
    confidence, ignore = case
    point = propose(confidence, ignore)
    assert (point is None) == bool(ignore.all())
    if point is not None:
        assert not ignore[point]
        assert confidence[point] == confidence[~ignore].max()


# ---- slow oracles ----------------------------------------------------------------------------------------------------


def cosine(a, b):
    """Eq. 3 in double precision."""
    a, b = a.double().tolist(), b.double().tolist()
    length = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0


def literal_mean_filter(x):
    """D18: the mean of those of the nine cells that exist."""
    h, w = x.shape
    out = torch.zeros_like(x)
    for r, c in itertools.product(range(h), range(w)):
        near = itertools.product(range(max(r - 1, 0), min(r + 2, h)), range(max(c - 1, 0), min(c + 2, w)))
        values = [float(x[p]) for p in near]
        out[r, c] = sum(values) / len(values)
    return out


def literal_resize(x, size):
    """Bilinear, pixel centres at + 0.5, borders repeated."""
    out = torch.zeros(size, dtype=x.dtype)
    for p in itertools.product(*map(range, size)):
        value = 0.0
        at = [min(max((p[i] + 0.5) * x.shape[i] / size[i] - 0.5, 0.0), x.shape[i] - 1.0) for i in range(2)]
        for corner in itertools.product((0, 1), repeat=2):
            index = [min(math.floor(at[i]) + corner[i], x.shape[i] - 1) for i in range(2)]
            share = [at[i] % 1 if corner[i] else 1 - at[i] % 1 for i in range(2)]
            value += float(x[tuple(index)]) * share[0] * share[1]
        out[p] = value
    return out


@given(seeds(), st.integers(1, 5), st.integers(1, 9), st.tuples(SIDES, SIDES))
def test_the_confidence_map_is_eq_2_as_a_double_loop_over_pixels_and_clicks(seed, n, channels, grid):
    """Eqs. 2-3, D18: the mean cosine of every cell, 3x3 mean filter, bilinear resize."""
    F, bank = noise(channels, *grid, seed=seed), [noise(channels, seed=seed + 1 + i) for i in range(n)]
    mean = torch.zeros(grid, dtype=torch.float64)
    for p in itertools.product(*map(range, grid)):
        mean[p] = sum(cosine(F[:, p[0], p[1]], p_i) for p_i in bank) / n
    filtered = literal_mean_filter(mean)
    assert confidence_map(F, bank, grid).dtype == torch.float32
    assert torch.allclose(confidence_map(F, bank, grid).double(), filtered, atol=1e-5)
    assert torch.allclose(confidence_map(F, bank, (11, 9)).double(), literal_resize(filtered, (11, 9)), atol=1e-5)


@given(seeds(), st.integers(1, 30), st.integers(-3, 3))
def test_phi_is_the_cosine_in_double_precision_and_torch_s_own(seed, n, scale):
    """Eq. 3."""
    a, b = noise(1, n, seed=seed) * 10.0**scale, noise(1, n, seed=seed + 1)
    assert phi(a, b).item() == pytest.approx(cosine(a[0], b[0]), abs=1e-5)
    assert torch.allclose(phi(a, b)[0], torch.cosine_similarity(a, b), atol=1e-6)


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.tuples(SIDES, SIDES), st.data())
@example((47, 49), (6, 5), None)
def test_a_click_reads_the_cell_that_holds_its_pixel_centre(image, grid, data):
    """D17: the cell floor((p + 0.5) size / src), here in whole numbers."""
    F = torch.arange(grid[0] * grid[1]).reshape(1, *grid)
    p = [data.draw(st.integers(0, side - 1)) if data else side // 2 for side in image]
    row, col = ((2 * p[i] + 1) * grid[i] // (2 * image[i]) for i in range(2))
    assert vector_at(F, p, image).tolist() == [row * grid[1] + col]


# ---- pinned edge cases -----------------------------------------------------------------------------------------------


def test_a_zero_vector_is_similar_to_nothing_but_still_counts_as_a_click():
    """Eq. 3 has no value there: phi is 0, and n - 1 of Eq. 2 includes it."""
    v, zero = noise(1, 8), torch.zeros(1, 8)
    assert phi(v, zero) == phi(zero, v) == phi(zero, zero) == 0
    F = v[0][:, None, None].repeat(1, 3, 3)
    assert torch.allclose(confidence_map(F, [v[0], zero[0]], (3, 3)), torch.full((3, 3), 0.5))
    assert (confidence_map(F * 0, [v[0]], (3, 3)) == 0).all()


def test_of_equal_pixels_the_first_in_row_major_order_is_proposed():
    """D18."""
    ignore = torch.zeros(4, 6, dtype=torch.bool)
    ignore[0], ignore[1, :2] = True, True
    assert propose(torch.zeros(4, 6), ignore) == Point(1, 2)
    assert propose(torch.full((4, 6), -1.0), ignore) == Point(1, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_confidence_map_that_is_not_finite_or_of_another_shape_than_the_ignore_mask_is_an_error(value):
    """CONTRIBUTING, 'How errors read': broken weights are not a proposal."""
    confidence = torch.zeros(3, 3)
    confidence[1, 1] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        propose(confidence, torch.zeros(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"ignore: shape \(3, 4\), but the confidence map has \(3, 3\)"):
        propose(confidence, torch.zeros(3, 4, dtype=torch.bool))


def test_a_vector_stays_as_it_was_when_it_was_clicked():
    """D19, though features are views into larger maps."""
    F = noise(8, 2, 2)
    vector = vector_at(F, (0, 0), (2, 2))
    kept = vector.clone()
    F.zero_()
    assert torch.equal(kept, vector)
