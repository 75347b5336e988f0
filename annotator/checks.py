"""What the page sends, checked: drafts with their clicks and strokes, proposals, times."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from annotator.masks import Stroke

Click = tuple[int, int, bool]
Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two exclusive

MOST_CLICKS = 500  # of an instance
MOST_POINTS = 20_000  # of its strokes
LARGEST = 2000.0  # radius of a stroke, pixels
KINDS = (None, "accept", "reject", "own", "click")  # first reactions to what was shown
FIELDS: dict[str, Any] = {
    "image": str,
    "category": str,
    "box": (list, type(None)),
    "plain": bool,
    "instance": (int, type(None)),
    "clicks": list,
    "strokes": list,
}


class Draft(NamedTuple):
    """An instance on its way, whole: the server keeps none."""

    image: str
    category: str
    box: Box | None  # what was in view at the first click, if the network shall look at that alone
    plain: bool  # row (a) of a study
    instance: int | None  # the one that is corrected
    clicks: tuple[Click, ...]
    strokes: tuple[Stroke, ...]


def checked_draft(given: dict[str, Any]) -> Draft:
    """The page's draft; ValueError for anything else. Clicks are not compared with the image's size."""
    if given.keys() != FIELDS.keys():
        raise ValueError(f"draft: expected the fields {', '.join(FIELDS)}")
    for name, kind in FIELDS.items():
        if not isinstance(given[name], kind) or (name == "instance" and isinstance(given[name], bool)):
            raise ValueError(f"draft.{name}: {str(given[name])[:40]!r} is none")
    clicks, strokes = given["clicks"], [checked_stroke(s) for s in given["strokes"]]
    if not clicks and not strokes:
        raise ValueError("0 clicks: click the object first")
    if len(clicks) > MOST_CLICKS:
        raise ValueError(f"{len(clicks)} clicks: expected at most {MOST_CLICKS}")
    for c in clicks:
        if not isinstance(c, list) or [type(v) for v in c] != [int, int, bool]:
            raise ValueError(f"click {str(c)[:60]}: expected [row, column, true or false]")
    if sum(len(s.points) for s in strokes) > MOST_POINTS:
        raise ValueError(f"strokes: expected at most {MOST_POINTS} points")
    box = given["box"]
    if box is not None and ([type(v) for v in box] != [int] * 4 or box[0] >= box[2] or box[1] >= box[3]):
        raise ValueError(f"box {str(box)[:60]}: expected [top, left, bottom, right]")
    box = None if box is None else tuple(box)
    return Draft(**{**given, "box": box, "clicks": tuple(map(tuple, clicks)), "strokes": tuple(strokes)})


def checked_proposal(given: dict[str, Any] | None, clicks: Sequence[Click]) -> tuple[Any, bool | None]:
    """(point, accepted) of what was proposed first, (None, None) for nothing; ValueError for anything else."""
    if given is None:
        return None, None
    if given.keys() != {"point", "accepted"} or type(given["accepted"]) is not bool:
        raise ValueError("proposal: expected point and accepted")
    point = given["point"]
    if not isinstance(point, list) or [type(v) for v in point] != [int, int]:
        raise ValueError(f"proposal.point: {str(point)[:40]}; expected [row, column]")
    if given["accepted"] and (*point, True) not in clicks:
        raise ValueError("proposal: accepted, but it is none of the clicks")
    return point, given["accepted"]


def checked_seconds(given: dict[str, Any]) -> dict[str, Any]:
    """The page's times: seconds, what the first reaction was, whether the times count; ValueError for anything else."""
    if given.keys() != {"first", "after", "total", "kind", "valid"} or given["kind"] not in KINDS:
        raise ValueError("seconds: not those that the page measures; reload the page")
    for name in ("first", "after", "total"):
        v = given[name]
        if v is None and name != "total":
            continue
        if not _number(v, 0, 1e7):
            raise ValueError(f"seconds.{name}: {str(v)[:40]}; expected a number of seconds")
    if type(given["valid"]) is not bool:
        raise ValueError("seconds.valid: expected true or false")
    return given


def checked_stroke(given: Any) -> Stroke:
    """A stroke of the page; ValueError for anything else."""
    if not isinstance(given, dict) or given.keys() != {"mode", "radius", "points"}:
        raise ValueError("stroke: expected mode, radius and points")
    mode, radius, points = given["mode"], given["radius"], given["points"]
    if mode not in ("add", "erase") or not _number(radius, 0.5, LARGEST) or not isinstance(points, list) or not points:
        raise ValueError(f"stroke: expected add or erase, a radius from 0.5 to {LARGEST:g} pixels, and points")
    for p in points:
        if not isinstance(p, list) or len(p) != 2 or not all(_number(v, -1e5, 1e5) for v in p):
            raise ValueError(f"stroke: point {str(p)[:40]}; expected [row, column]")
    return Stroke(mode, radius, tuple((p[0], p[1]) for p in points))


def category_name(text: str) -> str:
    """A name that a folder can have; ValueError for any other."""
    if not 1 <= len(text) <= 64 or text[0] in ". " or text[-1] in ". " or set(text) & set('/\\:*?"<>|\0\n\r\t'):
        raise ValueError(f"{text!r}: expected a name that a folder can have, of at most 64 characters")
    return text


def _number(v: Any, low: float, high: float) -> bool:
    return type(v) in (int, float) and math.isfinite(v) and low <= v <= high
