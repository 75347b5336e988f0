"""Sec. 4: how runs are done: shared among processes, each continued where it stopped.

    torchrun --nproc-per-node 8 siis.py --data LeedsButterfly --root DIR       the runs of a table on eight GPUs

A run (row, target, seed), or a part of a long one (see `ledger`), is done by one process, which locks it; any process
takes the next free one. Processes need nothing in common but the folder of results, so one that is started later by
hand, or on another machine that has the folder, joins in.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

from experiments import figures
from experiments.ledger import ROWS, Ledger, Part
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
    """A part of a run to do: where it is written, on what it works, and how."""

    ledger: Ledger
    part: Part
    opened: OpenDataset
    settings: Settings  # without those that follow from the run
    label: str = ""  # for the progress line
    draw: Sequence[int] = ()  # indices of the instances whose pictures go to the sheet


Annotate = Callable[[Session, Sequence[Sample], float], Iterable[Any]]  # `siis.annotate_sequence`


def carry_out(tasks: Sequence[Task], annotate: Annotate) -> None:
    """Do every part that no other process does or has done, and show the progress of each."""
    for task in take(tasks):
        session, part = resume(task), task.part
        rest = islice(annotate(session, task.opened.samples, part.run.target), part.stop - session.done)
        done, length = perform(task, session, rest), part.stop - part.first
        for _ in progress(done, f"{task.label}{part}", length, session.done - part.first, show=not rank()):
            pass


def resume(task: Task) -> Measured:
    """The session of a part, where it was saved last; what the ledger holds beyond that will be done again.

    A new one begins at the part's first place, on which its random numbers depend. Nothing else comes from the places
    before: bank and parameters are a category's, and what others left in the memory would be pushed out first (D27).
    """
    ledger, part, saved = task.ledger, task.part, session_file(task)
    icp, opo = ROWS[part.run.row]
    settings = task.settings._replace(icp=icp, opo=opo, seed=part.run.seed)
    written, session = len(ledger.of(part)), Measured(task.opened.net, settings)
    session.done = part.first
    if written and saved.exists():
        loaded = cast(Measured, Measured.load(saved, task.opened.net))
        if loaded.done <= part.first + written:  # else lines of the ledger were taken away
            session = loaded
    if session.done == part.first:
        saved.unlink(missing_ok=True)
    ledger.keep(part, session.done)
    session.samples = task.opened.samples
    return session


def perform(task: Task, session: Measured, annotated: Iterable[Any]) -> Iterator[Any]:
    """Carry out the rest of a part, yielding each instance once it stands in the ledger.

    annotated:  of `annotate_sequence` with this session, up to the end of the part.
    """
    saved, last = session_file(task), time.monotonic()
    for instance in annotated:
        if instance.index in task.draw:
            figures.save_tile(vars(instance), task.ledger.folder, task.part.run)
        task.ledger.append(task.part, ledger_line(instance, task.part.run.target, session.watch.laps))
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
                sweep(task.ledger.file(task.part), session_file(task), *_tiles(task))
                task.ledger.claim(task.part)
                if task.ledger.finished(task.part):
                    session_file(task).unlink(missing_ok=True)
                else:
                    yield task
        waiting = busy if not rank() else []
        if waiting:
            if not announced:
                runs = len({(task.ledger.folder, task.part.run) for task in waiting})
                print(f"{runs} runs are at work in other processes; waiting for them", file=sys.stderr)
            announced = True
            time.sleep(POLL_SECONDS)


def session_file(task: Task) -> Path:
    """Where the session of an unfinished part is saved."""
    return task.ledger.file(task.part).with_suffix(".pt")


def _lock(task: Task) -> Path:
    return task.ledger.folder / "runs" / f".{task.part.name}.lock"


def _tiles(task: Task) -> list[Path]:
    """The pictures for the sheet that the part draws."""
    part = task.part
    drawn = (index for index in task.draw if part.first <= index < part.stop)
    return [figures.tile(task.ledger.folder, part.run, index) for index in drawn]


@contextmanager
def locked_output(out: Path, written: Sequence[str]) -> Iterator[None]:
    """Within the block only this process writes tables and figures; half-written files of killed ones are removed.

    written:  names or patterns of what is written in `out`.
    """
    with exclusive(out, out / ".lock", wait=True):
        sweep(*(out / name for name in written))
        yield
