"""Secs. 3.1 and 4.1: clicks, click maps and simulated clicks. Rows: D8, D9, D21, D28."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from oracles import brute_distance, brute_distances
from strategies import disc, seeds

from clicks import Click, click_map, click_maps, simulate_clicks, to_network

ROUNDING = 0.01  # pixels by which a distance in single precision may be off
SRC, NET = (37, 53), (32, 48)
CLICKS = st.lists(st.tuples(st.integers(0, SRC[0] - 1), st.integers(0, SRC[1] - 1), st.booleans()), max_size=6)


def cell(p, src, dst):
    """D9 in whole numbers: floor((p + 0.5) dst / src)."""
    return tuple((2 * p[i] + 1) * dst[i] // (2 * src[i]) for i in range(2))


@given(CLICKS, st.randoms(use_true_random=False))
def test_a_click_map_is_the_nearest_click_of_each_sign_whatever_their_order(clicks, random):
    """Sec. 3.1: "two Gaussian maps based on points"; D8 (nearest click of that sign), D9. Literal loops."""
    E_0 = click_map(clicks, NET, SRC)
    points = [(*cell(p, SRC, NET), p[2]) for p in clicks]
    expected = torch.zeros(2, *NET, dtype=torch.float64)
    for r, c in itertools.product(*map(range, NET)):
        for channel, sign in enumerate((True, False)):
            d2 = min(((r - i) ** 2 + (c - j) ** 2 for i, j, s in points if s is sign), default=math.inf)
            expected[channel, r, c] = math.exp(-4 * math.log(2) * d2 / 10**2)
    assert (E_0.shape, E_0.dtype) == ((2, *NET), torch.float32)
    assert torch.allclose(E_0.double(), expected, atol=1e-6)
    assert torch.equal(E_0, click_map(random.sample(clicks, len(clicks)), NET, SRC))
    assert torch.equal(E_0, torch.stack([click_map(p, NET, SRC) for p in [[], *zip(clicks)]]).amax(dim=0))


@given(st.lists(CLICKS, min_size=1, max_size=4))
def test_the_click_maps_of_a_batch_are_those_of_its_instances(clicks):
    """D8, D9: what other instances are clicked on changes nothing."""
    E_0 = click_maps(clicks, NET, SRC)
    assert E_0.shape == (len(clicks), 2, *NET)
    assert all(torch.equal(E, click_map(c, NET, SRC)) for E, c in zip(E_0, clicks, strict=True))


def test_a_click_map_falls_to_half_at_a_distance_of_5_network_pixels():
    """D8: exp(-4 ln 2 d^2 / 10^2) is 1/2 at d = 5, at the network's resolution whatever the image's."""
    for scale in (1, 4):
        E_0 = click_map([(16 * scale, 20 * scale, True)], NET, (NET[0] * scale, NET[1] * scale))
        assert all(abs(E_0[0, r, c] - 0.5) < 1e-6 for r, c in ((11, 20), (21, 20), (16, 15), (19, 24), (13, 16)))


@pytest.mark.parametrize("click", [(-1, 0, True), (0, -1, False), (37, 0, True), (0, 53, False)])
def test_a_click_outside_the_image_is_an_error(click):
    """D9."""
    with pytest.raises(ValueError, match="outside the image of 37x53"):
        click_map([(5, 5, True), click], NET, SRC)


@given(st.integers(0, 600), st.integers(1, 600), st.integers(1, 64))
@example(23, 24, 24)
def test_a_click_falls_into_the_cell_of_the_network_that_holds_its_pixel_centre(p, more, cells):
    """D9: network = floor((p + 0.5) dst / src), exactly."""
    src, dst = (p + more, p + more), (16 * cells, 16 * cells)
    assert tuple(to_network(torch.tensor([[p, p]]), src, dst)[0].tolist()) == cell((p, p), src, dst)


# ---- simulated clicks: the claims ------------------------------------------------------------------------------------


@st.composite
def scenes(draw):
    """(mask, void): one to three rectangles or ellipses on 64..96 pixels, and a void rectangle beside them."""
    h, w = draw(st.sampled_from([64, 80, 96])), draw(st.sampled_from([64, 80, 96]))
    rows, cols = torch.arange(h)[:, None], torch.arange(w)[None]
    shapes = []
    for _ in range(draw(st.integers(1, 3)) + 1):
        r, c = draw(st.integers(0, h - 1)), draw(st.integers(0, w - 1))
        a, b = draw(st.integers(0, h // 2)), draw(st.integers(0, w // 2))
        dr, dc = (rows - r).abs() / (a + 0.5), (cols - c).abs() / (b + 0.5)
        shapes.append((dr**2 + dc**2 <= 1) if draw(st.booleans()) else (dr <= 1) & (dc <= 1))
    mask = torch.stack(shapes[1:]).any(dim=0)
    return mask, shapes[0] & ~mask


def signed(clicks, positive):
    return torch.tensor([c[:2] for c in clicks if c.positive is positive]).reshape(-1, 2)


def test_every_number_of_clicks_from_1_to_10_and_0_to_10_is_drawn_and_no_other():
    """Sec. 3.3: "within [1, 10] and [0, 10], respectively"; D28."""
    drawn = [simulate_clicks(disc(), np.random.default_rng(seed)) for seed in range(200)]
    assert {len(signed(clicks, True)) for clicks in drawn} == set(range(1, 11))
    assert {len(signed(clicks, False)) for clicks in drawn} == set(range(11))


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(scenes(), seeds(), st.integers(1, 10), st.integers(0, 10))
def test_clicks_follow_from_the_seed_stay_in_their_ranges_and_are_never_on_void(scene, seed, n, m):
    """D21; D12: void is never clicked. Fewer than asked for only where no place is left."""
    mask, void = scene
    clicks, again = (simulate_clicks(mask, np.random.default_rng(seed), (n, n), (m, m), void) for _ in range(2))
    assert clicks == again
    assert 1 <= len(signed(clicks, True)) <= n
    assert len(signed(clicks, False)) <= m
    assert all(isinstance(c, Click) and bool(mask[c.row, c.col]) is c.positive for c in clicks)
    assert not any(void[c.row, c.col] for c in clicks)


@given(scenes(), seeds())
def test_clicks_of_one_sign_keep_their_distance(scene, seed):
    """D21: minimum spacing, at least 7 pixels at 384 on the object and 10 off it."""
    mask, void = scene
    clicks = simulate_clicks(mask, np.random.default_rng(seed), (5, 10), (5, 10), void)
    for positive, spacing in ((True, 7), (False, 10)):
        points = signed(clicks, positive)
        apart = [float((p - q).double().norm()) for i, p in enumerate(points) for q in points[:i]]
        assert min(apart, default=math.inf) > spacing * min(mask.shape) / 384


# ---- oracles ---------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(scenes(), seeds())
def test_the_first_click_is_the_centre_and_the_others_keep_a_margin_to_the_border(scene, seed):
    """D21: the first foreground click at the object's centre, the others with margins of at least 5 pixels at 384."""
    mask, _ = scene
    depth = brute_distance(mask)
    (row, col), *others = signed(simulate_clicks(mask, np.random.default_rng(seed), (5, 10)), True).tolist()
    assert depth[row, col] == pytest.approx(float(depth.max()), rel=1e-6)
    assert all(depth[r, c] > 5 * min(mask.shape) / 384 - ROUNDING for r, c in others)


@settings(max_examples=15)
@given(scenes(), seeds())
def test_background_clicks_lie_in_a_band_around_the_object(scene, seed):
    """D21: 15 to 80 pixels at 384 away from the object."""
    mask, void = scene
    points = signed(simulate_clicks(mask, np.random.default_rng(seed), negative=(5, 10), void=void), False)
    assume(len(points))
    away, scale = brute_distances(points, mask.nonzero()), min(mask.shape) / 384
    assert away.min() > 15 * scale - ROUNDING
    assert away.max() < 80 * scale + ROUNDING


def test_an_object_without_a_pixel_is_an_error():
    """`simulate_clicks`: never skip a sample without having been asked to."""
    with pytest.raises(ValueError, match="no foreground"):
        simulate_clicks(torch.zeros(64, 64, dtype=torch.bool), np.random.default_rng(0))
