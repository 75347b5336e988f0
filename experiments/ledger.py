"""Sec. 4: the ledger of annotated instances.

OUT/runs/ROW-TARGET-SEED[-order-N].jsonl holds one run, one JSON line per instance, written as it finishes. Each line
carries the hash of the configuration that produced it. Every table and plot is made from ledgers alone. A run has a
file and a lock of its own, so any number of processes can work on one OUT.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from support.files import atomic

Record = dict[str, Any]  # one line of a ledger
Label = tuple[str, str]  # name and category of an instance
ORDERS = 10  # purpose of the random stream that draws orders

NEEDED = {  # in a line
    *("config", "length", "row", "target", "seed", "order", "index", "instance", "name", "category"),
    *("correct", "ious", "consistent", "clicks", "mask_digest", "seconds"),
}


class Row(NamedTuple):
    """A row of Tab. 1."""

    icp: bool
    opo: bool


class Run(NamedTuple):
    """One pass over a sequence."""

    row: str
    target: float
    seed: int
    order: int = 0  # 0 is file order, see `order`

    def __str__(self) -> str:
        order = f", order {self.order}" if self.order else ""
        return f"row ({self.row}) @{self.target:.0%}, seed {self.seed}{order}"

    @property
    def name(self) -> str:
        """The stem of its files, such as d-0.9-0, or b-0.9-0-order-3."""
        return f"{self.row}-{self.target}-{self.seed}" + (f"-order-{self.order}" if self.order else "")


ROWS = {"a": Row(False, False), "b": Row(True, False), "c": Row(False, True), "d": Row(True, True)}


class Ledger:
    """OUT/runs: what was annotated, a file per run, a line per instance.

    folder:  OUT, made if missing;  config: plain values that fix the results.
    labels:  (name, category) of the instances, in file order.
    Raises:  ValueError if the folder holds lines of another configuration or of other instances;
             OSError if it cannot be written.
    """

    def __init__(self, folder: Path, config: dict[str, Any], labels: Sequence[Label]):
        self.folder, self.labels = folder, labels
        self.config = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
        self.runs = defaultdict[Run, list[Record]](list)  # the records of each run, in order
        try:
            (folder / "runs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"--out {folder}: cannot be written ({error.strerror}); choose another") from error
        self.reload()

    def file(self, run: Run) -> Path:
        """The file of a run."""
        return self.folder / "runs" / f"{run.name}.jsonl"

    def reload(self) -> None:
        """Read what all processes have written so far, but for last lines that are not complete."""
        self.runs.clear()
        for file in run_files(self.folder):
            if records := self._checked(read_ledger(file)):
                self.runs[run_of(records[0])] = records

    def keep(self, run: Run, length: int) -> None:
        """Forget the records of a run after the first `length`, and a last line that a kill cut short."""
        self.runs[run] = self.runs[run][:length]
        with atomic(self.file(run)) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.runs[run]), encoding="utf-8")

    def append(self, run: Run, record: Record) -> None:
        """Write one record."""
        text = json.dumps({"config": self.config, "length": len(self.labels), **run._asdict(), **record})
        try:
            with self.file(run).open("a", encoding="utf-8") as out:
                out.write(text + "\n")
        except OSError as error:
            kept = sum(len(records) for records in self.runs.values())
            remedy = f"free some space and run the same command again, {kept} instances are kept"
            raise OSError(f"{self.file(run)}: cannot be written ({error.strerror}); {remedy}") from error
        self.runs[run].append(json.loads(text))

    def _checked(self, records: list[Record]) -> list[Record]:
        for r in records:
            if r["config"] != self.config:
                other = "holds results of another configuration (other settings, weights, images or masks)"
                raise ValueError(f"--out {self.folder}: {other} or of an earlier version; choose another folder")
            place = r["instance"]
            if place >= len(self.labels) or (r["name"], r["category"]) != self.labels[place]:
                other = f"holds results of other instances ({r['name']} at place {place + 1})"
                raise ValueError(f"--out {self.folder}: {other}; choose another folder")
        return records


def order(categories: Sequence[str], number: int) -> list[int]:
    """Which instance stands at each place of a sequence: 0 is file order, any other number draws an order.

    categories:  of each instance, in file order. A category keeps its places; only the order inside it is drawn (D27).
    """
    places: dict[str, list[int]] = {}
    for place, category in enumerate(categories):
        places.setdefault(category, []).append(place)
    instances, rng = list(range(len(categories))), np.random.default_rng([ORDERS, number])
    for own in places.values() if number else ():
        for place, instance in zip(own, rng.permutation(own).tolist(), strict=True):
            instances[place] = instance
    return instances


def run_files(folder: Path) -> list[Path]:
    """The ledgers in a folder of results, in order of their names."""
    return sorted((folder / "runs").glob("[!.]*.jsonl"))


def read_ledger(file: Path) -> list[Record]:
    """The records of a ledger, without a last line that a kill cut short.

    Raises:  ValueError naming the line if another one is not a record.
    """
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not record.keys() >= NEEDED:
                missing = "not an object with " + ", ".join(sorted(NEEDED))
                raise ValueError(f"{missing}; a ledger of an earlier version cannot be continued")
            records.append(record)
        except ValueError as error:
            raise ValueError(f"{file}: line {number} is not a record ({error})") from error
    return records


def complete(runs: Iterable[list[Record]], length: int, target: float) -> tuple[list[Record], int]:
    """The records of the runs to a target that have `length` instances, and the number of those that have not."""
    runs = [records for records in runs if records and records[0]["target"] == target]
    done = [records for records in runs if len(records) == length]
    return [r for records in done for r in records], len(runs) - len(done)


def data_name(data: str) -> str:
    """What `--data` names: a data set, or a folder by its own name, however its path is written."""
    return Path(os.path.abspath(data)).name


def run_of(record: Record) -> Run:
    """The run that a record belongs to."""
    return Run(*(record[field] for field in Run._fields))
