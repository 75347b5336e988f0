"""Sec. 4: the session of an experiment: it takes the time, and Tab. 5's random pixels replace its proposals."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from icp import Point, random_point
from loaders.samples import Sample
from model import SIISNet
from robot_user import mask_digest, noc
from session import Session, View
from settings import DEFAULTS, Settings


class Measured(Session):
    """A session whose parts are timed: seconds for `features`, for `clicks` with the robot user, and for `opo`.

    samples:  the sequence that it annotates; Tab. 5's "object" looks at the ground truth of the current one.
    """

    def __init__(self, net: SIISNet, settings: Settings = DEFAULTS, samples: Sequence[Sample] = ()):
        super().__init__(net, settings)
        self.samples = samples
        self.watch = Stopwatch(self.device)

    def open(self, image, name, category) -> View:
        """`Session.open`: (H, W, 3) uint8 RGB -> View; the seconds it takes are those of `features`."""
        self.watch = Stopwatch(self.device)
        view = super().open(image, name, category)
        self.watch.lap("features")
        return view

    def propose(self, view: View, confidence: Tensor | None) -> Point | None:
        """Eq. 2's proposal, or what replaces it in Tab. 5.

        "random" (Full): any pixel not annotated yet. "object" (Foreground): any pixel of the object, where Eq. 2's
        proposal lies on it.
        """
        if confidence is not None and self.settings.proposal == "random":
            return random_point(~self.ignored(view), self.generator(view.category, 1))
        point = super().propose(view, confidence)
        if point is not None and self.settings.proposal == "object":
            gt = torch.from_numpy(self.samples[self.done].mask).to(self.device)
            return random_point(gt, self.generator(view.category, 2)) if gt[point] else point
        return point

    def finish(self, view: View, *accepted: Any) -> None:
        """Take over a mask; the time before it is that of `clicks`, its own that of `opo`."""
        self.watch.lap("clicks")
        super().finish(view, *accepted)
        self.watch.lap("opo")


class Stopwatch:
    """Seconds by part; waits for the device before each reading."""

    def __init__(self, device: torch.device):
        self.device = device
        self.laps: dict[str, float] = {}
        self.last = self._now()

    def lap(self, part: str) -> None:
        """Add the part to `laps`: the seconds since the last lap."""
        now = self._now()
        self.laps[part], self.last = now - self.last, now

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def ledger_line(done: Any, target: float, seconds: dict[str, float]) -> dict[str, Any]:
    """What the ledger keeps of an annotated instance.

    done:     `siis.Annotated`;  target: IoU;  seconds: by part.
    Returns:  plain values: name and category, proposal and whether it hit (None without one), clicks, `ious` after
              0, 1, ... of the user's clicks, NoC, whether the target was reached, whether each click got its own pixel
              right, the digest of the accepted mask, seconds.
    """
    return {
        "index": done.index,
        "name": done.sample.name,
        "category": done.sample.category,
        "proposal": done.proposal,
        "hit": done.hit,
        "clicks": done.clicks,
        "ious": done.ious,
        "noc": noc(done.ious, target),
        "reached": done.ious[-1] >= target,
        "obeyed": done.obeyed,
        "mask_digest": mask_digest(done.mask),
        "seconds": seconds,
    }
