"""Sec. 4: the ledger of annotated instances.

OUT/runs/ROW-TARGET-SEED[-order-N].jsonl holds one run, one JSON line per instance, written as it finishes, and
OUT/configuration.json what else fixes the results. Every table and plot is made from ledgers alone. A run has a file
and a lock of its own, so any number of processes can work on one OUT.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from support.files import atomic

Record = dict[str, Any]  # one line of a ledger
ORDERS = 10  # purpose of the random stream that draws orders

NEEDED = {  # in a line
    *("length", "row", "target", "seed", "order", "index", "instance", "name", "category"),
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
    categories:  of the instances, in file order.
    Raises:  ValueError if the folder holds results of another configuration; OSError if it cannot be written.
    """

    def __init__(self, folder: Path, config: dict[str, Any], categories: Sequence[str]):
        self.folder, self.categories = folder, categories
        self.runs = defaultdict[Run, list[Record]](list)  # the records of each run, in order
        try:
            (folder / "runs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"--out {folder}: cannot be written ({error.strerror}); choose another") from error
        self._compare(config)
        self.reload()

    def file(self, run: Run) -> Path:
        """The file of a run."""
        return self.folder / "runs" / f"{run.name}.jsonl"

    def reload(self) -> None:
        """Read what all processes have written so far, but for last lines that are not complete."""
        self.runs.clear()
        for file in run_files(self.folder):
            if records := read_ledger(file):
                self.runs[run_of(records[0])] = records

    def keep(self, run: Run, length: int) -> None:
        """Forget the records of a run after the first `length`, and a last line that a kill cut short."""
        self.runs[run] = self.runs[run][:length]
        with atomic(self.file(run)) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.runs[run]), encoding="utf-8")

    def append(self, run: Run, record: Record) -> None:
        """Write one record."""
        text = json.dumps({"length": len(self.categories), **run._asdict(), **record})
        try:
            with self.file(run).open("a", encoding="utf-8") as out:
                out.write(text + "\n")
        except OSError as error:
            remedy = "free some space and run the same command again, which goes on from there"
            raise OSError(f"{self.file(run)}: cannot be written ({error.strerror}); {remedy}") from error
        self.runs[run].append(json.loads(text))

    def _compare(self, config: dict[str, Any]) -> None:
        """Write the configuration into a new folder; refuse a folder of another one."""
        file = self.folder / "configuration.json"
        if not file.exists():
            if run_files(self.folder):
                raise ValueError(f"--out {self.folder}: holds results of an earlier version; choose another folder")
            with atomic(file) as temporary:
                temporary.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        held = json.loads(file.read_text(encoding="utf-8"))
        if other := [f"{k}: {held.get(k)}, not {config.get(k)}" for k in config | held if held.get(k) != config.get(k)]:
            text = f"holds results of another configuration ({'; '.join(other)})"
            raise ValueError(f"--out {self.folder}: {text}; choose another folder")


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

    Raises:  ValueError naming the line if another one is not a record, or not the one that belongs there.
    """
    records = []
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not record.keys() >= NEEDED:
                missing = "not an object with " + ", ".join(sorted(NEEDED))
                raise ValueError(f"{missing}; a ledger of an earlier version cannot be continued")
            if (run_of(record).name, record["index"]) != (file.stem, number - 1):
                raise ValueError(f"it is that of {run_of(record)}, instance {record['index'] + 1}")
            records.append(record)
        except ValueError as error:
            remedy = "remove the file to do its run again"
            raise ValueError(f"{file}: line {number} is not the record of its place ({error}); {remedy}") from error
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
