"""The built-in sequence: butterflies in a meadow and fish at a reef, to see the idea without a download."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from loaders.samples import Sample
from loaders.shapes import MEADOW, REEF, Kind, Part, Rng, rgb

FINE = 3  # supersampling of what is drawn
LIGHTS = ((1.06, 1.0, 0.88), (1.0, 1.02, 1.0), (0.90, 0.96, 1.08), (1.05, 0.93, 0.92))  # morning, noon, shade, evening


class World(NamedTuple):
    """Where a category lives: its kind first, those around it, and colours from far to near for each ground."""

    kinds: tuple[Kind, ...]
    grounds: tuple[str, ...]
    upright: bool  # blades that rise from below, or rays that fall from above


WORLDS = (
    World(MEADOW, ("dfe8b8 8fb56a 3c6b4a", "f3dfb0 b9b36a 5c6b3c", "c9dcd6 7fa58c 2f5a55"), True),
    World(REEF, ("9fe0dc 3fa3b5 1a4f7a", "bfe6e0 4fb09c 1f5f6b", "a9c8ee 5277bd 2a3575"), False),
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
        world = WORLDS[i * len(WORLDS) // self.n]
        image, mask = _scene(world, self.size, self.seed, i)
        return Sample(image, mask, np.zeros_like(mask), world.kinds[0][0].__name__, f"synthetic-{i:04d}")


@lru_cache(maxsize=32)  # every row of a table asks for the same scenes
def _scene(world: World, size: int, seed: int, i: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, size, 3) image and (size, size) mask of one of the world's first kind among others, in front of them."""
    rng = np.random.default_rng([seed, i])  # without a purpose before the seed, which would change every pixel
    margin = size // 2 + 8  # no object reaches further beyond the image
    image = np.pad(_ground(world, size, rng), ((margin, margin), (margin, margin), (0, 0)))
    mask = np.zeros(image.shape[:2], bool)
    light, tint = rng.uniform(0.6, 2.5), np.array(LIGHTS[rng.integers(len(LIGHTS))]) * rng.uniform(0.88, 1.06)
    others = rng.permutation(np.arange(1, len(world.kinds)))[:3]
    kinds = [*(world.kinds[k] for k in others), world.kinds[0]]
    for kind, (x, y, radius) in zip(kinds, (_places(len(kinds), rng)[::-1] * size).tolist(), strict=True):
        half = int(1.3 * radius) + 2
        top, left = int(y) - half, int(x) - half
        colours, alpha = _object(kind, (x - left, y - top), radius, half, light, rng)
        rows, cols = (slice(start + margin, start + margin + 2 * half) for start in (top, left))
        down, right = round(radius * 0.16), round(-np.cos(light) * radius * 0.16)  # to where its shadow falls
        shadow = image[rows.start + down : rows.stop + down, cols.start + right : cols.stop + right]
        shadow *= 1 - 0.45 * _blurred(alpha, radius / 7)[..., None]
        image[rows, cols] += alpha[..., None] * (colours - image[rows, cols])
    mask[rows, cols] = alpha > 0.5
    inside = slice(margin, margin + size)
    image = image[inside, inside] * tint + rng.normal(0, 0.008, (size, size, 3))
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), mask[inside, inside].copy()


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
    kind: Kind, centre: tuple[float, float], radius: float, half: int, light: float, rng: Rng
) -> tuple[np.ndarray, np.ndarray]:
    """One object in a random pose, on a square of 2 * half pixels: its colours, and (h, h) coverage in [0, 1]."""
    draw, most = kind
    turn, flip = rng.uniform(-most, most), rng.choice((-1, 1))
    c, s = np.cos(turn), np.sin(turn)
    pose = radius * FINE * np.array([[c, s], [s, -c]]) @ np.diag((flip, rng.uniform(0.88, 1.0)))  # y points down
    painted = _painted([*draw(rng)], pose, np.array(centre) * FINE, 2 * half)
    alpha = painted[..., 3]
    relief = np.gradient(_blurred(alpha, radius / 5))  # rounds it off: lighter where it faces the light
    shade = 0.55 * radius * (np.cos(light) * relief[1] + np.sin(light) * relief[0])
    return np.clip(painted[..., :3] * (1 + np.clip(shade, -0.4, 0.4))[..., None], 0, 1), alpha


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
    paint = (np.array(values) for values in list(zip(*parts, strict=True))[1:])
    inner, outer, at, reach = (values[index[rows, columns] - 1] for values in paint)
    local = np.stack([columns - origin[0], rows - origin[1]], axis=1) @ np.linalg.inv(pose).T
    share = np.minimum(np.hypot(*(local - at).T) / reach, 1)[:, None]
    fine = np.zeros((*index.shape, 4), np.uint8)
    fine[rows, columns, :3] = 255 * (inner + share * (outer - inner)) + 0.5
    fine[rows, columns, 3] = 255
    return np.asarray(Image.fromarray(fine).reduce(FINE)) / 255


def _ground(world: World, size: int, rng: Rng) -> np.ndarray:
    """(size, size, 3) float in [0, 1]: a soft ground of three colours with lights and blades, or rays, out of focus."""
    far, middle, near = map(rgb, world.grounds[rng.integers(len(world.grounds))].split())
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    clouds = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255
    t = np.clip(np.linspace(-0.1, 0.9, size)[:, None] + 0.35 * (clouds - 0.5), 0, 1)[..., None] * 2
    image = np.where(t < 1, far + t * (middle - far), middle + (t - 1) * (near - middle))
    lights, blades = Image.new("L", (size, size)), Image.new("L", (size, size))
    draw = ImageDraw.Draw(lights)
    for _ in range(16):
        (x, y), r = rng.uniform(0, size, 2), size * rng.uniform(0.02, 0.09)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.integers(60, 150)))
    draw = ImageDraw.Draw(blades)
    for x in rng.uniform(-0.1, 1.1, 12) * size:
        lean, width = rng.uniform(-0.2, 0.2) * size, size * rng.uniform(0.01, 0.04)
        if world.upright:
            blade = (x - width, size, x + width, size, x + lean, size * rng.uniform(0.2, 0.8))
            draw.polygon(blade, fill=int(rng.integers(60, 160)))
        else:
            ray = (x, 0, x + width, 0, x + lean + 4 * width, size, x + lean, size)
            draw.polygon(ray, fill=int(rng.integers(20, 60)))
    image = image + 0.5 * _soft(lights, size / 60) * (far - image + 0.1)
    return image + _soft(blades, size / 50) * ((near * 0.8 if world.upright else 1) - image)


def _soft(layer: Image.Image, radius: float) -> np.ndarray:
    """(h, w, 1) float in [0, 1] of a blurred grey picture."""
    return np.asarray(layer.filter(ImageFilter.GaussianBlur(radius)))[..., None] / 255


def _blurred(alpha: np.ndarray, radius: float) -> np.ndarray:
    """A Gaussian filter of standard deviation `radius` on a square array, borders joined."""
    n = len(alpha)
    gaussian = np.exp(-2 * (np.pi * radius * np.fft.fftfreq(n)) ** 2)
    return np.fft.irfft2(np.fft.rfft2(alpha) * gaussian[:, None] * gaussian[: n // 2 + 1], s=(n, n))
