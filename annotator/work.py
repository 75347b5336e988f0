"""What a person does with a session: open, click, finish, undo, correct (Secs. 3.2 and 3.3, D31, D32).

All of it runs in one thread, in the order of the requests. A session is what the store's events make of it: `replay`
repeats them, so that a killed program goes on with the same proposals. Decisions owned here: D31, D32.
"""

import base64
import io
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from annotator import statistics
from annotator.ahead import Ahead
from annotator.learner import Learner, Parameters, put_in_force
from annotator.store import Event, Store, from_counts, to_counts
from session import Session, Settings, Snapshot, View

UNDOS = 50  # finished instances that can be undone exactly
MOST_CLICKS = 500  # of an instance
MASK, PALE = (230, 159, 0), [(0, 0, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167)]
Answer = dict[str, Any]
Click = tuple[int, int, bool]


class LateError(Exception):
    """A request that a newer one has overtaken; nothing was done."""


class Opened(NamedTuple):
    """What the page shows."""

    number: int  # the page names it in every request
    image: int
    category: str
    view: View | None  # None for an image that cannot be read
    proposal: Click | None
    plain: bool  # of a study: row (a)


class Undo(NamedTuple):
    """The session before an instance was finished."""

    id: int
    session: Snapshot
    round: "Future[Parameters] | None"


class Work:
    """A person's annotation of a folder.

    make:        a new session with some settings on the network;  settings: of the session that she works with.
    categories:  in the order of their keys;  study: a seeded fifth of the instances is annotated as row (a).
    recipe:      what every line of annotations.jsonl tells about the network and its settings.
    """

    def __init__(
        self,
        make: Callable[[Settings], Session],
        settings: Settings,
        store: Store,
        categories: Sequence[str],
        study: bool = False,
        recipe: dict[str, Any] | None = None,
    ):
        self.session, self.learner = make(settings), Learner(make(settings))
        self.bare = make(settings._replace(icp=False, opo=False))
        self.store, self.categories, self.study, self.recipe = store, list(categories), study, recipe or {}
        self.ahead = Ahead(make(settings), list(store.images.values()))
        self.rounds: dict[str, Future[Parameters]] = {}
        self.undos: deque[Undo] = deque(maxlen=UNDOS)
        self.at = Opened(0, 0, self.categories[0], None, None, False)
        self.latest = (0, 0)  # view and sequence number of the newest request for a mask
        self.last: tuple[list[Click], np.ndarray] | None = None  # the clicks and the mask shown last
        self.said = ""
        self.reopened: int | None = None

    # ---- requests ----------------------------------------------------------------------------------------------------

    def state(self) -> Answer:
        """The names, and where to go on: the first image that is not finished."""
        used = [e["category"] for e in self.store.live if e["category"] in self.categories]
        category = used[-1] if used else self.categories[0]
        order = [category, *(c for c in self.categories if c != category)]
        names = self.store.names
        left = ((names.index(n), c) for c in order for n in names if not self.store.done(n, c))
        image, category = next(left, (len(names) - 1, category))
        said, self.said = self.said, ""
        return {"images": names, "categories": self.categories, "image": image, "category": category, "said": said}

    def image(self, image: int) -> bytes:
        """The image as a PNG: exactly the pixels that the network sees."""
        return self.ahead.png(self._index(image))

    def open(self, image: int, category: str) -> Answer:
        """Show an image with its proposal."""
        if category not in self.categories:
            raise ValueError(f"category {category!r}: unknown; reload the page")
        self._index(image)
        number, name, error = self.at.number + 1, self.store.names[image], None
        view, proposal, self.last, self.reopened = None, None, None, None
        plain = self.study and statistics.plain(len(self.store.live), self.session.settings.seed)
        try:
            pixels = self.ahead.pixels(image)
            view = self._look(pixels, name, category, plain)
            proposal = None if plain else self._proposal(view)
        except ValueError as problem:
            error = str(problem)
        self.at = Opened(number, image, category, view, proposal, plain)
        self.ahead.prepare(image + 1)
        return {**self._shown(), "error": error, "mask": self._segmented([proposal]) if proposal else None}

    def announce(self, view: int, seq: int) -> None:
        """Note at once, from any thread, that a newer mask is asked for."""
        self.latest = max(self.latest, (view, seq))

    def segment(self, view: int, seq: int, clicks: list) -> Answer:
        """The mask after some clicks."""
        self._current(view)
        if (view, seq) < self.latest:
            raise LateError("a newer click has overtaken this one")
        return {"view": view, "seq": seq, "mask": self._segmented(self._clicks(clicks))}

    def finish(self, view: int, seq: int, clicks: list, proposal: str, seconds: dict, stay: bool) -> Answer:
        """Save an instance, take it over, and show the next image (or the same again)."""
        here, at, name = self._current(view), self.at, self.store.names[self.at.image]
        if (view, seq) < self.latest:
            raise LateError("a newer click has overtaken this one")
        if proposal not in ("none", "accepted", "rejected") or (at.proposal is None or self.reopened is not None) != (
            proposal == "none"
        ):
            raise ValueError(f"proposal {proposal!r}: does not fit what was proposed; reload the page")
        checked = self._clicks(clicks)
        if self.last is None or self.last[0] != checked:
            self._segmented(checked)
        assert self.last is not None
        mask = self.last[1]
        if not mask.any():
            raise ValueError("the mask is empty; click the object first")
        old = next((e for e in self.store.live if e["id"] == self.reopened), None)
        event = {
            "event": "finish",
            "id": 1 + max((e["id"] for e in self.store.events if e["event"] == "finish"), default=0),
            "image": name,
            "category": at.category,
            "value": old["value"] if old else self.store.new_value(name, at.category),
            "clicks": checked,
            "proposal": at.proposal[:2] if at.proposal and not old else None,
            "accepted": None if at.proposal is None or old else proposal == "accepted",
            "seconds": _seconds(seconds),
            "plain": at.plain,
            "learn": self._free(at.category),
            **({"replaces": old["id"]} if old else {}),
            "recipe": self.recipe,
            "size": list(mask.shape),
            "counts": to_counts(mask),
        }
        self.store.add(event)
        self._take_over(event, here, mask)
        answer = self.open(at.image if stay else self._next(at.image, at.category), at.category)
        return {**answer, "saved": f"{name}, {at.category} {event['value']}"}

    def undo(self, view: int) -> Answer:
        """Take the last finished instance back: files, bank, ignore mask, memory and parameters."""
        self._current(view, readable=False)
        events = [e for e in self.store.effective() if e["event"] == "finish"]
        if not events or events[-1] not in self.store.live:
            return {**self.open(self.at.image, self.at.category), "undone": "Nothing to undo"}
        event = events[-1]
        self._take_back(event)
        category = event["category"] if event["category"] in self.categories else self.at.category
        image = self.store.names.index(event["image"]) if event["image"] in self.store.images else self.at.image
        return {**self.open(image, category), "undone": f"Undone: {event['image']}, {event['category']}"}

    def reopen(self, view: int, row: int, col: int) -> Answer:
        """Open the finished instance at a pixel again."""
        self._current(view)
        index = self.store.index(self.store.names[self.at.image], self.at.category)
        inside = index is not None and 0 <= row < index.shape[0] and 0 <= col < index.shape[1]
        found = [e for e in self._instances() if inside and e["value"] == index[row, col]]  # type: ignore[index]
        if not found:
            raise ValueError(f"no finished instance at pixel {row}, {col}")
        event = found[-1]
        mask = from_counts(event["counts"], event["size"])
        self.reopened, self.last = event["id"], (self._clicks(event["clicks"]), mask)
        return {"id": event["id"], "clicks": event["clicks"], "mask": _png(mask)}

    def delete(self, view: int, id: int) -> Answer:
        """Delete a finished instance of this image."""
        self._current(view, readable=False)
        event = next((e for e in self._instances() if e["id"] == id), None)
        if event is None:
            raise ValueError(f"instance {id}: not in this image; reload the page")
        if self.undos and self.undos[-1].id == id and "replaces" not in event:
            self._take_back(event)
        else:
            self.store.add({"event": "delete", "id": id})
            self._forget(event["image"], event["category"])
        return self.open(self.at.image, self.at.category)

    def empty(self, view: int, empty: bool) -> Answer:
        """Mark the image as holding no object of the category, or no longer so, and go on."""
        self._current(view, readable=False)
        at, name = self.at, self.store.names[self.at.image]
        if empty and self._instances():
            raise ValueError("this image has finished instances; delete them first")
        self.store.add({"event": "empty", "image": name, "category": at.category, "empty": empty})
        return self.open(self._next(at.image, at.category) if empty else at.image, at.category)

    def end(self) -> None:
        """Give up what runs behind the user's back; it is begun anew next time."""
        self.learner.thread.shutdown(cancel_futures=True)
        self.ahead.thread.shutdown(cancel_futures=True)

    # ---- the session -------------------------------------------------------------------------------------------------

    def replay(self) -> None:
        """Repeat what the store tells, so that the session is as it was; images that are gone are said and left out."""
        for event in self.store.effective():
            if event["event"] == "delete":
                of = self.store.find(event["id"])
                self._forget(of["image"], of["category"])
            if event["event"] != "finish":
                continue
            name = event["image"]
            try:
                if name not in self.store.images:
                    raise ValueError(f"{name}: no such image")
                pixels = self.ahead.pixels(self.store.names.index(name))
                if list(pixels.shape[:2]) != event["size"]:
                    raise ValueError(f"{name}: another image than the one that was annotated")
            except ValueError as problem:
                self.said = f"{problem}; its annotation stays, what it taught is left out"
                continue
            view = self._look(pixels, name, event["category"], event["plain"])
            self._take_over(event, view, from_counts(event["counts"], event["size"]))

    def _look(self, pixels: np.ndarray, name: str, category: str, plain: bool) -> View:
        self.session.opened = self.ahead.looked(self.store.names.index(name)) or self.session.opened
        view = self.session.open(pixels, name, category)
        if plain:
            self.bare.opened = self.session.opened
            self.bare_view = self.bare.open(pixels, name, category)
        return view

    def _proposal(self, view: View) -> Click | None:
        """The session's proposal, outside what is annotated in the image (I of Sec. 3.2, D31)."""
        confidence, index = self.session.confidence(view), self.store.index(view.name, view.category)
        if confidence is not None and index is not None:
            annotated = torch.from_numpy(index > 0).to(confidence.device)
            confidence = None if annotated.all() else confidence.masked_fill(annotated, -2.0)  # less than any cosine
        point = self.session.propose(view, confidence)
        return None if point is None else (int(point[0]), int(point[1]), True)

    def _free(self, category: str) -> bool:
        return self.session.settings.opo and (category not in self.rounds or self.rounds[category].done())

    def _take_over(self, event: Event, view: View, mask: np.ndarray) -> None:
        """Put the last round in force, accept the instance, start the next round (D25, with delta = 2)."""
        category = event["category"]
        self.undos.append(Undo(event["id"], self.session.snapshot(category), self.rounds.get(category)))
        if event["learn"] and category in self.rounds:
            try:
                put_in_force(self.session, category, self.rounds.pop(category).result())
            except ValueError as problem:
                self.said = str(problem)
        clicks = [] if "replaces" in event else [tuple(c) for c in event["clicks"]]
        self.session.accept(view, clicks, torch.from_numpy(mask))
        if "replaces" in event:
            self._forget(event["image"], category)
        if event["learn"]:
            self.rounds[category] = self.learner.start(self.session, category)

    def _take_back(self, event: Event) -> None:
        self.store.add({"event": "undo", "id": event["id"]})
        category = event["category"]
        if self.undos and self.undos[-1].id == event["id"]:
            undo = self.undos.pop()
            self.session.restore(undo.session)
            self.rounds.pop(category, None)
            if undo.round is not None:
                self.rounds[category] = undo.round
            gone = [
                self.store.find(e.get("replaces", e["id"])) for e in self.store.effective() if e["event"] != "empty"
            ]
            stale = [e for e in gone if e not in self.store.live]
        else:
            stale = [event]
        for e in stale:
            self._forget(e["image"], e["category"])

    def _forget(self, name: str, category: str) -> None:
        """Let the session's own ignore mask go: the store knows what is annotated, and a deleted instance is not."""
        for place in [p for p in self.session.ignore if (p[0], p[-1]) == (name, category)]:
            del self.session.ignore[place]

    # ---- answers -----------------------------------------------------------------------------------------------------

    def _current(self, view: int, readable: bool = True) -> View:
        if view != self.at.number:
            raise LateError("the page shows another image by now; reload it")
        if self.at.view is None and readable:
            raise ValueError(f"{self.store.names[self.at.image]}: cannot be read; go on with the next image")
        return self.at.view  # type: ignore[return-value]

    def _index(self, image: int) -> int:
        if not 0 <= image < len(self.store.names):
            raise ValueError(f"image {image}: the folder has {len(self.store.names)}")
        return image

    def _next(self, image: int, category: str) -> int:
        n = len(self.store.names)
        order = [(image + k) % n for k in range(1, n)]
        return next((i for i in order if not self.store.done(self.store.names[i], category)), image)

    def _instances(self) -> list[Event]:
        return self.store.instances(self.store.names[self.at.image], self.at.category)

    def _clicks(self, clicks: list) -> list[Click]:
        assert self.at.view is not None
        h, w = self.at.view.shape
        if not 1 <= len(clicks) <= MOST_CLICKS:
            raise ValueError(f"{len(clicks)} clicks: expected 1 to {MOST_CLICKS}")
        for c in clicks:
            if not isinstance(c, list | tuple) or [type(v) for v in c] != [int, int, bool]:
                raise ValueError(f"click {str(c)[:60]}: expected [row, column, true or false]")
            if not (0 <= c[0] < h and 0 <= c[1] < w):
                raise ValueError(f"click {str(c)[:60]}: outside the image of {h}x{w} pixels")
        return [(c[0], c[1], c[2]) for c in clicks]

    def _segmented(self, clicks: list[Click]) -> str:
        at = self.at
        assert at.view is not None
        mask = self.bare.segment(self.bare_view, clicks) if at.plain else self.session.segment(at.view, clicks)
        self.last = clicks, mask.cpu().numpy()
        return _png(self.last[1])

    def _shown(self) -> Answer:
        at, name = self.at, self.store.names[self.at.image]
        index = self.store.index(name, at.category)
        instances = []
        for e in self._instances():
            pixels = np.flatnonzero(index == e["value"])
            pixel = [int(v) for v in divmod(int(pixels[len(pixels) // 2]), e["size"][1])] if len(pixels) else None
            instances.append({"id": e["id"], "clicks": len(e["clicks"]), "pixel": pixel})
        return {
            "view": at.number,
            "image": at.image,
            "category": at.category,
            "size": list(at.view.shape) if at.view else [1, 1],
            "proposal": at.proposal[:2] if at.proposal else None,
            "finished": None if index is None else _png(index),
            "instances": instances,
            "empty": (name, at.category) in self.store.empty,
            "plain": at.plain,
            "statistics": statistics.panel([e for e in self.store.live if "replaces" not in e]),
        }


def _png(index: np.ndarray) -> str:
    """A palette PNG, transparent where it is 0, in base64: a mask in one colour, instances in pale ones."""
    picture = Image.fromarray(index.astype(np.uint8), "P")
    colours = [(0, 0, 0), MASK] if index.dtype == bool else [PALE[0], *(PALE[1 + i % 4] for i in range(255))]
    picture.putpalette([v for colour in colours for v in colour])
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=0, compress_level=1, **({"bits": 1} if index.dtype == bool else {}))
    return base64.b64encode(file.getvalue()).decode()


def _seconds(given: dict[str, Any]) -> dict[str, Any]:
    """The page's times, checked: seconds, what the first reaction was, and whether the times count."""
    if given.keys() != {"first", "after", "total", "kind", "valid"} or given["kind"] not in KINDS:
        raise ValueError("seconds: not those that the page measures; reload the page")
    for name in ("first", "after", "total"):
        v = given[name]
        if v is not None and not (type(v) in (int, float) and math.isfinite(v) and 0 <= v < 1e7):
            raise ValueError(f"seconds.{name}: {str(v)[:40]}; expected a number of seconds")
    if type(given["valid"]) is not bool:
        raise ValueError("seconds.valid: expected true or false")
    return given


KINDS = (None, "accept", "reject", "own", "click")
