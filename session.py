"""Secs. 3.2, 3.3 and 4.3: what annotating a sequence accumulates, and how it is saved.

    session = Session(net, Settings(size=meta["size"]))  # net, meta = load_checkpoint(file)
    for name, image in images:  # (H, W, 3) uint8
        view = session.open(image, name, "butterfly")
        proposal = session.propose(view, session.confidence(view))  # a pixel; None for the first image
        clicks = [(*proposal, True)] if proposal else [(30, 40, True)]  # row, column, on the object or not
        mask = session.segment(view, clicks)  # (H, W) bool, again after each further click
        session.finish(view, clicks, mask)  # bank, ignore mask, optimisation
    session.save("butterflies.pt")

Decisions owned here: D19 (when the bank grows), D20, D25, D27.
"""

import copy
import hashlib
import os
import threading
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

import session_file
from icp import ClickBank, Point, confidence_map, propose, vector_at
from model import SIISNet, digest, frozen, network_image, normalise, sharing
from opo import Finished, Memory, optimise
from robot_user import Mask
from settings import DEFAULTS, LAYERS, Settings
from support.checks import checked_clicks, checked_image, checked_mask
from support.files import pack_mask, unpack_mask, write_tensors

Masks = dict[tuple[str, str, str], tuple[tuple[int, int], bytes]]  # name, content, category -> shape, packed bits
_FROZEN: WeakKeyDictionary[SIISNet, tuple[str, SIISNet]] = WeakKeyDictionary()  # weights and device -> frozen


class View(NamedTuple):
    """An image opened for one category; it keeps what it was opened with."""

    name: str
    category: str
    shape: tuple[int, int]  # of the image, pixels
    image: Tensor  # (3, h, w) uint8, network resolution
    F: list[Tensor]  # backbone features, (1, C_i, h_i, w_i)
    R: list[Tensor]  # purified with the category's parameters in force
    content: str  # digest of the pixels: two images of one name are two images
    parameters: dict[str, Tensor]  # those in force
    net: str  # digest of the session's network


@dataclass
class Category:
    """What a session keeps for one category besides its samples (Secs. 3.2 and 3.3, D27)."""

    bank: ClickBank
    history: deque[dict[str, Tensor]]  # parameters after the last delta rounds: [0] in force, [-1] the newest
    finished: int = 0  # instances
    pending: deque[tuple[int, int]] = field(default_factory=deque)  # accepted, not learnt: `finished` and `done` then

    def copy(self) -> "Category":
        """One that later clicks and rounds do not change; the tensors, which never change, are shared."""
        bank, history = ClickBank.from_state(self.bank.state()), deque(self.history, self.history.maxlen)
        return Category(bank, history, self.finished, deque(self.pending))


class Snapshot(NamedTuple):
    """A category as it was, see `Session.snapshot`."""

    category: str
    state: Category
    ignore: Masks
    samples: tuple[Finished, ...]  # of all categories: what the category pushed out comes back


class Session:
    """What annotating a sequence accumulates: bank and parameters by category, ignore masks by image, a memory.

    net:  the baseline, which is never changed: the session has a purification module of its own, and shares the other
          parts, `frozen`, with every session on the same network (scope "global" copies all of it).
    known: its `digest`, if that has been computed already.
    Memory is bounded by `settings.memory` samples over all categories, oldest out, and the features of the image
    opened last; beside them a category keeps its bank and parameters, an image its ignore masks as packed bits.
    `learn` may run in a thread of its own, beside any other method.
    """

    def __init__(self, net: SIISNet, settings: Settings = DEFAULTS, known: str | None = None):
        self.settings, self.digest = settings, known or digest(net)
        self.device = next(net.parameters()).device
        self.net = self._working_copy(net)
        self.baseline = self.loaded = _copy(self._tuned(self.net))  # loaded: what is in `net` now
        self.learner: SIISNet | None = None  # where `learn` works
        self.categories: dict[str, Category] = {}
        self.memory = Memory(settings.memory)
        self.ignore: Masks = {}
        self.opened: tuple[str, Tensor, list[Tensor]] | None = None  # content, network input, features
        self.done = 0  # instances finished
        self.lock, self.learning = threading.Lock(), threading.Lock()  # of the state; of a round

    def open(self, image: np.ndarray, name: str, category: str) -> View:
        """Switch to a category's parameters and look at an image, whose features are computed once (Sec. 4.3, D27).

        image:   (H, W, 3) uint8, RGB;  name: with its pixels, what its ignore masks are known by.
        Raises:  ValueError for any other image.
        """
        image = checked_image(image)
        content = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()[:12]
        parameters = self.category(category).history[0]
        self._load(parameters)
        if self.opened is None or self.opened[0] != content or self.settings.scope == "global":
            x = network_image(image, self.settings.size).to(self.device)
            self.opened = content, x, self.features(x)
        _, x, F = self.opened
        with torch.no_grad():
            return View(name, category, image.shape[:2], x, F, self.net.purify(F), content, parameters, self.digest)

    def category(self, name: str) -> Category:
        """The state of a category; one never seen starts from the baseline's parameters and an empty bank."""
        if name not in self.categories:
            delta = self.settings.delta
            self.categories[name] = Category(ClickBank(), deque([self.baseline] * delta, maxlen=delta))
        return self.categories[name]

    def features(self, image: Tensor) -> list[Tensor]:
        """Backbone features (1, C_i, h_i, w_i) of a (3, h, w) uint8 network input."""
        with torch.no_grad():
            return self.net.features(normalise(image[None]))

    def ignored(self, view: View) -> Tensor:
        """(H, W) bool, the pixels of all that was annotated in the image for the category: I of Sec. 3.2."""
        packed = self.ignore.get((view.name, view.content, view.category))
        return unpack_mask(*packed) if packed else torch.zeros(view.shape, dtype=torch.bool)

    def confidence(self, view: View) -> Tensor | None:
        """(H, W) mean similarity to the category's first clicks (Eq. 2); None while there are none."""
        bank = self.category(view.category).bank
        if not self.settings.icp or not len(bank):
            return None
        return confidence_map(bank, [view.R[i][0] for i in LAYERS[self.settings.layer]], view.shape)

    def propose(self, view: View, confidence: Tensor | None) -> Point | None:
        """The initial click proposal (Eq. 2): a pixel outside the ignore mask; None if there is none or no confidence.

        confidence:  (H, W) float from `confidence`.  Raises:  ValueError for another shape, NaN or infinity.
        """
        return None if confidence is None else propose(confidence, self.ignored(view).to(confidence.device))

    def segment(self, view: View, clicks: Sequence[Sequence]) -> Tensor:
        """(H, W) bool mask of the view's image after some clicks (row, col, positive): the head alone runs.

        Raises:  ValueError for a click that is no such triple or outside the image.
        """
        self._load(view.parameters)
        with torch.no_grad():
            return self.net.predict(view.R, checked_clicks(clicks, view.shape), view.shape) > 0.5

    def generator(self, category: str, *purpose: int, done: int | None = None) -> np.random.Generator:
        """The random numbers of the next instance, or of that after `done`: of the seed and its place alone (D29)."""
        place = self.done if done is None else done
        return np.random.default_rng([self.settings.seed, zlib.crc32(category.encode()), place, *purpose])

    def finish(self, view: View, clicks: Sequence[Sequence], mask: Mask) -> None:
        """Take over an accepted mask and learn from it (Secs. 3.2 and 3.3): `accept`, then `learn`, with their errors.

        clicks:  (row, col, positive) in pixels of the view's image, in order;  mask: (H, W) bool, or 0 and 1.
        """
        self.accept(view, clicks, mask)
        self.learn(view.category)

    def accept(self, view: View, clicks: Sequence[Sequence], mask: Mask) -> None:
        """Take over an accepted mask: bank (D19), ignore mask (Sec. 3.2), memory (Sec. 3.3). Quick.

        clicks:  (row, col, positive) in pixels of the view's image, in order;  mask: (H, W) bool, or 0 and 1.
        Raises:  ValueError, before anything changes: another network's view, clicks outside, a mask of another shape.
        """
        if view.net != self.digest:
            raise ValueError(f"view of {view.name!r}: opened with another network ({view.net}, not {self.digest})")
        checked, accepted, s = checked_clicks(clicks, view.shape), checked_mask(mask, view.shape), self.settings
        state, place = self.category(view.category), (view.name, view.content, view.category)
        first = next((c for c in checked if c[2]), None)
        with self.lock:
            if first is not None:
                state.bank.add([vector_at(view.R[i][0], first, view.shape) for i in LAYERS[s.layer]])
            self.ignore[place] = pack_mask(accepted | self.ignored(view))
            self.done += 1
            state.finished += 1
            if s.opo:
                state.pending.append((state.finished, self.done))
                if s.stop_after is None or state.finished <= s.stop_after:
                    F = [] if s.from_images else view.F
                    self.memory.add(view.image, F, accepted, view.category, state.finished)

    def learn(self, category: str) -> None:
        """One round of online optimisation (Sec. 3.3) for each accepted instance that has not had its own yet.

        Works on a copy of the parameters and appends it to the category's history: in force after delta rounds (D25).
        Accepting and restoring do not change a running round; after a restore its result is dropped.
        Raises:  ValueError for a loss that is not finite; that round is not tried again.
        """
        with self.learning:
            state = self.category(category)
            while state.pending:
                try:
                    learnt = self._round(category, state, *state.pending[0])
                except ValueError:
                    with self.lock:
                        state.pending.popleft()
                    raise
                with self.lock:
                    state.pending.popleft()
                    state.history.extend(learnt)

    def _round(self, category: str, state: Category, number: int, done: int) -> list[dict[str, Tensor]]:
        """The parameters after a round, if there is anything to learn from."""
        s, memory = self.settings, self.memory.of(category, number)
        if s.stop_after is not None and number > s.stop_after:
            return [state.history[-1]]  # with delta > 1 the lag still shrinks
        if not memory:
            return []
        self.learner = self.learner or (copy.deepcopy(self.net) if s.scope == "global" else sharing(self.net))
        tuned = self._tuned(self.learner)
        tuned.load_state_dict(state.history[-1])
        optimise(self.learner, memory, self.generator(category, done=done), s.size, s.scope, s.augment)
        return [_copy(tuned)]

    def snapshot(self, category: str) -> Snapshot:
        """A category as it is, for `restore`: bank, ignore masks, memory, parameters, counters. Copies no tensor."""
        with self.lock:
            ignore = {k: v for k, v in self.ignore.items() if k[2] == category}
            return Snapshot(category, self.category(category).copy(), ignore, tuple(self.memory.samples))

    def restore(self, snapshot: Snapshot) -> None:
        """Undo all that was done in a category since its snapshot, exactly; other categories keep what they learnt."""
        category, before = snapshot.category, {id(s) for s in snapshot.samples}
        with self.lock:
            self.done -= self.category(category).finished - snapshot.state.finished
            self.categories[category] = snapshot.state.copy()
            self.ignore = {k: v for k, v in self.ignore.items() if k[2] != category} | snapshot.ignore
            later = [s for s in self.memory.samples if s.category != category and id(s) not in before]
            self.memory.samples = deque([*snapshot.samples, *later], self.memory.samples.maxlen)

    def close(self, category: str) -> None:
        """Free what a category takes most memory for; it can be opened again.

        Gone:  its finished samples with their features, so that optimisation begins again with the next one.
        Kept:  its bank, its parameters (2.8 MB each in the paper's network, delta of them) and its ignore masks.
        """
        with self.lock:
            kept = [s for s in self.memory.samples if s.category != category]
            self.memory.samples = deque(kept, self.memory.samples.maxlen)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything but the network's weights and cached features to one file, atomically."""
        with self.lock:
            content = session_file.content(self)
        write_tensors(path, content)

    @classmethod
    def load(cls, path: str | os.PathLike[str], net: SIISNet) -> "Session":
        """The session of `net` that was saved, which continues exactly as it would have (Secs. 3.2 and 3.3, D27).

        Raises:  OSError if it cannot be opened; ValueError if it is foreign, cut short, old or of another network.
        """
        content = session_file.read(path, next(net.parameters()).device)
        session = cls(net, Settings(**content["settings"]))
        if content["net"] != session.digest:
            raise ValueError(f"{path}: saved with another network ({content['net']}, not {session.digest})")
        session_file.restore(session, content)
        return session

    def _working_copy(self, net: SIISNet) -> SIISNet:
        """A network like `net` whose parameters the session may move."""
        if self.settings.scope == "global":
            return copy.deepcopy(net).eval().requires_grad_(False)
        if (what := f"{self.digest} {self.device}") != _FROZEN.get(net, ("", net))[0]:
            _FROZEN[net] = what, frozen(net)
        return sharing(_FROZEN[net][1])

    def _tuned(self, net: SIISNet) -> nn.Module:
        """The part of a network that online optimisation moves."""
        return net if self.settings.scope == "global" else net.purification

    def _load(self, parameters: dict[str, Tensor]) -> None:
        """Put parameters into the network, unless they are there."""
        if self.loaded is not parameters:
            self._tuned(self.net).load_state_dict(parameters)
            self.loaded = parameters


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}
