"""Secs. 3.2, 3.3 and 4: the choices that an experiment or a user can make, checked when they are made.

Decisions they stand for: D10, D22, D24, D25, Tabs. 1, 3, 5 and 7.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from model import MAX_SIDE, SIZE, STRIDE
from opo import CAPACITY, SCOPES

LAYERS = {"1": (0,), "2": (1,), "3": (2,), "4": (3,), "ms": (0, 1, 2, 3)}  # Tab. 3
PROPOSALS = ("similar", "random", "object")  # Eq. 2; Tab. 5: a random pixel of the image, or of the object if correct
MIN_SIZE = 64  # short side of the network input: R_4 has 4x4 cells


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Settings:
    """What a session does; with the network and the samples it fixes every result. Raises ValueError when made."""

    icp: bool = True
    opo: bool = True
    seed: int = 0
    size: int = SIZE  # short side of the network input, D10
    delta: int = 1  # instance n is segmented with the parameters trained on the first n - delta, Sec. 3.3, D25
    memory: int = CAPACITY  # finished samples kept, of all categories together, D22
    layer: str = "4"  # of the proposal, a key of LAYERS, Tab. 3
    augment: bool = False  # optimise on augmented images instead of cached features, D24
    scope: str = "purification"  # Tab. 7
    proposal: str = "similar"  # one of PROPOSALS, Tab. 5
    stop_after: int | None = None  # OPO ends after so many finished instances of a category, Fig. 4 (a)

    def __post_init__(self) -> None:
        for name in ("icp", "opo", "augment"):
            self._check(name, isinstance(getattr(self, name), bool), "True or False")
        for name, least in (("seed", 0), ("delta", 1), ("memory", 1), ("stop_after", 1)):
            value = getattr(self, name)
            fits = (_whole(value) and value >= least) or (value is None and name == "stop_after")
            self._check(name, fits, f"a whole number from {least} on")
        fits = _whole(self.size) and MIN_SIZE <= self.size <= MAX_SIDE and self.size % STRIDE == 0
        self._check("size", fits, f"a multiple of {STRIDE} from {MIN_SIZE} to {MAX_SIDE}")
        for name, known in (("layer", tuple(LAYERS)), ("scope", SCOPES), ("proposal", PROPOSALS)):
            self._check(name, getattr(self, name) in known, f"one of {', '.join(known)}")

    def _check(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise ValueError(f"setting {name}={getattr(self, name)!r}: expected {expected}")

    @property
    def from_images(self) -> bool:
        """Whether optimisation recomputes features, so that none need to be remembered."""
        return self.augment or self.scope == "global"

    def _replace(self, **changes: Any) -> "Settings":
        """The same with some changes, as of a NamedTuple, but checked."""
        return replace(self, **changes)

    def plain(self) -> dict[str, Any]:
        """The settings by name, without those of single experiments where they are off: what a ledger is known by."""
        return {k: v for k, v in asdict(self).items() if k not in ("proposal", "stop_after") or v != DEFAULTS_OF[k]}


DEFAULTS = Settings()
DEFAULTS_OF = asdict(DEFAULTS)
