"""What proposals and optimisation save, from a person's clicks and times (D14, D15)."""

from collections.abc import Sequence

import numpy as np

from annotator.history import Event
from support.bootstrap import bootstrap

FIRST, LAST = 10, 20  # instances compared


def clicks(event: Event) -> int:
    """The user's own clicks: an accepted proposal is none (D14)."""
    return len(event["clicks"]) - (event["proposal"] is not None and event["accepted"] is True)


def reactions(events: Sequence[Event]) -> dict[str, list[float]]:
    """Seconds of the user's first reactions, of instances without a hidden tab or a gap of more than ten seconds.

    click:   from the image (or from a rejection) to the first click.
    accept:  from a proposal to its acceptance.
    reject:  from a proposal to its rejection; where the user's own click was the rejection, the time beyond
             the median first click.
    """
    timed = [e["seconds"] for e in events if e["seconds"]["valid"]]
    first = {k: [s["first"] for s in timed if s["kind"] == k] for k in ("click", "accept", "reject", "own")}
    click = first["click"] + [s["after"] for s in timed if s["after"] is not None]
    rejected = [max(0.0, s - float(np.median(click))) for s in first["own"]] if click else []
    return {"click": click, "accept": first["accept"], "reject": first["reject"] + rejected}


def saved(events: Sequence[Event]) -> dict[str, float | None]:
    """Seconds saved: correct * (t_click - t_accept) - wrong * t_reject, of the medians of `reactions`, and those."""
    t = {f"t_{name}": float(np.median(v)) if v else None for name, v in reactions(events).items()}
    t_click, t_accept, t_reject = t["t_click"], t["t_accept"], t["t_reject"]
    correct, wrong = (sum(e["accepted"] is value for e in events) for value in (True, False))
    total = None
    if t_click is not None and (not correct or t_accept is not None) and (not wrong or t_reject is not None):
        total = correct * (t_click - (t_accept or 0.0)) - wrong * (t_reject or 0.0)
    return {**t, "correct": correct, "wrong": wrong, "saved": total}


def panel(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Label and value of each line beside the image."""
    rows = [("Instances", str(len(events)))]
    assisted = [e for e in events if not e["plain"]]
    timed = [e for e in assisted if e["seconds"]["valid"]]
    for name, part in ((f"first {FIRST}", slice(FIRST)), (f"last {LAST}", slice(-LAST, None))):
        if assisted:
            rows.append((f"Clicks, {name}", f"{np.mean([clicks(e) for e in assisted[part]]):.2f}"))
        if timed:
            rows.append((f"Seconds, {name}", f"{np.mean([e['seconds']['total'] for e in timed[part]]):.1f}"))
    s = saved(events)
    if s["correct"] or s["wrong"]:
        rows.append(("Proposals correct", f"{s['correct']} of {s['correct'] + s['wrong']}"))  # type: ignore[operator]
    for name, label in (("t_click", "to click"), ("t_accept", "to accept"), ("t_reject", "to reject")):
        if s[name] is not None:
            rows.append((f"Seconds {label}", f"{s[name]:.2f}"))
    if s["saved"] is not None and (s["correct"] or s["wrong"]):
        rows.append(("Seconds saved", f"{s['saved']:.1f}"))
    return rows


def summary(events: Sequence[Event]) -> str:
    """Row (a), plain interactive segmentation, beside row (d), and what a first click costs: means, 95 % intervals."""
    lines = ["| row | instances | clicks | seconds |", "|---|---|---|---|"]
    for row, plain in (("(a) plain", True), ("(d) ICP + OPO", False)):
        mine = [e for e in events if e["plain"] is plain]
        if mine:
            seconds = [e["seconds"]["total"] for e in mine if e["seconds"]["valid"]]
            lines.append(f"| {row} | {len(mine)} | {_mean([clicks(e) for e in mine])} | {_mean(seconds)} |")
    lines += ["", "| seconds to | n | mean |", "|---|---|---|"]
    names = ("provide the initial click", "accept a proposal", "reject a proposal")
    for name, values in zip(names, reactions(events).values(), strict=True):
        lines.append(f"| {name} | {len(values)} | {_mean(values)} |")
    return "\n".join(lines)


def plain(ordinal: int, seed: int) -> bool:
    """Whether the ordinal-th instance of a study is one of the fifth that is annotated as row (a)."""
    block, place = divmod(ordinal, 5)
    return int(np.random.default_rng([seed, block]).integers(5)) == place


def _mean(values: Sequence[float]) -> str:
    """The mean of some instances with its 95 % bootstrap interval (D29)."""
    x = np.asarray(values, float)
    return "{:.2f} [{:.2f}, {:.2f}]".format(x.mean(), *bootstrap(x[:, None])) if values else "no times"
