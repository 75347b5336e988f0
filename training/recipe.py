"""Sec. 4.1, Implementation Details: what a training run is made of, and the batches of its epochs.

Two recipes: the paper's (D28), every layer on crops of images; and the quick one (D30), of `--freeze-backbone` and of
the built-in sequence. Every draw follows from (seed, epoch, step or instance): a run can be taken up anywhere.
Decisions owned here: D28 (numbers), D30 (numbers).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from loaders.samples import Sample
from opo import Batch
from training.crops import REPLAY_P, Crop, crop_batch
from training.mosaics import FeatureCache, mosaic_batch

EPOCHS, BATCH = 30, 8  # Sec. 4.1
LEARNING_RATE, GAMMA, MOMENTUM, WEIGHT_DECAY = 7e-3, 0.95, 0.9, 5e-4  # Sec. 4.1
COOLDOWN = 0.1  # factor of the learning rate in the quick baseline's last epoch, D30
EMPHASIS = 10.0  # weight of a clicked pixel in the quick baseline's loss, beside 1, D30
ROBOT_P = 0.6  # share of quick-baseline batches with corrective clicks on the prediction in force, D30


class Recipe(NamedTuple):
    """What a training run is made with; stored in the checkpoint, and equal when it is resumed."""

    data: str
    samples: int
    backbone: str
    size: int  # short side of the images, network pixels
    window: int  # side of the crops
    epochs: int
    freeze_backbone: bool = False
    quick: bool = False  # D30's robot corrections, emphasis and cool-down instead of D28's replay
    batch: int = BATCH
    lr: float = LEARNING_RATE
    gamma: float = GAMMA
    seed: int = 0
    amp: bool = False  # bfloat16 where torch's autocast finds it safe
    init: str | None = None  # weights the backbone started from


class Step(NamedTuple):
    """One batch and what iterative training has to remember of it."""

    batch: Batch
    indices: list[int]  # of the instances
    crops: list[Crop]  # how they are shown; empty for mosaics


class Epoch(Dataset):
    """The steps of one epoch: every instance once as target, in an order drawn from (seed, epoch).

    source:  samples, or the quick baseline's cached features;  crops: how instances were shown in the last epoch (D28).
    rank, world:  this process takes the instances rank, rank + world, ... of each batch.
    """

    def __init__(
        self,
        source: Sequence[Sample] | FeatureCache,
        recipe: Recipe,
        epoch: int,
        crops: Mapping[int, Crop],
        rank: int = 0,
        world: int = 1,
    ):
        self.source, self.recipe, self.epoch, self.crops = source, recipe, epoch, crops
        self.rank, self.world = rank, world
        self.order = np.random.default_rng([recipe.seed, epoch]).permutation(len(source))

    def __len__(self) -> int:
        return len(self.source) // self.recipe.batch  # a rest smaller than a batch waits for another order

    def __getitem__(self, step):
        r = self.recipe
        first = range(len(self))[step] * r.batch
        indices = self.order[first : first + r.batch][self.rank :: self.world].tolist()
        rngs = [np.random.default_rng([r.seed, self.epoch, i, 0]) for i in indices]
        if isinstance(self.source, FeatureCache):
            return Step(mosaic_batch(self.source, indices, r.window, rngs), indices, [])
        again = [self.crops.get(i) if rng.random() < REPLAY_P else None for i, rng in zip(indices, rngs, strict=True)]
        batch, crops = crop_batch([self.source[i] for i in indices], again, rngs, r.size, r.window)
        return Step(batch, indices, crops)


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Exponential decay by the epoch (Sec. 4.1, D28); the quick baseline cools down in its last one (D30)."""
    cooling = recipe.quick and epoch == recipe.epochs - 1
    return recipe.lr * recipe.gamma**epoch * (COOLDOWN if cooling else 1)


def corrects(recipe: Recipe, epoch: int, step: int) -> bool:
    """Whether the robot user adds a click on the prediction in force to this batch of the quick baseline (D30)."""
    return recipe.quick and np.random.default_rng([recipe.seed, epoch, step, 1]).random() < ROBOT_P
