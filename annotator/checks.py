"""What the page sends, checked: drafts with their clicks and strokes, proposals, times."""

from collections.abc import Sequence
from types import NoneType
from typing import Any, NamedTuple

from annotator.masks import Box, Stroke

Click = tuple[int, int, bool]
Kinds = dict[str, tuple[type, ...]]  # of an object's fields

LARGEST = 2000.0  # radius of a stroke, pixels
REACTIONS = (None, "accept", "reject", "own", "click")  # the first one to what was shown
DRAFT: Kinds = {
    "image": (str,),
    "category": (str,),
    "box": (list, NoneType),
    "plain": (bool,),
    "instance": (int, NoneType),
    "clicks": (list,),
    "strokes": (list,),
}
STROKE: Kinds = {"mode": (str,), "radius": (int, float), "points": (list,)}
PROPOSAL: Kinds = {"point": (list,), "accepted": (bool,)}
TIME = (int, float, NoneType)
SECONDS: Kinds = {"first": TIME, "after": TIME, "total": (int, float), "kind": (str, NoneType), "valid": (bool,)}


class RefusedError(Exception):
    """A request that is answered by one line; the reason tells the page what to do about it."""

    def __init__(self, reason: str, line: str):
        super().__init__(line)
        self.reason = reason


class Draft(NamedTuple):
    """An instance on its way, whole: the server keeps none."""

    image: str
    category: str
    box: Box | None  # what was in view at the first click, if the network shall look at that alone
    plain: bool  # row (a) of a study
    instance: int | None  # the one that is corrected
    clicks: tuple[Click, ...]
    strokes: tuple[Stroke, ...]


def checked_fields(what: str, given: Any, kinds: Kinds) -> dict[str, Any]:
    """An object with exactly these fields; ValueError for anything else."""
    if not isinstance(given, dict) or given.keys() != kinds.keys():
        raise ValueError(f"{what}: expected an object with the fields {', '.join(kinds) or '(none)'}")
    for name, allowed in kinds.items():
        if type(given[name]) not in allowed:
            raise ValueError(f"{what}: {name} {str(given[name])[:40]!r} is of the wrong kind; reload the page")
    return given


def checked_draft(given: dict[str, Any]) -> Draft:
    """The page's draft; ValueError for anything else. Clicks are not compared with the image's size."""
    checked_fields("draft", given, DRAFT)
    clicks, strokes, box = given["clicks"], [checked_stroke(s) for s in given["strokes"]], given["box"]
    if not clicks and not strokes:
        raise ValueError("0 clicks: click the object first")
    for c in clicks:
        if not _is_list(c, int, int, bool):
            raise ValueError(f"click {str(c)[:60]}: expected [row, column, true or false]")
    if box is not None and (not _is_list(box, int, int, int, int) or box[0] >= box[2] or box[1] >= box[3]):
        raise ValueError(f"box {str(box)[:60]}: expected [top, left, bottom, right]")
    box = None if box is None else tuple(box)
    return Draft(**{**given, "box": box, "clicks": tuple(map(tuple, clicks)), "strokes": tuple(strokes)})


def checked_stroke(given: Any) -> Stroke:
    """A stroke of the page; ValueError for anything else."""
    mode, radius, points = (checked_fields("stroke", given, STROKE)[name] for name in STROKE)
    if mode not in ("add", "erase") or not 0.5 <= radius <= LARGEST or not points:
        raise ValueError(f"stroke: expected add or erase, a radius from 0.5 to {LARGEST:g} pixels, and points")
    for p in points:
        numbers = isinstance(p, list) and len(p) == 2 and all(type(v) in (int, float) for v in p)
        if not numbers or not all(-1e5 <= v <= 1e5 for v in p):
            raise ValueError(f"stroke: point {str(p)[:40]}; expected [row, column]")
    return Stroke(mode, radius, tuple((p[0], p[1]) for p in points))


def checked_proposal(given: dict[str, Any] | None, clicks: Sequence[Click]) -> tuple[Any, bool | None]:
    """(point, accepted) of what was proposed first, (None, None) for nothing; ValueError for anything else."""
    if given is None:
        return None, None
    point, accepted = (checked_fields("proposal", given, PROPOSAL)[name] for name in PROPOSAL)
    if not _is_list(point, int, int):
        raise ValueError(f"proposal: point {str(point)[:40]}; expected [row, column]")
    if accepted and (*point, True) not in clicks:
        raise ValueError("proposal: accepted, but it is none of the clicks")
    return point, accepted


def checked_seconds(given: dict[str, Any]) -> dict[str, Any]:
    """The page's times: seconds, what the first reaction was, whether the times count; ValueError for anything else."""
    checked_fields("seconds", given, SECONDS)
    times = [given[name] for name in ("first", "after", "total") if given[name] is not None]
    if given["kind"] not in REACTIONS or not all(0 <= v <= 1e7 for v in times):
        raise ValueError("seconds: not those that the page measures; reload the page")
    return given


def _is_list(value: Any, *kinds: type) -> bool:
    """Whether a value is a list of exactly these kinds."""
    return isinstance(value, list) and [type(v) for v in value] == list(kinds)
