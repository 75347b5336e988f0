"""The session of a folder, determined by the store's events alone (Sec. 3.3, D31).

After a kill the events are repeated, and the proposals are the same. Session files are a cache: with one, most events
need not be repeated. It is used only if its events, network and settings are the same.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from annotator.ahead import Ahead
from annotator.learner import Learner, Parameters, put_in_force
from annotator.store import Event, Store, from_counts
from session import Session, Settings, Snapshot, View
from support.files import sweep

UNDOS = 50  # finished instances that can be undone without repeating all others
CACHED = 5  # finished instances between two session files


class Undo(NamedTuple):
    """The session before an instance was finished."""

    id: int
    session: Snapshot
    round: "Future[Parameters] | None"


class Course:
    """The session of a folder.

    make:   a new session with some settings on the network;  load: the session that a file holds.
    """

    def __init__(
        self, make: Callable[[Settings], Session], load: Callable[[Path], Session], settings: Settings, store: Store
    ):
        self.make, self.load, self.settings, self.store = make, load, settings, store
        self.learner, self.bare = Learner(make(settings)), make(settings._replace(icp=False, opo=False))
        self.ahead = Ahead(make(settings), list(store.images.values()))
        self.notices: list[str] = []  # lines that the page and the terminal have yet to show
        self._begin(make(settings))

    def _begin(self, session: Session) -> None:
        self.session = session
        self.rounds: dict[str, Future[Parameters]] = {}  # started and not in force, by category
        self.undos: deque[Undo] = deque(maxlen=UNDOS)

    def look(self, image: int, category: str, plain: bool = False) -> tuple[View, View | None]:
        """Open an image of the store: for the session and, for row (a) of a study, without what has been learned.

        Raises:  ValueError naming an image that cannot be read, or has another size than its annotations.
        """
        pixels, name = self.ahead.pixels(image), self.store.names[image]
        if any(e["image"] == name and e["size"] != list(pixels.shape[:2]) for e in self.store.live):
            raise ValueError(f"{name}: has another size than when it was annotated; put the old file back")
        self.session.opened = self.ahead.looked(image) or self.session.opened
        view = self.session.open(pixels, name, category)
        if not plain:
            return view, None
        self.bare.opened = self.session.opened
        return view, self.bare.open(pixels, name, category)

    def proposal(self, view: View) -> tuple[int, int] | None:
        """The session's proposal, outside what is annotated in the image (I of Sec. 3.2, D31)."""
        confidence, index = self.session.confidence(view), self.store.index(view.name, view.category)
        if confidence is not None and index is not None:
            annotated = torch.from_numpy(index > 0).to(confidence.device)
            confidence = None if annotated.all() else confidence.masked_fill(annotated, -2.0)  # less than any cosine
        point = self.session.propose(view, confidence)
        return None if point is None else (int(point[0]), int(point[1]))

    def free(self, category: str) -> bool:
        """Whether a round may start: none of the category is running."""
        return self.settings.opo and (category not in self.rounds or self.rounds[category].done())

    def take_over(self, event: Event, view: View, mask: np.ndarray) -> None:
        """Put the last round in force, accept the instance, start the next round (D25, with delta = 2)."""
        category = event["category"]
        self.undos.append(Undo(event["id"], self.session.snapshot(category), self.rounds.get(category)))
        if event["learn"] and category in self.rounds:
            try:
                put_in_force(self.session, category, self.rounds.pop(category).result())
            except ValueError as problem:  # a loss that is not finite: the parameters before it stay in force
                self.notices.append(str(problem))
        clicks = [] if "replaces" in event else [tuple(c) for c in event["clicks"]]
        self.session.accept(view, clicks, torch.from_numpy(mask))
        if "replaces" in event:
            self.forget([event])
        if event["learn"]:
            self.rounds[category] = self.learner.start(self.session, category)

    def take_back(self, event: Event) -> None:
        """Undo a finished instance that is no longer in the store: session and rounds as they were before it."""
        if not self.undos or self.undos[-1].id != event["id"]:
            self.replay()
            return
        undo, category = self.undos.pop(), event["category"]
        self.session.restore(undo.session)
        self.rounds.pop(category, None)
        if undo.round is not None:
            self.rounds[category] = undo.round
        finished = [e for e in self.store.events if e["event"] == "finish"]
        undone = {e["id"] for e in self.store.events if e["event"] == "undo"}
        self.forget(e for e in finished if e not in self.store.live and e["id"] not in undone)

    def forget(self, events: Iterable[Event]) -> None:
        """Drop the session's own ignore masks where something was deleted or replaced: the store knows the rest."""
        where = {(e["image"], e["category"]) for e in events}
        for place in [p for p in self.session.ignore if (p[0], p[-1]) in where]:
            del self.session.ignore[place]

    # ---- starting again ----------------------------------------------------------------------------------------------

    def replay(self) -> None:
        """Make the session what the events make it; images that are gone are left out, with a notice."""
        events, start = self.store.effective(), 0
        self._begin(self.make(self.settings))
        for path in self._files():
            with suppress(ValueError, OSError):  # a session file that does not fit is no loss
                known = self._known(path)
                if known is not None and (session := self.load(path)).settings == self.settings:
                    self._begin(session)
                    start = known
                    pending = [name for name, state in session.categories.items() if state.pending]
                    self.rounds = {name: self.learner.start(session, name) for name in pending}
                    break
        for event in events[start:]:
            if event["event"] == "delete":
                self.forget([self.store.find(event["id"])])
            if event["event"] == "finish":
                self._repeat(event)

    def _repeat(self, event: Event) -> None:
        name = event["image"]
        try:
            if name not in self.store.images:
                raise ValueError(f"{name}: no such image")
            image = self.store.names.index(name)
            if list(self.ahead.pixels(image).shape[:2]) != event["size"]:
                raise ValueError(f"{name}: another image than the one that was annotated")
            view, _ = self.look(image, event["category"])
        except ValueError as problem:
            self.notices.append(f"{problem}; its annotation stays, but nothing is learned from it")
            return
        self.take_over(event, view, from_counts(event["counts"], event["size"]))

    # ---- the cache ---------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a session file after every fifth instance, if it can continue exactly from there; two are kept."""
        finished = [e for e in self.store.effective() if e["event"] == "finish"]
        newest = {e["category"]: e for e in finished}
        if not finished or len(finished) % CACHED or not all(e["learn"] == self.settings.opo for e in newest.values()):
            return
        text = self.store.file.read_bytes()
        path = self.store.out / f"session-{len(text)}-{hashlib.sha256(text).hexdigest()[:16]}.pt"
        with suppress(OSError):  # a disk that takes no session file takes annotations, or says so itself
            self.session.save(path)
            for old in self._files()[2:]:
                old.unlink()

    def _files(self) -> list[Path]:
        """Session files, those of the most events first."""
        sweep(self.store.out / "session-*.pt")
        return sorted(self.store.out.glob("session-*.pt"), key=lambda p: -int(p.stem.split("-")[1]))

    def _known(self, path: Path) -> int | None:
        """How many of the effective events a session file knows.

        None if it knows others, or all of them: the last instance is repeated, so that it can be undone.
        """
        _, length, digest = path.stem.split("-")
        text = self.store.file.read_bytes() if self.store.file.exists() else b""
        head, tail = text[: int(length)], self.store.events[text[: int(length)].count(b"\n") :]
        known: set[Any] = {e["id"] for e in self.store.events[: len(self.store.events) - len(tail)] if "id" in e}
        undone = any(e["event"] == "undo" and e["id"] in known for e in tail)
        if hashlib.sha256(head).hexdigest()[:16] != digest or undone or not any(e["event"] == "finish" for e in tail):
            return None
        return len([e for e in self.store.effective() if not any(e is t for t in tail)])
