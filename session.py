"""Secs. 3.2, 3.3 and 4.3: what annotating a sequence accumulates, and how it is saved.

A session ties the network, the proposal and the optimisation together for whoever annotates, robot or person: open an
image for a category, take its proposal, segment after each click, finish with the accepted mask.
Decisions owned here: D19 (when the bank grows), D20, D25, D27.
"""

import os
import zlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from icp import ClickBank, Point, confidence_map, propose, random_point, vector_at
from model import SIZE, SIISNet, digest, network_image, normalise
from opo import CAPACITY, Memory, optimise
from robot_user import Click, Mask
from support.files import read_tensors, write_tensors

SESSION_FORMAT = "siis-session-2"
LAYERS = {"1": (0,), "2": (1,), "3": (2,), "4": (3,), "ms": (0, 1, 2, 3)}  # Tab. 3
PROPOSALS = ("similar", "random", "object")  # Eq. 2; Tab. 5: a random pixel of the image, or of the object if correct


class Settings(NamedTuple):
    """What a session does; with the network and the samples it fixes every result."""

    icp: bool = True
    opo: bool = True
    seed: int = 0
    size: int = SIZE  # short side of the network input, D10
    delta: int = 1  # instance n is segmented with the parameters trained on the first n - delta, Sec. 3.3, D25
    memory: int = CAPACITY
    layer: str = "4"  # of the proposal, a key of LAYERS, Tab. 3
    refresh: bool = False  # purify the bank anew after each optimisation, D19
    augment: bool = False  # optimise on augmented images instead of cached features, D24
    scope: str = "purification"  # Tab. 7
    proposal: str = "similar"  # one of PROPOSALS, Tab. 5
    stop_after: int | None = None  # OPO ends after so many finished instances of a category, Fig. 4 (a)

    @property
    def from_images(self) -> bool:
        """Whether optimisation computes features anew, so that none need be remembered."""
        return self.augment or self.scope == "global"

    def plain(self) -> dict[str, Any]:
        """The settings by name, without those of single experiments where they are off: what a ledger is known by."""
        return {k: v for k, v in self._asdict().items() if k not in ("proposal", "stop_after") or v != DEFAULTS_OF[k]}


DEFAULTS = Settings()
DEFAULTS_OF = DEFAULTS._asdict()
VARIED = ("delta", "memory", "layer", "refresh", "scope", "proposal", "stop_after", "augment")  # in experiments


class View(NamedTuple):
    """An image opened for one category."""

    name: str
    category: str
    shape: tuple[int, int]  # of the image, pixels
    image: Tensor  # (3, h, w) uint8, network resolution
    F: list[Tensor]  # backbone features, (1, C_i, h_i, w_i)
    R: list[Tensor]  # purified with the category's parameters in force


class Category(NamedTuple):
    """What a session keeps for one category (Secs. 3.2 and 3.3, D27)."""

    bank: ClickBank
    memory: Memory
    history: deque[dict[str, Tensor]]  # parameters after the last delta rounds: [0] in force, [-1] the newest


class Session:
    """What annotating a sequence accumulates: banks, memories and parameters by category, ignore masks by image.

    net:  the baseline. The session moves its purification parameters; `reset` puts the baseline's back.
    Only the image opened last keeps its features and ignore masks: the instances of one image follow each other.
    """

    def __init__(self, net: SIISNet, settings: Settings = DEFAULTS):
        self.net, self.settings, self.digest = net.eval(), settings, digest(net)
        self.device = next(net.parameters()).device
        self.tuned: nn.Module = net if settings.scope == "global" else net.purification
        self.baseline = _copy(self.tuned)
        self.categories: dict[str, Category] = {}
        self.closed: set[str] = set()  # categories that are finished with
        self.ignore: dict[str, Tensor] = {}  # category -> (H, W) bool, of the image opened last
        self.opened: tuple[str, Tensor, list[Tensor]] | None = None  # its name, network input, features
        self.done = 0  # instances finished
        self.finished: Counter[str] = Counter()  # of each category

    def category(self, name: str) -> Category:
        """The state of a category; one never seen starts from the baseline's parameters and an empty bank."""
        if name in self.closed:
            raise ValueError(
                f"category {name!r}: closed before; the samples of a category must follow each other (D27)"
            )
        if name not in self.categories:
            s = self.settings
            history = deque([self.baseline] * s.delta, maxlen=s.delta)
            self.categories[name] = Category(ClickBank(s.refresh), Memory(s.memory), history)
        return self.categories[name]

    def open(self, image: np.ndarray, name: str, category: str) -> View:
        """Switch to a category's parameters and look at an (H, W, 3) uint8 image; its features are computed once."""
        self.tuned.load_state_dict(self.category(category).history[0])
        if self.opened is None or self.opened[0] != name:
            self.ignore = {}
        if self.opened is None or self.opened[0] != name or self.settings.scope == "global":
            x = network_image(image, self.settings.size).to(self.device)
            self.opened = name, x, self.features(x)
        _, x, F = self.opened
        with torch.no_grad():
            return View(name, category, image.shape[:2], x, F, self.net.purify(F))

    def close(self, category: str) -> None:
        """Let go of all that a finished category holds, so that memory is bounded over many of them (D27)."""
        self.categories.pop(category, None)
        self.closed.add(category)

    def features(self, image: Tensor) -> list[Tensor]:
        """Backbone features (1, C_i, h_i, w_i) of a (3, h, w) uint8 network input."""
        with torch.no_grad():
            return self.net.features(normalise(image[None]))

    def reset(self) -> None:
        """Put the baseline's parameters back into the network."""
        self.tuned.load_state_dict(self.baseline)

    def confidence(self, view: View) -> Tensor | None:
        """(H, W) mean similarity to the category's first clicks (Eq. 2); None while there are none."""
        bank = self.category(view.category).bank
        if not self.settings.icp or not len(bank):
            return None
        return confidence_map(bank, [view.R[i][0] for i in LAYERS[self.settings.layer]], view.shape)

    def propose(self, view: View, confidence: Tensor | None) -> Point | None:
        """The initial click proposal, never on an instance of the category already annotated in this image.

        With the setting "random" any other pixel stands in for it (Tab. 5, "Full").
        """
        if confidence is None:
            return None
        ignore = self.ignore.get(view.category, torch.zeros_like(confidence, dtype=torch.bool))
        if self.settings.proposal == "random":
            return random_point(~ignore, self.generator(view.category, 1))
        return propose(confidence, ignore)

    def generator(self, category: str, *purpose: int) -> np.random.Generator:
        """The random numbers of the instance at hand, which depend on nothing but the seed and its place (D29)."""
        return np.random.default_rng([self.settings.seed, zlib.crc32(category.encode()), self.done, *purpose])

    def segment(self, view: View, clicks: Sequence[Sequence]) -> Tensor:
        """(H, W) bool mask after some clicks (row, col, positive); the backbone and purification do not run again."""
        with torch.no_grad():
            return self.net.predict(view.R, clicks, view.shape) > 0.5

    def finish(self, view: View, clicks: Sequence[Click], mask: Mask, void: Mask | None = None) -> None:
        """Take over an accepted mask: bank (D19), ignore mask (Sec. 3.2), memory and optimisation (Sec. 3.3)."""
        state, layers = self.category(view.category), LAYERS[self.settings.layer]
        mask = torch.as_tensor(mask).to(self.device)
        void = torch.zeros_like(mask) if void is None else torch.as_tensor(void)
        self.ignore[view.category] = mask | self.ignore.get(view.category, torch.zeros_like(mask))
        first = next((c for c in clicks if c.positive), None)
        if first is not None:
            vectors, raw = ([vector_at(maps[i][0], first, view.shape) for i in layers] for maps in (view.R, view.F))
            state.bank.add(vectors, raw)
        self.done += 1
        self.finished[view.category] += 1
        if self.settings.opo:
            learn = self.settings.stop_after is None or self.finished[view.category] <= self.settings.stop_after
            if learn:
                state.memory.add(view.image, [] if self.settings.from_images else view.F, mask, void)
            self._optimise(view.category, state, learn)

    def _optimise(self, category: str, state: Category, learn: bool) -> None:
        s = self.settings
        if not len(state.memory):
            return
        if learn:
            self.tuned.load_state_dict(state.history[-1])
            optimise(self.net, state.memory, self.generator(category), s.size, s.scope, s.augment)
        state.history.append(_copy(self.tuned) if learn else state.history[-1])  # with delta > 1 the lag still shrinks
        self.tuned.load_state_dict(state.history[0])
        with torch.no_grad():
            state.bank.refresh_with([_purifier(self.net.purification[i]) for i in LAYERS[s.layer]])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything but the network's weights and cached features to one file, atomically."""
        content = {
            "format": SESSION_FORMAT,
            "settings": self.settings._asdict(),
            "net": self.digest,
            "done": self.done,
            "finished": dict(self.finished),
            "closed": sorted(self.closed),
            "ignore": self.ignore,
            "opened": self.opened[:2] if self.opened else None,
            "categories": {
                name: {"bank": c.bank.state(), "memory": c.memory.state(), "history": list(c.history)}
                for name, c in self.categories.items()
            },
        }
        write_tensors(path, content)

    @classmethod
    def load(cls, path: str | os.PathLike[str], net: SIISNet) -> "Session":
        """The session that was saved, which goes on exactly as it would have.

        net:     the baseline it was made with.
        Raises:  OSError if it cannot be opened; ValueError if it is foreign, cut short or of another network.
        """
        content = read_tensors(path, next(net.parameters()).device)
        if not isinstance(content, dict) or content.get("format") != SESSION_FORMAT:
            raise ValueError(f"{path}: not a saved session")
        session = cls(net, Settings(**content["settings"]))
        if content["net"] != session.digest:
            raise ValueError(f"{path}: saved with another network ({content['net']}, not {session.digest})")
        for name, c in content["categories"].items():
            history = deque(c["history"], maxlen=session.settings.delta)
            features = (lambda _: []) if session.settings.from_images else session.features
            memory = Memory.from_state(c["memory"], features)
            session.categories[name] = Category(ClickBank.from_state(c["bank"]), memory, history)
        session.done, session.ignore, session.closed = content["done"], content["ignore"], set(content["closed"])
        session.finished.update(content.get("finished", {}))  # older files know no `stop_after` and need no counts
        if content["opened"]:
            name, image = content["opened"]
            session.opened = name, image, session.features(image)
        return session


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def _purifier(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """A purification layer as a function of (n, C_raw) vectors."""
    return lambda v: layer(v[:, :, None, None])[:, :, 0, 0]
