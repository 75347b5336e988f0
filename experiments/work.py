"""Sec. 4: how runs are done: shared among processes, each continued where it stopped.

    torchrun --nproc-per-node 8 siis.py --data LeedsButterfly --root DIR       the runs of a table on eight GPUs

A run (row, target, seed, order) is done by one process, which locks it; any process takes the next free one. Processes
need nothing in common but the folder of results, so one that is started later by hand, or on another machine that has
the folder, joins in.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from experiments import figures
from experiments.ledger import ROWS, Ledger, Run, complete, order
from experiments.runs import OpenDataset
from experiments.sessions import Measured
from experiments.tables import ablation
from loaders.samples import Sample
from robot_user import mask_digest
from session import Settings
from siis import Annotated, annotate_sequence
from support.command_line import InUseError, exclusive, needing_memory, progress, rank
from support.files import sweep

SAVE_SECONDS = 30  # between two saved sessions: what a kill can cost
POLL_SECONDS = 2  # between two looks at runs of other processes


class Task(NamedTuple):
    """A run to do: where it is written, on what it works, and how."""

    ledger: Ledger
    run: Run
    opened: OpenDataset
    settings: Settings  # without those that follow from the run
    at_least: int = 0  # clicks
    session: type[Measured] = Measured
    label: str = ""  # for the progress line

    @property
    def draw(self) -> set[int]:
        """The places of the instances whose pictures are kept; those of the first run of a row will do."""
        first = self.session is Measured and not self.run.seed and not self.run.order
        return figures.drawn(len(self.opened.samples)) if first else set()


class Reordered(Sequence[Sample]):
    """Samples in another order: the one at place i is number `instances[i]` in file order."""

    def __init__(self, samples: Sequence[Sample], instances: Sequence[int]):
        self.samples, self.instances = samples, instances

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, i):
        return self.samples[self.instances[i]]


def carry_out(tasks: Sequence[Task]) -> None:
    """Do every run that no other process does or has done, and show the progress of each."""
    for task in take(tasks):
        instances = order([category for _, category in task.ledger.labels], task.run.order)
        session = resume(task, Reordered(task.opened.samples, instances))
        done, length = perform(task, session, instances), len(instances)
        for _ in progress(done, f"{task.label}{task.run}", length, session.done, show=not rank()):
            pass


def resume(task: Task, samples: Sequence[Sample]) -> Measured:
    """The session of a run, where it was saved last; what the ledger holds beyond that will be done again."""
    ledger, run, saved = task.ledger, task.run, session_file(task)
    icp, opo = ROWS[run.row]
    session = task.session(task.opened.net, replace(task.settings, icp=icp, opo=opo, seed=run.seed))
    if ledger.of(run) and saved.exists():
        loaded = task.session.load(saved, task.opened.net)
        if loaded.done <= len(ledger.of(run)):  # else lines of the ledger were taken away
            session = loaded
    if not session.done:
        saved.unlink(missing_ok=True)
    ledger.keep(run, session.done)
    session.samples = samples
    return session


def perform(task: Task, session: Measured, instances: Sequence[int]) -> Iterator[Annotated]:
    """Carry out the rest of a run, yielding each instance once it stands in the ledger.

    instances:  which one stands at each place.
    """
    saved, last = session_file(task), time.monotonic()
    annotated = annotate_sequence(session, session.samples, task.run.target, task.at_least)
    for index in range(session.done, len(session.samples)):
        sample = session.samples[index]  # at no cost: a data set keeps what it read last
        with needing_memory(f"{sample.name}, {sample.mask.shape[0]}x{sample.mask.shape[1]} pixels"):
            done = next(annotated)
            if index in task.draw:
                masks = [session.segment(session.view, done.clicks[:k]) for k in range(1, figures.FIRST_CLICKS + 1)]
                figures.save_tile(done, masks, task.ledger.folder, task.run)
        task.ledger.append(task.run, {"instance": instances[done.index], **ledger_line(done, session.watch.laps)})
        if time.monotonic() - last > SAVE_SECONDS:
            session.save(saved)
            last = time.monotonic()
        yield done
    saved.unlink(missing_ok=True)


def ledger_line(done: Annotated, seconds: dict[str, float]) -> dict[str, Any]:
    """What the ledger keeps of an annotated instance.

    seconds:  by part.
    Returns:  plain values: name and category, proposal and whether it was correct (None without one), clicks, `ious`
              after 0, 1, ... of the user's clicks, whether each of these is consistent, the digest of the
              mask, seconds.
    """
    return {
        "index": done.index,
        "name": done.sample.name,
        "category": done.sample.category,
        "proposal": done.proposal,
        "correct": done.correct,
        "clicks": done.clicks,
        "ious": done.ious,
        "consistent": done.consistent,
        "mask_digest": mask_digest(done.mask),
        "seconds": seconds,
    }


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
                sheet = task.ledger.folder / "sheet" / f"{task.run.name}-*.png"
                sweep(task.ledger.file(task.run), session_file(task), sheet)
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


def show(ledger: Ledger, data: str, targets: Sequence[float]) -> None:
    """Print Tab. 1 from a ledger and put its sheet of pictures together."""
    ledger.reload()  # what other processes have done
    records, incomplete = complete(
        [own for run, own in ledger.runs.items() if run.target == max(targets)], len(ledger.labels)
    )
    print(ablation(records, data, targets))
    if incomplete:
        print(f"siis: {incomplete} runs are not complete and were left out", file=sys.stderr)
    with locked_output(ledger.folder, ["sheet.png"]):
        sheet = figures.sheet(ledger, data)
    print(f"\n{len(records)} annotated instances: {ledger.folder / 'runs'}; pictures: {sheet or 'none'}")


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
