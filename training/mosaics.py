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
PADDING = tuple(round(255 * value) for value in MEAN)  # beside an image: 0 once it is normalised

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
    parts, clicks = list[Part](), list[list[Click]]()
    for i, rng in zip(indices, rngs, strict=True):
        other = _another(samples, i, rng) if rng.random() < MOSAIC_P else None
        if other is None:
            parts.append(part(samples[i], (window, window), size, rng))
        else:
            parts.append(_pair(samples[i], other, size, window, rng))
        clicks.append(first_clicks(*parts[-1][1:], rng))
    x, mask, void = (torch.stack(column) for column in zip(*parts, strict=True))
    return Batch(x, mask, void, clicks)


def part(sample: Sample, shape: tuple[int, int], size: int, rng: np.random.Generator) -> Part:
    """A random clip of an image that holds foreground, at a random scale, flipped or not, its colours varied.

    shape:  (h, w) of the result; where the image is smaller there is void beside it.
    """
    zoom = size / min(sample.mask.shape) * _scale(sample.mask, size, rng)
    labels = sample.mask + np.uint8(2) * sample.void
    pixels = np.flatnonzero(sample.mask)
    for _ in range(TRIES):
        at = divmod(int(pixels[rng.integers(len(pixels))]), labels.shape[1])
        sides = zip(at, labels.shape, shape, strict=True)
        (rows, cols), place = zip(*(_clip(*side, zoom, rng) for side in sides), strict=True)
        seen = labels[rows][:, cols]
        if (seen == 1).any():
            break
    else:
        raise ValueError(
            f"{sample.name}: the instance vanishes at a short side of {size}; use a larger --size or --min-area"
        )
    clip = sample.image[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    image = torch.tensor(PADDING, dtype=torch.uint8).view(3, 1, 1).repeat(1, *shape)
    colours = torch.from_numpy(np.take(_tones(rng), clip)).permute(2, 0, 1)[None]
    image[:, place[0], place[1]] = nnf.interpolate(colours, size=seen.shape, mode="bilinear", antialias=True)[0]
    shown = torch.full(shape, 2, dtype=torch.uint8)
    shown[place] = torch.from_numpy(seen)
    flip = [-1] if rng.random() < 0.5 else []
    image, shown = image.flip(flip), shown.flip(flip)
    return image, shown == 1, shown >= 2


def first_clicks(mask: Tensor, void: Tensor, rng: np.random.Generator) -> list[Click]:
    """One click at the object's centre, or as many as online optimisation draws (D21), on every GRID-th pixel."""
    ranges = ((1, 1), (0, 0)) if rng.random() < CENTRE_P else (POSITIVE, NEGATIVE)
    step = GRID if mask[::GRID, ::GRID].any() else 1
    mask, void = (m[::step, ::step].contiguous() for m in (mask, void))
    clicks = simulate_clicks(mask, rng, *ranges, void)
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


def _another(samples: Sequence[Sample], i: int, rng: np.random.Generator) -> Sample | None:
    """An instance of another image than the i-th; None if none of a few is."""
    for _ in range(TRIES):
        other = samples[int(rng.integers(len(samples)))]
        if other.name != samples[i].name:
            return other
    return None


def _scale(mask: np.ndarray, size: int, rng: np.random.Generator) -> float:
    """Of what is shown, against an image whose short side is `size`; drawn evenly on a logarithmic axis."""
    area = int(mask.sum())
    low, high = SMALL_SCALES if area < SMALL * mask.size else SCALES
    least = math.sqrt(MIN_AREA / max(area, 1)) * min(mask.shape) / size
    return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), least), MAX_SCALE)


def _clip(p: int, whole: int, side: int, zoom: float, rng: np.random.Generator) -> tuple[np.ndarray, slice]:
    """Along one axis: which pixels of the image are seen, the pixel p among them, and where in the result they lie."""
    clip = min(whole, max(1, round(side / zoom)))
    length = side if clip < whole else min(side, max(1, round(whole * zoom)))
    first = int(rng.integers(max(0, p - clip + 1), min(p, whole - clip), endpoint=True))
    start = int(rng.integers(side - length, endpoint=True))
    nearest = first + ((np.arange(length) + 0.5) * clip / length).astype(int)
    return nearest, slice(start, start + length)


def _tones(rng: np.random.Generator) -> np.ndarray:
    """(256,) uint8: what becomes of each value when contrast and brightness vary."""
    contrast, brightness = 1 + rng.uniform(-CONTRAST, CONTRAST), 255 * rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    return (contrast * (np.arange(256) - 127.5) + 127.5 + brightness).round().clip(0, 255).astype(np.uint8)
