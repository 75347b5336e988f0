"""Sec. 4: the experiments of the paper and beyond, over data sets: carries them out and writes tables and figures.

    python report.py --tables 1 --figures 4 --data LeedsButterfly=DIR --out runs/report
    python report.py --tables peers --data GrabCut Berkeley DAVIS COCO-MVal

One folder per data set, in it one per configuration, in it one ledger per run (`OUT/LeedsButterfly/layer-3/runs/
b-0.9-0.jsonl`). What a ledger holds is not run again, and `--no-runs` makes every table from the ledgers only. Under
torchrun the processes share the runs.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from annotator.history import Event, finished
from annotator.statistics import summary
from annotator.store import read_events
from data import DATASETS
from experiments import figures, published, runs
from experiments.catalogue import EXPERIMENTS
from experiments.ledger import Ledger, Record, complete, data_name, read_ledger, run_files
from experiments.runs import OpenDataset
from experiments.tables import Results, markdown, over_axis, records_of
from experiments.work import Task, carry_out
from loaders.samples import categories
from support.command_line import LineParser, rank, run_main
from support.files import atomic
from training.checkpoints import description

NETWORK = "network.txt"  # in --out: which network the ledgers there are of, D33
TABLES = [name.removeprefix("table-") for name in EXPERIMENTS if name.startswith("table-")]
FIGURES = ("4", "5", "6")


def main(argv: Sequence[str] | None = None) -> None:
    """`python report.py`: the experiments that the command line names."""
    args = parse(argv)
    if args.study:
        print(summary([event for folder in args.study for event in finished(annotated(folder))]))
        seconds = ", ".join(f"{s:.2f} s to {what}" for what, (*_, s) in published.TAB_4.items())
        print(f"\nThe paper's Tab. 4 is another experiment: {seconds}")
    if args.experiments and not args.no_runs:
        perform(args)
    if args.experiments and not rank():
        print(write(args), end="")


def annotated(folder: Path) -> list[Event]:
    """The events of a folder that `annotate.py` wrote; ValueError if it holds none."""
    file = folder / "annotations.jsonl"
    if not file.exists():
        raise ValueError(f"--study {folder}: no {file.name} in it; name a folder that annotate.py wrote")
    return read_events(file)[0]


# ---- runs ------------------------------------------------------------------------------------------------------------


def perform(args: argparse.Namespace) -> None:
    """Do the runs that are missing."""
    opened = dict[str, OpenDataset]()
    for name, (data, root) in args.data.items():
        opened[name] = runs.open_task_data(data, root or args.root if data in DATASETS else root, args)
    tasks = tasks_of(args, opened)
    if not rank():
        with atomic(args.out / NETWORK) as temporary:
            text = description(args.weights, args.data)
            temporary.write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")
    carry_out(tasks)


def tasks_of(args: argparse.Namespace, opened: dict[str, OpenDataset]) -> list[Task]:
    """Every run that is needed, once, each with a label for the progress line."""
    tasks, ledgers = dict[tuple, Task](), dict[Path, Ledger]()
    for data, o in opened.items():
        instances = categories(o.samples)
        largest = max(Counter(instances).values())
        seeds = args.seeds or (runs.DEMO_SEEDS if data == "Synthetic" else runs.SEEDS)
        for line in (line for name in args.experiments for line in EXPERIMENTS[name].needed(largest)):
            folder, settings = args.out / data / line.folder, line.settings(o.size)
            if folder not in ledgers:
                config = runs.configuration(data, o, args, settings, line.session)
                ledgers[folder] = Ledger(folder, config, instances)
            for run in runs.planned_runs(line.row, max(args.targets), seeds, args.orders, line.session.drawn):
                label = f"{data}, {line.folder}, "
                tasks[folder, run] = Task(ledgers[folder], run, o, settings, args.at_least, line.session, label)
    numbered = enumerate(tasks.values(), start=1)
    return [task._replace(label=f"run {number} of {len(tasks)}: {task.label}") for number, task in numbered]


# ---- what is written -------------------------------------------------------------------------------------------------


def read(args: argparse.Namespace) -> tuple[Results, int]:
    """The complete runs to the highest target, and the number of incomplete ones."""
    results, missing = dict[tuple[str, str], list[Record]](), 0
    for data in args.data:
        folders = sorted(folder.parent for folder in (args.out / data).glob("*/runs"))
        held = {folder.name: [read_ledger(file) for file in run_files(folder)] for folder in folders}
        length = max((r["length"] for own in held.values() for records in own for r in records), default=0)
        if not length:
            raise ValueError(f"--no-runs: no ledger of {data} in {args.out / data}; drop --no-runs")
        for name, own in held.items():
            results[data, name], incomplete = complete(own, length, max(args.targets))
            missing += incomplete
        reached = sorted({records[0]["target"] for own in held.values() for records in own if records})
        if max(args.targets) not in reached:
            named = " ".join(map(str, reached))
            raise ValueError(f"--targets: no run of {data} goes to {max(args.targets)}; name {named}")
    return results, missing


def write(args: argparse.Namespace) -> str:
    """Write tables, plots and sheets of what the ledgers hold into --out; returns the Markdown."""
    results, incomplete = read(args)
    text = "\n".join(parts(args, results)) + "\n"
    with atomic(args.out / "report.md") as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    if incomplete:
        print(f"report: {incomplete} runs are not complete and were left out", file=sys.stderr)
    return text


def parts(args: argparse.Namespace, results: Results) -> Iterator[str]:
    """The parts of a report, from records and pictures alone; plots and sheets are written on the way."""
    data, missing = list(args.data), False
    if (args.out / NETWORK).exists():
        yield f"Network: {(args.out / NETWORK).read_text(encoding='utf-8')}"
    if any(r["order"] for records in results.values() for r in records):
        yield "± is the 95 % interval over orders, a column '95 %' that over instances (D29).\n"
    for name in args.experiments:
        e = EXPERIMENTS[name]
        if name in ("figure-5", "figure-6"):
            yield from (sheet for d in data for sheet in sheets(args, results, d, name))
            continue
        yield markdown(e, results, data, args.targets)
        if e.axis and (curves := over_axis(e, results, data, args.targets)):
            try:
                figures.plot(curves, e.axis, args.out / f"{name}.png")
                yield f"![]({name}.png)\n"
            except ModuleNotFoundError:
                missing = True
    if missing:
        line = 'matplotlib is missing, so numbers only; plots with: pip install -e ".[plots]"'
        print(f"report: {line}", file=sys.stderr)


def sheets(args: argparse.Namespace, results: Results, data: str, name: str) -> Iterator[str]:
    """Write Fig. 5 or 6 of a data set from the pictures of its first runs, if there are some, and yield its link."""
    e, folder, file = EXPERIMENTS[name], args.out / data / "paper", args.out / data / f"{name}.png"
    records = [[r for r in records_of(results, data, v) if not r["seed"] and not r["order"]] for v in e.lines]
    rows, number = [list(figures.tiles(folder, own)) for own in records], name[-1]
    if not all(rows):
        print(f"report: Fig. {number}: the runs in {folder} have no pictures; use a new --out", file=sys.stderr)
        return
    figures.figure(number, file, data, max(args.targets), rows)
    yield f"Fig. {number}, {data}: {e.title}: ![]({quote(os.fsencode(data))}/{file.name})"


# ---- the command line ------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python report.py`."""
    text = "The experiments of Sec. 4, and some beyond the paper. Tab. 2 and Tab. 7's costs: benchmark.py."
    p = LineParser(prog="report", usage="report.py [options]", description=text)
    p.add_argument("--tables", metavar="N", nargs="+", choices=TABLES, default=[], help="some of " + ", ".join(TABLES))
    p.add_argument("--figures", metavar="N", nargs="+", choices=FIGURES, default=[], help="some of 4 (a plot), 5, 6")
    p.add_argument("--study", metavar="DIR", nargs="+", type=Path, help="sum up folders that annotate.py wrote")
    p.add_argument("--data", nargs="+", type=_with_root, metavar="NAME[=ROOT]", help="as in siis.py")
    p.add_argument("--root", metavar="DIR", type=Path, help="folder of the data sets without a ROOT of their own")
    runs.shared_arguments(p)
    p.add_argument("--out", metavar="DIR", type=Path, default=Path("runs/report"), help="ledgers, tables and figures")
    p.add_argument("--no-runs", action="store_true", help="write what the ledgers in --out hold; needs no data")
    args = p.parse_args(argv)
    args.experiments = [f"table-{n}" for n in args.tables]
    args.experiments += [name for n in sorted(args.figures) for name in EXPERIMENTS if name.startswith(f"figure-{n}")]
    if not args.experiments and not args.study:
        p.error("nothing to do: name some of --tables, --figures, --study")
    sources = args.data or [("Synthetic", None)]
    names = Counter(data_name(data) for data, _ in sources)
    for data, _ in sources:
        if names[data_name(data)] > 1:
            p.error(f"argument --data: {data}: results of two would be in {args.out / data_name(data)}; rename one")
    args.data = {data_name(data): (data, root) for data, root in sources}
    if args.root and not any(data in DATASETS and root is None for data, root in sources):
        p.error(f"argument --root: {args.root}: no data set without a ROOT of its own")
    args.targets = sorted(set(args.targets or published.TARGETS))
    return args


def _with_root(text: str) -> tuple[str, Path | None]:
    """argparse type: NAME=ROOT of a known data set, or a name or folder alone."""
    name, equals, root = text.partition("=")
    return (name, Path(root).expanduser()) if equals and name in DATASETS else (os.path.expanduser(text), None)


if __name__ == "__main__":
    run_main(main, "report")
