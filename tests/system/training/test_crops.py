"""Sec. 4.1: crops, and "the same iterative training strategy in [36]". Rows: D10, D12, D24, D28."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toys import chart, rngs

from clicks import Click
from data import Sample, Synthetic
from robot_user import next_click
from training.crops import REPLAY_P, Crop, crop_batch, cut, new_crop, remember, replayed
from training.mosaics import mosaic_batch
from training.recipe import PAPER, Steps
from training.trainer import Trainer

RECIPE = PAPER._replace(data="Synthetic", samples=40, backbone="resnet18", size=64, epochs=3, batch=4)
preds = hnp.arrays(bool, (16, 16))
clicks = st.lists(st.builds(Click, st.integers(0, 15), st.integers(0, 15), st.booleans()), max_size=5)


def test_from_the_second_epoch_most_instances_are_shown_again_with_one_robot_click_more(net, tmp_path):
    """D28: "with p = 0.7, replay the last epoch's clicks plus one robot click on its prediction"."""
    trainer = Trainer(net, Synthetic(40, size=64), RECIPE, tmp_path / "out.pt")
    trainer.run_stretch(())
    assert sorted(trainer.last) == list(range(40))
    steps, again = Steps(trainer.samples, RECIPE, trainer.last), 0
    for step in (steps[k] for k in range(10, 20)):
        for i, crop, mask, void in zip(step.indices, step.crops, step.batch.mask, step.batch.void, strict=True):
            before = trainer.last[i]
            if crop[:3] == before[:3] and crop.clicks[: len(before.clicks)] == before.clicks:
                again += 1
                assert crop == replayed(before, mask, void)
                assert len(crop.clicks) == len(before.clicks) + 1
    assert 0.5 < again / 40 < 0.9
    assert REPLAY_P == 0.7


@given(preds, preds, preds, clicks, st.booleans())
def test_the_correction_is_the_robot_user_s_on_the_remembered_prediction(mask, off, pred, earlier, flip):
    """[36]; D11, D28: also where nothing is left to correct; D12: void is not."""
    gt, void = torch.from_numpy(mask & ~off), torch.from_numpy(off)
    crop = replayed(remember(Crop(0, 0, flip, earlier), pred), gt, void)
    click = next_click(torch.from_numpy(pred), gt, void, earlier)
    assert click is None or not off[click.row, click.col]
    assert crop == Crop(0, 0, flip, [*earlier, click] if click else earlier)


@pytest.mark.parametrize("seed", range(5))
def test_no_click_of_a_new_crop_lies_on_void(seed):
    """D12, D28: where all beside the object is void, no click is negative."""
    mask, half = torch.zeros(2, 96, 128, dtype=torch.bool)
    mask[20:60, 30:70], half[:48] = True, True
    for void in (~mask, half & ~mask):
        crop = new_crop(mask, void, 64, np.random.default_rng(seed))
        assert any(c.positive for c in crop.clicks)
        assert not any(cut(void, crop, 64)[c.row, c.col] for c in crop.clicks)
    assert {c.positive for c in new_crop(mask, ~mask, 64, np.random.default_rng(seed)).clicks} == {True}


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


@pytest.mark.parametrize("made", [crop_batch, mosaic_batch])
def test_an_instance_without_a_pixel_at_network_resolution_is_an_error(made):
    """D10, D28, D30: never skip a sample without having been asked to."""
    mask = np.zeros((2048, 2048), bool)
    mask[5, 5] = True
    speck = Sample(np.zeros((2048, 2048, 3), np.uint8), mask, ~mask, "", "a speck")
    given = ([speck] * 8, [None] * 8, rngs(8), 64) if made is crop_batch else ([speck], [0] * 8, 64, rngs(8))
    with pytest.raises(ValueError, match=r"^a speck: .* 64; use a larger --size or --min-area"):
        made(*given)
