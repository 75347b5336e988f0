"""Sec. 4.1, Implementation Details: what a training run is made of: batches, learning rate, optimiser.

Two recipes: the paper's (D28), and ours (D30). Purpose, seed, and epoch, step or instance
determine every random draw, so a run can be resumed anywhere.
Decisions owned here: D28 (numbers), D30 (numbers).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from loaders.samples import Sample
from model import SIISNet
from opo import Batch
from training.crops import REPLAY_P, Crop, crop_batch
from training.mosaics import mosaic_batch

GAMMA, MOMENTUM, WEIGHT_DECAY = 0.95, 0.9, 5e-4  # Sec. 4.1
BACKBONE_RATE = 0.1  # the backbone's learning rate as a fraction of the head's, D30
ADAMW_DECAY, MAX_GRAD_NORM = 1e-2, 1.0  # D30
WARM_UP, LAST_RATE = 200, 0.01  # steps of linear warm-up, and the final fraction of the learning rate, D30
EMA_HORIZON = 500  # steps that the averaged weights reach back, D30
CORRECTIONS = 3  # at most so many robot clicks are added to each input of a batch, D30
ORDER, INPUTS, CORRECTED = 3, 4, 5  # purposes of random streams; session.py has 1, experiments/ 2 and 10


class Recipe(NamedTuple):
    """What a training run is made with; stored in the checkpoint, and equal when it is resumed."""

    name: str  # the key in RECIPES that it is, or is varied from
    backbone: str
    size: int  # short side of the images and side of what is seen of them, network pixels
    epochs: int
    batch: int
    lr: float
    amp: bool = False  # bfloat16 where torch's autocast finds it safe
    validation_interval: int = 1  # epochs
    seed: int = 0
    data: str = ""
    samples: int = 0
    init: str | None = None  # weights the backbone started from

    @property
    def paper(self) -> bool:
        """Whether this is the paper's training (D28): SGD, replay, cross-entropy; else ours (D30)."""
        return self.name == "paper"

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch; the instances of an incomplete last batch are left out."""
        return self.samples // self.batch

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.epoch_steps


PAPER = Recipe("paper", "resnet101", size=384, epochs=30, batch=8, lr=7e-3)  # Sec. 4.1, D28
CUDA = Recipe("cuda", "resnet50", size=384, epochs=45, batch=32, lr=5e-4, amp=True, validation_interval=15)  # D30
RECIPES = {recipe.name: recipe for recipe in (PAPER, CUDA)}


class Step(NamedTuple):
    """One batch and what iterative training has to remember of it."""

    batch: Batch
    indices: list[int]  # of the instances
    crops: list[Crop]  # how they are shown (D28); empty for mosaics


class Steps:
    """The steps of a run by their number: each epoch has every instance once, in random order.

    crops:  how instances were shown in the previous epoch (D28).
    """

    def __init__(self, samples: Sequence[Sample], recipe: Recipe, crops: Mapping[int, Crop]):
        self.samples, self.recipe, self.crops = samples, recipe, crops

    def __getitem__(self, step: int) -> Step:
        r = self.recipe
        epoch, k = divmod(step, r.epoch_steps)
        order = stream(ORDER, r.seed, epoch).permutation(len(self.samples))
        indices = order[k * r.batch : (k + 1) * r.batch].tolist()
        rngs = [stream(INPUTS, r.seed, epoch, i) for i in indices]
        if not r.paper:
            return Step(mosaic_batch(self.samples, indices, r.size, rngs), indices, [])
        again = [self.crops.get(i) if rng.random() < REPLAY_P else None for i, rng in zip(indices, rngs, strict=True)]
        batch, crops = crop_batch([self.samples[i] for i in indices], again, rngs, r.size)
        return Step(batch, indices, crops)


def stream(purpose: int, seed: int, *place: int) -> np.random.Generator:
    """The random generator of one purpose and one epoch, step or instance.

    The purpose stands first because NumPy pads seeds with zeros: [seed, epoch] would equal [seed, epoch, 0, 0].
    """
    return np.random.default_rng([purpose, seed, *place])


def learning_rate(recipe: Recipe, step: int) -> float:
    """Exponential decay by the epoch (Sec. 4.1, D28); in ours linear warm-up, then cosine decay (D30)."""
    if recipe.paper:
        return recipe.lr * GAMMA ** (step // recipe.epoch_steps)
    warm_up = min(WARM_UP, recipe.steps // 10)
    if step < warm_up:
        return recipe.lr * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, recipe.steps - warm_up)
    return recipe.lr * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * progress)) / 2)


def corrections(recipe: Recipe, step: int) -> int:
    """How many robot clicks are added to each input before this step (D30); none in D28."""
    if recipe.paper:
        return 0
    return int(stream(CORRECTED, recipe.seed, step).integers(CORRECTIONS, endpoint=True))


def optimiser_of(net: SIISNet, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD on everything (Sec. 4.1, D28), or AdamW with a lower learning rate for the backbone (D30).

    Each group's `scale` multiplies the recipe's learning rate.
    """
    if recipe.paper:
        groups = [{"params": list(net.parameters()), "scale": 1.0}]
        return torch.optim.SGD(groups, recipe.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    backbone = list(net.backbone.parameters())
    known = {id(p) for p in backbone}
    head = [p for p in net.parameters() if id(p) not in known]
    groups = [{"params": head, "scale": 1.0}, {"params": backbone, "scale": BACKBONE_RATE}]
    return torch.optim.AdamW(groups, recipe.lr, weight_decay=ADAMW_DECAY, fused=head[0].is_cuda or None)


def average(mean: SIISNet, net: SIISNet, step: int) -> None:
    """Exponential moving average of weights and statistics after the step-th step (D30).

    Its horizon is EMA_HORIZON steps, or a tenth of the steps so far if that is shorter.
    """
    averaged, newest = ([v for v in m.state_dict().values() if v.is_floating_point()] for m in (mean, net))
    get_ema_multi_avg_fn(1 - 1 / min(EMA_HORIZON, 1 + step / 10))(averaged, newest, None)
