"""D30: the inputs of our own recipe, random clips of images at a random scale, one alone or two side by side.

No part of the paper's recipe. They teach two things that its crops do not: the outlines of small objects, which are
enlarged, and to follow the click, since in a mosaic of two images only the click tells which object is meant.
Decisions owned here: D30 (inputs).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from clicks import Click, simulate_clicks
from loaders.samples import Sample
from model import MEAN
from opo import NEGATIVE, POSITIVE, Batch

MOSAIC_P = 0.25  # share of the inputs that are made of two images
CENTRE_P = 0.5  # share of the inputs with one click at the object's centre; the others have as many as in OPO, D21
SMALL = 0.03  # share of the image below which an object is enlarged
SCALES, SMALL_SCALES = (0.75, 2.0), (1.0, 2.5)  # relative to the size of use
MIN_AREA, MAX_SCALE = 256, 4.0  # pixels of an enlarged object, those of a cell of F_4, if MAX_SCALE allows it
CONTRAST, BRIGHTNESS = 0.2, 0.1  # largest random change
TRIES = 16  # clips drawn until one holds foreground at network resolution
GRID = 4  # first clicks lie on every fourth network pixel, so that distances cost a sixteenth
PADDING = np.array([[[round(255 * v)]] for v in MEAN], np.uint8)  # (3, 1, 1): 0 once normalised

Part = tuple[Tensor, Tensor, Tensor]  # image (3, h, w) uint8, mask (h, w) bool, void (h, w) bool


def mosaic_batch(
    samples: Sequence[Sample], indices: Sequence[int], size: int, rngs: Sequence[np.random.Generator]
) -> Batch:
    """Inputs for some instances: a clip of the image or, in some, half of it and half of another image's.

    size:     short side of the images at scale 1 and side of the inputs, network pixels.
    rngs:     one for each instance.
    Returns:  a batch of images (B, 3, size, size) uint8.
    Raises:   ValueError for an instance that has no pixel at this resolution.
    """
    parts, clicks = list[Part](), list[list[Click]]()
    for i, rng in zip(indices, rngs, strict=True):
        sample = samples[i]
        other = _another(samples, sample.name, rng) if rng.random() < MOSAIC_P else None
        parts.append(part(sample, (size, size), size, rng) if other is None else _pair(sample, other, size, rng))
        clicks.append(first_clicks(*parts[-1][1:], rng))
    images, masks, voids = map(torch.stack, zip(*parts, strict=True))
    return Batch(images, masks, voids, clicks)


def part(sample: Sample, shape: tuple[int, int], size: int, rng: np.random.Generator) -> Part:
    """A random clip of an image that holds foreground, at a random scale, with random flip and colours.

    shape:  (h, w) of the result; what the image does not cover is void.
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


def _pair(sample: Sample, other: Sample, size: int, rng: np.random.Generator) -> Part:
    """Two halves, side by side or one above the other; the target is the first sample's object."""
    side, order = (size // 2, size - size // 2), 1 if rng.random() < 0.5 else -1
    across = bool(rng.random() < 0.5)
    shapes = [(size, n) if across else (n, size) for n in side]
    x, mask, void = part(sample, shapes[0], size, rng)
    y, decoy, veil = part(other, shapes[1], size, rng)
    halves = ((x, y), (mask, torch.zeros_like(decoy)), (void, veil))
    x, mask, void = (torch.cat(pair[::order], dim=-1 if across else -2) for pair in halves)
    return x, mask, void


def _another(samples: Sequence[Sample], name: str, rng: np.random.Generator) -> Sample | None:
    """A random instance of another image than that of this name; None if TRIES draws find none."""
    for _ in range(TRIES):
        other = samples[int(rng.integers(len(samples)))]
        if other.name != name:
            return other
    return None


def _scale(area: int, shape: tuple[int, int], size: int, rng: np.random.Generator) -> float:
    """A random scale, log-uniform; at scale 1 the short side of the image is `size`."""
    low, high = SMALL_SCALES if area < SMALL * math.prod(shape) else SCALES
    least = math.sqrt(MIN_AREA / max(area, 1)) * min(shape) / size
    return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), least), MAX_SCALE)


def _clip(p: int, whole: int, side: int, zoom: float, rng: np.random.Generator) -> tuple[slice, np.ndarray, slice]:
    """Along one axis: the pixels of the image that the clip sees, p among them, the nearest one to each pixel of the
    result, and their place in the result."""
    clip = min(whole, max(1, round(side / zoom)))
    length = side if clip < whole else min(side, max(1, round(whole * zoom)))
    first = int(rng.integers(max(0, p - clip + 1), min(p, whole - clip), endpoint=True))
    start = int(rng.integers(side - length, endpoint=True))
    nearest = ((np.arange(length) + 0.5) * clip / length).astype(int)
    low, high = int(nearest[0]), int(nearest[-1]) + 1
    return slice(first + low, first + high), nearest - low, slice(start, start + length)


def _varied(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An (h, w, 3) uint8 image with random contrast and brightness."""
    contrast, brightness = 1 + rng.uniform(-CONTRAST, CONTRAST), 255 * rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    tones = (contrast * (np.arange(256) - 127.5) + 127.5 + brightness).round().clip(0, 255).astype(np.uint8)
    varied = bytearray(image.tobytes()).translate(tones.tobytes())  # a third of the time of indexing
    return np.frombuffer(varied, np.uint8).reshape(image.shape)
