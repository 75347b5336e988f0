"""Sec. 4.1 and D30: losses and the robot user's corrections in training. Rows: D12, D28, D30."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toys import chart, rngs, small

from clicks import click_maps
from opo import Batch, click_loss
from robot_user import next_click
from training.crops import crop_batch
from training.losses import corrected, focal_loss, on_device, training_loss
from training.recipe import CUDA, PAPER


def answering(z):
    """A network with the logits (B, h, w) it was given, whatever it sees."""
    return SimpleNamespace(purify=lambda F: F, segment=lambda R, E_0: z[:, None])


labelled = st.tuples(
    hnp.arrays(np.float64, (2, 6, 7), elements=st.floats(-12, 12)),  # logits
    *[hnp.arrays(np.bool_, (2, 6, 7))] * 2,  # mask, void
)


def terms(z, mask):
    """Of each pixel -log p and (1 - p)^2, p the probability that it gives to the right answer (Sofiiuk et al. 2019)."""
    p = 1 / (1 + np.exp(np.where(mask, -z, z)))
    return -np.log(p), (1 - p) ** 2


def focal_sums(z, mask, void):
    """For each image the sums of w ce and of w outside void; 1e-12 at least."""
    ce, w = terms(z, mask)
    return (w * ce * ~void).sum(axis=(1, 2)), (w * ~void).sum(axis=(1, 2)).clip(1e-12)


def loss_of(z, mask, void):
    batch = Batch([], *map(torch.from_numpy, (mask, void)), [[], []])
    return float(click_loss(answering(torch.from_numpy(z)), batch)[0])


def focal(z, mask, void):
    return focal_loss(*map(torch.from_numpy, (z, mask, void)))


@given(labelled)
def test_the_paper_s_loss_is_the_mean_of_binary_cross_entropies(case):
    """Sec. 4.1: "binary cross entropy"; D12: without void."""
    z, mask, void = case
    ce = terms(z, mask)[0][~void]
    assert loss_of(*case) == pytest.approx(ce.mean() if ce.size else 0, rel=1e-5, abs=1e-5)


@given(labelled)
def test_the_focal_loss_is_normalised_in_each_image_and_averaged_over_them(case):
    """D30; Sofiiuk et al. 2019: half of sum(w ce) / sum(w) of an image, w = (1 - p)^2, void left out (D12)."""
    losses, totals = focal_sums(*case)
    assert float(focal(*case)) == pytest.approx(np.mean(0.5 * losses / totals), rel=1e-6, abs=1e-9)


@given(labelled)
@example((np.full((2, 6, 7), 3.0), np.zeros((2, 6, 7), bool), np.ones((2, 6, 7), bool)))  # nothing but void
def test_the_denominator_of_the_focal_loss_takes_no_gradient(case):
    """D30: the gradient of a pixel is that of its own w ce over a sum that stays; none on void."""
    z, mask, void = case
    leaf = torch.from_numpy(z).requires_grad_()
    focal_loss(leaf, *map(torch.from_numpy, (mask, void))).backward()
    (_, totals), step = focal_sums(*case), 1e-5
    above, below = (np.prod(terms(z + d, mask), axis=0) for d in (step, -step))
    slope = (above - below) / (2 * step) * ~void
    np.testing.assert_allclose(leaf.grad, 0.5 * slope / totals[:, None, None] / 2, rtol=1e-4, atol=1e-6)


def scenes(seed=0, n=3):
    """A batch of charts with much void."""
    batch, _ = crop_batch([chart(seed + i) for i in range(n)], [None] * n, rngs(n, seed), 64)
    return on_device(batch, "cpu")


def maps(batch):
    return click_maps(batch.clicks, batch.mask.shape[-2:])


@settings(max_examples=4)
@given(st.integers(0, 10), st.integers(1, 3))
def test_the_clicks_that_are_added_are_the_robot_user_s_on_the_eval_mode_prediction(pristine, seed, more):
    """Sec. 4.1: "the same iterative training strategy in [36]"; D11, D12, D30: one after the other, never on void."""
    net, batch = pristine, scenes(seed)
    with torch.no_grad():
        found = corrected(net, net.features(batch.x), batch, more).clicks
        clicks = [list(c) for c in batch.clicks]
        for _ in range(more):
            preds = net(batch.x, maps(batch._replace(clicks=clicks)))[:, 0] > 0
            for i, pred in enumerate(preds):
                clicks[i].append(next_click(pred, batch.mask[i], batch.void[i], clicks[i]))
    assert found == clicks
    assert not any(batch.void[i, c.row, c.col] for i in range(3) for c in found[i])


def test_corrections_leave_every_mode_and_statistic_as_they_were(net):
    """D30: the head corrects in eval mode and goes on in the modes that it had, part by part."""
    net.train()
    net.decoder.eval()
    net.backbone.eval()
    batch, modes = scenes(), [m.training for m in net.modules()]
    with torch.no_grad():
        F = net.features(batch.x)
        state = {k: v.clone() for k, v in net.state_dict().items()}
        corrected(net, F, batch, 2)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


def test_our_loss_is_the_focal_loss_after_corrections_and_runs_the_backbone_once(net):
    """D30: the clicks come from the features of the step; the paper's loss is cross-entropy and adds none (D28)."""
    batch, runs = scenes(), []
    with torch.no_grad():
        more = corrected(net, net.features(batch.x), batch, 2)
        expected = focal_loss(net(batch.x, maps(more))[:, 0], batch.mask, batch.void)
        net.backbone.register_forward_hook(lambda *_: runs.append(1))
        loss, z = training_loss(net, small(CUDA, 3), batch, 2)
        assert len(runs) == 1
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)
        assert z.shape == batch.mask.shape
        loss, z = training_loss(net, small(PAPER, 3), batch)
        assert float(loss) == pytest.approx(float(click_loss(net, batch)[0]), rel=1e-5)
        assert float(loss) != pytest.approx(float(focal_loss(z, batch.mask, batch.void)), rel=1e-2)
