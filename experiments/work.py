"""Sec. 4: how runs are done: shared among processes, each continued where it stopped.

    torchrun --nproc-per-node 8 siis.py --data LeedsButterfly --root DIR       the runs of a table on eight GPUs

A run (row, target, seed, order) is done by one process, which locks it; any process takes the next free one. Processes
need nothing in common but the folder of results, so one that is started later by hand, or on another machine that has
the folder, joins in.
"""

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Subset

from experiments import figures
from experiments.ledger import ROWS, Ledger, Record, Run, complete, data_name, order
from experiments.runs import OpenDataset
from experiments.sessions import Measured
from experiments.tables import ablation
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
    def saved(self) -> Path:
        """Where the session of an unfinished run is saved."""
        return self.ledger.file(self.run).with_suffix(".pt")

    @property
    def instances(self) -> list[int]:
        """Which instance stands at each place."""
        return order(self.ledger.categories, self.run.order)

    @property
    def draw(self) -> set[int]:
        """The places of the instances whose pictures are kept; those of the first run of a row will do."""
        first = self.session is Measured and not self.run.seed and not self.run.order
        return figures.drawn(len(self.opened.samples)) if first else set()


def carry_out(tasks: Sequence[Task]) -> None:
    """Do every run that no other process does or has done, and show the progress of each."""
    for task in take(tasks):
        perform(task, resume(task))


def resume(task: Task) -> Measured:
    """The session of a run, where it was saved last; what the ledger holds beyond that will be done again."""
    ledger, run = task.ledger, task.run
    icp, opo = ROWS[run.row]
    session = task.session(task.opened.net, replace(task.settings, icp=icp, opo=opo, seed=run.seed))
    if task.saved.exists():
        loaded = task.session.load(task.saved, task.opened.net)
        if loaded.done <= len(ledger.runs[run]):  # else lines of the ledger were taken away
            session = loaded
    if not session.done:
        task.saved.unlink(missing_ok=True)
    ledger.keep(run, session.done)
    session.samples = Subset(task.opened.samples, task.instances)  # type: ignore[assignment,arg-type]
    return session


def perform(task: Task, session: Measured) -> None:
    """Carry out the rest of a run; each instance stands in the ledger as soon as it is annotated."""
    last, samples, instances = time.monotonic(), session.samples, task.instances
    annotated = annotate_sequence(session, samples, task.run.target, task.at_least)
    rest, label = range(session.done, len(samples)), f"{task.label}{task.run}"
    for index in progress(rest, label, len(samples), session.done, show=not rank()):
        sample = samples[index]  # at no cost: a data set keeps what it read last
        with needing_memory(f"{sample.name}, {sample.mask.shape[0]}x{sample.mask.shape[1]} pixels"):
            done = next(annotated)
            if index in task.draw:
                first = range(1, len(figures.CLICKS) + 1)
                masks = [session.segment(session.view, done.clicks[:k]) for k in first]
                figures.save_tile(done, masks, task.ledger.folder, task.run)
        task.ledger.append(task.run, record_of(done, instances[index], session.watch.laps))
        if time.monotonic() - last > SAVE_SECONDS:
            session.save(task.saved)
            last = time.monotonic()
    task.saved.unlink(missing_ok=True)


def record_of(done: Annotated, instance: int, seconds: dict[str, float]) -> Record:
    """What the ledger keeps of an annotated instance, as plain values: its number in file order, seconds by part."""
    own = {name: getattr(done, name) for name in ("proposal", "correct", "clicks", "ious", "consistent")}
    place = {"instance": instance, "index": done.index, "name": done.sample.name, "category": done.sample.category}
    return place | own | {"mask_digest": mask_digest(done.mask), "seconds": seconds}


def take(tasks: Sequence[Task]) -> Iterator[Task]:
    """Yield the tasks that are free and not finished, each locked by this process while it is worked on.

    Process 0 stays until all are finished: it waits for those of other processes, and takes over what one that died
    did not finish. The others end when nothing is free.
    """
    waiting, announced = list(tasks), False
    while waiting:
        busy = []
        for task in waiting:
            ledger, run = task.ledger, task.run
            try:
                with exclusive(ledger.folder, ledger.file(run).with_name(f".{run.name}.lock")):
                    sweep(ledger.file(run), task.saved, ledger.folder / "sheet" / f"{run.name}-*.png")
                    ledger.reload()
                    if len(ledger.runs[run]) == len(ledger.categories):
                        task.saved.unlink(missing_ok=True)
                    else:
                        yield task
            except InUseError:
                busy.append(task)
        waiting = busy if not rank() else []
        if waiting:
            if not announced:
                print(f"{len(waiting)} runs are at work in other processes; waiting for them", file=sys.stderr)
            announced = True
            time.sleep(POLL_SECONDS)


def show(ledger: Ledger, data: str, targets: Sequence[float]) -> None:
    """Print Tab. 1 from a ledger and put its sheet of pictures together."""
    ledger.reload()  # what other processes have done
    records, incomplete = complete(ledger.runs.values(), len(ledger.categories), max(targets))
    seeds, orders = (len({r[name] for r in records}) for name in ("seed", "order"))
    told = f"{data_name(data)}: {len(ledger.categories)} instances in {len(set(ledger.categories))} categories"
    spread = "; ± is the 95 % interval over them" if max(seeds, orders) > 1 else ""
    print(f"{told}; seeds: {seeds}, orders: {orders}{spread}\n")
    print(ablation(records, data, targets))
    if incomplete:
        print(f"siis: {incomplete} runs are not complete and were left out", file=sys.stderr)
    sheet = figures.sheet(ledger, data)
    print(f"\n{len(records)} annotated instances: {ledger.folder / 'runs'}; pictures: {sheet or 'none'}")


def mask_digest(mask: Tensor) -> str:
    """Twelve hexadecimal digits that stand for an (H, W) bool mask, so that records tell whether two runs agree."""
    array = mask.cpu().numpy()
    return hashlib.sha256(f"{array.shape}".encode() + np.packbits(array).tobytes()).hexdigest()[:12]
