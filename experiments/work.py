"""Sec. 4: how runs are done: shared among processes, each continued where it stopped.

    torchrun --nproc-per-node 8 siis.py --data LeedsButterfly --root DIR       the runs of a table on eight GPUs

A run (row, target, seed) is done by one process, which locks it; any process takes the next free one. Processes need
nothing in common but the folder of results, so one that is started later by hand, or on another machine that has the
folder, joins in.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from experiments import figures
from experiments.ledger import ROWS, Ledger, Run
from experiments.measured import Measured, ledger_line
from experiments.runs import OpenDataset
from loaders.samples import Sample
from session import Session
from settings import Settings
from support.command_line import InUseError, exclusive, progress, rank
from support.files import sweep

SAVE_SECONDS = 30  # between two saved sessions: what a kill can cost
POLL_SECONDS = 2  # between two looks at runs of other processes


class Task(NamedTuple):
    """A run to do: where it is written, on what it works, and how."""

    ledger: Ledger
    run: Run
    opened: OpenDataset
    settings: Settings  # without those that follow from the run
    label: str = ""  # for the progress line
    draw: Sequence[int] = ()  # indices of the instances whose pictures go to the sheet


Annotate = Callable[[Session, Sequence[Sample], float], Iterable[Any]]  # `siis.annotate_sequence`


def carry_out(tasks: Sequence[Task], annotate: Annotate) -> None:
    """Do every run that no other process does or has done, and show the progress of each."""
    for task in take(tasks):
        session = resume(task)
        done = perform(task, session, annotate(session, task.opened.samples, task.run.target))
        label = f"{task.label}{task.run}"
        for _ in progress(done, label, task.ledger.length, session.done, show=not rank()):
            pass


def resume(task: Task) -> Measured:
    """The session of a run, where it was saved last; what the ledger holds beyond that will be done again."""
    icp, opo = ROWS[task.run.row]
    settings = task.settings._replace(icp=icp, opo=opo, seed=task.run.seed)
    saved, written = session_file(task), len(task.ledger.of(task.run))
    net = task.opened.net
    session = Measured(net, settings)
    if written and saved.exists():
        session = cast(Measured, Measured.load(saved, net))
    if session.done > written:  # lines of the ledger were taken away
        session = Measured(net, settings)
    if not session.done:
        saved.unlink(missing_ok=True)
    task.ledger.keep(task.run, session.done)
    session.samples = task.opened.samples
    return session


def perform(task: Task, session: Measured, annotated: Iterable[Any]) -> Iterator[Any]:
    """Carry out the rest of a run, yielding each instance once it stands in the ledger.

    annotated:  of `annotate_sequence` with this session.
    """
    saved, last = session_file(task), time.monotonic()
    for instance in annotated:
        if instance.index in task.draw:
            figures.save_tile(vars(instance), task.ledger.folder, task.run)
        task.ledger.append(task.run, ledger_line(instance, task.run.target, session.watch.laps))
        if time.monotonic() - last > SAVE_SECONDS:
            session.save(saved)
            last = time.monotonic()
        yield instance
    saved.unlink(missing_ok=True)


def take(tasks: Sequence[Task]) -> Iterator[Task]:
    """Yield the tasks that are free and not finished, each locked by this process while it is worked on.

    Process 0 stays until all are finished: it waits for those of other processes, and takes over what one that died
    did not finish. The others end when nothing is free.
    """
    waiting, announced = list(tasks), False
    while waiting:
        busy = []
        for task in waiting:
            with ExitStack() as locked:
                try:
                    locked.enter_context(exclusive(task.ledger.folder, _lock(task)))
                except InUseError:
                    busy.append(task)
                    continue
                sweep(task.ledger.file(task.run), session_file(task))
                if task.draw:
                    sweep(task.ledger.folder / "sheet" / "*.png")
                task.ledger.claim(task.run)
                if task.ledger.finished(task.run):
                    session_file(task).unlink(missing_ok=True)
                else:
                    yield task
        waiting = busy if not rank() else []
        if waiting:
            if not announced:
                print(f"{len(waiting)} runs are at work in other processes; waiting for them", file=sys.stderr)
            announced = True
            time.sleep(POLL_SECONDS)


def session_file(task: Task) -> Path:
    """Where the session of an unfinished run is saved."""
    return task.ledger.file(task.run).with_suffix(".pt")


def _lock(task: Task) -> Path:
    return task.ledger.folder / "runs" / f".{task.run.name}.lock"


@contextmanager
def locked_output(out: Path, written: Sequence[str]) -> Iterator[None]:
    """Within the block only this process writes tables and figures; half-written files of killed ones are removed.

    written:  names or patterns of what is written in `out`.
    """
    with exclusive(out, out / ".lock", wait=True):
        sweep(*(out / name for name in written))
        yield
