"""Sec. 4.1, Implementation Details: what a training run is made of. Rows: D28, D30."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from networks import shake
from toys import small

import train
from data import Sample, Synthetic
from training import recipe
from training.recipe import (
    CORRECTED,
    CUDA,
    INPUTS,
    ORDER,
    PAPER,
    RECIPES,
    Steps,
    average,
    corrections,
    learning_rate,
    optimiser_of,
    stream,
)


def shares(net, optimiser):
    """(parameters of the backbone, the others) in each group of an optimiser."""
    backbone = {id(p) for p in net.backbone.parameters()}
    return [
        [sum((id(p) in backbone) is part for p in g["params"]) for part in (True, False)]
        for g in optimiser.param_groups
    ]


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_the_paper_s_recipe_has_its_numbers():
    """Sec. 4.1: batch 8, 30 epochs, 384 x 384, 7e-3 x 0.95, ResNet-101 (D28)."""
    recipe = train.recipe_of(train.parse(["--data", "Synthetic", "--recipe", "paper", "--device", "cpu"]), 25_832)
    assert (recipe.batch, recipe.epochs, recipe.size, recipe.lr) == (8, 30, 384, 7e-3)
    assert recipe.backbone == "resnet101"
    assert (recipe.epoch_steps, recipe.steps) == (3229, 96_870)


def test_the_paper_s_optimiser_is_sgd_on_everything(net):
    """Sec. 4.1: "SGD"; D28: momentum 0.9, weight decay 5e-4."""
    optimiser = optimiser_of(net, PAPER)
    assert type(optimiser) is torch.optim.SGD
    (group,) = optimiser.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"], group["scale"]) == (7e-3, 0.9, 5e-4, 1)
    assert {id(p) for p in group["params"]} == {id(p) for p in net.parameters()}


@given(st.integers(0, 29), st.integers(0, 3228))
def test_the_paper_s_learning_rate_falls_by_0_95_an_epoch(epoch, k):
    """Sec. 4.1: "initial learning rate of 7e-3 and gamma of 0.95 for each epoch" (D28)."""
    assert learning_rate(PAPER._replace(samples=25_832), 3229 * epoch + k) == pytest.approx(7e-3 * 0.95**epoch)


# ---- D30 -------------------------------------------------------------------------------------------------------------


def test_our_recipe_has_its_numbers():
    """D30: epochs, batch, largest learning rate, short side; a ResNet-50."""
    r = train.recipe_of(train.parse(["--data", "Synthetic", "--device", "cpu"]), 25_000)
    assert (r.name, r.epochs, r.batch, r.lr, r.size) == ("cuda", 45, 32, 5e-4, 384)
    assert (r.backbone, r.paper) == ("resnet50", False)


@pytest.mark.parametrize("samples", [25_000, 640])
def test_our_learning_rate_has_linear_warm_up_over_200_steps_or_a_tenth_then_cosine_decay_to_a_hundredth(samples):
    """D30, against a formula of its own."""
    recipe, rise = CUDA._replace(samples=samples), 200 if samples == 25_000 else 90  # 45 epochs of 20 steps
    rates = [learning_rate(recipe, step) / recipe.lr for step in range(recipe.steps + 1)]
    assert rates[:rise] == pytest.approx([(step + 1) / rise for step in range(rise)])
    assert rates[rise - 1] == rates[rise] == max(rates) == 1
    assert rates[-1] == pytest.approx(0.01)
    for step in range(rise, recipe.steps, 97):
        angle = math.pi * (step - rise) / (recipe.steps - rise)
        assert rates[step] == pytest.approx(0.01 + 0.99 * math.cos(angle / 2) ** 2)


def test_our_optimiser_is_adamw_and_moves_the_backbone_at_a_tenth_of_the_rate(net):
    """D30: weight decay 1e-2; each parameter is in one group."""
    optimiser = optimiser_of(net, CUDA)
    assert type(optimiser) is torch.optim.AdamW
    assert [(g["scale"], g["weight_decay"]) for g in optimiser.param_groups] == [(1.0, 1e-2), (0.1, 1e-2)]
    n, backbone = len(list(net.parameters())), len(list(net.backbone.parameters()))
    assert shares(net, optimiser) == [[0, n - backbone], [backbone, 0]]


def test_our_corrections_are_0_to_3_follow_from_the_step_and_are_none_in_the_paper_s_recipe():
    """D30: a number for each step and seed; D28 corrects by replay instead."""
    drawn = [corrections(CUDA, step) for step in range(400)]
    assert (
        drawn
        == [corrections(CUDA, step) for step in range(400)]
        != [corrections(CUDA._replace(seed=1), s) for s in range(400)]
    )
    assert all(drawn.count(n) > 60 for n in range(4))
    assert set(drawn) == set(range(4))
    assert not any(corrections(PAPER, step) for step in range(100))


def test_the_average_has_a_horizon_of_500_steps_or_a_tenth_of_those_so_far(net):
    """D30, against the recursion in NumPy: weights and BatchNorm statistics; counters stay."""
    mean, net = copy.deepcopy(net), copy.deepcopy(net)
    names = ["decoder.classifier.weight", "backbone.bn1.running_mean", "backbone.conv1.weight"]
    names = [k for k, v in net.state_dict().items() if v.is_floating_point()][::9]
    expected = {k: mean.state_dict()[k].double().numpy().copy() for k in names}
    for seed, step in enumerate((1, 2, 10, 4989, 4990, 100_000)):
        shake(net, seed)
        average(mean, net, step)
        reach = 1 + step / 10 if step < 4990 else 500
        for k, m in expected.items():
            m += (net.state_dict()[k].double().numpy() - m) / reach
    for k, m in expected.items():
        np.testing.assert_allclose(mean.state_dict()[k].numpy(), m, rtol=1e-4, atol=1e-6)
    assert not any(v.any() for v in mean.state_dict().values() if not v.is_floating_point())


# ---- epochs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_every_instance_is_the_target_once_an_epoch_in_an_order_of_its_own(recipe):
    """Sec. 4.1, epochs; D28, D30: seed and epoch determine the order, so a resumed run goes on as it would have."""
    mask = np.zeros((64, 64), bool)
    mask[20:44, 20:44] = True
    samples = [Sample(np.zeros((64, 64, 3), np.uint8), mask, mask & ~mask, "", str(i)) for i in range(8)]
    steps = Steps(samples, small(recipe, 8, epochs=2, batch=4), {})

    def shown(epoch):
        return [i for k in (2 * epoch, 2 * epoch + 1) for i in steps[k].indices]

    assert shown(0) == shown(0) != shown(1)
    assert sorted(shown(0)) == sorted(shown(1)) == list(range(8))


# ---- random streams --------------------------------------------------------------------------------------------------

NUMBERS = st.integers(0, 2**32 - 1)
STREAMS = st.one_of(
    st.tuples(st.just(ORDER), st.tuples(NUMBERS)),  # epoch
    st.tuples(st.just(INPUTS), st.tuples(NUMBERS, NUMBERS)),  # epoch, instance
    st.tuples(st.just(CORRECTED), st.tuples(NUMBERS)),  # step
)


@given(NUMBERS, STREAMS, STREAMS)
@example(0, (ORDER, (7,)), (INPUTS, (7, 0)))
@example(0, (INPUTS, (7, 1)), (CORRECTED, (7,)))
@example(5, (ORDER, (7,)), (CORRECTED, (7,)))
def test_no_two_purposes_and_no_two_places_of_a_run_share_a_random_stream(seed, one, other):
    """D28, D30: NumPy pads seeds with zeros, so [seed, epoch] alone would be [seed, epoch, 0, 0]."""
    states = [stream(p, seed, *at).bit_generator.state for p, at in (one, other)]
    assert (states[0] == states[1]) is (one == other)


def test_a_step_draws_its_order_inputs_and_corrections_from_streams_of_their_own(monkeypatch):
    """D28, D30: what is asked for, by purpose and place."""
    asked = []
    monkeypatch.setattr(recipe, "stream", lambda *place: asked.append(place) or stream(*place))
    samples = Synthetic(8, size=64)
    for made, epoch in ((small(PAPER, 8, epochs=2, batch=4), 1), (small(CUDA, 8, epochs=2, batch=4, seed=3), 1)):
        asked.clear()
        indices = Steps(samples, made, {})[3].indices
        corrections(made, 3)
        expected = [(ORDER, made.seed, epoch), *((INPUTS, made.seed, epoch, i) for i in indices)]
        assert asked == expected + ([] if made.paper else [(CORRECTED, made.seed, 3)])
