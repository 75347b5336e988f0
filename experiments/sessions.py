"""Sec. 4: the sessions of the experiments: one that takes the time, those of Tabs. 5 and 7, and that of --zoom."""

import time
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from icp import Point
from loaders.samples import Sample
from model import SIISNet
from session import Proposal, Session, Settings, View

RANDOM_PROPOSALS = 2  # purpose of the random stream that draws them
ENLARGED = 1.4  # by which --zoom enlarges the box of the object
LARGEST = 0.25  # share of the image that it takes; in a larger box there is little to gain


class Measured(Session):
    """A session whose parts are timed: seconds for `features`, for `clicks` with the robot user, and for `opo`.

    samples:  the sequence that it annotates; Tab. 5's "Foreground" looks at the ground truth of the current one.
    """

    drawn = False  # whether proposals depend on the seed

    def __init__(self, net: SIISNet, settings: Settings, samples: Sequence[Sample] = ()):
        super().__init__(net, settings)
        self.samples = samples
        self.watch = Stopwatch(self.device)

    def open(self, image: np.ndarray, name: str, category: str) -> View:
        """`Session.open`: (H, W, 3) uint8 RGB -> View; the seconds it takes are those of `features`."""
        self.watch = Stopwatch(self.device)
        view = super().open(image, name, category)
        self.watch.lap("features")
        self.view = view
        return view

    def finish(self, view: View, clicks: Sequence[Sequence], mask: Tensor | np.ndarray) -> None:
        """`Session.finish`; the time before it is that of `clicks`, its own that of `opo`."""
        self.watch.lap("clicks")
        super().finish(view, clicks, mask)
        self.watch.lap("opo")


class Full(Measured):
    """Tab. 5, "Full": a random pixel that is not annotated yet instead of every proposal."""

    drawn = True

    def propose(self, view: View) -> Proposal:
        """Eq. 2's confidence map with a random point; both None for the first of a category."""
        proposal = super().propose(view)
        allowed = self.allowed(view, proposal)
        if proposal.confidence is None or allowed is None:
            return proposal
        of_category = zlib.crc32(view.category.encode("utf-8", "surrogatepass")), self.category(view.category).finished
        rng = np.random.default_rng([RANDOM_PROPOSALS, self.settings.seed, *of_category])
        return proposal._replace(point=random_point(allowed, rng))

    def allowed(self, view: View, proposal: Proposal) -> Tensor | None:
        """(H, W) bool, what the point may lie on; None for the proposal's own."""
        return ~self.ignored(view)


class Foreground(Full):
    """Tab. 5, "Foreground": a random pixel of the object where Eq. 2's proposal lies on it."""

    def allowed(self, view: View, proposal: Proposal) -> Tensor | None:
        """(H, W) bool, the object if the proposal is correct; None for the proposal's own."""
        gt = torch.from_numpy(self.samples[self.done].mask)
        return gt if proposal.point is not None and bool(gt[proposal.point]) else None


class Global(Measured):
    """Tab. 7, "Global": optimisation moves all parameters, so features are those in force; for `augment`."""

    def open(self, image: np.ndarray, name: str, category: str) -> View:
        """`Session.open`, which computes the features again: (H, W, 3) uint8 RGB -> View."""
        self.opened = None
        return super().open(image, name, category)

    @staticmethod
    def _tuned(net: SIISNet) -> nn.Module:
        return net


class Zoomed(Measured):
    """Beyond the paper: a session that, from the second click on, segments a small object in its surroundings alone.

    Measured beside other changes at test time on GrabCut, Berkeley and DAVIS: docs/results.md.
    """

    def open(self, image: np.ndarray, name: str, category: str) -> View:
        """`Session.open`, which keeps the image: (H, W, 3) uint8 RGB -> View."""
        self.image = image
        return super().open(image, name, category)

    def segment(self, view: View, clicks: Sequence[Sequence]) -> Tensor:
        """`Session.segment` of the surroundings of the mask and the positive clicks, if they are small enough."""
        mask = super().segment(view, clicks)
        box = zoom_box(mask, clicks) if len(clicks) > 1 else None
        if box is None:
            return mask
        top, left, bottom, right = box
        part = Session.open(self, self.image[top:bottom, left:right], view.name, view.category)  # the same box: cached
        inside = [(r - top, c - left, s) for r, c, s in clicks if top <= r < bottom and left <= c < right]
        near = torch.zeros_like(mask)
        near[top:bottom, left:right] = super().segment(part, inside)
        return near


def zoom_box(mask: Tensor, clicks: Sequence[Sequence]) -> tuple[int, int, int, int] | None:
    """The box of an (H, W) bool mask and the positive clicks, enlarged and clipped; None if it is too large.

    clicks:   (row, col, positive) each.
    Returns:  top, left, bottom, right; the last two exclusive.
    """
    points = torch.cat([mask.nonzero().cpu(), torch.tensor([c[:2] for c in clicks if c[2]]).reshape(-1, 2)])
    if not len(points):
        return None
    low, high = points.amin(dim=0), points.amax(dim=0) + 1
    more = (ENLARGED - 1) / 2 * (high - low).double()
    top, left = (low - more).clamp_min(0).int().tolist()
    bottom, right = torch.minimum((high + more).int() + 1, torch.tensor(mask.shape)).tolist()
    return (top, left, bottom, right) if (bottom - top) * (right - left) < LARGEST * mask.numel() else None


def random_point(allowed: Tensor, rng: np.random.Generator) -> Point | None:
    """Any True pixel of an (H, W) bool mask, all equally likely (Tab. 5); None when there is none."""
    pixels = allowed.flatten().nonzero()[:, 0]
    if not len(pixels):
        return None
    return Point(*divmod(int(pixels[rng.integers(len(pixels))]), allowed.shape[1]))


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
