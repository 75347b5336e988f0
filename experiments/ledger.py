"""Sec. 4: the ledger of annotated instances.

OUT/runs/ROW-TARGET-SEED.jsonl holds one run, one JSON line per instance, written as it finishes. Each line carries the
hash of the configuration that produced it. Every table and plot is made from ledgers alone. A run has a file and a lock
of its own, so any number of processes can work on one OUT.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.files import atomic

Record = dict[str, Any]  # one line of a ledger

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

    @property
    def name(self) -> str:
        """The stem of its files, such as d-0.85-0."""
        return f"{self.row}-{self.target}-{self.seed}"


ROWS = {"a": Row(False, False), "b": Row(True, False), "c": Row(False, True), "d": Row(True, True)}


class Ledger:
    """OUT/runs: what was annotated, a file per run, a line per instance.

    folder:  OUT, made if missing;  config: plain values that fix the results.
    labels:  (name, category) of the instances of a complete run, in order.
    write:   False only to look at what is there: nothing is made, written or repaired.
    Raises:  ValueError if the folder holds lines of another configuration, of other instances or of an earlier version;
             OSError if it cannot be written.
    """

    def __init__(self, folder: Path, config: dict[str, Any], labels: Sequence[tuple[str, str]], write: bool = True):
        self.folder, self.labels, self.length = folder, [tuple(label) for label in labels], len(labels)
        self.config = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
        self.runs: dict[Run, list[Record]] = {}
        refuse_old(folder)
        if write:
            try:
                (folder / "runs").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OSError(f"--out {folder}: cannot be written ({error.strerror}); choose another") from error
        self.reload()

    @property
    def records(self) -> list[Record]:
        """All records that were read or written, run by run."""
        return [r for of in self.runs.values() for r in of]

    def file(self, run: Run) -> Path:
        """The file of a run."""
        return self.folder / "runs" / f"{run.name}.jsonl"

    def reload(self) -> None:
        """Read what all processes have written so far."""
        self.runs = {}
        for file in run_files(self.folder):
            for r in self._checked(read_ledger(file)[0]):
                self.runs.setdefault(run_of(r), []).append(r)

    def claim(self, run: Run) -> None:
        """Read a run that this process has locked, and drop a last line that a kill cut short."""
        records, broken = read_ledger(self.file(run)) if self.file(run).exists() else ([], False)
        self.runs[run] = self._checked(records)
        if broken:
            self._rewrite(run)

    def of(self, run: Run) -> list[Record]:
        """The records of a run, in order."""
        return self.runs.get(run, [])

    def finished(self, run: Run) -> bool:
        """Whether every instance of the run is there."""
        return len(self.of(run)) == self.length

    def keep(self, run: Run, count: int) -> None:
        """Forget the records of a run from instance `count` on."""
        kept = [r for r in self.of(run) if r["index"] < count]
        if len(kept) != len(self.of(run)):
            self.runs[run] = kept
            self._rewrite(run)

    def append(self, run: Run, record: Record) -> None:
        """Write one record."""
        text = json.dumps({"config": self.config, "length": self.length, **run._asdict(), **record})
        try:
            with self.file(run).open("a", encoding="utf-8") as out:
                out.write(text + "\n")
        except OSError as error:
            kept = f"free some space and run the same command again, {len(self.records)} instances are kept"
            raise OSError(f"{self.file(run)}: cannot be written ({error.strerror}); {kept}") from error
        self.runs.setdefault(run, []).append(json.loads(text))

    def _checked(self, records: list[Record]) -> list[Record]:
        for r in records:
            if r["config"] != self.config:
                other = "holds results of another configuration (other settings, weights, images or masks)"
                raise ValueError(f"--out {self.folder}: {other}; choose another folder")
            if r["index"] >= self.length or (r["name"], r["category"]) != self.labels[r["index"]]:
                other = f"holds results of other instances ({r['name']} at place {r['index'] + 1})"
                raise ValueError(f"--out {self.folder}: {other}; choose another folder")
        return records

    def _rewrite(self, run: Run) -> None:
        with atomic(self.file(run)) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.runs[run]), encoding="utf-8")


def refuse_old(folder: Path) -> None:
    """ValueError if a folder of results was written by a version that kept all runs in one file."""
    if (folder / "clicks.jsonl").exists():
        old = "clicks.jsonl is a ledger of an earlier version, which this one cannot continue"
        raise ValueError(f"--out {folder}: {old}; choose another folder")


def run_files(folder: Path) -> list[Path]:
    """The ledgers of the runs in a folder of results, in order of their names."""
    return sorted((folder / "runs").glob("[!.]*.jsonl"))


def read_ledger(file: Path) -> tuple[list[Record], bool]:
    """The records of a ledger, and whether its last line was cut short (it is left out).

    Raises:  ValueError naming the line if another one is not a record.
    """
    lines = file.read_text(encoding="utf-8").split("\n")
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


def complete(records: Iterable[Record], length: int) -> tuple[dict[Run, list[Record]], list[Run]]:
    """The records of each complete run, of `length` instances, and the runs that are not complete."""
    runs: dict[Run, list[Record]] = {}
    for r in records:
        runs.setdefault(run_of(r), []).append(r)
    partial = [run for run, of in runs.items() if len(of) < length]
    return {run: of for run, of in runs.items() if run not in partial}, partial


def data_name(data: str) -> str:
    """What `--data` names: a data set, or a folder by its own name, however its path is written."""
    return Path(os.path.abspath(data)).name


def run_of(record: Record) -> Run:
    """The run that a record belongs to."""
    return Run(record["row"], record["target"], record["seed"])
