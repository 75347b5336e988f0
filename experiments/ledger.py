"""Sec. 4: the ledger of annotated instances.

DIR/clicks.jsonl has one JSON line an instance; each names its run (row, target, seed) and the hash of the configuration
that produced it. Every table and plot is made from ledgers alone.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.files import atomic

NEEDED = {  # in a line
    *("config", "length", "row", "target", "seed", "index", "name", "category"),
    *("hit", "noc", "ious", "obeyed", "clicks", "mask_digest", "seconds"),
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

    def __str__(self) -> str:
        return f"row ({self.row}) @{self.target:.0%}, seed {self.seed}"


ROWS = {"a": Row(False, False), "b": Row(True, False), "c": Row(False, True), "d": Row(True, True)}


class Ledger:
    """DIR/clicks.jsonl: what was annotated, one line an instance, written as it finishes.

    folder:  made if missing;  config: plain values that fix the results.
    labels:  (name, category) of the instances of a complete run, in order.
    write:   False only to look at what is there: nothing is made, written or repaired.
    Raises:  ValueError if the file holds lines of another configuration or of other instances; OSError if it cannot be
             written.
    """

    def __init__(self, folder: Path, config: dict[str, Any], labels: Sequence[tuple[str, str]], write: bool = True):
        self.folder, self.length = folder, len(labels)
        self.file = folder / "clicks.jsonl"
        self.config = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
        if write:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self.file.open("a").close()
            except OSError as error:
                text = f"--out {folder}: cannot be written ({error.strerror}); choose another folder"
                raise OSError(text) from error
        self.records, broken = read_ledger(self.file) if self.file.exists() else ([], False)
        if any(r["config"] != self.config for r in self.records):
            raise ValueError(f"--out {folder}: holds results of another configuration; choose another folder")
        for r in self.records:
            if r["index"] >= self.length or (r["name"], r["category"]) != tuple(labels[r["index"]]):
                other = f"holds results of other instances ({r['name']} at place {r['index'] + 1})"
                raise ValueError(f"--out {folder}: {other}; choose another folder")
        if broken and write:
            self._rewrite()

    def of(self, run: Run) -> list[dict[str, Any]]:
        """The records of a run, in order."""
        return [r for r in self.records if run_of(r) == run]

    def finished(self, run: Run) -> bool:
        """Whether every instance of the run is there."""
        return len(self.of(run)) == self.length

    def keep(self, run: Run, count: int) -> None:
        """Forget the records of a run from instance `count` on."""
        kept = [r for r in self.records if run_of(r) != run or r["index"] < count]
        if len(kept) != len(self.records):
            self.records = kept
            self._rewrite()

    def append(self, run: Run, record: dict[str, Any]) -> None:
        """Write one record; what only serves drawing is left out."""
        line = {"config": self.config, "length": self.length, **run._asdict()}
        line |= {k: v for k, v in record.items() if k not in ("sample", "mask", "confidence")}
        text = json.dumps(line)
        try:
            with self.file.open("a") as out:
                out.write(text + "\n")
        except OSError as error:
            kept = f"free some space and give the same command again, {len(self.records)} instances are kept"
            raise OSError(f"{self.file}: cannot be written ({error.strerror}); {kept}") from error
        self.records.append(json.loads(text))

    def _rewrite(self) -> None:
        with atomic(self.file) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.records))


def read_ledger(file: Path) -> tuple[list[dict[str, Any]], bool]:
    """The records of a ledger, and whether its last line was cut short (it is left out).

    Raises:  ValueError naming the line if another one is not a record.
    """
    lines = file.read_text().split("\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not record.keys() >= NEEDED:
                raise ValueError("not an object with " + ", ".join(sorted(NEEDED)))
            records.append(record)
        except ValueError as error:
            raise ValueError(f"{file}: line {number} is not a record ({error})") from error
    return records, lines[-1] != ""


def complete(records: Iterable[dict[str, Any]], length: int) -> tuple[dict[Run, list[dict[str, Any]]], list[Run]]:
    """The records of each complete run, of `length` instances, and the runs that are not complete."""
    runs: dict[Run, list[dict[str, Any]]] = {}
    for r in records:
        runs.setdefault(run_of(r), []).append(r)
    partial = [run for run, of in runs.items() if len(of) < length]
    return {run: of for run, of in runs.items() if run not in partial}, partial


def data_folder(out: Path, data: str) -> Path:
    """The folder below `out` of what `--data` names: a data set, or a folder by its own name."""
    return out / Path(os.path.abspath(data)).name


def run_of(record: dict[str, Any]) -> Run:
    """The run that a record belongs to."""
    return Run(record["row"], record["target"], record["seed"])
