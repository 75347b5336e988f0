"""The built-in sequence: scenes of textured shapes, so that the idea can be seen at work without a download."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from loaders.samples import Sample


class Synthetic(Sequence[Sample]):
    """The built-in sequence: textured shapes of equal size on textured ground, one of them the target (NumPy, Pillow).

    n:      samples;  seed: the same seed gives the same pixels.
    split:  'train' draws any object of any scene as target; 'test' has two categories, half of the samples each, of
            shapes, patterns and colours that 'train' never shows, each among same-size distractors.
    size:   side of the square images in pixels.
    """

    def __init__(self, n: int = 40, seed: int = 0, split: str = "test", size: int = 128):
        if split not in ("train", "test"):
            raise ValueError(f"split {split!r}: expected 'train' or 'test'")
        self.n, self.seed, self.split, self.size = n, seed, split, size

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i):
        i = range(self.n)[i]
        rng = np.random.default_rng([self.seed, i, self.split == "train"])
        kinds = _training_kinds(rng) if self.split == "train" else _test_kinds(rng, i * len(TEST_KINDS) // self.n)
        image, index = _scene(kinds, self.size, rng)
        mask = index == 1
        return Sample(image, mask, np.zeros_like(mask), kinds[0].name, f"synthetic-{i:04d}")


class Kind(NamedTuple):
    """A category of synthetic objects: outline, pattern, hues in [0, 1) of its two colours, and of a core (or None)."""

    name: str
    lobes: int
    depth: float
    pattern: str
    hues: tuple[float, float]
    core: float | None


TEST_KINDS = (
    Kind("starfish", 5, 0.20, "rings", (0.05, 0.55), 0.80),
    Kind("clover", 4, 0.15, "waves", (0.35, 0.85), 0.12),
)


def _training_kinds(rng: np.random.Generator) -> list[Kind]:
    patterns = ("plain", "stripes", "checks", "dots")
    return [
        Kind(f"blob-{lobes}", int(lobes), 0.15 * (lobes != 0), str(rng.choice(patterns)), tuple(rng.random(2)), None)
        for lobes in rng.choice((0, 2, 3, 6), size=4)
    ]


def _test_kinds(rng: np.random.Generator, which: int) -> list[Kind]:
    return [TEST_KINDS[which], *_training_kinds(rng)[:3]]


def _scene(kinds: list[Kind], size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four objects of one size, jittered on a 2x2 grid: (size, size, 3) uint8 image and index mask (1 = first kind)."""
    image = _texture("noise", (rng.random(), rng.random()), size, rng) * 0.6
    index = np.zeros((size, size), np.uint8)
    cells = rng.permutation(4)
    radius = size * rng.uniform(0.20, 0.23)
    yx = np.mgrid[:size, :size] + 0.5
    for i, (kind, cell) in enumerate(zip(kinds, cells, strict=True), start=1):
        centre = (np.array(divmod(int(cell), 2)) + 0.5 + rng.uniform(-0.03, 0.03, 2)) * size / 2
        dy, dx = yx - centre[:, None, None]
        angle, r = np.arctan2(dy, dx) + rng.uniform(0, 2 * np.pi), np.hypot(dy, dx)
        outline = radius * (1 + kind.depth * np.cos(kind.lobes * angle)) / (1 + kind.depth / 2)
        inside = r < outline
        image[inside] = _texture(kind.pattern, kind.hues, size, rng)[inside]
        if kind.core is not None:
            image[r < 0.45 * outline] = _colour(kind.core, 0.9)
        index[inside] = i
    image = image + rng.normal(0, 0.03, image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), index


def _texture(pattern: str, hues: Sequence[float], size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) float in [0, 1]: two colours blended by a pattern with random phase and direction."""
    y, x = np.mgrid[:size, :size] - rng.uniform(0, size, 2)[:, None, None]
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    wave = 2 * np.pi / 12
    blend = {
        "plain": lambda: np.zeros((size, size)),
        "stripes": lambda: np.sin(u * wave) > 0,
        "checks": lambda: (np.sin(u * wave) > 0) ^ (np.sin(v * wave) > 0),
        "dots": lambda: (np.sin(u * wave) + np.sin(v * wave)) > 0.8,
        "rings": lambda: np.sin(np.hypot(u - size / 2, v) * wave) > 0,
        "waves": lambda: np.sin((u + 3 * np.sin(v / 5)) * wave) > 0,
        "noise": lambda: _smooth_noise(size, rng),
    }[pattern]()
    a, b = (_colour(h + rng.uniform(-0.03, 0.03), rng.uniform(0.7, 1.0)) for h in hues)
    return a + (b - a) * np.asarray(blend, float)[..., None]


def _smooth_noise(size: int, rng: np.random.Generator) -> np.ndarray:
    small = Image.fromarray(rng.integers(0, 256, (size // 8, size // 8), dtype=np.uint8))
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)) / 255


def _colour(hue: float, value: float) -> np.ndarray:
    """HSV with saturation 0.75 to (3,) RGB in [0, 1]."""
    ramp = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (0.25 + 0.75 * ramp)
