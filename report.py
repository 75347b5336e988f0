"""Sec. 4: the experiments of the paper and beyond, over data sets: plans, carries out and writes tables and figures.

    python report.py --tables 1 --figures 4 --data LeedsButterfly=DIR --out runs/report

One folder of ledgers a data set, one ledger a configuration in it (`OUT/LeedsButterfly/layer-3/clicks.jsonl`), which
`python siis.py --out` with the same flags goes on with. What a ledger holds is not run again, and every number can be
had from the ledgers alone (`--no-runs`).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import sequences
from console import LineParser, positive_int, progress, run_main
from data import DATASETS
from experiments import (
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
from figures import Curve, can_plot, plot
from files import atomic
from ledger import Ledger, Run, read_ledger
from model import SIISNet
from pictures import Place, draw_sheets, settings_of
from plan import Job, estimate, left, planned, wanted
from siis import (
    configuration,
    network,
    open_samples,
    own,
    perform,
    resume,
    shared_arguments,
)
from tables import Record, Table

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
        session = resume(run, place.net, settings_of(job.changes, place.size), ledger)
        yield from perform(run, session, place.samples, ledger)


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
                for v in c.variants(results.lengths[d])
                if v.x is not None and (ours := measured(results, d, v, t)) is not None
            ]
            if points:
                found.append(Curve(f"{d} @{t:.0%}", *(list(column) for column in zip(*points, strict=True))))
    return found


def write(args: argparse.Namespace, results: Results, sheets: Sequence[str] = ()) -> str:
    """Write Markdown, CSV and PNG into --out; returns the Markdown."""
    parts = []
    for table, curves, (axis, value) in outcome(args, results):
        parts.append(table.markdown())
        with atomic(args.out / f"{table.name}.csv") as temporary:
            temporary.write_text(table.csv())
        if curves and can_plot():
            plot(curves, axis, value, args.out / f"{table.name}.png", steep=axis != "clicks")
    text = "\n".join([*parts, *sheets]) + "\n"
    with atomic(args.out / "report.md") as temporary:
        temporary.write_text(text)
    return text


def main(argv: Sequence[str] | None = None) -> None:
    """`python report.py`: the experiments that the command line names."""
    args = parse(argv)
    if args.no_runs:
        _finish(args, read_results(args))
        return
    places = dict(_open(args))
    jobs = planned(args, {data: len(place.samples) for data, place in places.items()})
    with ExitStack() as owned:
        for folder in {_folder(args, job) for job in jobs}:
            owned.enter_context(own(folder))
        _carry_out(args, places, jobs)


def _carry_out(args: argparse.Namespace, places: dict[str, Place], jobs: Sequence[Job]) -> None:
    """What is left of the jobs, with a plan before it and tables and figures after it."""
    ledgers = {(job.data, job.changes): _ledger(args, job, places[job.data]) for job in jobs}
    todo = left(jobs, ledgers)
    seconds, missing = estimate(todo, ledgers), sum(n for *_, n in todo)
    about = "how long is not known before the first instances" if seconds is None else f"about {_duration(seconds)}"
    total = sum(len(job.runs) for job in jobs)
    print(
        f"report: {total} runs, {len(todo)} to do: {missing} instances" + (f", {about}" if todo else ""),
        file=sys.stderr,
    )
    if args.plan:
        return
    doing = [""]
    for _ in progress(work(todo, places, ledgers, doing), lambda: doing[0], missing):
        pass
    sheets = []
    if {"5", "6"} & set(args.figures):
        sheets = [s for d, place in places.items() for s in draw_sheets(args, d, place, ledgers[d, ()])]
    records: dict[tuple[str, str], Sequence[Record]] = {
        (data, folder_name(changes)): ledger.records for (data, changes), ledger in ledgers.items()
    }
    _finish(args, Results(records, {d: len(p.samples) for d, p in places.items()}), sheets)


def read_results(args: argparse.Namespace) -> Results:
    """What the ledgers below --out hold, without data sets or weights; the longest run of a data set is complete."""
    ledgers, lengths = dict[tuple[str, str], Sequence[Record]](), dict[str, int]()
    for data in args.data:
        for file in sorted((args.out / Path(data).name).glob("*/clicks.jsonl")):
            ledgers[data, file.parent.name] = records = read_ledger(file)[0]
            lengths[data] = max([lengths.get(data, 0), *(r["index"] + 1 for r in records)])
        if not lengths.get(data):
            raise ValueError(f"--no-runs: no ledger of {data} in {args.out / Path(data).name}; leave --no-runs out")
    return Results(ledgers, lengths)


def _finish(args: argparse.Namespace, results: Results, sheets: Sequence[str] = ()) -> None:
    print(write(args, results, sheets), end="")
    if results.incomplete:
        print(f"report: {len(results.incomplete)} runs are not complete and were left out", file=sys.stderr)
    if not can_plot() and ("4" in args.figures or {"curves", "hits"} & set(args.extras)):
        print(f"report: {NO_PLOTS}", file=sys.stderr)


def _open(args: argparse.Namespace) -> Iterator[tuple[str, Place]]:
    nets: dict[bool, tuple[SIISNet, int]] = {}
    for data, root in args.data.items():
        samples = open_samples(data, root or args.root if data in DATASETS else root, args)
        demo = data == "Synthetic"
        if demo not in nets:
            nets[demo] = network(data, args)
        yield data, Place(samples, *nets[demo])


def _ledger(args: argparse.Namespace, job: Job, place: Place) -> Ledger:
    config = configuration(job.data, place.samples, place.net, args, settings_of(job.changes, place.size))
    return Ledger(_folder(args, job), config, len(place.samples))


def _folder(args: argparse.Namespace, job: Job) -> Path:
    return args.out / Path(job.data).name / folder_name(job.changes)


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
    if min(args.stops) < 0:
        p.error(f"argument --stops: '{min(args.stops)}': expected numbers of instances, at least 0")
    args.data = dict(_with_root(text) for text in args.data)
    return args


def _with_root(text: str) -> tuple[str, Path | None]:
    """NAME=ROOT of a known data set, or a name or folder alone."""
    name, equals, root = text.partition("=")
    return (name, Path(root)) if equals and name in DATASETS else (text, None)


if __name__ == "__main__":
    run_main(main, "report")
