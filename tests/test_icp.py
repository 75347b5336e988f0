"""Sec. 3.2, Eqs. 2-3, D15, D17-D19: the click bank, the confidence map and the proposal."""

import io
import itertools
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import seeds

import icp
from icp import ClickBank, Point, confidence_map, mean_filter, phi, propose, vector_at

IMAGE = (40, 56)
SIDES = st.integers(1, 6)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(vectors):
    """A bank of one layer holding `vectors`."""
    bank = ClickBank()
    for v in vectors:
        bank.add([v])
    return bank


@st.composite
def confidences(draw):
    """A confidence map with many ties, and an ignore mask."""
    shape = draw(st.tuples(SIDES, SIDES))
    levels = draw(st.lists(st.integers(-4, 4), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    ignored = draw(st.lists(st.booleans(), min_size=len(levels), max_size=len(levels)))
    return torch.tensor(levels).reshape(shape) / 4, torch.tensor(ignored).reshape(shape)


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_the_bank_is_initially_empty_and_an_empty_bank_proposes_nothing():
    """Sec. 3.2: "It is initialized as an empty bank"; D19."""
    assert len(ClickBank()) == 0
    with pytest.raises(ValueError, match="bank: empty"):
        confidence_map(ClickBank(), [noise(8, 4, 4)], IMAGE)


def test_the_bank_grows_by_one_vector_per_instance_whoever_clicked_it():
    """Sec. 3.2: "selects the initial click manually or adopts the initial click proposal"; D15, D19."""
    F = noise(8, 5, 7)
    proposal, users = vector_at(F, (3, 4), IMAGE), vector_at(F, (30, 40), IMAGE)
    bank = filled([proposal, users])
    assert len(bank) == 2
    expected = (phi(F.permute(1, 2, 0), proposal) + phi(F.permute(1, 2, 0), users)) / 2
    assert torch.allclose(confidence_map(bank, [F], (5, 7)), mean_filter(expected), atol=1e-6)


def test_the_proposal_lies_where_the_image_looks_like_the_earlier_clicks():
    """Sec. 3.2: "the most similar pixel will be marked as a initial click proposal"."""
    butterfly, leaf = noise(16, seed=1), noise(16, seed=2)
    bank = filled([butterfly, butterfly + 0.1 * noise(16, seed=3)])
    F = leaf[:, None, None].repeat(1, 10, 14)
    F[:, 6:9, 2:5] = 3 * butterfly[:, None, None]
    row, col = propose(confidence_map(bank, [F], IMAGE), torch.zeros(IMAGE, dtype=torch.bool))
    assert 24 <= row < 36
    assert 8 <= col < 20


def test_a_single_extreme_cell_does_not_outweigh_a_region_that_is_similar_throughout():
    """Sec. 3.2: "a mean filtering on the confidence map ... to prevent the occasional extreme points"; D18."""
    F = torch.zeros(2, 10, 14)
    F[1] = 1
    F[:, 2, 2] = torch.tensor([1.0, 0.0])  # cosine 1 with the bank
    F[:, 6:9, 9:12] = torch.tensor([0.8, 0.6])[:, None, None]  # cosine 0.8
    bank = filled([torch.tensor([1.0, 0.0])])
    point = propose(confidence_map(bank, [F], (10, 14)), torch.zeros(10, 14, dtype=torch.bool))
    assert point == Point(7, 10)


def test_successive_proposals_never_fall_into_earlier_instances_until_nothing_is_left():
    """Sec. 3.2: I becomes I + A; "recommended points will not be repeated with the previous ones"; Eq. 2, D18."""
    confidence = confidence_map(filled([noise(8, seed=1)]), [noise(8, 5, 7)], IMAGE)
    ignore, points = torch.zeros(IMAGE, dtype=torch.bool), []
    while (point := propose(confidence, ignore)) is not None:
        assert not ignore[point]
        points.append(point)
        ignore[max(point.row - 6, 0) : point.row + 7, max(point.col - 6, 0) : point.col + 7] = True
    assert len(points) > 4
    values = [float(confidence[p]) for p in points]
    assert values == sorted(values, reverse=True)
    assert ignore.all()


def test_the_cost_of_a_bank_does_not_grow_with_its_clicks():
    """Eq. 2 is linear in the unit vectors of the bank: one running sum a layer is enough; D19."""
    small, large = filled([noise(8)]), filled([noise(8, seed=i) for i in range(300)])
    assert [s.shape for s in small.sums] == [s.shape for s in large.sums] == [(8,)]
    assert len(large) == 300


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(seeds(), st.integers(1, 40), st.integers(-20, 20), st.integers(-20, 20))
@example(0, 256, -20, 20)
def test_the_cosine_is_bounded_symmetric_and_blind_to_length(seed, n, i, j):
    """Eq. 3; lengths from 1e-20 to 1e20, whose squares single precision cannot hold."""
    a, b = noise(5, n, seed=seed), noise(5, n, seed=seed + 1)
    value = phi(a, b)
    assert (value.abs() <= 1).all()
    assert torch.equal(value, phi(b, a))
    assert torch.allclose(phi(a * 10.0**i, b * 10.0**j), value, atol=1e-5)
    assert torch.allclose(phi(a, -b), -value, atol=1e-6)
    assert torch.allclose(phi(a, a), torch.ones(5), atol=1e-6)


@given(seeds(), st.permutations(range(6)))
def test_the_order_of_the_clicks_in_the_bank_changes_nothing(seed, order):
    """Eq. 2: a sum."""
    vectors, F = noise(6, 8, seed=seed), noise(8, 5, 7, seed=seed + 1)
    maps = [confidence_map(filled(v), [F], IMAGE) for v in (vectors, vectors[list(order)])]
    assert torch.allclose(*maps, atol=1e-6)


@given(seeds(), st.integers(1, 5), st.integers(-20, 20))
def test_the_confidence_is_a_mean_cosine_for_every_pixel_blind_to_the_length_of_vectors(seed, n, scale):
    """Eqs. 2-3, D18: float32 in [-1, 1], at the image's size; the same features again change nothing."""
    vectors, F = noise(n, 8, seed=seed), noise(8, 5, 7, seed=seed + 1)
    confidence = confidence_map(filled(vectors), [F], IMAGE)
    assert confidence.shape == IMAGE
    assert confidence.dtype == torch.float32
    assert (confidence.abs() <= 1).all()
    assert torch.allclose(confidence, confidence_map(filled(vectors * 10.0**scale), [F], IMAGE), atol=1e-5)
    assert torch.allclose(confidence, confidence_map(filled(vectors), [F * 10.0**scale], IMAGE), atol=1e-5)
    same = ClickBank()
    for v in vectors:
        same.add([v, v])
    assert torch.allclose(confidence, confidence_map(same, [F, F], IMAGE), atol=1e-6)


@given(confidences())
def test_a_pixel_of_the_ignore_mask_is_never_proposed(case):
    """Eq. 2, p_n in T - I; D18: None when every pixel is ignored, else no pixel outside is better."""
    confidence, ignore = case
    point = propose(confidence, ignore)
    assert (point is None) == bool(ignore.all())
    if point is not None:
        assert not ignore[point]
        assert confidence[point] == confidence[~ignore].max()


@given(seeds(), st.integers(0, 4))
def test_a_bank_comes_back_from_its_saved_state(seed, n):
    """Sec. 3.2: a bank "for each category" that the user can return to; D19. Later clicks leave the state as it was."""
    bank = filled(noise(n, 8, seed=seed))
    state, file = bank.state(), io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    again, twin = ClickBank.from_state(torch.load(file, weights_only=True)), ClickBank.from_state(state)
    for v in noise(2, 8, seed=seed + 1):
        for b in (bank, again, twin):
            b.add([v])
    assert len(again) == len(bank) == len(twin) == n + 2
    assert torch.equal(again.sums[0], bank.sums[0])
    assert torch.equal(twin.sums[0], bank.sums[0])


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


@given(seeds(), st.integers(1, 5), st.lists(st.tuples(st.integers(1, 9), SIDES, SIDES), min_size=1, max_size=3))
@example(0, 3, [(5, 6, 6), (9, 3, 3), (4, 3, 3)])
@example(1, 2, [(5, 4, 6), (9, 4, 6)])
def test_the_confidence_map_is_eq_2_as_a_double_loop_over_pixels_and_clicks(seed, n, layers):
    """Eqs. 2-3, D18; Tab. 3, "R-MS": mean filter on each layer's grid, mean over layers at the finest, bilinear."""
    F = [noise(*shape, seed=seed + i) for i, shape in enumerate(layers)]
    bank, clicks = ClickBank(), [[noise(c, seed=seed + 9 + k) for c, *_ in layers] for k in range(n)]
    for vectors in clicks:
        bank.add(vectors)
    finest = max(((h, w) for _, h, w in layers), key=math.prod)
    total = torch.zeros(finest, dtype=torch.float64)
    for i, (_, h, w) in enumerate(layers):
        mean = torch.zeros(h, w, dtype=torch.float64)
        for r, c in itertools.product(range(h), range(w)):
            mean[r, c] = sum(cosine(F[i][:, r, c], vectors[i]) for vectors in clicks) / n
        total += literal_resize(literal_mean_filter(mean), finest)
    expected = literal_resize(total / len(layers), (11, 9))
    assert torch.allclose(confidence_map(bank, F, (11, 9)).double(), expected, atol=1e-5)
    assert torch.allclose(confidence_map(bank, F, finest).double(), total / len(layers), atol=1e-5)


def test_what_runs_calls_the_equations(monkeypatch):
    """Eqs. 2-3 stand in one place each: without them there is no confidence map."""
    bank, F = filled([noise(8), noise(8, seed=1)]), noise(8, 5, 7, seed=2)
    monkeypatch.setattr(icp, "phi", lambda a, b: torch.full(a.shape[:-1], 0.25))
    assert torch.allclose(confidence_map(bank, [F], IMAGE), bank.sums[0].norm() / 8)
    monkeypatch.setattr(icp, "mean_phi", lambda F, S, n: torch.full(F.shape[1:], n / 10))
    assert torch.allclose(confidence_map(bank, [F], IMAGE), torch.tensor(0.3))


@given(seeds(), st.integers(1, 30), st.integers(-20, 20))
def test_phi_is_the_cosine_in_double_precision(seed, n, scale):
    """Eq. 3."""
    a, b = noise(n, seed=seed) * 10.0**scale, noise(n, seed=seed + 1)
    assert float(phi(a, b)) == pytest.approx(cosine(a, b), abs=1e-5)


@given(confidences())
def test_the_proposal_is_the_one_that_a_literal_search_finds(case):
    """Eq. 2, arg max over T - I; D18: first maximum in row-major order."""
    confidence, ignore = case
    best, expected = -math.inf, None
    for p in itertools.product(*map(range, confidence.shape)):
        if not ignore[p] and confidence[p] > best:
            best, expected = float(confidence[p]), p
    assert propose(confidence, ignore) == expected


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
    v, zero = noise(8), torch.zeros(8)
    assert phi(v, zero) == phi(zero, v) == phi(zero, zero) == 0
    F = v[:, None, None].repeat(1, 3, 3)
    assert torch.allclose(confidence_map(filled([v, zero]), [F], (3, 3)), torch.full((3, 3), 0.5))
    assert (confidence_map(filled([v]), [F * 0], (3, 3)) == 0).all()


def test_of_equal_pixels_the_first_in_row_major_order_is_proposed():
    """D18."""
    ignore = torch.zeros(4, 6, dtype=torch.bool)
    ignore[0], ignore[1, :2] = True, True
    assert propose(torch.zeros(4, 6), ignore) == Point(1, 2)
    assert propose(torch.full((4, 6), -1.0), ignore) == Point(1, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_confidence_map_that_is_not_finite_is_an_error(value):
    """CONTRIBUTING, 'How errors read': broken weights are not a proposal."""
    confidence = torch.zeros(3, 3)
    confidence[1, 1] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        propose(confidence, torch.zeros(3, 3, dtype=torch.bool))


def test_maps_and_vectors_of_other_shapes_are_errors():
    """CONTRIBUTING, 'How errors read': what was got and what was expected."""
    with pytest.raises(ValueError, match=r"ignore: shape \(3, 4\), but the confidence map has \(4, 3\)"):
        propose(torch.zeros(4, 3), torch.zeros(3, 4, dtype=torch.bool))
    bank = filled([noise(8)])
    for vectors in ([noise(9)], [noise(8), noise(8)], []):
        with pytest.raises(ValueError, match=r"the bank holds \[\(8,\)\]"):
            bank.add(vectors)
    assert len(bank) == 1


def test_a_bank_keeps_no_hand_on_the_vectors_it_was_given():
    """D19: vectors stay as they were when clicked, though features are views into larger maps."""
    F = noise(8, 2, 2)
    bank = filled([vector_at(F, (0, 0), (2, 2))])
    kept = bank.sums[0].clone()
    F.zero_()
    assert torch.equal(kept, bank.sums[0])
