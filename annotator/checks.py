"""What the page sends, checked, and what it is sent: clicks, times, masks as PNGs."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from support.checks import checked_clicks

MOST_CLICKS = 500  # of an instance
KINDS = (None, "accept", "reject", "own", "click")  # first reactions to what was shown
MASK = (230, 159, 0)  # most colour-blind people can tell these colours apart
FINISHED = ((86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167))


def page_clicks(clicks: Sequence[Any], shape: Sequence[int]) -> list[tuple[int, int, bool]]:
    """Clicks of the page, of these very types, as (row, col, positive) in an image of size `shape`; else ValueError."""
    if not 1 <= len(clicks) <= MOST_CLICKS:
        raise ValueError(f"{len(clicks)} clicks: expected 1 to {MOST_CLICKS}")
    for c in clicks:
        if not isinstance(c, list | tuple) or [type(v) for v in c] != [int, int, bool]:
            raise ValueError(f"click {str(c)[:60]}: expected [row, column, true or false]")
    return checked_clicks(clicks, shape)


def checked_seconds(given: dict[str, Any]) -> dict[str, Any]:
    """The page's times: seconds, what the first reaction was, whether the times count; ValueError for anything else."""
    if given.keys() != {"first", "after", "total", "kind", "valid"} or given["kind"] not in KINDS:
        raise ValueError("seconds: not those that the page measures; reload the page")
    for name in ("first", "after", "total"):
        v = given[name]
        if v is None and name != "total":
            continue
        if type(v) not in (int, float) or not math.isfinite(v) or not 0 <= v < 1e7:
            raise ValueError(f"seconds.{name}: {str(v)[:40]}; expected a number of seconds")
    if type(given["valid"]) is not bool:
        raise ValueError("seconds.valid: expected true or false")
    return given


def png(index: np.ndarray) -> str:
    """A palette PNG, transparent where it is 0, in base64: a bool mask in one colour, instances 1 .. 255 in four."""
    colours = [(0, 0, 0), *((MASK,) if index.dtype == bool else (FINISHED[i % 4] for i in range(255)))]
    picture = Image.fromarray(index.astype(np.uint8), "P")
    picture.putpalette([v for colour in colours for v in colour])
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=0, compress_level=1, bits=1 if index.dtype == bool else 8)
    return base64.b64encode(file.getvalue()).decode()
