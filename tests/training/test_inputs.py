"""Sec. 4.1, Implementation Details: simulated clicks, windows and crops. Rows: D10, D12, D21, D24, D28."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import seeds
from torch import nn
from toys import chart, rngs

from data import Sample
from opo import crop_features, random_window
from robot_user import Click, simulate_clicks
from training.crops import crop_batch

ROUNDING = 0.01  # pixels by which a distance in single precision may be off


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


def brute_distances(points, others):
    """(n,) distances of (n, 2) pixels to the nearest of (m, 2) others, by looking at every pair."""
    return torch.cdist(points.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)


def brute_depth(mask):
    """(h, w) distances of the object's pixels to the nearest pixel off it; beyond the image is off it."""
    outside = nn.functional.pad(~mask, (1, 1, 1, 1), value=True).nonzero() - 1
    depth = torch.zeros(mask.shape, dtype=torch.float64)
    depth[mask] = brute_distances(mask.nonzero(), outside)
    return depth


def signed(clicks, positive):
    return torch.tensor([c[:2] for c in clicks if c.positive is positive]).reshape(-1, 2)


def disc(size=96, radius=24):
    d = torch.arange(size) - size // 2
    return (d[:, None] ** 2 + d[None] ** 2) < radius**2


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_every_number_of_clicks_from_1_to_10_and_0_to_10_is_drawn_and_no_other():
    """Sec. 3.3: "within [1, 10] and [0, 10], respectively"; D28."""
    drawn = [simulate_clicks(disc(), np.random.default_rng(seed)) for seed in range(200)]
    assert {len(signed(clicks, True)) for clicks in drawn} == set(range(1, 11))
    assert {len(signed(clicks, False)) for clicks in drawn} == set(range(11))


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(scenes(), seeds(), st.integers(1, 10), st.integers(0, 10))
def test_clicks_follow_from_the_seed_stay_in_their_ranges_and_are_never_on_void(scene, seed, n, m):
    """D21, D28; D12: void is never clicked. Fewer than asked for only where no place is left."""
    mask, void = scene
    clicks, again = (simulate_clicks(mask, np.random.default_rng(seed), (n, n), (m, m), void) for _ in range(2))
    assert clicks == again
    assert 1 <= len(signed(clicks, True)) <= n
    assert len(signed(clicks, False)) <= m
    assert all(isinstance(c, Click) and bool(mask[c.row, c.col]) is c.positive for c in clicks)
    assert not any(void[c.row, c.col] for c in clicks)


@given(scenes(), seeds())
def test_clicks_of_one_sign_keep_their_distance(scene, seed):
    """D21, D28: minimum spacing, at least 7 pixels at 384 on the object and 10 off it."""
    mask, void = scene
    clicks = simulate_clicks(mask, np.random.default_rng(seed), (5, 10), (5, 10), void)
    for positive, spacing in ((True, 7), (False, 10)):
        points = signed(clicks, positive)
        apart = [float((p - q).double().norm()) for i, p in enumerate(points) for q in points[:i]]
        assert min(apart, default=math.inf) > spacing * min(mask.shape) / 384


@given(st.data(), seeds(), st.sampled_from([1, 16]))
def test_a_window_holds_foreground_and_lies_inside_and_on_the_grid(data, seed, step):
    """D24: "random windows on the 16-px grid, each containing foreground"."""
    (H, h), (W, w) = (sorted(data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=2)))[::-1] for _ in range(2))
    mask = torch.zeros(16 * H, 16 * W, dtype=torch.bool)
    pixels = st.tuples(st.integers(0, 16 * H - 1), st.integers(0, 16 * W - 1))
    for row, col in data.draw(st.lists(pixels, min_size=1, max_size=4)):
        mask[row, col] = True
    top, left = random_window(mask, (16 * h, 16 * w), np.random.default_rng(seed), step)
    assert 0 <= top <= 16 * (H - h)
    assert 0 <= left <= 16 * (W - w)
    assert top % step == left % step == 0
    assert mask[top : top + 16 * h, left : left + 16 * w].any()


@given(st.data())
def test_a_window_of_features_lies_under_the_window_of_the_image(data):
    """D24: F_i has stride 4, 8, 16, 16; the windows are taken at the same place."""
    (H, h), (W, w) = (sorted(data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=2)))[::-1] for _ in range(2))
    top, left = data.draw(st.integers(0, H - h)), data.draw(st.integers(0, W - w))
    place = torch.stack(torch.meshgrid(torch.arange(16 * H), torch.arange(16 * W), indexing="ij"))  # (2, 16 H, 16 W)
    F = [place[:, ::s, ::s] for s in (4, 8, 16, 16)]
    windows = crop_features(F, (16 * H, 16 * W), (16 * top, 16 * left), (16 * h, 16 * w))
    window = place[:, 16 * top : 16 * (top + h), 16 * left : 16 * (left + w)]
    assert all(torch.equal(x, window[:, ::s, ::s]) for x, s in zip(windows, (4, 8, 16, 16), strict=True))
    assert all(map(torch.equal, crop_features(F, (16 * H, 16 * W), (0, 0), (16 * H, 16 * W)), F))


# ---- oracles ---------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(scenes(), seeds())
def test_the_first_click_is_the_centre_and_the_others_keep_a_margin_to_the_border(scene, seed):
    """D21: "first foreground click at the object's centre, others random with margins", at least 5 pixels at 384."""
    mask, _ = scene
    depth = brute_depth(mask)
    (row, col), *others = signed(simulate_clicks(mask, np.random.default_rng(seed), (5, 10)), True).tolist()
    assert depth[row, col] == pytest.approx(float(depth.max()), rel=1e-6)
    assert all(depth[r, c] > 5 * min(mask.shape) / 384 - ROUNDING for r, c in others)


@settings(max_examples=15)
@given(scenes(), seeds())
def test_background_clicks_lie_in_a_band_around_the_object(scene, seed):
    """D21, D28: 15 to 80 pixels at 384 away from the object."""
    mask, void = scene
    points = signed(simulate_clicks(mask, np.random.default_rng(seed), negative=(5, 10), void=void), False)
    assume(len(points))
    away, scale = brute_distances(points, mask.nonzero()), min(mask.shape) / 384
    assert away.min() > 15 * scale - ROUNDING
    assert away.max() < 80 * scale + ROUNDING


@pytest.mark.parametrize("step", [1, 16])
def test_every_window_with_foreground_can_be_drawn(step):
    """D24: random windows, by listing all of them that hold the one pixel of the object."""
    mask = torch.zeros(48, 64, dtype=torch.bool)
    mask[20, 3] = True
    corners = ((r, c) for r in range(0, 17, step) for c in range(0, 33, step))
    expected = {(r, c) for r, c in corners if mask[r : r + 32, c : c + 32].any()}
    rng = np.random.default_rng(0)
    assert {random_window(mask, (32, 32), rng, step) for _ in range(60 * len(expected))} == expected


def test_crops_and_flips_keep_image_mask_and_void_together():
    """Sec. 4.1: "random flip and random clip augmentation" (D28)."""
    samples = [chart(i) for i in range(12)]
    batch, _ = crop_batch(samples, [None] * 12, rngs(12), 64, 48)
    pixels = batch.x.long()  # (12, 3, 48, 48): mask, row, column
    for sample, (shown, row, col), mask, void in zip(samples, pixels, batch.mask, batch.void, strict=True):
        assert torch.equal(shown == 255, mask)
        assert torch.equal(void, torch.from_numpy(sample.void)[row, col])
        assert mask.any()
        assert len(row.unique()) == len(col.unique()) == 48
    assert {bool(col[0, 0] > col[0, -1]) for _, _, col in pixels} == {False, True}  # flipped or not
    assert len({(int(p[1].min()), int(p[2].min())) for p in pixels}) > 1


# ---- edge cases ------------------------------------------------------------------------------------------------------


def test_an_instance_without_a_pixel_at_network_resolution_is_an_error():
    """D10, D28; `simulate_clicks`, `crop_batch`: never skip a sample without having been asked to."""
    rng, mask = np.random.default_rng(0), np.zeros((512, 512), bool)
    with pytest.raises(ValueError, match="no foreground"):
        simulate_clicks(torch.from_numpy(mask), rng)
    mask[0, 0] = True
    with pytest.raises(ValueError, match=r"a speck.*64"):
        crop_batch([Sample(np.zeros((512, 512, 3), np.uint8), mask, ~mask, "", "a speck")], [None], [rng], 64, 64)
