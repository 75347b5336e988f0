"""Shorter runs for tests that do not look at how long they are: fewer clicks, smaller rounds and pages.

Steps are larger, so that masks show what was learnt: the paper's change no pixel that a thin random network predicts.
"""

from functools import partial

import opo
import siis
from experiments import drawing
from experiments.ledger import read_ledger, run_files
from robot_user import interact

CLICKS = 4  # after which the robot user gives up
TARGET = 0.15  # which the thin network reaches after one click, a few, or never
PATCHES = (
    (opo, "BATCH", 2),
    (opo, "LEARNING_RATE", 5.0),
    (opo, "ITERATIONS", 2),
    (siis, "interact", partial(interact, max_clicks=CLICKS)),
    (drawing, "TILE", 32),
    (drawing, "WIDEST", 48),
    (drawing, "NARROWEST", 48),
)


def quicken(patch=setattr):
    """Make the runs of this process shorter."""
    for owner, name, value in PATCHES:
        patch(owner, name, value)


def command(place, out, *more):
    """The flags of siis.py and report.py for the data set and the network in a folder, as in the fixture `place`."""
    line = ["--data", place / "data", "--weights", place / "net.pt", "--out", out, "--device", "cpu"]
    return [str(a) for a in [*line, "--targets", TARGET, "--seeds", "1", *more]]


def records(out):
    """The records of each run in a folder of results, in order, without their times."""
    held = {file.stem: read_ledger(file) for file in run_files(out)}
    return {run: [{k: v for k, v in r.items() if k != "seconds"} for r in own] for run, own in held.items()}
