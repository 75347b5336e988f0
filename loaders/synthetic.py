"""The built-in sequence: butterflies in a meadow and fish at a reef, to see the idea without a download."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from loaders.samples import Sample
from loaders.shapes import MEADOW, REEF, Kind, Part, Rng

FINE = 3  # supersampling of what is drawn
LIGHTS = ((1.06, 1.0, 0.88), (1.0, 1.02, 1.0), (0.90, 0.96, 1.08), (1.05, 0.93, 0.92))  # morning, noon, shade, evening


class World(NamedTuple):
    """Where a category lives: its kind first, those around it, and colours from far to near for each ground."""

    kinds: tuple[Kind, ...]
    grounds: tuple[tuple[str, str, str], ...]
    upright: bool  # blades that rise from below, or rays that fall from above


WORLDS = (
    World(
        MEADOW, (("dfe8b8", "8fb56a", "3c6b4a"), ("f3dfb0", "b9b36a", "5c6b3c"), ("c9dcd6", "7fa58c", "2f5a55")), True
    ),
    World(
        REEF, (("9fe0dc", "3fa3b5", "1a4f7a"), ("bfe6e0", "4fb09c", "1f5f6b"), ("a9c8ee", "5277bd", "2a3575")), False
    ),
)


class Synthetic(Sequence[Sample]):
    """The built-in sequence: a butterfly or a fish, new each time, among other creatures and plants (NumPy, Pillow).

    The first half of the samples are butterflies, the others fish: two categories that recur in other colours, sizes,
    poses and light. The mask is the object's own outline; nothing hides it.
    n:     samples;  seed: the same seed gives the same pixels.
    size:  side of the square images in pixels.
    """

    def __init__(self, n: int = 12, seed: int = 0, size: int = 256):
        self.n, self.seed, self.size = n, seed, size

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i):
        i = range(self.n)[i]
        return _sample(WORLDS[i * len(WORLDS) // self.n], self.size, self.seed, i)


@lru_cache(maxsize=32)
def _sample(world: World, size: int, seed: int, i: int) -> Sample:
    """The i-th sample; the latest ones are kept, since every row of a table asks for the same."""
    image, mask = _scene(world, size, np.random.default_rng([seed, i]))
    return Sample(image, mask, np.zeros_like(mask), world.kinds[0].name, f"synthetic-{i:04d}")


def _scene(world: World, size: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """(size, size, 3) image and (size, size) mask of one of the world's first kind among others, in front of them."""
    image, mask = _ground(world, size, rng), np.zeros((size, size), bool)
    light, tint = rng.uniform(0.6, 2.5), np.array(LIGHTS[rng.integers(len(LIGHTS))]) * rng.uniform(0.88, 1.06)
    others = rng.permutation(np.arange(1, len(world.kinds)))[:3]
    kinds = [*(world.kinds[k] for k in others), world.kinds[0]]
    for kind, circle in zip(kinds, _places(len(kinds), rng)[::-1], strict=True):
        x, y, radius = (circle * size).tolist()
        rgb, alpha, corner = _object(kind, (x, y), radius, light, rng)
        away = (round(radius * 0.16), round(-np.cos(light) * radius * 0.16))  # where its shadow falls: rows, columns
        here, cut = _overlap((corner[0] + away[0], corner[1] + away[1]), alpha.shape, size)
        image[here] *= 1 - 0.45 * _blurred(alpha, radius / 7)[cut][..., None]
        here, cut = _overlap(corner, alpha.shape, size)
        image[here] += alpha[cut][..., None] * (rgb[cut] - image[here])
    mask[here] = alpha[cut] > 0.5
    image = image * tint + rng.normal(0, 0.008, image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), mask


def _places(n: int, rng: Rng) -> np.ndarray:
    """(n, 3) x, y and radius of circles that leave room for each other, in sides of the image; the first is largest."""
    placed: list[tuple[float, float, float]] = []
    radius = rng.uniform(0.25, 0.31)
    while len(placed) < n:
        for _ in range(40):
            x, y = rng.uniform(0.9 * radius, 1 - 0.9 * radius, 2)
            if all(np.hypot(x - a, y - b) > 0.95 * (radius + r) for a, b, r in placed):
                placed.append((x, y, radius))
                radius = rng.uniform(0.13, 0.18)
                break
        else:
            radius *= 0.9
    return np.array(placed)


def _object(
    kind: Kind, centre: tuple[float, float], radius: float, light: float, rng: Rng
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """One object in a random pose: (h, h, 3) colours, (h, h) coverage in [0, 1], (row, column) of their corner."""
    half = int(1.3 * radius) + 2
    corner = (int(centre[1]) - half, int(centre[0]) - half)
    turn, flip = rng.uniform(-kind.turn, kind.turn), rng.choice((-1, 1))
    c, s = np.cos(turn), np.sin(turn)
    pose = radius * FINE * np.array([[c, s], [s, -c]]) @ np.diag((flip, rng.uniform(0.88, 1.0)))  # y points down
    origin = (np.array(centre) - corner[::-1]) * FINE
    painted = _painted(kind.draw(rng), pose, origin, 2 * half)
    alpha = painted[..., 3]
    relief = np.stack(np.gradient(_blurred(alpha, radius / 5)))  # rounds it off: lighter where it faces the light
    shade = 0.55 * radius * (np.cos(light) * relief[1] + np.sin(light) * relief[0])
    return np.clip(painted[..., :3] * (1 + np.clip(shade, -0.4, 0.4))[..., None], 0, 1), alpha, corner


def _painted(parts: Sequence[Part], pose: np.ndarray, origin: np.ndarray, side: int) -> np.ndarray:
    """Parts over each other: (side, side, 4) colours and coverage in [0, 1], means of a grid FINE times as fine.

    pose, origin:  (2, 2) and (2,), which carry a part's outline to pixels (x, y) of the fine grid.
    """
    stencil = Image.new("L", (side * FINE, side * FINE))
    draw = ImageDraw.Draw(stencil)
    for k, part in enumerate(parts, start=1):
        draw.polygon((part.outline @ pose.T + origin).ravel().tolist(), fill=k)
    index = np.asarray(stencil)
    rows, columns = np.nonzero(index)
    paint = (np.array(values) for values in zip(*((p.inner, p.outer, p.at, p.reach) for p in parts), strict=True))
    inner, outer, at, reach = (values[index[rows, columns] - 1] for values in paint)
    local = np.stack([columns - origin[0], rows - origin[1]], axis=1) @ np.linalg.inv(pose).T
    share = np.minimum(np.hypot(*(local - at).T) / reach, 1)[:, None]
    fine = np.zeros((*index.shape, 4), np.uint8)
    fine[rows, columns, :3] = 255 * (inner + share * (outer - inner)) + 0.5
    fine[rows, columns, 3] = 255
    return np.asarray(Image.fromarray(fine).reduce(FINE)) / 255


def _ground(world: World, size: int, rng: Rng) -> np.ndarray:
    """(size, size, 3) float in [0, 1]: a soft ground of three colours with lights and blades, or rays, out of focus."""
    far, middle, near = (_rgb(code) for code in world.grounds[rng.integers(len(world.grounds))])
    depth = np.linspace(-0.1, 0.9, size)[:, None] + 0.35 * (_clouds(size, rng) - 0.5)
    t = np.clip(depth, 0, 1)[..., None] * 2
    image = np.where(t < 1, far + t * (middle - far), middle + (t - 1) * (near - middle))
    layer = Image.new("L", (size, size))
    draw = ImageDraw.Draw(layer)
    for _ in range(16):
        (x, y), r = rng.uniform(0, size, 2), size * rng.uniform(0.02, 0.09)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.integers(60, 150)))
    lights = _soft(layer, size / 60)
    layer = Image.new("L", (size, size))
    draw = ImageDraw.Draw(layer)
    for x in rng.uniform(-0.1, 1.1, 12) * size:
        lean, width = rng.uniform(-0.2, 0.2) * size, size * rng.uniform(0.01, 0.04)
        if world.upright:
            tip = size * rng.uniform(0.2, 0.8)
            draw.polygon((x - width, size, x + width, size, x + lean, tip), fill=int(rng.integers(60, 160)))
        else:
            draw.polygon(
                (x, 0, x + width, 0, x + lean + 4 * width, size, x + lean, size), fill=int(rng.integers(20, 60))
            )
    blades = _soft(layer, size / 50)
    image = image + 0.5 * lights * (far - image + 0.1)
    return image + blades * ((near * 0.8 if world.upright else np.ones(3)) - image)


def _clouds(size: int, rng: Rng) -> np.ndarray:
    """(size, size) smooth noise in [0, 1]."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255


def _soft(layer: Image.Image, radius: float) -> np.ndarray:
    """(h, w, 1) float in [0, 1] of a blurred grey picture."""
    return np.asarray(layer.filter(ImageFilter.GaussianBlur(radius)))[..., None] / 255


def _blurred(alpha: np.ndarray, radius: float) -> np.ndarray:
    """A Gaussian filter of standard deviation `radius` on a square array, borders joined."""
    n = len(alpha)
    gaussian = np.exp(-2 * (np.pi * radius * np.fft.fftfreq(n)) ** 2)
    return np.fft.irfft2(np.fft.rfft2(alpha) * gaussian[:, None] * gaussian[: n // 2 + 1], s=(n, n))


def _overlap(corner: Sequence[int], shape: Sequence[int], size: int):
    """Where a patch lies in the image and which part of the patch that is: two pairs of slices."""
    here = [slice(max(c, 0), min(c + n, size)) for c, n in zip(corner, shape, strict=True)]
    cut = [slice(h.start - c, h.stop - c) for h, c in zip(here, corner, strict=True)]
    return tuple(here), tuple(cut)


def _rgb(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255
