"""Secs. 3.2, 3.3 and 4.3: the state that annotating a sequence accumulates, its settings, and how it is saved.

`open` an image, `propose`, `segment` after each click, `finish`: README, "As a library", shows it in use.
Decisions owned here: D19, D25, D27 (state by category), D31.
"""

import copy
import os
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from icp import ClickBank, Point, confidence_map, multi_scale, propose, vector_at
from model import MAX_SIDE, SIZE, STRIDE, SIISNet, digest, network_image, normalise
from opo import CAPACITY, Finished, Memory, optimise, sgd
from support.checks import checked_clicks, checked_image, checked_mask, checked_text, image_digest
from support.files import pack_mask, read_tensors, unpack_mask, write_tensors

LAYERS = ("1", "2", "3", "4", "ms")  # what proposals are made from: R_1 .. R_4 or all of them, Tab. 3
MIN_SIZE = 64  # short side of the network input: R_4 has 4x4 cells
STREAM = 1  # purpose of online optimisation's random numbers; each has a number of its own
FORMAT = "siis-session-5"  # of a saved session


@dataclass(frozen=True)
class Settings:
    """What a session does; with the network and the samples it fixes every result. Raises ValueError when made."""

    icp: bool = True
    opo: bool = True
    seed: int = 0
    size: int = SIZE  # short side of the network input, D10
    delta: int = 1  # instance n is segmented with the parameters trained on the first n - delta, Sec. 3.3, D25
    memory: int = CAPACITY  # finished samples kept, of all categories together, D22, D27
    layer: str = "4"  # of the proposal, one of LAYERS, Tab. 3
    augment: bool = False  # optimise on augmented images instead of cached features, D24
    keep_momentum: bool = True  # from round to round: one optimiser a category, D22
    stop_after: int | None = None  # OPO ends after so many finished instances of a category, Fig. 4 (a)

    def __post_init__(self) -> None:
        for name in ("icp", "opo", "augment", "keep_momentum"):
            self._check(name, isinstance(getattr(self, name), bool), "True or False")
        for name, least in (("seed", 0), ("delta", 1), ("memory", 1), ("stop_after", 1)):
            fits = self._whole(name, least) or (name == "stop_after" and self.stop_after is None)
            self._check(name, fits, f"an int from {least} on")
        fits = self._whole("size", MIN_SIZE) and self.size <= MAX_SIDE and self.size % STRIDE == 0
        self._check("size", fits, f"a multiple of {STRIDE} from {MIN_SIZE} to {MAX_SIDE}")
        self._check("layer", type(self.layer) is str and self.layer in LAYERS, f"one of {', '.join(LAYERS)}")

    def _whole(self, name: str, least: int) -> bool:
        value = getattr(self, name)
        return type(value) is int and value >= least

    def _check(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise ValueError(f"setting {name}={getattr(self, name)!r}: expected {expected}")


class View(NamedTuple):
    """An image opened for one category; it keeps what it was opened with."""

    name: str
    category: str
    shape: tuple[int, int]  # of the image, pixels
    image: Tensor  # (3, h, w) uint8, network resolution
    F: list[Tensor]  # backbone features, (1, C_i, h_i, w_i)
    R: list[Tensor]  # purified with the category's parameters in force
    content: str  # digest of the pixels: two images of one name are two images
    net: str  # digest of the session's network


class Proposal(NamedTuple):
    """Where the first click should go, and why (Sec. 3.2)."""

    point: Point | None  # p-hat; None if there is no map, or no pixel outside the ignore mask
    confidence: Tensor | None  # (H, W) mean similarity to the category's first clicks; None while there are none


class Learnt(NamedTuple):
    """What a round of optimisation leaves behind; nobody changes it afterwards."""

    parameters: dict[str, Tensor]  # of the purification module
    optimiser: dict[str, Any]  # its momentum, which lives on (D22)


@dataclass
class Category:
    """What a session keeps for one category besides its samples (Secs. 3.2 and 3.3, D27)."""

    bank: ClickBank
    history: deque[Learnt]  # after the last delta rounds: [0] in force, [-1] the newest
    finished: int = 0  # instances


class Round(NamedTuple):
    """All that one round of optimisation depends on; later clicks do not change it."""

    before: Learnt
    memory: Memory
    rng: np.random.Generator
    size: int
    from_images: bool
    tuned: Callable[[SIISNet], nn.Module]

    @torch.inference_mode(False)
    def run(self, net: SIISNet) -> Learnt:
        """Optimise (Sec. 3.3) in a network like the session's, of which purification alone changes."""
        part = self.tuned(net)
        part.load_state_dict(self.before.parameters)
        optimiser = sgd(part.parameters())
        optimiser.load_state_dict(copy.deepcopy(self.before.optimiser))
        optimise(net, optimiser, self.memory, self.rng, self.size, self.from_images)
        return _learnt(part, optimiser)


S = TypeVar("S", bound="Session")


class Session:
    """What annotating a sequence accumulates: bank and parameters by category, ignore masks by image, a memory.

    net:     the baseline, float32, which is copied and never changed.
    It holds at most `settings.memory` samples, oldest out, of all categories together; the features of the last image
    alone; the bank and parameters of each category; and each image's ignore masks as packed bits.
    Raises:  ValueError for a network that is not float32.
    """

    @torch.inference_mode(False)
    def __init__(self, net: SIISNet, settings: Settings | None = None):
        values = [v for v in (*net.parameters(), *net.buffers()) if v.is_floating_point()]
        if others := {v.dtype for v in values} - {torch.float32}:
            raise ValueError(f"network: holds {others.pop()}; expected float32 throughout, such as net.float()")
        self.settings, self.digest = settings or Settings(), digest(net)
        self.device = next(net.parameters()).device
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        part = self._tuned(self.net).requires_grad_(True)
        self.baseline = _learnt(part, sgd(part.parameters()))
        self.categories: dict[str, Category] = {}
        self.memory = Memory(self.settings.memory)
        self.ignore: dict[tuple[str, str, str], Any] = {}  # name, content, category -> packed mask, D31
        self.opened: tuple[str, Tensor, list[Tensor]] | None = None  # content, network input, features
        self.done = 0  # instances finished

    def category(self, name: str) -> Category:
        """The state of a category; one never seen starts from the baseline's parameters and an empty bank."""
        name = checked_text("category", name)
        if name not in self.categories:
            delta = self.settings.delta
            self.categories[name] = Category(ClickBank(), deque([self.baseline] * delta, maxlen=delta))
        return self.categories[name]

    @torch.inference_mode(False)
    @torch.no_grad()
    def open(self, image: np.ndarray, name: str, category: str) -> View:
        """Switch to a category's parameters and look at an image, whose features are computed once (Sec. 4.3, D27).

        image:   (H, W, 3) uint8, RGB;  name: identifies it together with its pixels: text, path or whole number.
        Raises:  ValueError for any other image, name or category.
        """
        image, name, category = checked_image(image), checked_text("name", name), checked_text("category", category)
        content = image_digest(image)
        self._tuned(self.net).load_state_dict(self.category(category).history[0].parameters)
        if self.opened is None or self.opened[0] != content:
            x = network_image(image, self.settings.size).to(self.device)
            self.opened = content, x, self.net.features(normalise(x[None]))
        _, x, F = self.opened
        return View(name, category, image.shape[:2], x, F, self.net.purify(F), content, self.digest)

    def ignored(self, view: View) -> Tensor:
        """(H, W) bool, the pixels of all that was annotated in the image for the category: I of Sec. 3.2."""
        packed = self.ignore.get((view.name, view.content, view.category))
        return unpack_mask(*packed) if packed else torch.zeros(view.shape, dtype=torch.bool, device="cpu")

    def propose(self, view: View) -> Proposal:
        """The initial click proposal (Eq. 2), a pixel outside the ignore mask, with the map that it is the maximum of.

        Raises:  ValueError for a map with NaN or infinity.
        """
        bank = self.category(view.category).bank
        if not self.settings.icp or not bank:
            return Proposal(None, None)
        confidence = confidence_map(self._proposal_features(view), bank, view.shape)
        return Proposal(propose(confidence, self.ignored(view).to(self.device)), confidence)

    @torch.inference_mode(False)
    @torch.no_grad()
    def segment(self, view: View, clicks: Sequence[Sequence]) -> Tensor:
        """(H, W) bool mask of the view's image after some clicks (row, col, positive): the head alone runs.

        Raises:  ValueError for a click that is no such triple or outside the image.
        """
        return self.net.predict(view.R, checked_clicks(clicks, view.shape), view.shape) > 0.5

    def finish(self, view: View, clicks: Sequence[Sequence], mask: Tensor | np.ndarray) -> None:
        """Take over an accepted mask and learn from it (Secs. 3.2 and 3.3): `accept`, then `learn`.

        clicks:  (row, col, positive) in pixels of the view's image, in order;  mask: (H, W) bool, or 0 and 1.
        Raises:  what the two raise.
        """
        self.accept(view, clicks, mask)
        self.learn(view.category)

    @torch.inference_mode(False)
    def accept(self, view: View, clicks: Sequence[Sequence], mask: Tensor | np.ndarray) -> None:
        """Take over an accepted mask: bank (D19), ignore mask (Sec. 3.2), memory (Sec. 3.3). Quick.

        clicks:  (row, col, positive) in pixels of the view's image, in order;  mask: (H, W) bool, or 0 and 1.
        Raises:  ValueError, before anything changes: another network's view, clicks outside, a mask of another shape.
        """
        if view.net != self.digest:
            raise ValueError(f"view of {view.name!r}: opened with another network ({view.net}, not {self.digest})")
        checked, accepted = checked_clicks(clicks, view.shape), checked_mask(mask, view.shape)
        state = self.category(view.category)
        first = next((c for c in checked if c[2]), None)
        if first is not None:
            state.bank.append(vector_at(self._proposal_features(view), first, view.shape))
        self.ignore[view.name, view.content, view.category] = pack_mask(accepted | self.ignored(view))
        self.done += 1
        state.finished += 1
        if self.settings.opo:
            self.memory.add(view.image, [] if self.settings.augment else view.F, accepted, view.category)

    def learn(self, category: str) -> None:
        """One round of online optimisation (Sec. 3.3), in force after delta rounds (D25).

        Raises:  ValueError for a loss that is not finite; the parameters stay as they were.
        """
        if following := self.next_round(category):
            self.commit(category, following.run(self.net))
        else:  # OPO off, stopped, or no sample: the last parameters still move up by one (D25)
            self.commit(category, self.category(category).history[-1])

    def next_round(self, category: str) -> Round | None:
        """What the category's next round of optimisation depends on; None if there is none to do."""
        category = checked_text("category", category)
        state, s, memory = self.category(category), self.settings, self.memory.of_category(category)
        if not s.opo or not memory or (s.stop_after is not None and state.finished > s.stop_after):
            return None
        name = zlib.crc32(category.encode("utf-8", "surrogatepass"))
        rng = np.random.default_rng([STREAM, s.seed, name, state.finished])  # D29
        before = state.history[-1] if s.keep_momentum else state.history[-1]._replace(optimiser=self.baseline.optimiser)
        return Round(before, memory, rng, s.size, s.augment, self._tuned)

    def commit(self, category: str, learnt: Learnt) -> None:
        """Append what a round has learnt to the category's history."""
        self.category(category).history.append(learnt)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything but the network's weights and cached features to one file, atomically."""
        state = {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "net": self.digest,
            "done": self.done,
            "ignore": self.ignore,
            "memory": [s._replace(features=[])._asdict() for s in self.memory.samples],
            "categories": {
                name: {
                    "bank": torch.stack(c.bank) if c.bank else torch.empty(0),
                    "history": [tuple(learnt) for learnt in c.history],
                    "finished": c.finished,
                }
                for name, c in self.categories.items()
            },
        }
        write_tensors(path, state)

    @classmethod
    def load(cls: type[S], path: str | os.PathLike[str], net: SIISNet) -> S:
        """The session of `net` that was saved, which continues exactly as it would have (Secs. 3.2 and 3.3, D27).

        Raises:  OSError if it cannot be opened; ValueError if it is foreign, damaged, old or of another network.
        """
        state = read_tensors(path, next(net.parameters()).device)
        if (saved := state.get("format") if isinstance(state, dict) else None) != FORMAT:
            old = isinstance(saved, str) and saved.startswith("siis-session-")
            what = f"saved by another version ({saved}); remove it and start again" if old else "not a saved session"
            raise ValueError(f"{path}: {what}")
        session = cls(net, Settings(**state["settings"]))
        if state["net"] != session.digest:
            raise ValueError(f"{path}: saved with another network ({state['net']}, not {session.digest})")
        session.done = state["done"]
        session.ignore = state["ignore"]
        session.memory.samples.extend(Finished(**{**s, "mask": s["mask"].cpu()}) for s in state["memory"])
        for name, c in state["categories"].items():
            history = deque((Learnt(*learnt) for learnt in c["history"]), session.settings.delta)
            session.categories[name] = Category(ClickBank(c["bank"].unbind()), history, c["finished"])
        return session

    def _proposal_features(self, view: View) -> Tensor:
        """(C, h, w), what proposals are made from: F of Eq. 2 (D17, D34)."""
        R = [r[0].float() for r in view.R]  # the caller may have autocast on
        return multi_scale(R) if self.settings.layer == "ms" else R[int(self.settings.layer) - 1]

    @staticmethod
    def _tuned(net: SIISNet) -> nn.Module:
        """The part of a network that online optimisation moves; Tab. 7's comparison has another (`experiments`)."""
        return net.purification


def _learnt(part: nn.Module, optimiser: torch.optim.Optimizer) -> Learnt:
    parameters = {name: value.detach().clone() for name, value in part.state_dict().items()}
    return Learnt(parameters, optimiser.state_dict())
