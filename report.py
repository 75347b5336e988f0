"""Sec. 4: the experiments of the paper and beyond, over data sets: plans, carries out and writes tables and figures.

    python report.py --tables 1 --figures 4 --data LeedsButterfly=DIR --out runs/report

One folder of ledgers a data set, one ledger a configuration in it (`OUT/LeedsButterfly/layer-3/clicks.jsonl`), which
`python siis.py --out` with the same flags goes on with. What a ledger holds is not run again, and every number can be
had from the ledgers alone (`--no-runs`).
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from data import DATASETS, builtin
from experiments import curves as sequences
from experiments.comparisons import (
    BOTH,
    MEMORIES,
    STOPS,
    Changes,
    Comparison,
    Results,
    compare,
    folder_name,
    measured,
    spread,
)
from experiments.figures import Curve, can_plot, plot
from experiments.ledger import Ledger, Run, data_folder, read_ledger
from experiments.plan import Job, estimate, left, planned, wanted
from experiments.runs import configuration, network, open_samples, own, perform, resume, shared_arguments
from experiments.sheets import Place, draw_sheets, settings_of, sheets
from experiments.tables import Record, Table
from loaders.samples import labels
from model import SIISNet
from siis import annotate_sequence
from support.command_line import LineParser, positive_int, progress, run_main
from support.files import atomic

Plan = tuple[dict[tuple[str, Changes], Ledger], list[tuple[Job, Run, int]]]  # ledgers, and the runs they lack

WRITTEN = ("report.md", "*.csv", "*.png")  # in --out
TABLES = ("1", "3", "5", "6", "7", "8")
FIGURES = ("4", "5", "6")
EXTRAS = ("curves", "failures", "hits", "refresh", "augment", "delta")
NO_PLOTS = 'matplotlib is missing, so numbers only; plots with: pip install -e ".[plots]"'


# ---- carrying it out -------------------------------------------------------------------------------------------------


def work(
    todo: Sequence[tuple[Job, Run, int]],
    places: dict[str, Place],
    ledgers: dict[tuple[str, Changes], Ledger],
    doing: list[str],
) -> Iterator[Record]:
    """Carry out the runs one after the other, yielding their records; doing[0] says which is under way."""
    for number, (job, run, _) in enumerate(todo, start=1):
        doing[0] = f"run {number} of {len(todo)}: {job.data}, {folder_name(job.changes)}, {run}"
        place, ledger = places[job.data], ledgers[job.data, job.changes]
        written = len(ledger.of(run))
        session = resume(run, place.net, settings_of(job.changes, place.size), ledger)
        again = written - session.done  # counted before: written after the session was saved last
        records = annotate_sequence(session, place.samples, run.target)
        yield from islice(perform(run, session, records, ledger), again, None)


# ---- what is written -------------------------------------------------------------------------------------------------


def outcome(args: argparse.Namespace, results: Results) -> list[tuple[Table, list[Curve], tuple[str, str]]]:
    """Every table that was asked for, with the curves of its figure and their axes, from records alone."""
    data = list(results.lengths)
    found: list[tuple[Table, list[Curve], tuple[str, str]]] = [
        (compare(c, results, data, args.targets), curves_of(c, results, args.targets), (c.axis, "NoC"))
        for c in wanted(args)
    ]
    targets = tuple(args.targets or BOTH)
    if "curves" in args.extras:
        found.append((*sequences.curves(results, data, max(targets)), ("clicks", "IoU")))
    if "failures" in args.extras:
        found.append((sequences.failures(results, data, targets), [], ("", "")))
    if "hits" in args.extras:
        found.append((*sequences.hits(results, data, max(targets)), ("place in the category", "proposals right")))
    return found


def curves_of(c: Comparison, results: Results, targets: Sequence[float] | None) -> list[Curve]:
    """NoC with its interval over the axis of a comparison that has one."""
    found = []
    for d in results.lengths if c.axis else ():
        for t in targets or c.targets(d):
            points = [
                (v.x, float(ours.mean()), *spread(ours[:, None]))
                for v in c.variants(results.largest[d])
                if v.x is not None and (ours := measured(results, d, v, t)) is not None
            ]
            if points:
                found.append(Curve(f"{d} @{t:.0%}", *(list(column) for column in zip(*points, strict=True))))
    return found


def write(args: argparse.Namespace, results: Results) -> str:
    """Write Markdown, CSV and plots into --out; returns the Markdown, with the sheets that are there."""
    parts = []
    for table, curves, (axis, value) in outcome(args, results):
        parts.append(table.markdown())
        with atomic(args.out / f"{table.name}.csv") as temporary:
            temporary.write_text(table.csv())
        if curves and can_plot():
            plot(curves, axis, value, args.out / f"{table.name}.png", steep=axis != "clicks")
            parts.append(f"![]({table.name}.png)\n")
    parts += [line for d in results.lengths for file, line in sheets(args, d) if file.exists()]
    text = "\n".join(parts) + "\n"
    with atomic(args.out / "report.md") as temporary:
        temporary.write_text(text)
    return text


def main(argv: Sequence[str] | None = None) -> None:
    """`python report.py`: the experiments that the command line names."""
    args = parse(argv)
    if args.no_runs:
        results = read_results(args)
        with own(args.out, _written(args)):
            _finish(args, results)
        return
    places = dict(_open(args))
    categories = {data: Counter(category for _, category in labels(place.samples)) for data, place in places.items()}
    jobs = planned(args, {data: max(counts.values()) for data, counts in categories.items()})
    if args.plan:
        _plan(args, places, jobs)
        return
    with ExitStack() as owned:
        owned.enter_context(own(args.out, _written(args)))
        for folder in {_folder(args, job) for job in jobs}:
            owned.enter_context(own(folder))
        _carry_out(args, places, jobs)


def _plan(args: argparse.Namespace, places: dict[str, Place], jobs: Sequence[Job]) -> Plan:
    """Say what is left of the jobs and how long it takes; the ledgers are written only if runs follow."""
    ledgers = {(job.data, job.changes): _ledger(args, job, places[job.data]) for job in jobs}
    todo = left(jobs, ledgers)
    seconds, missing = estimate(todo, ledgers), sum(n for *_, n in todo)
    about = "how long is not known before the first instances" if seconds is None else f"about {_duration(seconds)}"
    total = sum(len(job.runs) for job in jobs)
    print(
        f"report: {total} runs, {len(todo)} to do: {missing} instances" + (f", {about}" if todo else ""),
        file=sys.stderr,
    )
    return ledgers, todo


def _carry_out(args: argparse.Namespace, places: dict[str, Place], jobs: Sequence[Job]) -> None:
    """What is left of the jobs, with a plan before it and tables and figures after it."""
    ledgers, todo = _plan(args, places, jobs)
    doing = [""]
    for _ in progress(work(todo, places, ledgers, doing), lambda: doing[0], sum(n for *_, n in todo)):
        pass
    records: dict[tuple[str, str], Sequence[Record]] = {
        (data, folder_name(changes)): ledger.records for (data, changes), ledger in ledgers.items()
    }
    results = Results(records, {d: len(p.samples) for d, p in places.items()})
    if {"5", "6"} & set(args.figures):
        write(args, results)  # what there is already, since sheets take a while
        for d, place in places.items():
            draw_sheets(args, d, place, ledgers[d, ()])
    _finish(args, results)


def read_results(args: argparse.Namespace) -> Results:
    """What the ledgers below --out hold, without data sets or weights; each line says how long its run is."""
    ledgers, lengths = dict[tuple[str, str], Sequence[Record]](), dict[str, int]()
    for data in args.data:
        folder = data_folder(args.out, data)
        for file in sorted(folder.glob("*/clicks.jsonl")):
            ledgers[data, file.parent.name] = records = read_ledger(file)[0]
            lengths[data] = max([lengths.get(data, 0), *(r["length"] for r in records)])
        if not lengths.get(data):
            raise ValueError(f"--no-runs: no ledger of {data} in {folder}; leave --no-runs out")
    return Results(ledgers, lengths)


def _finish(args: argparse.Namespace, results: Results) -> None:
    print(write(args, results), end="")
    if results.incomplete:
        print(f"report: {results.incomplete} runs are not complete and were left out", file=sys.stderr)
    for file in (file for d in results.lengths for file, _ in sheets(args, d) if not file.exists()):
        print(f"report: {file} is not there; it is drawn from data and weights, without --no-runs", file=sys.stderr)
    if not can_plot() and ("4" in args.figures or {"curves", "hits"} & set(args.extras)):
        print(f"report: {NO_PLOTS}", file=sys.stderr)


def _open(args: argparse.Namespace) -> Iterator[tuple[str, Place]]:
    nets: dict[bool, tuple[SIISNet, int]] = {}
    for data, root in args.data.items():
        samples = open_samples(data, root or args.root if data in DATASETS else root, args)
        demo = data == "Synthetic"
        if demo:
            builtin(min_area=args.min_area, min_count=args.min_count - 1)
        if demo not in nets:
            nets[demo] = network(data, args)
        yield data, Place(samples, *nets[demo])


def _ledger(args: argparse.Namespace, job: Job, place: Place) -> Ledger:
    config = configuration(job.data, place.samples, place.net, args, settings_of(job.changes, place.size))
    return Ledger(_folder(args, job), config, labels(place.samples), write=not args.plan)


def _folder(args: argparse.Namespace, job: Job) -> Path:
    return data_folder(args.out, job.data) / folder_name(job.changes)


def _written(args: argparse.Namespace) -> list[str]:
    """Names and patterns of what is written in --out beside the ledgers."""
    return [*WRITTEN, *(f"{data_folder(args.out, data).name}/*.png" for data in args.data)]


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


# ---- the command line ------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python report.py`."""
    p = LineParser(prog="report", description="The experiments of Sec. 4, and some beyond the paper.")
    p.add_argument("--tables", nargs="+", choices=TABLES, default=[], help="Tabs. 2 and 7's costs: benchmark.py")
    p.add_argument("--figures", nargs="+", choices=FIGURES, default=[], help="4 as plots, 5 and 6 as sheets")
    p.add_argument("--extras", nargs="+", choices=EXTRAS, default=[], help="beyond the paper")
    p.add_argument("--data", nargs="+", default=["Synthetic"], metavar="NAME[=ROOT]", help="data sets as in siis.py")
    p.add_argument("--root", type=Path, help="folder of the data sets without a ROOT of their own")
    shared_arguments(p)
    p.add_argument("--out", type=Path, default=Path("runs/report"), help="folder for ledgers, tables and figures")
    p.add_argument("--stops", type=int, nargs="+", default=STOPS, help="abscissa of Fig. 4 (a), beside never")
    p.add_argument("--memories", type=positive_int, nargs="+", default=MEMORIES, help="abscissa of Fig. 4 (b)")
    p.add_argument("--plan", action="store_true", help="say how many runs are to do and how long they take, and stop")
    p.add_argument("--no-runs", action="store_true", help="write what the ledgers in --out hold; needs no data")
    args = p.parse_args(argv)
    if not args.tables and not args.figures and not args.extras:
        p.error("nothing to do: name some of --tables, --figures, --extras")
    if args.plan and args.no_runs:
        p.error("argument --plan: not allowed with --no-runs, which plans nothing")
    if min(args.stops) < 0:
        p.error(f"argument --stops: '{min(args.stops)}': expected numbers of instances, at least 0")
    data = [_with_root(text) for text in args.data]
    folders = Counter(data_folder(args.out, name) for name, _ in data)
    for name, _ in data:
        if folders[data_folder(args.out, name)] > 1:
            p.error(f"argument --data: {name}: results of two would be in {data_folder(args.out, name)}; rename one")
    args.data = dict(data)
    if args.root and not any(name in DATASETS and root is None for name, root in data):
        p.error(f"argument --root: {args.root}: no data set without a ROOT of its own")
    return args


def _with_root(text: str) -> tuple[str, Path | None]:
    """NAME=ROOT of a known data set, or a name or folder alone."""
    name, equals, root = text.partition("=")
    return (name, Path(root)) if equals and name in DATASETS else (text, None)


if __name__ == "__main__":
    run_main(main, "report")
