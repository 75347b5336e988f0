"""Sec. 4: the ledger of annotated instances.

OUT/runs/ROW-TARGET-SEED.jsonl holds one run, one JSON line per instance, written as it finishes. Each line carries the
hash of the configuration that produced it. Every table and plot is made from ledgers alone.

A long run is divided into parts of whole categories, ROW-TARGET-SEED-part-1.jsonl and so on: bank, samples and
parameters are a category's own (D27), so nothing depends on the parts before. Each part has a file and a lock of its
own, so any number of processes can work on one OUT.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.files import atomic

Record = dict[str, Any]  # one line of a ledger
PART = 250  # instances of a part, at least: a minute or so on a GPU, against which a part's start counts little

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


class Part(NamedTuple):
    """What a process does at a time: whole categories of a run, the instances at places `first` to `stop` - 1."""

    run: Run
    first: int
    stop: int
    number: int = 1  # its own among the parts of the run
    parts: int = 1  # that the run has

    def __str__(self) -> str:
        return f"{self.run}" + (f", part {self.number} of {self.parts}" if self.parts > 1 else "")

    @property
    def name(self) -> str:
        """The stem of its files, such as d-0.85-0, or d-0.85-0-part-3."""
        return self.run.name + (f"-part-{self.number}" if self.parts > 1 else "")


ROWS = {"a": Row(False, False), "b": Row(True, False), "c": Row(False, True), "d": Row(True, True)}


class Ledger:
    """OUT/runs: what was annotated, a file per part of a run, a line per instance.

    folder:  OUT, made if missing;  config: plain values that fix the results. How runs are divided belongs to them.
    labels:  (name, category) of the instances of a complete run, in order.
    write:   False only to look at what is there: nothing is made, written or repaired.
    Raises:  ValueError if the folder holds lines of another configuration, of other instances or of an earlier version;
             OSError if it cannot be written.
    """

    def __init__(self, folder: Path, config: dict[str, Any], labels: Sequence[tuple[str, str]], write: bool = True):
        self.folder, self.labels, self.length = folder, [tuple(label) for label in labels], len(labels)
        self.division = division([category for _, category in self.labels])
        if len(self.division) > 1:  # else the name is that of versions which divided nothing
            config = config | {"parts": self.division}
        self.config = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
        self.runs: dict[Run, dict[int, Record]] = {}  # by the place in the sequence
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
        return [r for of in self.runs.values() for r in of.values()]

    def parts(self, run: Run) -> list[Part]:
        """The parts of a run, in order; one if it is not divided."""
        return [Part(run, *places, n, len(self.division)) for n, places in enumerate(self.division, start=1)]

    def file(self, part: Part) -> Path:
        """The file of a part."""
        return self.folder / "runs" / f"{part.name}.jsonl"

    def reload(self) -> None:
        """Read what all processes have written so far."""
        self.runs = {}
        for file in run_files(self.folder):
            for r in self._checked(read_ledger(file)[0]):
                self.runs.setdefault(run_of(r), {})[r["index"]] = r

    def claim(self, part: Part) -> None:
        """Read a part that this process has locked, and drop a last line that a kill cut short."""
        records, broken = read_ledger(self.file(part)) if self.file(part).exists() else ([], False)
        self._hold(part, self._checked(records))
        if broken:
            self._rewrite(part)

    def of(self, wanted: Run | Part) -> list[Record]:
        """The records of a run, or of a part of one, in order."""
        part = wanted if isinstance(wanted, Part) else Part(wanted, 0, self.length)
        held = self.runs.get(part.run, {})
        return [held[place] for place in range(part.first, part.stop) if place in held]

    def finished(self, part: Part) -> bool:
        """Whether every instance of the part is there."""
        return len(self.of(part)) == part.stop - part.first

    def keep(self, part: Part, stop: int) -> None:
        """Forget the records of a part from place `stop` on."""
        kept = [r for r in self.of(part) if r["index"] < stop]
        if len(kept) != len(self.of(part)):
            self._hold(part, kept)
            self._rewrite(part)

    def append(self, part: Part, record: Record) -> None:
        """Write one record."""
        text = json.dumps({"config": self.config, "length": self.length, **part.run._asdict(), **record})
        try:
            with self.file(part).open("a", encoding="utf-8") as out:
                out.write(text + "\n")
        except OSError as error:
            kept = f"free some space and run the same command again, {len(self.records)} instances are kept"
            raise OSError(f"{self.file(part)}: cannot be written ({error.strerror}); {kept}") from error
        self.runs.setdefault(part.run, {})[record["index"]] = json.loads(text)

    def _checked(self, records: list[Record]) -> list[Record]:
        for r in records:
            if r["config"] != self.config:
                other = "holds results of another configuration (other settings, weights, images or masks)"
                raise ValueError(f"--out {self.folder}: {other} or of an earlier version; choose another folder")
            if r["index"] >= self.length or (r["name"], r["category"]) != self.labels[r["index"]]:
                other = f"holds results of other instances ({r['name']} at place {r['index'] + 1})"
                raise ValueError(f"--out {self.folder}: {other}; choose another folder")
        return records

    def _hold(self, part: Part, records: list[Record]) -> None:
        """Replace what is known of a part."""
        others = {i: r for i, r in self.runs.get(part.run, {}).items() if not part.first <= i < part.stop}
        self.runs[part.run] = others | {r["index"]: r for r in records}

    def _rewrite(self, part: Part) -> None:
        with atomic(self.file(part)) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.of(part)), encoding="utf-8")


def division(categories: Sequence[str]) -> list[tuple[int, int]]:
    """How a sequence is divided: the first whole categories that make PART instances, the next that do, what is left.

    categories:  of each instance, in order.
    Returns:     the places (first, stop) of each part; no category has instances on both sides of a border.
    """
    last = {category: place for place, category in enumerate(categories)}
    parts, first, end = list[tuple[int, int]](), 0, 0
    for place, category in enumerate(categories):
        end = max(end, last[category])  # of the categories that have begun
        if place == len(categories) - 1 or (place == end and place + 1 - first >= PART):
            parts.append((first, place + 1))
            first = place + 1
    return parts


def refuse_old(folder: Path) -> None:
    """ValueError if a folder of results was written by a version that kept all runs in one file."""
    if (folder / "clicks.jsonl").exists():
        old = "clicks.jsonl is a ledger of an earlier version, which this one cannot continue"
        raise ValueError(f"--out {folder}: {old}; choose another folder")


def run_files(folder: Path) -> list[Path]:
    """The ledgers in a folder of results, in order of their names."""
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
    """The records of each complete run, of `length` instances, in order, and the runs that are not complete."""
    runs: dict[Run, dict[int, Record]] = {}
    for r in records:
        runs.setdefault(run_of(r), {})[r["index"]] = r
    partial = [run for run, of in runs.items() if len(of) < length]
    return {run: [of[i] for i in sorted(of)] for run, of in runs.items() if run not in partial}, partial


def data_name(data: str) -> str:
    """What `--data` names: a data set, or a folder by its own name, however its path is written."""
    return Path(os.path.abspath(data)).name


def run_of(record: Record) -> Run:
    """The run that a record belongs to."""
    return Run(record["row"], record["target"], record["seed"])
