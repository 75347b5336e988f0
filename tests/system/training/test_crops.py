"""Sec. 4.1: crops, and "the same iterative training strategy in [36]". Rows: D10, D12, D24, D28."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import seeds
from toys import chart, rngs

from clicks import Click
from data import Sample, Synthetic
from robot_user import next_click
from training.crops import REPLAY_P, Crop, crop_batch, cut, new_crop, pack, remember, replayed, unpack
from training.recipe import PAPER, Steps
from training.trainer import Trainer

RECIPE = PAPER._replace(data="Synthetic", samples=40, backbone="resnet18", size=64, epochs=3, batch=4)


def clicks():
    return st.lists(st.builds(Click, st.integers(0, 15), st.integers(0, 15), st.booleans()), max_size=5)


def preds(n=16):
    return hnp.arrays(bool, (n, n))


@st.composite
def crops(draw):
    crop = Crop(draw(st.integers(0, 900)), draw(st.integers(0, 900)), draw(st.booleans()), draw(clicks()))
    return remember(crop, draw(preds())) if draw(st.booleans()) else crop


def shown_once(net, tmp_path, recipe=RECIPE):
    """A trainer after its first epoch on the built-in scenes."""
    trainer = Trainer(net, Synthetic(recipe.samples, size=64), recipe, tmp_path / "out.pt")
    trainer.run_stretch(())
    return trainer


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_from_the_second_epoch_most_instances_are_shown_again_with_one_robot_click_more(net, tmp_path):
    """D28: "with p = 0.7, replay the last epoch's clicks plus one robot click on its prediction"."""
    trainer = shown_once(net, tmp_path)
    assert sorted(trainer.last) == list(range(40))
    steps = Steps(trainer.samples, RECIPE, trainer.last)
    again = 0
    for step in (steps[k] for k in range(10, 20)):
        for i, crop, mask, void in zip(step.indices, step.crops, step.batch.mask, step.batch.void, strict=True):
            before = trainer.last[i]
            if crop[:3] == before[:3] and crop.clicks[: len(before.clicks)] == before.clicks:
                again += 1
                assert crop == replayed(before, mask, void)
                assert len(crop.clicks) == len(before.clicks) + 1
    assert 0.5 < again / 40 < 0.9
    assert REPLAY_P == 0.7


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(preds(), preds(), preds(), clicks(), st.booleans())
def test_the_correction_is_the_robot_user_s_on_the_remembered_prediction(mask, off, pred, earlier, flip):
    """[36]; D11, D28: also where nothing is left to correct; D12: void is not."""
    gt, void = torch.from_numpy(mask & ~off), torch.from_numpy(off)
    crop = replayed(remember(Crop(0, 0, flip, earlier), pred), gt, void)
    click = next_click(torch.from_numpy(pred), gt, void, earlier)
    assert click is None or not off[click.row, click.col]
    assert crop == Crop(0, 0, flip, [*earlier, click] if click else earlier)


@given(st.dictionaries(st.integers(0, 30_000), crops(), max_size=6))
def test_crops_survive_a_checkpoint(found):
    """D28: the state of iterative training "is part of a checkpoint"."""
    file = io.BytesIO()
    torch.save(pack(found), file)
    file.seek(0)
    assert unpack(torch.load(file, weights_only=True)) == found


@given(seeds(), st.integers(8, 60))
def test_a_replayed_crop_shows_the_same_pixels(seed, radius):
    """D28: crop and flip are replayed with the clicks."""
    rng = np.random.default_rng(seed)
    mask = np.hypot(*(np.mgrid[:96, :128] - 40)) < radius
    sample = Sample(rng.integers(0, 256, (96, 128, 3), np.uint8), mask, np.zeros_like(mask), "", "")
    one, shown = crop_batch([sample], [None], [rng], 64)
    last = remember(shown[0], np.zeros((64, 64), bool))
    two, _ = crop_batch([sample], [last], [rng], 64)
    assert torch.equal(one.x, two.x)
    assert torch.equal(one.mask, two.mask)
    assert two.clicks[0][:-1] == one.clicks[0]
    assert one.mask[0][tuple(two.clicks[0][-1][:2])]  # all was missed, so the correction is on the object


@pytest.mark.parametrize("seed", range(5))
def test_no_click_of_a_new_crop_lies_on_void(seed):
    """D12, D28: where all beside the object is void, no click is negative."""
    mask = torch.zeros(96, 128, dtype=torch.bool)
    mask[20:60, 30:70] = True
    half = torch.arange(96)[:, None] < torch.full((1, 128), 48)
    crop = new_crop(mask, ~mask, 64, np.random.default_rng(seed))
    assert crop.clicks
    assert all(c.positive for c in crop.clicks)
    crop = new_crop(mask, half & ~mask, 64, np.random.default_rng(seed))
    assert not any(cut(half & ~mask, crop, 64)[c.row, c.col] for c in crop.clicks)


def test_a_long_image_keeps_its_short_side_at_the_size_of_training():
    """Sec. 4.1, D28: no limit on the long side, since crops have one size; the limit of use (D10) is not for these."""
    image = np.stack([*np.mgrid[:64, :1536] % 256, np.mgrid[:64, :1536][1] // 256], axis=-1).astype(np.uint8)
    mask = np.zeros((64, 1536), bool)
    mask[30:34, 1400:1404] = True
    batch, (crop,) = crop_batch([Sample(image, mask, mask & ~mask, "", "")], [None], [np.random.default_rng(0)], 64)
    assert batch.x.shape == (1, 3, 64, 64)
    assert torch.equal(batch.x[0], cut(torch.from_numpy(image).permute(2, 0, 1), crop, 64))
    assert int(batch.mask.sum()) == 16


def test_crops_and_flips_keep_image_mask_and_void_together():
    """Sec. 4.1: "random flip and random clip augmentation" (D28)."""
    samples = [chart(i) for i in range(12)]
    batch, _ = crop_batch(samples, [None] * 12, rngs(12), 64)
    pixels = batch.x.long()  # (12, 3, 64, 64): mask, row, column
    for sample, (shown, row, col), mask, void in zip(samples, pixels, batch.mask, batch.void, strict=True):
        assert torch.equal(shown == 255, mask)
        assert torch.equal(void, torch.from_numpy(sample.void)[row, col])
        assert mask.any()
        assert len(row.unique()) == len(col.unique()) == 64
    assert {bool(col[0, 0] > col[0, -1]) for _, _, col in pixels} == {False, True}  # flipped or not
    assert len({(int(p[1].min()), int(p[2].min())) for p in pixels}) > 1


def test_an_instance_without_a_pixel_at_network_resolution_is_an_error():
    """D10, D28: never skip a sample without having been asked to."""
    mask = np.zeros((512, 512), bool)
    mask[0, 0] = True
    with pytest.raises(ValueError, match=r"a speck.*64"):
        crop_batch([Sample(np.zeros((512, 512, 3), np.uint8), mask, ~mask, "", "a speck")], [None], rngs(1), 64)
