"""Sec. 4.1, Datasets: from a COCO-style segmentation, polygons or run lengths, to a mask."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LARGEST = 1e7  # pixels: a coordinate beyond is none


def decode(segmentation: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    """An annotation's mask.

    segmentation:  polygons [[x, y, x, y, ...], ...] in pixels, (0, 0) the corner of the first pixel, or one polygon, or
                   its points [[x, y], ...]; or run lengths {"counts", "size": [H, W]}, down the columns, background
                   first, as numbers or as COCO's compressed text. Numbers may be strings. None and []: no pixel.
    shape:         (H, W) of the image;  where: file and annotation, for the errors.
    Returns:       (H, W) bool.
    Raises:        ValueError naming the place and the field, for another form, another size, or counts that do not fit.
    """
    if segmentation is None or segmentation == []:
        return np.zeros(shape, bool)
    if isinstance(segmentation, list):
        return rasterise(_polygons(segmentation, where), shape)
    if not isinstance(segmentation, dict):
        raise ValueError(f"{where}: segmentation is {shown(segmentation)}; expected polygons or run lengths")
    if missing := {"counts", "size"} - segmentation.keys():
        raise ValueError(f"{where}: segmentation has no {' and no '.join(sorted(missing))}")
    size = segmentation["size"]
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"{where}: size is {shown(size)}; expected [height, width]")
    if (size := tuple(whole(side, where, "size") for side in size)) != tuple(shape):
        raise ValueError(f"{where}: size is {size}, but the image is {tuple(shape)} pixels")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = _decompress(counts, where)
    elif isinstance(counts, list):
        counts = [whole(count, where, "counts") for count in counts]
    else:
        raise ValueError(f"{where}: counts is {shown(counts)}; expected numbers or a compressed text")
    if sum(counts) != shape[0] * shape[1]:
        raise ValueError(f"{where}: counts are {sum(counts)} pixels, but the image is {tuple(shape)} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(shape, order="F")


def rasterise(polygons: Sequence[Sequence[float]], shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool mask of the pixels whose centres lie inside one of the polygons, by the even-odd rule.

    A centre is inside if an odd number of edges is crossed on the way to it from the left; one on an edge belongs to
    what is right of it or below, so that polygons that share an edge share no pixel.
    """
    mask = np.zeros(shape, bool)
    for polygon in polygons:
        xy = np.asarray(polygon, float).reshape(-1, 2)
        if len(xy) >= 3:
            _fill(mask, xy)
    return mask


def whole(value: Any, where: str, field: str, least: int = 0) -> int:
    """A whole number of at least `least`, also as 640.0 or "640"; ValueError names the field and the value."""
    try:
        found = number(value, where, field)
    except ValueError:
        found = math.nan
    if not (found >= least and found == int(found)):
        raise ValueError(f"{where}: {field} is {shown(value)}; expected a whole number of at least {least}")
    return int(found)


def number(value: Any, where: str, field: str) -> float:
    """A finite number, also as text; ValueError names the field and the value."""
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{where}: {field} has {shown(value)}; expected a number")
    return found


def shown(value: Any) -> str:
    """A value of a JSON file for a message, in one short line."""
    text = "null" if value is None else ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."


# ---- polygons --------------------------------------------------------------------------------------------------------


def _polygons(segmentation: list[Any], where: str) -> list[list[float]]:
    """Flat polygons, of however they are nested."""
    if not any(isinstance(part, list) for part in segmentation):
        return [_flat(segmentation, where)]
    if not all(isinstance(part, list) for part in segmentation):
        raise ValueError(f"{where}: segmentation mixes numbers and lists; expected polygons")
    if len(segmentation) >= 3 and all(len(part) == 2 for part in segmentation):  # one polygon as points
        return [_flat([c for point in segmentation for c in point], where)]
    found = []
    for part in segmentation:
        if part and all(isinstance(point, list) and len(point) == 2 for point in part):
            part = [c for point in part for c in point]
        found.append(_flat(part, where))
    return found


def _flat(polygon: list[Any], where: str) -> list[float]:
    if len(polygon) % 2:
        raise ValueError(f"{where}: segmentation has a polygon of {len(polygon)} numbers; expected x, y, x, y, ...")
    found = [number(c, where, "segmentation") for c in polygon]
    if found and max(map(abs, found)) > LARGEST:
        raise ValueError(f"{where}: segmentation has {max(found, key=abs):g}; expected coordinates in pixels")
    return found


def _fill(mask: np.ndarray, xy: np.ndarray) -> None:
    """Add the inside of one polygon (N, 2): each edge flips all pixels right of it in the rows that it crosses."""
    h, w = mask.shape
    x0, y0 = xy.T
    x1, y1 = np.roll(xy, -1, axis=0).T
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, h).astype(int)  # rows r with min <= r + 0.5 < max
    last = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, h).astype(int)
    counts = last - first
    edge = np.repeat(np.arange(len(xy)), counts)
    if not len(edge):
        return
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    x = x0[edge] + (row + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    col = np.clip(np.ceil(x - 0.5), 0, w).astype(int)
    top, left = row.min(), col.min()
    shape = row.max() - top + 1, col.max() - left + 1  # no pixel outside of it is inside the polygon
    place = (row - top) * shape[1] + col - left
    flips = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape) % 2 == 1
    inside = np.logical_xor.accumulate(flips, axis=1)[:, : w - left]
    mask[top : top + shape[0], left : left + shape[1]] |= inside


# ---- run lengths -----------------------------------------------------------------------------------------------------


def _decompress(text: str, where: str) -> list[int]:
    """COCO's compressed run lengths as numbers.

    Source:  COCO API, rleFrString: characters from '0' on hold 5 bits each, least first, and whether another follows;
             the last one's highest bit is the sign; from the fourth on, a number is the difference to the last but one.
    """
    counts: list[int] = []
    value = bits = 0
    for place, letter in enumerate(text):
        code = ord(letter) - 48
        if not 0 <= code < 64 or bits > 50:
            raise ValueError(f"{where}: counts are corrupt at character {place + 1}, {shown(letter)}")
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            value -= (1 << bits) if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            if counts[-1] < 0:
                raise ValueError(f"{where}: counts are corrupt at character {place + 1}, a length of {counts[-1]}")
            value = bits = 0
    if bits:
        raise ValueError(f"{where}: counts are corrupt, cut short after character {len(text)}")
    return counts
