"""Masks of a person's hand: run lengths, brush strokes, crops, outlines, what a correction may change (D20, D36)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two exclusive

STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # along pixel edges: right, down, left, up
MARGIN = 0.1  # of a box's sides, on each side: what the network sees around what was in view (D37)
LEAST = 16  # pixels of a crop's side


class Stroke(NamedTuple):
    """A stroke of the brush or the eraser. Pixel (row, col) has its middle at (row + 0.5, col + 0.5)."""

    mode: str  # "add" or "erase"
    radius: float  # pixels
    points: tuple[tuple[float, float], ...]  # at least one; (row, col), also outside the image


def to_counts(mask: np.ndarray) -> list[int]:
    """Run lengths of an (H, W) bool mask as COCO writes them: column by column, False first."""
    flat = np.asarray(mask, bool).T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    return np.diff(edges, prepend=0).tolist()


def from_counts(counts: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """The (H, W) bool mask that `to_counts` took apart; ValueError if the lengths do not add up to `size`."""
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths of {sum(counts)} pixels for a mask of {size[0]}x{size[1]}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size[1], size[0]).T


# ---- what a person changes -------------------------------------------------------------------------------------------


def painted(mask: np.ndarray, strokes: Sequence[Stroke]) -> np.ndarray:
    """An (H, W) bool mask after some strokes: pixels whose middle is at most the radius away from a stroke's line."""
    mask = mask.copy()
    for stroke in strokes:
        points = np.array(stroke.points, float)
        for a, b in pairwise(points) if len(points) > 1 else [(points[0], points[0])]:
            low = np.maximum(np.floor(np.minimum(a, b) - stroke.radius), 0).astype(int)
            high = np.maximum(np.ceil(np.maximum(a, b) + stroke.radius), 0).astype(int)
            part = mask[low[0] : high[0], low[1] : high[1]]
            rows, cols = np.ogrid[: part.shape[0], : part.shape[1]]
            y, x, (dy, dx) = rows + low[0] + 0.5 - a[0], cols + low[1] + 0.5 - a[1], b - a
            t = np.clip((y * dy + x * dx) / max(dy * dy + dx * dx, 1e-9), 0, 1)  # the nearest point of a .. b
            part[(y - t * dy) ** 2 + (x - t * dx) ** 2 <= stroke.radius**2] = stroke.mode == "add"
    return mask


def corrected(before: np.ndarray, after: np.ndarray, click: tuple[int, int, bool]) -> np.ndarray:
    """A finished mask after one more click: only the connected part of the change that the click asks for (D36).

    before, after:  (H, W) bool, the mask as it was and what the network makes of all clicks.
    click:          a foreground click adds the connected part of `after` outside `before` that it lies on (or that is
                    nearest to it), a background click takes such a part away. All other pixels stay as they are.
    """
    row, col, positive = click
    change = after & ~before if positive else before & ~after
    pixels = np.argwhere(change)
    if not len(pixels):
        return before
    part = connected(change, *pixels[((pixels - (row, col)) ** 2).sum(axis=1).argmin()].tolist())
    return before | part if positive else before & ~part


def connected(mask: np.ndarray, row: int, col: int) -> np.ndarray:
    """(H, W) bool: the 8-connected part of a mask that a pixel belongs to; nothing if the mask is False there."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = (v.tolist() for v in np.nonzero(edges == 1))  # runs of True pixels, row by row
    stops = np.nonzero(edges == -1)[1].tolist()
    first = np.searchsorted(rows, np.arange(len(mask) + 1)).tolist()  # the runs of row r: first[r] .. first[r + 1]
    part = np.zeros_like(mask)
    reached = [k for k in range(first[row], first[row + 1]) if starts[k] <= col < stops[k]]
    seen = set(reached)
    while reached:
        k = reached.pop()
        part[rows[k], starts[k] : stops[k]] = True
        for r in {max(rows[k] - 1, 0), min(rows[k] + 1, len(mask) - 1)} - {rows[k]}:
            near = range(first[r], first[r + 1])
            new = [j for j in near if j not in seen and starts[j] <= stops[k] and starts[k] <= stops[j]]
            seen.update(new)
            reached += new
    return part


# ---- what is in view -------------------------------------------------------------------------------------------------


def cropped(shape: Sequence[int], box: Sequence[int] | None) -> Box | None:
    """What the network looks at instead of a whole image of size `shape`: a box with a margin, inside it (D37)."""
    if box is None:
        return None
    y, x = (round(MARGIN * side) for side in (box[2] - box[0], box[3] - box[1]))
    top, left = max(0, box[0] - y), max(0, box[1] - x)
    bottom, right = min(shape[0], box[2] + y), min(shape[1], box[3] + x)
    if bottom - top < min(LEAST, shape[0]) or right - left < min(LEAST, shape[1]):
        raise ValueError(f"box {list(box)}: less than {LEAST} pixels of the image of {shape[0]}x{shape[1]}")
    return top, left, bottom, right


def cut(picture: np.ndarray, crop: Box | None) -> np.ndarray:
    """The part of an (H, W, ...) picture in a crop."""
    return picture if crop is None else picture[crop[0] : crop[2], crop[1] : crop[3]]


# ---- outlines --------------------------------------------------------------------------------------------------------


def outlines(mask: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Closed lines along pixel edges around the True pixels of an (H, W) mask: outer ones, and those of holes.

    Returns:  (n, 2) corners (row, col), 0..H and 0..W, of each 4-connected region, clockwise, and of each hole,
              anticlockwise. Filled together by the even-odd rule they give the mask back.
    """
    rows, cols = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
    if not len(rows):
        return [], []
    top, left = rows[0], cols[0]
    inside = np.pad(mask[top : rows[-1] + 1, left : cols[-1] + 1], 1)
    core, W = inside[1:-1, 1:-1], inside.shape[1] - 1
    beyond = (inside[:-2, 1:-1], inside[1:-1, 2:], inside[2:, 1:-1], inside[1:-1, :-2])
    starts = (0, 1, W + 1, W)  # of a pixel's edges: corners of the box, the mask on the edge's right hand
    pixels = [np.flatnonzero(core > other) for other in beyond]
    pixels = [p + p // (W - 1) + start for p, start in zip(pixels, starts, strict=True)]
    edges = np.sort(np.concatenate([4 * p + d for d, p in enumerate(pixels)]))  # 4 * corner + direction
    corner, d = np.divmod(edges, 4)
    end = corner + np.array([c + W * r for r, c in STEPS])[d]
    turns = [4 * end + (d + turn) % 4 for turn in (1, 0, 3)]  # to the right first: lines that touch stay separate
    following = np.select([np.isin(t, edges) for t in turns], turns)
    after = np.searchsorted(edges, following)
    bends, new = (following % 4 != d).tolist(), [True] * len(edges)
    corners, after = np.stack(np.divmod(end, W), axis=1) + np.array([top, left]), after.tolist()
    found: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for start in range(len(edges)):
        line, at = [], start
        while new[at]:
            new[at] = False
            if bends[at]:
                line.append(at)
            at = after[at]
        if line:
            y, x = corners[line].T
            clockwise = np.dot(x, np.roll(y, -1)) > np.dot(y, np.roll(x, -1))
            found[0 if clockwise else 1].append(corners[line])
    return found


def loops(mask: np.ndarray) -> list[list[int]]:
    """All outlines of a mask as the page takes them: row, col, row, col ... of closed lines."""
    return [line.ravel().tolist() for lines in outlines(mask) for line in lines]
