"""Sec. 4: the experiments of the paper and beyond, over data sets: plans, carries out and writes tables and figures.

    python report.py --tables 1 --figures 4 --data LeedsButterfly=DIR --out runs/report

One folder per data set, in it one per configuration, in it one ledger per run, or per part of a long one
(`OUT/LeedsButterfly/layer-3/runs/b-0.9-0.jsonl`). What a ledger holds is not run again, and `--no-runs` makes every
table from the ledgers only. Under torchrun the processes share the runs.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from annotator.statistics import summary
from annotator.store import Event, finished, read_events
from data import DATASETS, builtin
from experiments import curves as sequences
from experiments.comparisons import BOTH, MEMORIES, STOPS, Comparison, compare, measured, spread
from experiments.figures import Curve, can_plot, plot
from experiments.ledger import Ledger, Run, data_name, read_ledger, refuse_old, run_files
from experiments.plan import Job, estimate, largest_category, planned, remaining_runs, wanted
from experiments.results import Changes, Results, folder_name
from experiments.runs import OpenDataset, configuration, content, network, open_samples, shared_arguments
from experiments.sheets import draw_sheets, settings_of, sheets
from experiments.tables import Record, Table
from experiments.work import Task, carry_out, locked_output
from loaders.samples import labels
from model import SIISNet
from siis import annotate_sequence
from support.command_line import LineParser, expanded, path_name, positive_int, rank, run_main
from support.files import atomic
from training.checkpoints import description

Ledgers = dict[tuple[str, Changes], Ledger]  # by data set and configuration

NETWORK = "network.txt"  # in --out: which network the ledgers there are of, D33
WRITTEN = ("report.md", NETWORK, "*.csv", "*.png")  # in --out
TABLES = ("1", "3", "5", "6", "7", "8")
FIGURES = ("4", "5", "6")
DEMO = [("Synthetic", None)]
EXTRAS = ("curves", "hits", "augment", "delta")
NO_PLOTS = 'matplotlib is missing, so numbers only; plots with: pip install -e ".[plots]"'


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
    parts, network_file = [], args.out / NETWORK
    with locked_output(args.out, _written(args)):
        if network_file.exists():
            parts.append(f"Network: {network_file.read_text(encoding='utf-8')}")
        for table, curves, (axis, value) in outcome(args, results):
            parts.append(table.markdown())
            with atomic(args.out / f"{table.name}.csv") as temporary:
                temporary.write_text(table.csv(), encoding="utf-8", errors="backslashreplace")
            if curves and can_plot():
                plot(curves, axis, value, args.out / f"{table.name}.png", steep=axis != "clicks")
                parts.append(f"![]({table.name}.png)\n")
        parts += [line for d in results.lengths for file, line in sheets(args, d) if file.exists()]
        text = "\n".join(parts) + "\n"
        with atomic(args.out / "report.md") as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return text


def main(argv: Sequence[str] | None = None) -> None:
    """`python report.py`: the experiments that the command line names."""
    args = parse(argv)
    if args.study:
        print(summary([event for folder in args.study for event in finished(annotated(folder))]))
    if not args.tables and not args.figures and not args.extras:
        return
    if args.no_runs:
        finish(args, read_results(args))
        return
    opened = dict(open_all(args))
    jobs = planned(args, {data: largest_category(o.samples) for data, o in opened.items()})
    ledgers = {(job.data, job.changes): _ledger(args, job, opened[job.data]) for job in jobs}
    remaining = remaining_runs(jobs, ledgers)
    if not rank():
        text = description(args.weights, args.data)
        print(f"report: network: {text}", file=sys.stderr)
        say_plan(jobs, remaining, ledgers)
        if not args.plan:
            with atomic(args.out / NETWORK) as temporary:
                temporary.write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")
    if args.plan:
        return
    carry_out(tasks_of(remaining, opened, ledgers), annotate_sequence)
    if rank():
        return
    results = results_of(ledgers, opened)
    if {"5", "6"} & set(args.figures):
        write(args, results)  # what there is already, since sheets take a while
        for d, dataset in opened.items():
            draw_sheets(args, d, dataset, ledgers[d, ()])
    finish(args, results)


def annotated(folder: Path) -> list[Event]:
    """The events of a folder that `annotate.py` wrote; ValueError if it holds none."""
    file = folder / "annotations.jsonl"
    if not file.exists():
        raise ValueError(f"--study {folder}: no {file.name} in it; name a folder that annotate.py wrote")
    return read_events(file)[0]


def say_plan(jobs: Sequence[Job], remaining: Sequence[tuple[Job, Run, int]], ledgers: Ledgers) -> None:
    """Say which runs remain and how long they take on one process."""
    seconds, missing = estimate(remaining, ledgers), sum(n for *_, n in remaining)
    about = "how long is not known before the first instances" if seconds is None else f"about {_duration(seconds)}"
    runs = f"{sum(len(job.runs) for job in jobs)} runs, {len(remaining)} to do: {missing} instances"
    print(f"report: {runs}" + (f", {about}" if remaining else ""), file=sys.stderr)


def tasks_of(remaining: Sequence[tuple[Job, Run, int]], opened: dict[str, OpenDataset], ledgers: Ledgers) -> list[Task]:
    """The parts of the remaining runs as tasks, each with a label for the progress line."""
    return [
        Task(
            ledgers[job.data, job.changes],
            part,
            opened[job.data],
            settings_of(job.changes, opened[job.data].size),
            f"run {number} of {len(remaining)}: {job.data}, {folder_name(job.changes)}, ",
        )
        for number, (job, run, _) in enumerate(remaining, start=1)
        for part in ledgers[job.data, job.changes].parts(run)
    ]


def results_of(ledgers: Ledgers, opened: dict[str, OpenDataset]) -> Results:
    """What the ledgers hold now, other processes' runs among it."""
    for ledger in ledgers.values():
        ledger.reload()
    records: dict[tuple[str, str], Sequence[Record]] = {
        (data, folder_name(changes)): ledger.records for (data, changes), ledger in ledgers.items()
    }
    return Results(records, {d: len(o.samples) for d, o in opened.items()})


def read_results(args: argparse.Namespace) -> Results:
    """What the ledgers below --out hold, without data sets or weights; each line says how long its run is."""
    ledgers, lengths = dict[tuple[str, str], Sequence[Record]](), dict[str, int]()
    for data in args.data:
        folder = args.out / data
        for inner in sorted(path for path in folder.glob("*") if path.is_dir()):
            refuse_old(inner)
            records = [r for file in run_files(inner) for r in read_ledger(file)[0]]
            ledgers[data, inner.name] = records
            lengths[data] = max([lengths.get(data, 0), *(r["length"] for r in records)])
        if not lengths.get(data):
            raise ValueError(f"--no-runs: no ledger of {data} in {folder}; drop --no-runs")
    return Results(ledgers, lengths)


def finish(args: argparse.Namespace, results: Results) -> None:
    """Write and print the report, and say what is missing in it."""
    print(write(args, results), end="")
    if results.incomplete:
        print(f"report: {results.incomplete} runs are not complete and were left out", file=sys.stderr)
    for file in (file for d in results.lengths for file, _ in sheets(args, d) if not file.exists()):
        print(f"report: {file} is not there; it is drawn from data and weights, without --no-runs", file=sys.stderr)
    if not can_plot() and ("4" in args.figures or {"curves", "hits"} & set(args.extras)):
        print(f"report: {NO_PLOTS}", file=sys.stderr)


def open_all(args: argparse.Namespace) -> Iterator[tuple[str, OpenDataset]]:
    """The data sets of the command line by name; those of one network share it."""
    nets: dict[bool, tuple[SIISNet, int]] = {}
    for name, (data, root) in args.data.items():
        demo = data == "Synthetic"
        if demo:
            builtin(masks=args.masks, min_area=args.min_area, min_count=args.min_count - 1)
        samples = open_samples(data, root or args.root if data in DATASETS else root, args)
        if demo not in nets:
            nets[demo] = network(data, args)
        yield name, OpenDataset(samples, content(samples), *nets[demo])


def _ledger(args: argparse.Namespace, job: Job, opened: OpenDataset) -> Ledger:
    config = configuration(job.data, opened, args, settings_of(job.changes, opened.size))
    return Ledger(args.out / job.data / folder_name(job.changes), config, labels(opened.samples), write=not args.plan)


def _written(args: argparse.Namespace) -> list[str]:
    """Names and patterns of what is written in --out beside the ledgers."""
    return [*WRITTEN, *(f"{data}/*.png" for data in args.data)]


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
    text = "The experiments of Sec. 4, and some beyond the paper. Tab. 2 and Tab. 7's costs: benchmark.py; "
    text += "Tab. 4: --study."
    p = LineParser(prog="report", usage="report.py [options]", description=text)
    p.add_argument("--tables", metavar="N", nargs="+", choices=TABLES, default=[], help="some of " + ", ".join(TABLES))
    p.add_argument("--figures", metavar="N", nargs="+", choices=FIGURES, default=[], help="some of 4 (a plot), 5, 6")
    p.add_argument("--extras", metavar="NAME", nargs="+", choices=EXTRAS, default=[], help=", ".join(EXTRAS))
    p.add_argument("--study", metavar="DIR", nargs="+", type=Path, help="Tab. 4 of folders that annotate.py wrote")
    p.add_argument("--data", nargs="+", type=_with_root, default=DEMO, metavar="NAME[=ROOT]", help="as in siis.py")
    p.add_argument("--root", metavar="DIR", type=Path, help="folder of the data sets without a ROOT of their own")
    shared_arguments(p)
    p.add_argument("--out", metavar="DIR", type=Path, default=Path("runs/report"), help="ledgers, tables and figures")
    p.add_argument("--stops", metavar="N", type=int, nargs="+", default=STOPS, help="Fig. 4 (a): instances")
    p.add_argument("--memories", metavar="N", type=positive_int, nargs="+", default=MEMORIES, help="Fig. 4 (b): sizes")
    p.add_argument("--plan", action="store_true", help="say how many runs remain and how long they take, and stop")
    p.add_argument("--no-runs", action="store_true", help="write what the ledgers in --out hold; needs no data")
    args = p.parse_args(argv)
    if not args.tables and not args.figures and not args.extras and not args.study:
        p.error("nothing to do: name some of --tables, --figures, --extras, --study")
    if args.plan and args.no_runs:
        p.error("argument --plan: not allowed with --no-runs, which plans nothing")
    if min(args.stops) < 0:
        p.error(f"argument --stops: '{min(args.stops)}': expected numbers of instances, at least 0")
    sources = args.data
    names = Counter(data_name(data) for data, _ in sources)
    for data, _ in sources:
        if names[data_name(data)] > 1:
            p.error(f"argument --data: {data}: results of two would be in {args.out / data_name(data)}; rename one")
    args.data = {data_name(data): (data, root) for data, root in sources}
    if args.root and not any(data in DATASETS and root is None for data, root in sources):
        p.error(f"argument --root: {args.root}: no data set without a ROOT of its own")
    return args


def _with_root(text: str) -> tuple[str, Path | None]:
    """argparse type: NAME=ROOT of a known data set, or a name or folder alone."""
    name, equals, root = text.partition("=")
    return (name, path_name(root)) if equals and name in DATASETS else (expanded(text), None)


if __name__ == "__main__":
    run_main(main, "report")
