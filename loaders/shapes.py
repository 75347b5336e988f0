"""The built-in sequence's creatures and plants as painted outlines, each drawn from random numbers."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

Rng = np.random.Generator
Colour = np.ndarray  # (3,) RGB in [0, 1]


def rgb(code: str) -> Colour:
    """'f2a33c' as a colour."""
    return np.array([*bytes.fromhex(code)]) / 255


PALETTE = "f2a33c ee6a50 e58aa4 8a63b8 6db6d6 2f8f8b fbeccb f7cf5e b5422f 6f8f3c 3f6f46 2a2135 7a5238 c7aee6 fdfaf3"
AMBER, CORAL, ROSE, VIOLET, SKY, TEAL, CREAM, GOLD, BRICK, MOSS, FERN, INK, BARK, LILAC, WHITE = map(
    rgb, PALETTE.split()
)


class Part(NamedTuple):
    """A closed outline and its paint: `inner` at the point `at`, `outer` from a distance of `reach` on.

    outline: (n, 2) x to the right, y upwards; an object lies within about 1 of its origin.
    """

    outline: np.ndarray
    inner: Colour
    outer: Colour
    at: tuple[float, float] = (0.0, 0.0)
    reach: float = 1.0


def smooth(points, steps: int = 6) -> np.ndarray:
    """(n, 2) control points -> (n * steps, 2): the closed Catmull-Rom curve through them."""
    p = np.asarray(points, float)
    a, b, c, d = (np.roll(p, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = b + t / 2 * (c - a) + t**2 / 2 * (2 * a - 5 * b + 4 * c - d) + t**3 / 2 * (3 * (b - c) + d - a)
    return curve.reshape(-1, 2)


def oval(x: float, y: float, rx: float, ry: float, n: int = 28) -> np.ndarray:
    """(n, 2) points of an ellipse around (x, y)."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def ribbon(points, width: float, end: float = 0.3) -> np.ndarray:
    """A band along an open line of points, `width` wide at its beginning and `end` of that at its end."""
    p = np.asarray(points, float)
    along = np.gradient(p, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.linalg.norm(along, axis=1, keepdims=True)
    half = across * np.linspace(width, width * end, len(p))[:, None] / 2
    return np.concatenate([p + half, (p - half)[::-1]])


def _plain(outline: np.ndarray, colour: Colour) -> Part:
    return Part(outline, colour, colour)


def _tone(rng: Rng, *colours: Colour) -> Colour:
    """One of some colours, a little lighter or darker than the last time."""
    return np.clip(rng.choice(colours) * rng.uniform(0.9, 1.08) + rng.uniform(-0.03, 0.03, 3), 0, 1)


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return a + share * (b - a)


def butterfly(rng: Rng) -> Iterator[Part]:
    """Four patterned wings, more or less open, body and feelers."""
    wing = _tone(rng, AMBER, CORAL, GOLD, ROSE)
    light, span, tail = _mix(wing, CREAM, rng.uniform(0.35, 0.65)), rng.uniform(0.86, 1.0), rng.uniform(0.7, 0.9)
    tip = rng.uniform(0.62, 0.88)
    fore = smooth([(0.03, 0.05), (0.28, 0.5), (0.7, tip), (0.98, tip - 0.08), (0.9, 0.32), (0.62, -0.12), (0.1, -0.2)])
    hind = smooth([(0.02, 0.05), (0.5, 0.1), (0.78, -0.2), (0.72, -0.55), (0.42, -tail), (0.16, -0.68), (0.02, -0.4)])
    spots, border = np.linspace((0.8, tip - 0.11), (0.77, 0.28), rng.integers(2, 5)), rng.uniform(0.8, 0.88)
    feeler = np.stack([np.linspace(0.02, 0.22, 7), 0.36 + 0.32 * np.linspace(0, 1, 7) ** 0.8], axis=1)
    for side in [(-span * rng.uniform(0.7, 1.0), 1), (span * rng.uniform(0.7, 1.0), 1)]:
        for edge, shade in ((hind, 0.25), (fore, 0.0)):
            field = edge.mean(axis=0) + border * (edge - edge.mean(axis=0))
            yield Part(edge * side, _mix(wing, INK, 0.55), _mix(wing, INK, 0.8))
            yield Part(field * side, _mix(light, wing, shade), _mix(wing, INK, shade), reach=0.95)
        yield from (Part(oval(x, y, 0.05, 0.05, n=14) * side, WHITE, light) for x, y in spots)
        for r, colour in ((0.13, INK), (0.08, _mix(light, GOLD, 0.6))):
            yield _plain(oval(0.48, -0.36, r, r) * side, colour)
        yield _plain(ribbon(feeler, 0.035, 0.8) * side, INK)
    for outline in (oval(0, -0.1, 0.075, 0.42), oval(0, 0.36, 0.075, 0.09)):
        yield Part(outline, _mix(BARK, CREAM, 0.15), INK, (-0.02, 0.1), 0.45)


def fish(rng: Rng) -> Iterator[Part]:
    """A body with bands, four fins and an eye, nose to the right."""
    skin = _tone(rng, AMBER, CORAL, GOLD, ROSE)
    fin, belly = _mix(skin, BRICK, rng.uniform(0.2, 0.5)), _mix(skin, CREAM, 0.6)
    high, fork = rng.uniform(0.34, 0.5), rng.uniform(0.3, 0.5)
    back = [(0.95, 0.02), (0.7, 0.62 * high), (0.25, high), (-0.2, 0.72 * high), (-0.6, 0.09)]
    body = smooth([*back, *((x, -0.95 * y) for x, y in back[:0:-1])])
    for points in (
        [(-0.5, 0.05), (-0.97, fork), (-0.84, 0), (-0.97, -fork), (-0.5, -0.05)],
        [(0.42, 0.7 * high), (0.1, 1.5 * high), (-0.42, 1.2 * high), (-0.35, 0.3 * high)],
        [(0.05, -0.7 * high), (-0.25, -1.4 * high), (-0.42, -0.9 * high), (-0.3, -0.3 * high)],
    ):
        yield Part(smooth(points), fin, _mix(fin, CREAM, 0.35), reach=0.95)
    yield Part(body, belly, skin, (0.25, -0.6 * high), 1.5 * high)
    bands, dark, half = int(rng.integers(2, 4)), rng.integers(2), body[len(body) // 2 :: -1]
    for x in np.linspace(0.42, -0.42, bands):
        xs = np.linspace(x - 0.07, x + 0.07, 8)
        top = np.interp(xs, *half.T)
        band = np.concatenate([np.stack([xs, top], 1), np.stack([xs, -0.95 * top], 1)[::-1]])
        yield _plain(band, _mix(fin, INK, 0.55)) if dark else Part(band, WHITE, belly)
    side = smooth([(0.2, -0.02), (-0.02, 0.1), (-0.16, -0.08), (0.0, -0.18)])
    yield Part(side, _mix(fin, CREAM, 0.3), fin, (0.2, 0), 0.4)
    yield from (_plain(oval(0.68, 0.1, r, r), colour) for r, colour in ((0.085, WHITE), (0.05, INK)))


def flower(rng: Rng) -> Iterator[Part]:
    """Two rings of petals around a golden centre."""
    petal, n, wide = _tone(rng, WHITE, LILAC, ROSE, GOLD), int(rng.integers(6, 11)), rng.uniform(1.2, 1.7)
    for ring, size in ((0.5, 1.0), (0.0, 0.78)):
        for turn in 2 * np.pi * (np.arange(n) + ring) / n:
            c, s = np.cos(turn), np.sin(turn)
            outline = oval(0.56 * size, 0, 0.42 * size, wide / n * size) @ np.array([[c, s], [-s, c]])
            yield Part(outline, _mix(petal, VIOLET, 0.35), _mix(petal, BARK, 0.18 * ring), reach=0.8 * size)
    yield Part(oval(0, 0, 0.24, 0.24), GOLD, BARK, (-0.05, 0.07), 0.4)


def leaf(rng: Rng) -> Iterator[Part]:
    """A blade of two tones with its veins and a stalk."""
    green, wide, bend = _tone(rng, MOSS, FERN, TEAL), rng.uniform(0.34, 0.52), rng.uniform(-0.15, 0.15)
    vein, tip = _mix(green, CREAM, 0.45), [(bend, 0.95), (bend / 2, 0.45), (0, 0), (0, -0.45)]
    right = [(bend, 0.95), (0.75 * wide + bend / 2, 0.45), (wide, 0), (0.7 * wide, -0.45), (0, -0.75)]
    left = [(-0.7 * wide, -0.45), (-wide, 0)]
    yield Part(smooth([*right, *left, (-0.75 * wide, 0.45)]), _mix(green, GOLD, 0.35), green)
    half = [*tip, (0, -0.75), *left, (-0.75 * wide + bend / 2, 0.45)]
    yield Part(smooth(half), _mix(green, INK, 0.1), _mix(green, INK, 0.25))
    for y in (-0.4, -0.1, 0.2, 0.5):
        for reach in wide * 0.8 * np.sqrt(1 - abs(y) ** 1.5) * np.array([-1, 1]):
            yield _plain(ribbon([(0, y), (reach / 2, y + 0.12), (reach, y + 0.2)], 0.03), vein)
    yield _plain(ribbon([(0, -1.0), *tip[::-1]], 0.07), vein)


def mushroom(rng: Rng) -> Iterator[Part]:
    """A stem and a spotted cap."""
    cap, high, flat = _tone(rng, BRICK, CORAL, BARK), rng.uniform(0.5, 0.8), rng.uniform(-0.05, 0.1)
    stem = smooth([(-0.17, flat), (0.17, flat), (0.2, -0.5), (0.28, -0.9), (0, -0.97), (-0.28, -0.9), (-0.2, -0.5)])
    dome = [(-0.9, 0), (-0.62, 0.6 * high), (0, high), (0.62, 0.6 * high), (0.9, 0), (0, -0.1)]
    yield Part(stem, CREAM, _mix(CREAM, BARK, 0.5), (-0.08, -0.5), 0.6)
    outline = smooth(np.add(dome, (0, flat)))
    yield Part(outline, _mix(cap, GOLD, 0.3), _mix(cap, INK, 0.2), (-0.25, flat + 0.6 * high), 1.1)
    spots = np.array([(-0.5, 0.35), (-0.1, 0.66), (0.35, 0.5), (0.06, 0.28), (0.6, 0.2)]) * (1, high)
    for x, y in spots + rng.uniform(-0.06, 0.06, (5, 2)):
        size = rng.uniform(0.06, 0.13)
        yield Part(oval(x, flat + y, size, 0.7 * size, n=16), WHITE, CREAM)


def ladybird(rng: Rng) -> Iterator[Part]:
    """A round back with dots, a dark head and six legs."""
    back, wide = _tone(rng, BRICK, CORAL, GOLD), rng.uniform(0.62, 0.76)
    for side in (-1, 1):
        for y, lift in ((0.3, 0.25), (0, 0.0), (-0.3, -0.3)):
            yield _plain(ribbon([(0, y), (side * 0.6, y + 0.05), (side * 0.9, y + lift)], 0.09), INK)
    yield Part(oval(0, 0.62, 0.36, 0.26), _mix(INK, SKY, 0.2), INK, (-0.1, 0.7), 0.4)
    yield Part(oval(0, -0.08, wide, 0.78), _mix(back, CREAM, 0.35), back, (-0.25, 0.25), 0.9)
    yield _plain(ribbon([(0, 0.7), (0, 0), (0, -0.86)], 0.05, 1), INK)
    dots = [(0.3, 0.3), (0.42, -0.12), (0.25, -0.5)][: int(rng.integers(2, 4))]
    yield from (_plain(oval(side * x, y, 0.13, 0.13, n=18), INK) for side in (-1, 1) for x, y in dots)


def starfish(rng: Rng) -> Iterator[Part]:
    """Five rounded arms with rows of dots."""
    skin, deep = _tone(rng, VIOLET, BRICK, TEAL), rng.uniform(0.28, 0.36)
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = 0.62 + deep * np.cos(5 * angle) + 0.05 * np.cos(10 * angle)
    edge = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    yield Part(edge, _mix(skin, CREAM, 0.4), skin, (-0.1, 0.1), 0.95)
    for turn in 2 * np.pi * np.arange(5) / 5:
        for r in (0.2, 0.38, 0.56, 0.72):
            size = 0.055 * (1.2 - r)
            yield _plain(oval(r * np.cos(turn), r * np.sin(turn), size, size, n=10), _mix(skin, CREAM, 0.75))


def shell(rng: Rng) -> Iterator[Part]:
    """A fan of ribs above a hinge."""
    skin, ribs, wide = _tone(rng, CREAM, LILAC, ROSE), int(rng.integers(7, 11)), rng.uniform(1.05, 1.25)
    angle = np.linspace(-wide, wide, 8 * ribs + 1)
    rim = 1.5 + 0.05 * np.abs(np.cos(ribs * np.pi * (angle + wide) / (2 * wide)))
    fan, hinge = np.stack([0.85 * rim * np.sin(angle) * 0.75, rim * np.cos(angle) - 0.75], axis=1), (0.0, -0.8)
    base = smooth([(-0.32, -0.72), (0.32, -0.72), (0.22, -0.95), (-0.22, -0.95)])
    yield Part(base, skin, _mix(skin, BARK, 0.4))
    yield Part(np.concatenate([[hinge], fan]), _mix(skin, CORAL, 0.5), skin, hinge, 1.6)
    yield from (_plain(ribbon([p, (p + hinge) / 2, hinge], 0.06), _mix(skin, BARK, 0.35)) for p in fan[8:-1:8])


def jellyfish(rng: Rng) -> Iterator[Part]:
    """A bell with a scalloped rim above waving arms."""
    skin, phase = _tone(rng, LILAC, SKY, WHITE), rng.uniform(0, 2 * np.pi)
    for k, x in enumerate(np.linspace(-0.5, 0.5, 6)):
        y = np.linspace(0.15, -rng.uniform(0.7, 0.98), 14)
        arm = np.stack([x + 0.09 * np.sin(6 * y + phase + k), y], axis=1)
        yield Part(ribbon(arm, 0.13), _mix(skin, ROSE, 0.5), _mix(skin, VIOLET, 0.6), (0, 0.2), 1.1)
    bell = [(-0.75, 0.08), (-0.66, 0.55), (0, 0.95), (0.66, 0.55), (0.75, 0.08)]
    rim = [(x, 0.0 if k % 2 else 0.12) for k, x in enumerate(np.linspace(0.6, -0.6, 9))]
    yield Part(smooth(bell + rim), WHITE, _mix(skin, VIOLET, 0.3), (-0.2, 0.6), 1.0)
    yield Part(oval(0, 0.45, 0.34, 0.2), _mix(skin, ROSE, 0.5), _mix(skin, WHITE, 0.4), (0, 0.4), 0.35)


Kind = tuple[
    Callable[[Rng], Iterator[Part]], float
]  # how one is drawn, and how far it may turn from upright, in radians
MEADOW: tuple[Kind, ...] = ((butterfly, np.pi), (flower, np.pi), (leaf, np.pi), (mushroom, 0.3), (ladybird, np.pi))
REEF: tuple[Kind, ...] = ((fish, 0.6), (starfish, np.pi), (shell, 0.7), (jellyfish, 0.5))
