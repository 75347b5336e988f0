"""Sec. 4: tables as Markdown, and the statistics in them; pure functions of the records of ledgers.

Decisions owned here: D29 (intervals).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments import published
from experiments.catalogue import Experiment, Line
from experiments.ledger import ROWS, Record, Run, run_of
from robot_user import noc, nof
from support.bootstrap import bootstrap

T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 97.5 %, 1 to 10 degrees
NOTHING = "—"  # where nothing is measured

Results = Mapping[tuple[str, str], Sequence[Record]]  # by data set and folder of the configuration: complete runs


class Table(NamedTuple):
    """A table of texts under a heading, with a remark below it."""

    name: str  # of its file
    title: str
    head: list[str]
    lines: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """Heading, table and remark."""
        return f"## {self.title}\n\n{grid(self.head, self.lines)}\n" + (f"\n{self.note}\n" if self.note else "")


def grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Cells as a Markdown table; a bar or a line break in a cell does not end it."""
    plain = [[" ".join(cell.replace("|", "\\|").split("\n")) for cell in line] for line in [head, *lines]]
    plain.insert(1, ["---"] * len(head))
    return "\n".join("| " + " | ".join(line) + " |" for line in plain)


# ---- statistics ------------------------------------------------------------------------------------------------------


def interval(values: Sequence[float]) -> float:
    """Half width of the 95 % confidence interval of a mean (Student's t); NaN for a single value (D29)."""
    n = len(values)
    if n < 2:
        return math.nan
    z, v = 1.959964, n - 1
    t = (
        T_QUANTILES[v - 1]
        if v <= len(T_QUANTILES)
        else z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v * v)
    )
    return t * float(np.std(values, ddof=1)) / math.sqrt(n)


def repeated(records: Iterable[Record], value: Callable[[Sequence[Record]], float]) -> list[float]:
    """A figure for each order, or for each seed if there is one order: what its interval is taken over (D29).

    value:  of the records of one run.
    """
    runs: dict[Run, list[Record]] = {}
    for r in records:
        runs.setdefault(run_of(r), []).append(r)
    orders = len({run.order for run in runs}) > 1
    values: dict[int, list[float]] = {}
    for run, own in runs.items():
        values.setdefault(run.order if orders else run.seed, []).append(value(own))
    return [float(np.mean(v)) for v in values.values()]


def by_instance(records: Iterable[Record], value: Callable[[Record], float]) -> np.ndarray:
    """(n,) values of the instances of a sequence, averaged over the seeds and orders that are there."""
    values: dict[int, list[float]] = {}
    for r in records:
        values.setdefault(r["instance"], []).append(value(r))
    return np.array([np.mean(values[i]) for i in sorted(values)])


def gain(means: np.ndarray) -> np.ndarray:
    """The share of the first that the second saves: (..., 2) means -> (...); 0 if the first is 0."""
    first, second = means[..., 0], means[..., 1]
    return np.where(first > 0, 1 - second / np.where(first > 0, first, 1), 0.0)


def spread(values: np.ndarray, **how: Callable) -> tuple[float, float]:
    """The bootstrap interval with a generator that is new each time, so that no table depends on another."""
    return bootstrap(values, np.random.default_rng(0), **how)


def number(value: float | None, nothing: str = NOTHING, form: str = "{:.2f}") -> str:
    """A figure as a text; `nothing` for None."""
    return nothing if value is None else form.format(value)


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


def noc_at(target: float) -> Callable[[Record], float]:
    """NoC of a record at a target."""
    return lambda record: noc(record["ious"], target)


def mean_noc(target: float) -> Callable[[Sequence[Record]], float]:
    """NoC of a run at a target."""
    return lambda run: float(np.mean([noc(r["ious"], target) for r in run]))


def nof_at(target: float) -> Callable[[Sequence[Record]], float]:
    """NoF of a run at a target."""
    return lambda run: nof([r["ious"] for r in run], target)


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
    lines = []
    for row in sorted({r["row"] for r in records}):
        own = [r for r in records if r["row"] == row]
        line = [f"({row})", *("yes" if flag else "" for flag in ROWS[row])]
        line += [mean(repeated(own, mean_noc(t))) for t in targets]
        line += [count(repeated(own, nof_at(t))) for t in targets]
        line += [share([r["correct"] for r in own if r["correct"] is not None])]
        line += [share([ok for r in own for ok in r["consistent"]]), _seconds_per_click(own)]
        paper = [published.noc(published.TAB_1, data, f"({row})", t) for t in targets]
        lines.append(line + [number(figure, "") for figure in paper])
    return grid(head, lines)


def _seconds_per_click(records: Sequence[Record]) -> str:
    clicks = sum(len(r["clicks"]) for r in records)
    return f"{sum(r['seconds']['clicks'] for r in records) / clicks:.3f}" if clicks else ""


# ---- the tables of report.py -----------------------------------------------------------------------------------------


def records_of(results: Results, data: str, line: Line) -> list[Record]:
    """The records of all seeds and orders of a line; none if it was not run."""
    return [r for r in results.get((data, line.folder), ()) if r["row"] == line.row]


def compare(e: Experiment, results: Results, data: Sequence[str], targets: Sequence[float]) -> Table:
    """The table of an experiment: NoC, its interval, what it saves against the reference, the paper's figures.

    Lines that were not run are left out. Intervals in columns of their own are over instances, those after ± over
    orders; the interval of what is saved is that of paired differences (D29).
    """
    head = ["data", "variant", "instances", "seeds", "orders", "proposals correct"]
    for t in targets:
        at = f"@{t * 100:g}"
        head += [f"NoC{at}", "95 %", f"saved, of {e.reference}", "95 %"]
        head += [f"published NoC{at}", "published saved"] if e.paper else []
    lines = []
    for d in data:
        base = next(records_of(results, d, v) for v in e.lines if v.label == e.reference)
        for v in e.lines:
            own = records_of(results, d, v)
            if own:
                over = [*(str(len({r[field] for r in own})) for field in ("instance", "seed", "order")), _correct(own)]
            elif not v.row and v.label in e.paper.get(d, {}):
                over = ["quoted", *[NOTHING] * 3]
            else:
                continue
            cells = [c for t in targets for c in (*_measured(own, base, t), *_quoted(e, d, v, t))]
            lines.append([d, v.label, *over, *cells])
    return Table(e.name, e.title, head, lines, e.note)


def _over_orders(own: Sequence[Record], value: Callable[[Sequence[Record]], float], form: str = "{:.2f}") -> str:
    """A figure's mean over runs, and its interval over orders where there are several."""
    values = repeated(own, value)
    return mean(values if len({r["order"] for r in own}) > 1 else [float(np.mean(values))], form)


def _correct(own: Sequence[Record]) -> str:
    """The share of correct proposals."""
    proposed = [r for r in own if r["correct"] is not None]
    return _over_orders(proposed, lambda run: float(np.mean([r["correct"] for r in run])), "{:.0%}") if proposed else ""


def _measured(own: Sequence[Record], base: Sequence[Record], target: float) -> list[str]:
    """NoC, its interval, the share saved against other runs, its interval."""
    if not own:
        return [NOTHING] * 4
    values, others = (by_instance(records, noc_at(target)) for records in (own, base))
    cells = [_over_orders(own, mean_noc(target)), "{:.2f} to {:.2f}".format(*spread(values[:, None]))]
    if own == base or not base:
        return [*cells, NOTHING, NOTHING]
    pairs = np.stack([others, values], axis=1)
    return [*cells, f"{gain(pairs.mean(axis=0)):.1%}", "{:.1%} to {:.1%}".format(*spread(pairs, statistic=gain))]


def _quoted(e: Experiment, data: str, line: Line, target: float) -> list[str]:
    """The published NoC, and the share that a row saves; no cells for an experiment without published figures."""
    if not e.paper:
        return []
    paper, base = (published.noc(e.paper, data, label, target) for label in (line.label, e.reference))
    if paper is None or base is None or not line.row or line.label == e.reference:
        return [number(paper), NOTHING]
    return [number(paper), f"{1 - paper / base:.1%}"]


def proposals(results: Results, data: Sequence[str]) -> Table:
    """The share of correct proposals by the place of an instance in its category: 2, 3-4, 5-8, 9-16 ..."""
    lines, longest = list[list[str]](), 0
    for d, row in ((d, row) for d in data for row in "bd"):
        bins: dict[int, list[bool]] = {}
        for place, correct in _in_category(records_of(results, d, Line(row, row))):
            bins.setdefault((place - 1).bit_length() - 1, []).append(correct)
        if bins:
            longest = max(longest, *bins)
            lines.append([d, f"({row})", *(share(bins.get(k, [])) or NOTHING for k in range(max(bins) + 1))])
    head = ["data", "row", "2", *(f"{2**k + 1}-{2 ** (k + 1)}" for k in range(1, longest + 1))]
    lines = [line + [NOTHING] * (len(head) - len(line)) for line in lines]
    note = "Columns are places in the category; the first has no proposal."
    return Table("proposals", "Proposals correct along the sequence", head, lines, note)


def _in_category(records: Sequence[Record]) -> Iterator[tuple[int, bool]]:
    """The place (1, 2, ...) in its category, and whether it was correct, of each proposal."""
    places: Counter[tuple] = Counter()
    for r in sorted(records, key=lambda r: (r["seed"], r["order"], r["index"])):
        key = r["seed"], r["order"], r["category"]
        places[key] += 1
        if r["correct"] is not None:
            yield places[key], r["correct"]
