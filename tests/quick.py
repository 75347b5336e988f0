"""Shorter runs for tests that do not look at how long they are: fewer clicks, smaller rounds and pages.

Steps are larger, so that masks show what was learnt: the paper's change no pixel that a thin random network predicts.
"""

from functools import partial

import opo
import siis
from experiments import drawing
from robot_user import interact

CLICKS = 4  # after which the robot user gives up
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
