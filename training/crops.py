"""Sec. 4.1, Implementation Details: the inputs of the paper's recipe, and their replay in iterative training.

An input is a square crop of the image around foreground, flipped at random, with simulated clicks. In "the same
iterative training strategy in [36]" most inputs are, from the second epoch on, those of the last epoch with one more
click, with which the robot user corrects the prediction made then. Decisions owned here: D28 (inputs, replay).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clicks import Click, simulate_clicks
from loaders.samples import Sample
from model import network_image, network_mask
from opo import Batch, random_window
from robot_user import next_click
from support.files import pack_mask, unpack_mask

REPLAY_P = 0.7  # D28


class Crop(NamedTuple):
    """An input without its pixels: corner of the crop and clicks, in network pixels; the clicks are after the flip."""

    top: int
    left: int
    flip: bool
    clicks: list[Click]
    pred: bytes = b""  # the prediction, a (window, window) bool mask, packed and compressed; empty before the step


def new_crop(mask: Tensor, void: Tensor, window: int, rng: np.random.Generator) -> Crop:
    """A random crop around foreground with random flip and simulated clicks (Sec. 4.1, D28).

    mask, void:  (h, w) bool of the whole image at network resolution;  window: side of the crop, network pixels.
    """
    top, left = random_window(mask, (window, window), rng, step=1)
    crop = Crop(top, left, bool(rng.random() < 0.5), [])
    return crop._replace(clicks=simulate_clicks(cut(mask, crop, window), rng, void=cut(void, crop, window)))


def cut(x: Tensor, crop: Crop, window: int) -> Tensor:
    """The (..., window, window) part of (..., h, w) that a crop shows, flipped if it says so."""
    part = x[..., crop.top : crop.top + window, crop.left : crop.left + window]
    return part.flip(-1) if crop.flip else part


def remember(crop: Crop, pred: np.ndarray) -> Crop:
    """The crop with its prediction, a (window, window) bool mask."""
    return crop._replace(pred=pack_mask(torch.from_numpy(pred))[1])


def replayed(crop: Crop, mask: Tensor, void: Tensor) -> Crop:
    """The crop with one more robot click, on its prediction (after [36], D28); `mask` and `void` are cut already."""
    click = next_click(unpack_mask((mask.shape[0], mask.shape[1]), crop.pred), mask, void, crop.clicks)
    return crop._replace(clicks=[*crop.clicks, click] if click else crop.clicks, pred=b"")


def crop_batch(
    samples: Sequence[Sample], last: Sequence[Crop | None], rngs: Sequence[np.random.Generator], size: int
) -> tuple[Batch, list[Crop]]:
    """Network inputs of some instances, each a replay of its last crop or, where `last` is None, a new crop.

    size:     short side of the images and side of the crops, in network pixels.
    Returns:  the batch, its images (B, 3, size, size) uint8, and the crop of each instance.
    Raises:   ValueError for an instance that has no pixel at this resolution.
    """
    parts, shown = list[tuple[Tensor, ...]](), list[Crop]()
    for sample, before, rng in zip(samples, last, rngs, strict=True):
        image = network_image(sample.image, size, longest=math.inf)
        mask, void = (network_mask(m, image.shape[-2:]) for m in (sample.mask, sample.void))
        if not mask.any():
            raise ValueError(
                f"{sample.name}: the instance vanishes at a short side of {size}; use a larger --size or --min-area"
            )
        crop = before or new_crop(mask, void, size, rng)
        parts.append(tuple(cut(x, crop, size) for x in (image, mask, void)))
        shown.append(replayed(crop, *parts[-1][1:]) if before else crop)
    images, masks, voids = map(torch.stack, zip(*parts, strict=True))
    return Batch(images, masks, voids, [crop.clicks for crop in shown]), shown


def pack(crops: Mapping[int, Crop]) -> dict[int, tuple]:
    """Crops by instance as tuples of numbers and text, which a checkpoint can hold."""
    return {i: (*c[:3], [tuple(click) for click in c.clicks], c.pred.decode("latin-1")) for i, c in crops.items()}


def unpack(state: Mapping[int, tuple]) -> dict[int, Crop]:
    """The crops that `pack` was given."""
    return {
        i: Crop(top, left, flip, [Click(*c) for c in clicks], pred.encode("latin-1"))
        for i, (top, left, flip, clicks, pred) in state.items()
    }
