"""What it saves, from a person's own clicks and times (Tab. 4, Q3; D14, D15)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

FIRST, LAST = 10, 20  # instances compared
RESAMPLES = 10_000
Event = dict[str, Any]


def clicks(event: Event) -> int:
    """The user's own clicks: an accepted proposal is none (D14)."""
    return len(event["clicks"]) - (event["proposal"] is not None and event["accepted"] is True)


def median(values: Sequence[float]) -> float | None:
    """The median, None of nothing."""
    return float(np.median(values)) if values else None


def saved(events: Sequence[Event]) -> dict[str, float | None]:
    """Saved seconds, hits * (t_click - t_accept) - misses * t_reject, and the medians that it is made of.

    Only instances without a hidden tab and without a gap of more than ten seconds have times.
    t_click:   from the image (or from a rejection) to the first click.
    t_accept:  from a proposal to its acceptance.
    t_reject:  from a proposal to its rejection; where the user's own click was the rejection, what it took longer than
               t_click.
    """
    timed = [e for e in events if e["seconds"]["valid"]]
    by_kind = {
        k: [e["seconds"]["first"] for e in timed if e["seconds"]["kind"] == k] for k in ("click", "accept", "own")
    }
    rejections = [e["seconds"]["first"] for e in timed if e["seconds"]["kind"] == "reject"]
    after = [e["seconds"]["after"] for e in timed if e["seconds"]["after"] is not None]
    t_click, t_accept = median(by_kind["click"] + after), median(by_kind["accept"])
    if t_click is not None:
        rejections += [max(0.0, s - t_click) for s in by_kind["own"]]
    t_reject = median(rejections)
    hits, misses = (sum(e["accepted"] is value for e in events) for value in (True, False))
    total = None
    if t_click is not None and (not hits or t_accept is not None) and (not misses or t_reject is not None):
        total = hits * (t_click - (t_accept or 0.0)) - misses * (t_reject or 0.0)
    return {
        "t_click": t_click,
        "t_accept": t_accept,
        "t_reject": t_reject,
        "hits": hits,
        "misses": misses,
        "saved": total,
    }


def panel(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Label and value of what stands beside the image."""
    rows = [("Instances", str(len(events)))]
    own = [e for e in events if not e["plain"]]
    timed = [e for e in own if e["seconds"]["valid"]]
    seconds: Callable[[Event], float] = lambda e: e["seconds"]["total"]  # noqa: E731
    for name, part in ((f"first {FIRST}", slice(FIRST)), (f"last {LAST}", slice(-LAST, None))):
        if own:
            rows.append((f"Clicks, {name}", f"{np.mean([clicks(e) for e in own[part]]):.2f}"))
        if timed:
            rows.append((f"Seconds, {name}", f"{np.mean([seconds(e) for e in timed[part]]):.1f}"))
    s = saved(events)
    if s["hits"] or s["misses"]:
        rows.append(("Proposals right", f"{s['hits']} of {s['hits'] + s['misses']}"))  # type: ignore[operator]
    for name, label in (("t_click", "to click"), ("t_accept", "to accept"), ("t_reject", "to reject")):
        if s[name] is not None:
            rows.append((f"Seconds {label}", f"{s[name]:.2f}"))
    if s["saved"] is not None:
        rows.append(("Seconds saved", f"{s['saved']:.1f}"))
    return rows


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Mean and the bootstrap's 95 % interval of it."""
    x = np.asarray(values, float)
    means = x[np.random.default_rng(seed).integers(len(x), size=(RESAMPLES, len(x)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(x.mean()), float(low), float(high)


def summary(events: Sequence[Event]) -> str:
    """The end of a session: clicks and seconds of row (a), plain interactive segmentation, beside row (d)."""
    lines = ["| row | instances | clicks | seconds |", "|---|---|---|---|"]
    for row, plain in (("(a) plain", True), ("(d) ICP + OPO", False)):
        mine = [e for e in events if e["plain"] is plain]
        if mine:
            cells = [[clicks(e) for e in mine], [e["seconds"]["total"] for e in mine if e["seconds"]["valid"]]]
            shown = ["{:.2f} [{:.2f}, {:.2f}]".format(*interval(v)) if v else "no times" for v in cells]
            lines.append(f"| {row} | {len(mine)} | {shown[0]} | {shown[1]} |")
    return "\n".join(lines)


def plain(ordinal: int, seed: int) -> bool:
    """Whether the ordinal-th instance of a study is one of the fifth that is annotated as row (a)."""
    block, place = divmod(ordinal, 5)
    return int(np.random.default_rng([seed, block]).integers(5)) == place
