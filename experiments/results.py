"""Sec. 4: the complete runs of a report, by data set and configuration."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from experiments.ledger import Record, Run, complete
from settings import DEFAULTS_OF

Changes = tuple[tuple[str, Any], ...]  # settings other than the defaults
VARIED = ("delta", "memory", "layer", "scope", "proposal", "stop_after", "augment")  # settings, in this order in names


class Results:
    """The records of a report, by data set and configuration; runs that are not complete are left out.

    ledgers:  (data, folder name of the configuration) -> records;  lengths: instances of each data set.
    `largest` are the instances of its largest category: optimisation learns from one category's samples (D27).
    """

    def __init__(self, ledgers: dict[tuple[str, str], Sequence[Record]], lengths: dict[str, int]):
        self.lengths, self.largest, self.incomplete = lengths, dict(lengths), 0
        self.runs: dict[tuple[str, str, Run], list[Record]] = {}
        for (data, name), records in ledgers.items():
            done, partial = complete(records, lengths[data])
            self.incomplete += len(partial)
            for run, of in done.items():
                self.runs[data, name, run] = of
                self.largest[data] = max(Counter(r["category"] for r in of).values())

    def of(self, data: str, changes: Changes, row: str, target: float) -> list[Record]:
        """The records of all seeds of one row at one target; none if it was not run."""
        name = folder_name(changes)
        return [
            r
            for (d, n, run), records in self.runs.items()
            if (d, n, run.row, run.target) == (data, name, row, target)
            for r in records
        ]


def folder_name(changes: Changes) -> str:
    """The folder of a configuration: what differs from the defaults, such as layer-3; else 'paper'."""
    given = dict(changes)
    parts = [
        f"{name.replace('_', '-')}" + ("" if given[name] is True else f"-{given[name]}")
        for name in VARIED
        if name in given and given[name] != DEFAULTS_OF[name]
    ]
    return "_".join(parts) or "paper"
