"""D30: what our own recipes are shown. Rows: D12, D21, D30."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import masks, seeds
from toys import rngs

from data import Sample
from training import mosaics
from training.mosaics import first_clicks, mosaic_batch, part

COLOURS = ((255, 0), (0, 255))  # red and green of two images; what is void in them is blue as well


def scene(image, at, side=96):
    """A sample of an image that is all of one colour; its object is a 24-pixel square with void beside it."""
    mask, void = np.zeros((side, side), bool), np.zeros((side, side), bool)
    mask[at : at + 24, at : at + 24] = True
    void[at : at + 24, at + 24 : at + 40] = True
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[..., :2] = COLOURS[image]
    pixels[void, 2] = 255
    return Sample(pixels, mask, void, "square", f"image {image}")


SCENES = [scene(0, 8), scene(0, 40), scene(1, 20), scene(1, 50)]  # two instances each of two images


def drawn(n=20, scenes=SCENES):
    """(index, image, mask, void, clicks) of each input of n batches."""
    for seed in range(n):
        batch = mosaic_batch(scenes, range(len(scenes)), 64, rngs(len(scenes), seed))
        yield from zip(range(len(scenes)), batch.x, batch.mask, batch.void, batch.clicks, strict=True)


def of_each(x):
    """Where an input shows the first image, and where the second; neither is padding."""
    return [x[c].int() - x[1 - c].int() > 100 for c in (0, 1)]


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(mosaics, "MOSAIC_P", 1.0)


def test_a_mosaic_joins_two_images_and_only_the_instance_s_own_half_holds_the_target(always):
    """D30: different images, not only different instances; the click alone says which object is meant."""
    layouts = set()
    for i, x, mask, _, clicks in drawn():
        own, other = of_each(x)[:: 1 if i < 2 else -1]
        assert own.any()
        assert other.any()
        assert mask.any()
        assert not mask[other].any()
        assert all(own[c.row, c.col] for c in clicks if c.positive)
        halves = {"left": own[:, :32], "right": own[:, 32:], "top": own[:32], "bottom": own[32:]}
        layouts |= {name for name, half in halves.items() if int(half.sum()) == int(own.sum())}
    assert layouts == {"left", "right", "top", "bottom"}


def test_void_is_kept_in_both_halves_and_never_clicked(always):
    """D12, D30: the void of either image, and what lies beside an image."""
    kept = set()
    for i, x, mask, void, clicks in drawn():
        own, other = of_each(x)[:: 1 if i < 2 else -1]
        assert void[~(own | other)].all()  # padding
        for name, half in (("own", own), ("other", other)):
            blue = half & (x[2] > 160)
            if blue.sum() > 50:
                kept.add(name)
                assert void[blue].float().mean() > 0.9
        assert not (mask & void).any()
        assert not any(void[c.row, c.col] for c in clicks)
    assert kept == {"own", "other"}


def square(side):
    """A `side` x `side` object in the middle of a 96 x 96 image that is white where the object is."""
    mask = np.zeros((96, 96), bool)
    low = (96 - side) // 2
    mask[low : low + side, low : low + side] = True
    return Sample(np.repeat(mask[..., None] * np.uint8(255), 3, axis=-1), mask, mask & ~mask, "", "square")


@pytest.mark.parametrize(
    ("side", "low", "high"), [(48, 0.75, 2.0), (16, 1.0, 2.5), (8, 2.0, 2.5), (5, 3.2, 3.2), (2, 4, 4)]
)
def test_images_are_shown_at_three_quarters_to_twice_their_size_and_small_objects_larger(side, low, high):
    """D30: below 3 % of the image 1 to 2.5 times; with 256 pixels at least, unless that takes more than 4 times."""
    found = []
    for seed in range(40):
        _, _, void = part(square(side), (384, 384), 96, np.random.default_rng(seed))
        found.append(int((~void).any(dim=1).sum()) / 96)
    assert all(low - 0.01 < scale < high + 0.01 for scale in found)
    assert max(found) - min(found) > 0.7 * (high - low) - 0.01


@given(st.integers(6, 60), seeds(), st.integers(24, 120), st.integers(24, 120))
def test_a_clip_holds_foreground_and_image_and_labels_stay_together(side, seed, h, w):
    """Sec. 4.1: "random flip and random clip augmentation", as ours have it (D30)."""
    image, mask, void = part(square(side), (h, w), 96, np.random.default_rng(seed))
    assert image.shape == (3, h, w)
    assert image.dtype == torch.uint8
    assert mask.any()
    assert not (mask & void).any()
    white = image[0] > 140  # padding is darker, and so is what is black, however its brightness varies
    assert (white == mask).float().mean() > 0.85


@settings(max_examples=20)
@given(masks(8, 48), masks(8, 48), seeds())
def test_first_clicks_are_right_and_never_on_void(mask, void, seed):
    """D12, D21, D30: 1 to 5 on the object, 0 to 5 off it."""
    h, w = (min(a, b) for a, b in zip(mask.shape, void.shape, strict=True))
    mask = mask[:h, :w].clone()
    mask[h // 2, w // 2] = True
    void = void[:h, :w] & ~mask
    clicks = first_clicks(mask, void, np.random.default_rng(seed))
    assert 1 <= sum(c.positive for c in clicks) <= 5
    assert sum(not c.positive for c in clicks) <= 5
    assert all(bool(mask[c.row, c.col]) is c.positive and not void[c.row, c.col] for c in clicks)
