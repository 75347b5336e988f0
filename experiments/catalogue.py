"""Sec. 4: the table of experiments, one entry for each table and figure that `report.py` makes.

The lines of an entry are rows of Tab. 1 with one setting changed or another session. Runs that two entries need are the
same run: R_4 of Tab. 3 is row (b) of Tab. 1.
"""

import math
from typing import Any, NamedTuple

from experiments import published
from experiments.ledger import ROWS
from experiments.sessions import Foreground, Full, Global, Measured, Zoomed
from session import Settings

LAYERS = {"R_1": "1", "R_2": "2", "R_3": "3", "R_4": "4", "R-MS": "ms"}  # Tab. 3, D34
STOPS = (1, 2, 5, 10, 20, 50, 100, 200, 400)  # Fig. 4 (a)
MEMORIES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # Fig. 4 (b)


class Line(NamedTuple):
    """A line of a table: runs of one row under one configuration; without a row, figures that are quoted."""

    label: str  # by which the paper's figures are known too
    row: str = ""
    setting: str = "seed"  # the one that is changed, if its value is not the default
    value: Any = 0
    session: type[Measured] = Measured
    x: float | None = None  # its place on the axis of a figure

    def settings(self, size: int) -> Settings:
        """The settings of its runs at an input size, without those that follow from the run."""
        return Settings(**{"size": size, self.setting: self.value})

    @property
    def folder(self) -> str:
        """The folder of its configuration: what differs from the defaults, such as layer-3; else 'paper'."""
        if self.session is not Measured:
            return self.session.__name__.lower()
        if self.value == getattr(Settings(), self.setting):
            return "paper"
        return self.setting.replace("_", "-") + ("" if self.value is True else f"-{self.value}")


class Experiment(NamedTuple):
    """A table of a report, and a plot if it has an axis; or a sheet of pictures."""

    title: str
    lines: list[Line]
    reference: str = ""  # label of the line that the others are compared with
    paper: published.NoC | None = None
    note: str = ""
    axis: str = ""

    def needed(self, largest: int) -> list[Line]:
        """The lines to be run where the largest category has so many instances: beyond that nothing changes (D27)."""
        return [v for v in self.lines if v.row and (v.x is None or v.x <= largest or v.label == self.reference)]


TAB_1 = [Line(f"({row})", row) for row in ROWS]
EXPERIMENTS = {
    "table-1": Experiment("Tab. 1: the two ideas, alone and together", TAB_1, "(a)", published.TAB_1),
    "table-3": Experiment(
        "Tab. 3: the layer that proposals are made from",
        [Line(label, "b", "layer", layer) for label, layer in LAYERS.items()],
        "R_4",
        published.TAB_3,
        "Row (b). R-MS: all four layers at the finest size, concatenated (D34).",
    ),
    "table-5": Experiment(
        "Tab. 5: a random pixel instead of the proposal",
        [Line("Ours", "b"), Line("Full", "b", session=Full), Line("Foreground", "b", session=Foreground)],
        "Ours",
        published.TAB_5,
        "Row (b). Full: of the image. Foreground: of the object, where the proposal is correct.",
    ),
    "table-6": Experiment(
        "Tab. 6: compared with other methods",
        [Line(method, "d" if method == "Ours" else "") for method in published.TAB_6_METHODS],
        "Ours",
        published.TAB_6,
        "Figures of the other methods are quoted from the paper and were not measured here.",
    ),
    "table-7": Experiment(
        "Tab. 7: what is optimised",
        [Line("Purification", "c", "augment", True), Line("Global", "c", "augment", True, Global)],
        "Purification",
        published.TAB_7,
        "Row (c). Both learn from augmented images. Parameters and seconds per batch: `python benchmark.py`.",
    ),
    "table-8": Experiment(
        "Tab. 8: the sets of an earlier sequential method",
        [Line("Ours", "d")],
        "Ours",
        note="Our copy of the paper lacks this table's figures, so only ours are here.",
    ),
    "table-peers": Experiment(
        "Beyond the paper: clicks alone on the field's own benchmarks",
        [Line("Ours", "a"), Line("Ours, enlarged (--zoom)", "a", session=Zoomed), *map(Line, published.PEER_METHODS)],
        "Ours",
        published.PEERS,
        "Row (a). The other figures are quoted from the READMEs of f-BRS and RITM (github.com/saic-vul), which use "
        "mirrored test images and zoom-in; our first line uses neither.",
    ),
    "figure-4a": Experiment(
        "Fig. 4 (a): optimisation ends after so many instances",
        [
            Line("0", "b", x=0),
            *(Line(str(n), "d", "stop_after", n, x=n) for n in STOPS),
            Line("never", "d", x=math.inf),
        ],
        "never",
        note="Row (d); 0 is row (b) (D35).",
        axis="instances of a category until optimisation ends",
    ),
    "figure-4b": Experiment(
        "Fig. 4 (b): the size of the memory",
        [Line(str(n), "d", "memory", n, x=n) for n in MEMORIES],
        str(Settings().memory),
        note="Row (d) (D35).",
        axis="samples in the memory",
    ),
    "figure-5": Experiment("image, confidence map with the proposal, prediction from the first click", TAB_1[3:]),
    "figure-6": Experiment("ground truth, then rows (a) and (c) after 1, 2 and 3 clicks", TAB_1[::2]),
}
