"""D30: what our own recipes are shown, clips of images at a random scale, alone or two side by side.

No part of the paper's recipe. Two things are taught here that crops alone do not: outlines of small objects, which are
shown larger; and to follow the click, since in a mosaic of two images only the click says which object is meant.
Decisions owned here: D30 (inputs).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from loaders.samples import Sample
from model import MEAN
from opo import NEGATIVE, POSITIVE, Batch
from robot_user import Click, simulate_clicks

MOSAIC_P = 0.25  # share of the inputs that are made of two images
CENTRE_P = 0.5  # share of the inputs with one click at the object's centre; the others have as many as in OPO, D21
SMALL = 0.03  # of the image: an object below that is shown larger
SCALES, SMALL_SCALES = (0.75, 2.0), (1.0, 2.5)  # against the size of use
MIN_AREA, MAX_SCALE = 256, 4.0  # pixels that an object is shown with, one cell of F_4, unless that takes a larger scale
CONTRAST, BRIGHTNESS = 0.2, 0.1  # at most so much more or less
TRIES = 16  # clips that are drawn until one holds foreground at network resolution
GRID = 4  # network pixels between those that a first click can be on: distances cost a sixteenth
PADDING = np.array([[[round(255 * v)]] for v in MEAN], np.uint8)  # (3, 1, 1), beside an image: 0 once normalised

Part = tuple[Tensor, Tensor, Tensor]  # image (3, h, w) uint8, mask (h, w) bool, void (h, w) bool


def mosaic_batch(
    samples: Sequence[Sample], indices: Sequence[int], size: int, window: int, rngs: Sequence[np.random.Generator]
) -> Batch:
    """Inputs for some instances: a clip of the image or, in some, half of it and half of another image's.

    size:     short side of the images at scale 1;  window: side of the inputs, network pixels.
    rngs:     one for each instance.
    Returns:  a batch of images (B, 3, window, window) uint8.
    Raises:   ValueError for an instance that has no pixel at this resolution.
    """
    square = (window, window)
    images = torch.empty(len(indices), 3, *square, dtype=torch.uint8)
    masks, voids = (torch.empty(len(indices), *square, dtype=torch.bool) for _ in range(2))
    clicks = list[list[Click]]()
    for i, rng, image, mask, void in zip(indices, rngs, images, masks, voids, strict=True):
        sample = samples[i]
        other = _another(samples, sample.name, rng) if rng.random() < MOSAIC_P else None
        made = part(sample, square, size, rng) if other is None else _pair(sample, other, size, window, rng)
        for row, x in zip((image, mask, void), made, strict=True):
            row.copy_(x)
        clicks.append(first_clicks(mask, void, rng))
    return Batch(images, masks, voids, clicks)


def part(sample: Sample, shape: tuple[int, int], size: int, rng: np.random.Generator) -> Part:
    """A random clip of an image that holds foreground, at a random scale, flipped or not, its colours varied.

    shape:  (h, w) of the result; where the image is smaller there is void beside it.
    """
    pixels = np.flatnonzero(sample.mask)
    zoom = size / min(sample.mask.shape) * _scale(len(pixels), sample.mask.shape, size, rng)
    for _ in range(TRIES):
        at = divmod(int(pixels[rng.integers(len(pixels))]), sample.mask.shape[1])
        sides = zip(at, sample.mask.shape, shape, strict=True)
        clip, (rows, columns), place = zip(*(_clip(*side, zoom, rng) for side in sides), strict=True)
        labels = sample.mask[clip] + np.uint8(2) * sample.void[clip]
        seen = labels.take(columns, axis=1).take(rows, axis=0)
        if (seen == 1).any():
            break
    else:
        raise ValueError(
            f"{sample.name}: the instance vanishes at a short side of {size}; use a larger --size or --min-area"
        )
    x = torch.from_numpy(_varied(sample.image[clip], rng))[None]
    x = x.permute(0, 3, 1, 2)  # (1, 3, h, w), in memory still channels last, which is resized in half the time
    image, shown = np.full((3, *shape), PADDING, np.uint8), np.full(shape, 2, np.uint8)
    image[:, place[0], place[1]] = nnf.interpolate(x, size=seen.shape, mode="bilinear", antialias=True)[0].numpy()
    shown[place] = seen
    flip = [-1] if rng.random() < 0.5 else []
    labels = torch.from_numpy(shown).flip(flip)
    return torch.from_numpy(image).flip(flip), labels == 1, labels >= 2


def first_clicks(mask: Tensor, void: Tensor, rng: np.random.Generator) -> list[Click]:
    """One click at the object's centre, or as many as online optimisation draws (D21), on every GRID-th pixel."""
    ranges = ((1, 1), (0, 0)) if rng.random() < CENTRE_P else (POSITIVE, NEGATIVE)
    step, (inside, off) = GRID, (m[::GRID, ::GRID].contiguous() for m in (mask, void))
    if not inside.any():
        step, inside, off = 1, mask, void
    clicks = simulate_clicks(inside, rng, *ranges, off)
    return [Click(step * row, step * col, positive) for row, col, positive in clicks]


def _pair(sample: Sample, other: Sample, size: int, window: int, rng: np.random.Generator) -> Part:
    """Two halves, beside or above each other; only the first sample's object is meant."""
    side, order = (window // 2, window - window // 2), 1 if rng.random() < 0.5 else -1
    across = bool(rng.random() < 0.5)
    shapes = [(window, n) if across else (n, window) for n in side]
    x, mask, void = part(sample, shapes[0], size, rng)
    y, decoy, veil = part(other, shapes[1], size, rng)
    halves = ((x, y), (mask, torch.zeros_like(decoy)), (void, veil))
    x, mask, void = (torch.cat(pair[::order], dim=-1 if across else -2) for pair in halves)
    return x, mask, void


def _another(samples: Sequence[Sample], name: str, rng: np.random.Generator) -> Sample | None:
    """An instance of another image than that of this name; None if none of a few is."""
    for _ in range(TRIES):
        other = samples[int(rng.integers(len(samples)))]
        if other.name != name:
            return other
    return None


def _scale(area: int, shape: tuple[int, int], size: int, rng: np.random.Generator) -> float:
    """Of what is shown, against an image whose short side is `size`; drawn evenly on a logarithmic axis."""
    low, high = SMALL_SCALES if area < SMALL * math.prod(shape) else SCALES
    least = math.sqrt(MIN_AREA / max(area, 1)) * min(shape) / size
    return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), least), MAX_SCALE)


def _clip(p: int, whole: int, side: int, zoom: float, rng: np.random.Generator) -> tuple[slice, np.ndarray, slice]:
    """Along one axis: which pixels of the image are seen, p among them, the nearest to each shown, and their place."""
    clip = min(whole, max(1, round(side / zoom)))
    length = side if clip < whole else min(side, max(1, round(whole * zoom)))
    first = int(rng.integers(max(0, p - clip + 1), min(p, whole - clip), endpoint=True))
    start = int(rng.integers(side - length, endpoint=True))
    nearest = ((np.arange(length) + 0.5) * clip / length).astype(int)
    low, high = int(nearest[0]), int(nearest[-1]) + 1
    return slice(first + low, first + high), nearest - low, slice(start, start + length)


def _varied(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An (h, w, 3) uint8 image whose contrast and brightness vary."""
    contrast, brightness = 1 + rng.uniform(-CONTRAST, CONTRAST), 255 * rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    tones = (contrast * (np.arange(256) - 127.5) + 127.5 + brightness).round().clip(0, 255).astype(np.uint8)
    varied = bytearray(image.tobytes()).translate(tones.tobytes())  # a third of the time of indexing
    return np.frombuffer(varied, np.uint8).reshape(image.shape)
