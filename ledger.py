"""Sec. 4: the ledger of annotated instances.

DIR/clicks.jsonl has one JSON line an instance; each names its run (row, target, seed) and the hash of the configuration
that produced it. Every table and plot is made from ledgers alone.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from files import atomic


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

    folder:  made if missing;  config: plain values that fix the results;  length: instances of a complete run.
    Raises:  ValueError if the file holds lines of another configuration; OSError if it cannot be written.
    """

    def __init__(self, folder: Path, config: dict[str, Any], length: int):
        self.folder, self.length = folder, length
        self.file = folder / "clicks.jsonl"
        self.config = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file.open("a").close()
        except OSError as error:
            raise OSError(f"--out {folder}: cannot be written ({error.strerror}); choose another folder") from error
        self.records, broken = read_ledger(self.file)
        if any(r.get("config") != self.config for r in self.records):
            raise ValueError(f"--out {folder}: holds results of another configuration; choose another folder")
        if broken:
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
        line = {"config": self.config, **run._asdict()}
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
            if not isinstance(record, dict):
                raise ValueError("not an object")
            records.append(record)
        except ValueError as error:
            raise ValueError(f"{file}: line {number} is not a record ({error})") from error
    return records, lines[-1] != ""


def run_of(record: dict[str, Any]) -> Run:
    """The run that a record belongs to."""
    return Run(record["row"], record["target"], record["seed"])
