"""Sec. 4.1, Implementation Details: what a training run is made of. Rows: D28, D30."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import shake
from toys import small

import train
from data import Synthetic
from training.recipe import CUDA, PAPER, RECIPES, Steps, average, corrections, learning_rate, optimiser_of


def test_the_recipes_have_their_numbers():
    """Sec. 4.1: batch 8, 30 epochs, 384 x 384, 7e-3, ResNet-101 (D28); ours has a ResNet-50 (D30)."""
    paper, ours = (
        train.recipe_of(train.parse(["--data", "Synthetic", "--device", "cpu", "--recipe", name]), 25_832)
        for name in ("paper", "cuda")
    )
    assert paper[:6] == ("paper", "resnet101", 384, 30, 8, 7e-3)
    assert (paper.epoch_steps, paper.steps) == (3229, 96_870)
    assert ours[:6] == ("cuda", "resnet50", 384, 45, 32, 5e-4)
    assert (paper.paper, ours.paper) == (True, False)
    assert train.recipe_of(train.parse(["--device", "cpu"]), 25_832) == ours._replace(data="PascalVOC")


def test_the_paper_s_optimiser_is_sgd_on_everything_and_ours_adamw_with_a_tenth_of_the_rate_for_the_backbone(net):
    """Sec. 4.1: "SGD"; D28: momentum 0.9, weight decay 5e-4; D30: weight decay 1e-2; each parameter in one group."""
    paper, ours = (optimiser_of(net, recipe) for recipe in (PAPER, CUDA))
    assert (type(paper), type(ours)) == (torch.optim.SGD, torch.optim.AdamW)
    (group,) = paper.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"], group["scale"]) == (7e-3, 0.9, 5e-4, 1)
    assert [(g["lr"], g["weight_decay"], g["scale"]) for g in ours.param_groups] == [(5e-4, 0.01, 1), (5e-4, 0.01, 0.1)]
    backbone = {id(p) for p in net.backbone.parameters()}
    assert {id(p) for p in ours.param_groups[1]["params"]} == backbone
    everything = {id(p) for p in net.parameters()}
    assert {id(p) for p in ours.param_groups[0]["params"]} == everything - backbone
    assert {id(p) for p in group["params"]} == everything


@given(st.integers(0, 29), st.integers(0, 3228))
def test_the_paper_s_learning_rate_falls_by_0_95_an_epoch(epoch, k):
    """Sec. 4.1: "initial learning rate of 7e-3 and gamma of 0.95 for each epoch" (D28)."""
    assert learning_rate(PAPER._replace(samples=25_832), 3229 * epoch + k) == pytest.approx(7e-3 * 0.95**epoch)


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


def test_our_corrections_are_0_to_3_follow_from_the_step_and_are_none_in_the_paper_s_recipe():
    """D30: a number for each step and seed; D28 corrects by replay instead."""
    drawn, again, other = ([corrections(CUDA._replace(seed=seed), i) for i in range(400)] for seed in (0, 0, 1))
    assert drawn == again != other
    assert all(drawn.count(n) > 60 for n in range(4))
    assert set(drawn) == set(range(4))
    assert not any(corrections(PAPER, step) for step in range(100))


def test_the_average_has_a_horizon_of_500_steps_or_a_tenth_of_those_so_far(net):
    """D30, against the recursion in NumPy: weights and BatchNorm statistics; counters stay."""
    mean, net = copy.deepcopy(net), copy.deepcopy(net)
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


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_every_instance_is_the_target_once_an_epoch_in_an_order_of_its_own(recipe):
    """Sec. 4.1, epochs; D28, D30: seed and epoch determine the order, so a resumed run goes on as it would have."""
    steps = Steps(Synthetic(8, size=64), small(recipe, 8, epochs=2, batch=4), {})
    first, again, second = ([i for k in (0, 1) for i in steps[2 * e + k].indices] for e in (0, 0, 1))
    assert first == again != second
    assert sorted(first) == sorted(second) == list(range(8))
