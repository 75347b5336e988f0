"""Sec. 4: tables as Markdown, and the statistics in them; pure functions of the records of ledgers.

Decisions owned here: D29 (intervals).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from experiments import published
from experiments.catalogue import Experiment, Line
from experiments.ledger import ROWS, Record, Run, run_of
from robot_user import noc, nof
from support.bootstrap import bootstrap

T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 97.5 %, 1 to 10 degrees
NOTHING = "—"  # where nothing is measured

Results = Mapping[tuple[str, str], Sequence[Record]]  # by data set and folder of the configuration: complete runs
Value = Callable[[Record], float]  # of an annotated instance


def grid(lines: Iterable[Sequence[object]]) -> str:
    """Cells as a Markdown table, head first; a bar or a line break in a cell does not end it."""
    plain = [[" ".join(str(cell).replace("|", "\\|").split("\n")) for cell in line] for line in lines]
    plain.insert(1, ["---"] * len(plain[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in plain)


# ---- statistics ------------------------------------------------------------------------------------------------------


def interval(values: Sequence[float]) -> float:
    """Half width of the 95 % confidence interval of a mean (Student's t); NaN for a single value (D29)."""
    n = len(values)
    if n < 2:
        return math.nan
    z, v = 1.959964, n - 1
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v * v)
    if v <= len(T_QUANTILES):
        t = T_QUANTILES[v - 1]
    return t * float(np.std(values, ddof=1)) / math.sqrt(n)


def repeated(records: Iterable[Record], value: Value, total: Callable = np.mean) -> list[float]:
    """A figure for each order, or for each seed if there is one order: what its interval is taken over (D29).

    total:  of the values of a run's instances.
    """
    runs: dict[Run, list[float]] = {}
    for r in records:
        runs.setdefault(run_of(r), []).append(value(r))
    orders = len({run.order for run in runs}) > 1
    values: dict[int, list[float]] = {}
    for run, own in runs.items():
        values.setdefault(run.order if orders else run.seed, []).append(total(own))
    return [float(np.mean(v)) for v in values.values()]


def by_instance(records: Iterable[Record], value: Value) -> np.ndarray:
    """(n,) values of the instances of a sequence, averaged over the seeds and orders that are there."""
    values: dict[int, list[float]] = {}
    for r in records:
        values.setdefault(r["instance"], []).append(value(r))
    return np.array([np.mean(values[i]) for i in sorted(values)])


def gain(means: np.ndarray) -> np.ndarray:
    """The share of the first that the second saves: (..., 2) means -> (...); 0 if the first is 0."""
    first, second = means[..., 0], means[..., 1]
    return np.where(first > 0, 1 - second / np.where(first > 0, first, 1), 0.0)


def mean(values: Sequence[float], form: str = "{:.2f}") -> str:
    """The mean of some values, and its interval where there are several."""
    half = interval(values)
    return form.format(float(np.mean(values))) + ("" if math.isnan(half) else f" ± {form.format(half)}")


def count(values: Sequence[float]) -> str:
    """The mean of some counts; no interval, and no decimals, where they are all the same."""
    return f"{values[0]:g}" if len(set(values)) == 1 else mean(values, "{:.1f}")


def share(flags: Sequence[bool]) -> str:
    """How many of some are True, in percent."""
    return f"{np.mean(flags):.0%}" if flags else ""


def noc_at(target: float) -> Value:
    """NoC of a record at a target."""
    return lambda record: noc(record["ious"], target)


def nof_at(target: float) -> Value:
    """Whether a record never reaches a target."""
    return lambda record: nof([record["ious"]], target)


# ---- the table of siis.py --------------------------------------------------------------------------------------------


def ablation(records: Sequence[Record], data: str, targets: Sequence[float]) -> str:
    """Tab. 1 as Markdown, from records alone.

    targets:  of NoC; the records are those of runs to the highest (D26).
    NoC is the mean over instances, then over seeds and orders, with a 95 % interval where there are several; NoF counts
    instances that never reached the target. Click consistency is the share of the user's clicks after which the clicked
    pixel is on the side of the mask that the click asks for.
    """
    names = [f"@{t * 100:g}" for t in targets]
    head = ["row", "ICP", "OPO", *(f"NoC{n}" for n in names), *(f"NoF{n}" for n in names)]
    head += ["proposals correct", "click consistency", "s/click", *(f"paper NoC{n}" for n in names)]
    lines = [head]
    for row in sorted({r["row"] for r in records}):
        own = [r for r in records if r["row"] == row]
        line = [f"({row})", *("yes" if flag else "" for flag in ROWS[row])]
        line += [mean(repeated(own, noc_at(t))) for t in targets]
        line += [count(repeated(own, nof_at(t), sum)) for t in targets]
        line += [share([r["correct"] for r in own if r["correct"] is not None])]
        line += [share([ok for r in own for ok in r["consistent"]])]
        clicks = sum(len(r["clicks"]) for r in own)
        line += [f"{sum(r['seconds']['clicks'] for r in own) / clicks:.3f}" if clicks else ""]
        paper = [published.noc(published.TAB_1, data, f"({row})", t) for t in targets]
        lines.append(line + ["" if figure is None else f"{figure:.2f}" for figure in paper])
    return grid(lines)


# ---- the tables of report.py -----------------------------------------------------------------------------------------


def markdown(e: Experiment, results: Results, data: Sequence[str], targets: Sequence[float]) -> str:
    """The table of an experiment, with its title and its remark."""
    table = grid(compare(e, results, data, targets))
    return f"## {e.title}\n\n{table}\n" + (f"\n{e.note}\n" if e.note else "")


def records_of(results: Results, data: str, line: Line) -> list[Record]:
    """The records of all seeds and orders of a line; none if it was not run."""
    return [r for r in results.get((data, line.folder), ()) if r["row"] == line.row]


def compare(e: Experiment, results: Results, data: Sequence[str], targets: Sequence[float]) -> list[list[str]]:
    """Head and lines of a table: NoC, its interval, what it saves against the reference, the paper's figures.

    Lines that were not run are left out. Intervals in columns of their own are over instances, those after ± over
    orders; the interval of what is saved is that of paired differences (D29).
    """
    lines = [["data", "variant", "instances", "seeds", "orders", "proposals correct"]]
    for t in targets:
        at = f"@{t * 100:g}"
        lines[0] += [f"NoC{at}", "95 %", f"saved, of {e.reference}", "95 %"]
        lines[0] += [f"published NoC{at}", "published saved"] if e.paper else []
    for d in data:
        base = next(records_of(results, d, v) for v in e.lines if v.label == e.reference)
        for v in e.lines:
            own = records_of(results, d, v)
            if own:
                proposed = [r for r in own if r["correct"] is not None]
                correct = _over_orders(proposed, lambda r: r["correct"], "{:.0%}") if proposed else ""
                over = [*(str(len({r[field] for r in own})) for field in ("instance", "seed", "order")), correct]
            elif not v.row and v.label in (e.paper or {}).get(d, {}):
                over = ["quoted", *[NOTHING] * 3]
            else:
                continue
            cells = [c for t in targets for c in (*_measured(own, base, t), *_quoted(e, d, v, t))]
            lines.append([d, v.label, *over, *cells])
    return lines


def _over_orders(own: Sequence[Record], value: Value, form: str = "{:.2f}") -> str:
    """A figure's mean over runs, and its interval over orders where there are several."""
    values = repeated(own, value)
    return mean(values if len({r["order"] for r in own}) > 1 else [float(np.mean(values))], form)


def _measured(own: Sequence[Record], base: Sequence[Record], target: float) -> list[str]:
    """NoC, its interval, the share saved against other runs, its interval."""
    if not own:
        return [NOTHING] * 4
    values, others = (by_instance(records, noc_at(target)) for records in (own, base))
    cells = [_over_orders(own, noc_at(target)), "{:.2f} to {:.2f}".format(*bootstrap(values[:, None]))]
    if own == base or not base:
        return [*cells, NOTHING, NOTHING]
    pairs = np.stack([others, values], axis=1)
    return [*cells, f"{gain(pairs.mean(axis=0)):.1%}", "{:.1%} to {:.1%}".format(*bootstrap(pairs, gain))]


def _quoted(e: Experiment, data: str, line: Line, target: float) -> list[str]:
    """The published NoC, and the share that a row saves; no cells for an experiment without published figures."""
    if not e.paper:
        return []
    paper, base = (published.noc(e.paper, data, label, target) for label in (line.label, e.reference))
    number = NOTHING if paper is None else f"{paper:.2f}"
    if paper is None or base is None or not line.row or line.label == e.reference:
        return [number, NOTHING]
    return [number, f"{1 - paper / base:.1%}"]


def over_axis(e: Experiment, results: Results, data: Sequence[str], targets: Sequence[float]) -> dict[str, np.ndarray]:
    """A curve for each data set and target: (n, 4), the places on the axis, NoC and the ends of its 95 % interval.

    What never ends ends with the largest category (D27).
    """
    curves = dict[str, list[tuple[float, ...]]]()
    for d, v in ((d, v) for d in data for v in e.lines if v.x is not None):
        if own := records_of(results, d, v):
            labels = {r["instance"]: r["category"] for r in own}
            x = min(v.x or 0, max(Counter(labels.values()).values()))
            for t in targets:
                values = by_instance(own, noc_at(t))
                curves.setdefault(f"{d} @{t:.0%}", []).append((x, values.mean(), *bootstrap(values[:, None])))
    return {label: np.array(points) for label, points in curves.items()}
