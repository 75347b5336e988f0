"""The built-in sequence's creatures and plants as painted outlines, each drawn from random numbers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Rng = np.random.Generator

HEX = {
    "amber": "f2a33c", "coral": "ee6a50", "rose": "e58aa4", "violet": "8a63b8", "sky": "6db6d6", "teal": "2f8f8b",
    "cream": "fbeccb", "gold": "f7cf5e", "brick": "b5422f", "moss": "6f8f3c", "fern": "3f6f46", "ink": "2a2135",
    "bark": "7a5238", "lilac": "c7aee6", "white": "fdfaf3",
}  # fmt: skip
COLOURS = {name: np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255 for name, code in HEX.items()}


class Part(NamedTuple):
    """A closed outline and its paint: `inner` at the point `at`, `outer` from a distance of `reach` on.

    outline: (n, 2) x to the right, y upwards; an object lies within about 1 of its origin.
    """

    outline: np.ndarray
    inner: np.ndarray  # (3,) RGB in [0, 1]
    outer: np.ndarray
    at: tuple[float, float] = (0.0, 0.0)
    reach: float = 1.0


class Kind(NamedTuple):
    """A category: how one of it is drawn, and how far it may turn from upright, in radians."""

    name: str
    draw: Callable[[Rng], list[Part]]
    turn: float


# ---- outlines --------------------------------------------------------------------------------------------------------


def smooth(points, steps: int = 6) -> np.ndarray:
    """(n, 2) control points -> (n * steps, 2): the closed Catmull-Rom curve through them."""
    p = np.asarray(points, float)
    a, b, c, d = (np.roll(p, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = b + t / 2 * (c - a) + t**2 / 2 * (2 * a - 5 * b + 4 * c - d) + t**3 / 2 * (3 * (b - c) + d - a)
    return curve.reshape(-1, 2)


def oval(x: float, y: float, rx: float, ry: float, turn: float = 0.0, n: int = 28) -> np.ndarray:
    """(n, 2) points of an ellipse around (x, y), turned anticlockwise."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([rx * np.cos(angle), ry * np.sin(angle)], axis=1) @ _rotation(turn).T + (x, y)


def polar(radius: Callable[[np.ndarray], np.ndarray], n: int = 90) -> np.ndarray:
    """(n, 2) points of the outline whose distance from the origin is a function of the angle."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return radius(angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ribbon(points, width: float, end: float = 0.3) -> np.ndarray:
    """A band along an open line of points, `width` wide at its beginning and `end` of that at its end."""
    p = np.asarray(points, float)
    along = np.gradient(p, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.linalg.norm(along, axis=1, keepdims=True)
    half = across * np.linspace(width, width * end, len(p))[:, None] / 2
    return np.concatenate([p + half, (p - half)[::-1]])


def _rotation(turn: float) -> np.ndarray:
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def _shrunk(outline: np.ndarray, factor: float) -> np.ndarray:
    centre = outline.mean(axis=0)
    return centre + factor * (outline - centre)


def _tone(rng: Rng, *names: str) -> np.ndarray:
    """One of some colours, a little lighter or darker than the last time."""
    return np.clip(COLOURS[str(rng.choice(names))] * rng.uniform(0.9, 1.08) + rng.uniform(-0.03, 0.03, 3), 0, 1)


def _mix(a: np.ndarray, b: np.ndarray | str, share: float) -> np.ndarray:
    return a + share * ((COLOURS[b] if isinstance(b, str) else b) - a)


# ---- the two categories that are annotated ---------------------------------------------------------------------------


def butterfly(rng: Rng) -> list[Part]:
    """Four patterned wings, more or less open, body and feelers."""
    ink, wing = COLOURS["ink"], _tone(rng, "amber", "coral", "gold", "rose")
    light, span, tail = _mix(wing, "cream", rng.uniform(0.35, 0.65)), rng.uniform(0.86, 1.0), rng.uniform(0.7, 0.9)
    tip = rng.uniform(0.62, 0.88)
    fore = [(0.03, 0.05), (0.28, 0.5), (0.7, tip), (0.98, tip - 0.08), (0.9, 0.32), (0.62, -0.12), (0.1, -0.2)]
    hind = [(0.02, 0.05), (0.5, 0.1), (0.78, -0.2), (0.72, -0.55), (0.42, -tail), (0.16, -0.68), (0.02, -0.4)]
    eyes, border = rng.integers(2, 5), rng.uniform(0.8, 0.88)
    parts = []
    for side in (np.array([-span, 1]) * (rng.uniform(0.7, 1.0), 1), np.array([span, 1]) * (rng.uniform(0.7, 1.0), 1)):
        for points, shade in ((hind, 0.25), (fore, 0.0)):
            edge = smooth(points)
            parts.append(Part(edge * side, _mix(wing, ink, 0.55), _mix(wing, ink, 0.8)))
            parts.append(
                Part(_shrunk(edge, border) * side, _mix(light, wing, shade), _mix(wing, ink, shade), reach=0.95)
            )
        parts += [
            Part(oval(x, y, 0.05, 0.05, n=14) * side, COLOURS["white"], light)
            for x, y in np.linspace((0.8, tip - 0.11), (0.77, 0.28), eyes)
        ]
        eye = (0.48, -0.36)
        parts += [Part(oval(*eye, r, r) * side, c, c) for r, c in ((0.13, ink), (0.08, _mix(light, "gold", 0.6)))]
        feeler = np.stack([np.linspace(0.02, 0.22, 7), 0.36 + 0.32 * np.linspace(0, 1, 7) ** 0.8], axis=1)
        parts.append(Part(ribbon(feeler, 0.035, 0.8) * side, ink, ink))
    body = [oval(0, -0.1, 0.075, 0.42), oval(0, 0.36, 0.075, 0.09)]
    return parts + [Part(p, _mix(COLOURS["bark"], "cream", 0.15), ink, (-0.02, 0.1), 0.45) for p in body]


def fish(rng: Rng) -> list[Part]:
    """A body with bands, four fins and an eye, nose to the right."""
    ink, skin = COLOURS["ink"], _tone(rng, "amber", "coral", "gold", "rose")
    fin, belly = _mix(skin, "brick", rng.uniform(0.2, 0.5)), _mix(skin, "cream", 0.6)
    high, fork = rng.uniform(0.34, 0.5), rng.uniform(0.3, 0.5)
    back = [(0.95, 0.02), (0.7, 0.62 * high), (0.25, high), (-0.2, 0.72 * high), (-0.6, 0.09)]
    body = smooth([*back, *((x, -0.95 * y) for x, y in back[:0:-1])])
    fins = [
        [(-0.5, 0.05), (-0.97, fork), (-0.84, 0), (-0.97, -fork), (-0.5, -0.05)],
        [(0.42, 0.7 * high), (0.1, 1.5 * high), (-0.42, 1.2 * high), (-0.35, 0.3 * high)],
        [(0.05, -0.7 * high), (-0.25, -1.4 * high), (-0.42, -0.9 * high), (-0.3, -0.3 * high)],
    ]
    parts = [Part(smooth(points), fin, _mix(fin, "cream", 0.35), (0, 0), 0.95) for points in fins]
    parts.append(Part(body, belly, skin, (0.25, -0.6 * high), 1.5 * high))
    bands, dark = int(rng.integers(2, 4)), bool(rng.integers(2))
    for x in np.linspace(0.42, -0.42, bands):
        xs, half = np.linspace(x - 0.07, x + 0.07, 8), body[: len(body) // 2 + 1]
        top = np.interp(xs, half[::-1, 0], half[::-1, 1])
        band = np.concatenate([np.stack([xs, top], 1), np.stack([xs, -0.95 * top], 1)[::-1]])
        parts.append(Part(band, *((_mix(fin, ink, 0.55),) * 2 if dark else (COLOURS["white"], belly))))
    side = smooth([(0.2, -0.02), (-0.02, 0.1), (-0.16, -0.08), (0.0, -0.18)])
    parts.append(Part(side, _mix(fin, "cream", 0.3), fin, (0.2, 0), 0.4))
    return parts + [Part(oval(0.68, 0.1, r, r), c, c) for r, c in ((0.085, COLOURS["white"]), (0.05, ink))]


# ---- what else there is ----------------------------------------------------------------------------------------------


def flower(rng: Rng) -> list[Part]:
    """Two rings of petals around a golden centre."""
    petal, n, wide = _tone(rng, "white", "lilac", "rose", "gold"), int(rng.integers(6, 11)), rng.uniform(1.2, 1.7)
    parts = []
    for ring, size in ((0.5, 1.0), (0.0, 0.78)):
        for k in range(n):
            turn = 2 * np.pi * (k + ring) / n
            outline = oval(0.56 * size, 0, 0.42 * size, wide / n * size) @ _rotation(turn).T
            parts.append(Part(outline, _mix(petal, "violet", 0.35), _mix(petal, "bark", 0.18 * ring), reach=0.8 * size))
    return [*parts, Part(oval(0, 0, 0.24, 0.24), COLOURS["gold"], COLOURS["bark"], (-0.05, 0.07), 0.4)]


def leaf(rng: Rng) -> list[Part]:
    """A blade of two tones with its veins and a stalk."""
    green, wide, bend = _tone(rng, "moss", "fern", "teal"), rng.uniform(0.34, 0.52), rng.uniform(-0.15, 0.15)
    right = [(bend, 0.95), (0.75 * wide + bend / 2, 0.45), (wide, 0), (0.7 * wide, -0.45), (0, -0.75)]
    rib = np.array([(bend, 0.95), (bend / 2, 0.45), (0, 0), (0, -0.45), (0, -1.0)])
    left = [*rib[:3], (0, -0.45), (0, -0.75), (-0.7 * wide, -0.45), (-wide, 0), (-0.75 * wide + bend / 2, 0.45)]
    vein = _mix(green, "cream", 0.45)
    parts = [
        Part(smooth([*right, (-0.7 * wide, -0.45), (-wide, 0), (-0.75 * wide, 0.45)]), _mix(green, "gold", 0.35), green)
    ]
    parts.append(Part(smooth(left), _mix(green, "ink", 0.1), _mix(green, "ink", 0.25)))
    for y in (-0.4, -0.1, 0.2, 0.5):
        reach = wide * 0.8 * np.sqrt(1 - abs(y) ** 1.5)
        parts += [
            Part(ribbon([(0, y), (s * reach / 2, y + 0.12), (s * reach, y + 0.2)], 0.03), vein, vein) for s in (-1, 1)
        ]
    return [*parts, Part(ribbon(rib[::-1], 0.07), vein, vein)]


def mushroom(rng: Rng) -> list[Part]:
    """A stem and a spotted cap."""
    cap, high, flat = _tone(rng, "brick", "coral", "bark"), rng.uniform(0.5, 0.8), rng.uniform(-0.05, 0.1)
    stem = smooth([(-0.17, flat), (0.17, flat), (0.2, -0.5), (0.28, -0.9), (0, -0.97), (-0.28, -0.9), (-0.2, -0.5)])
    dome = smooth(
        [
            (-0.9, flat),
            (-0.62, flat + 0.6 * high),
            (0, flat + high),
            (0.62, flat + 0.6 * high),
            (0.9, flat),
            (0, flat - 0.1),
        ]
    )
    parts = [Part(stem, COLOURS["cream"], _mix(COLOURS["cream"], "bark", 0.5), (-0.08, -0.5), 0.6)]
    parts.append(Part(dome, _mix(cap, "gold", 0.3), _mix(cap, "ink", 0.2), (-0.25, flat + 0.6 * high), 1.1))
    spots = np.array([(-0.5, 0.35), (-0.1, 0.66), (0.35, 0.5), (0.06, 0.28), (0.6, 0.2)]) * (1, high)
    for x, y in spots + rng.uniform(-0.06, 0.06, (5, 2)):
        size = rng.uniform(0.06, 0.13)
        parts.append(Part(oval(x, flat + y, size, 0.7 * size, n=16), COLOURS["white"], COLOURS["cream"]))
    return parts


def ladybird(rng: Rng) -> list[Part]:
    """A round back with dots, a dark head and six legs."""
    ink, back, wide = COLOURS["ink"], _tone(rng, "brick", "coral", "gold"), rng.uniform(0.62, 0.76)
    parts = [
        Part(ribbon([(0, y), (s * 0.6, y + 0.05), (s * 0.9, y + lift)], 0.09), ink, ink)
        for s in (-1, 1)
        for y, lift in ((0.3, 0.25), (0, 0.0), (-0.3, -0.3))
    ]
    parts += [Part(oval(0, 0.62, 0.36, 0.26), _mix(ink, "sky", 0.2), ink, (-0.1, 0.7), 0.4)]
    parts += [Part(oval(0, -0.08, wide, 0.78), _mix(back, "cream", 0.35), back, (-0.25, 0.25), 0.9)]
    parts += [Part(ribbon([(0, 0.7), (0, 0), (0, -0.86)], 0.05, 1), ink, ink)]
    dots = [(0.3, 0.3), (0.42, -0.12), (0.25, -0.5)][: int(rng.integers(2, 4))]
    return parts + [Part(oval(s * x, y, 0.13, 0.13, n=18), ink, ink) for s in (-1, 1) for x, y in dots]


def starfish(rng: Rng) -> list[Part]:
    """Five rounded arms with rows of dots."""
    skin, deep = _tone(rng, "violet", "brick", "teal"), rng.uniform(0.28, 0.36)
    edge = polar(lambda a: 0.62 + deep * np.cos(5 * a) + 0.05 * np.cos(10 * a))
    parts = [Part(edge, _mix(skin, "cream", 0.4), skin, (-0.1, 0.1), 0.95)]
    for arm in range(5):
        turn = 2 * np.pi * arm / 5
        for r in (0.2, 0.38, 0.56, 0.72):
            x, y = r * np.cos(turn), r * np.sin(turn)
            parts.append(
                Part(
                    oval(x, y, 0.055 * (1.2 - r), 0.055 * (1.2 - r), n=10),
                    _mix(skin, "cream", 0.75),
                    _mix(skin, "cream", 0.75),
                )
            )
    return parts


def shell(rng: Rng) -> list[Part]:
    """A fan of ribs above a hinge."""
    skin, ribs, wide = _tone(rng, "cream", "lilac", "rose"), int(rng.integers(7, 11)), rng.uniform(1.05, 1.25)
    angle = np.linspace(-wide, wide, 8 * ribs + 1)
    rim = 1.5 + 0.05 * np.abs(np.cos(ribs * np.pi * (angle + wide) / (2 * wide)))
    fan = np.stack([0.85 * rim * np.sin(angle) * 0.75, rim * np.cos(angle) - 0.75], axis=1)
    hinge = (0.0, -0.8)
    parts = [
        Part(smooth([(-0.32, -0.72), (0.32, -0.72), (0.22, -0.95), (-0.22, -0.95)]), skin, _mix(skin, "bark", 0.4))
    ]
    parts.append(Part(np.concatenate([[hinge], fan]), _mix(skin, "coral", 0.5), skin, hinge, 1.6))
    for k in range(1, ribs):
        x, y = fan[8 * k]
        parts.append(
            Part(
                ribbon([(x, y), (x / 2, (y + hinge[1]) / 2), hinge], 0.06),
                _mix(skin, "bark", 0.35),
                _mix(skin, "bark", 0.35),
            )
        )
    return parts


def jellyfish(rng: Rng) -> list[Part]:
    """A bell with a scalloped rim above waving arms."""
    skin, phase = _tone(rng, "lilac", "sky", "white"), rng.uniform(0, 2 * np.pi)
    parts = []
    for k, x in enumerate(np.linspace(-0.5, 0.5, 6)):
        y = np.linspace(0.15, -rng.uniform(0.7, 0.98), 14)
        arm = np.stack([x + 0.09 * np.sin(6 * y + phase + k), y], axis=1)
        parts.append(Part(ribbon(arm, 0.13), _mix(skin, "rose", 0.5), _mix(skin, "violet", 0.6), (0, 0.2), 1.1))
    bell = [(-0.75, 0.08), (-0.66, 0.55), (0, 0.95), (0.66, 0.55), (0.75, 0.08)]
    rim = [(x, 0.0 if k % 2 else 0.12) for k, x in enumerate(np.linspace(0.6, -0.6, 9))]
    parts.append(Part(smooth(bell + rim), COLOURS["white"], _mix(skin, "violet", 0.3), (-0.2, 0.6), 1.0))
    return [*parts, Part(oval(0, 0.45, 0.34, 0.2), _mix(skin, "rose", 0.5), _mix(skin, "white", 0.4), (0, 0.4), 0.35)]


MEADOW = (
    Kind("butterfly", butterfly, np.pi),
    Kind("flower", flower, np.pi),
    Kind("leaf", leaf, np.pi),
    Kind("mushroom", mushroom, 0.3),
    Kind("ladybird", ladybird, np.pi),
)
REEF = (
    Kind("fish", fish, 0.6),
    Kind("starfish", starfish, np.pi),
    Kind("shell", shell, 0.7),
    Kind("jellyfish", jellyfish, 0.5),
)
