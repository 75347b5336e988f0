"""What a person does: open, click, finish, undo, correct (Secs. 3.2 and 3.3, D31, D32).

All of it runs in one thread, in the order of the requests. Decisions owned here: D31, D32.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from annotator import statistics
from annotator.checks import checked_seconds, page_clicks, png
from annotator.course import Course
from annotator.store import Event, from_counts, to_counts
from session import View

Answer = dict[str, Any]
Click = tuple[int, int, bool]


class LateError(Exception):
    """A request that a newer one has replaced; nothing was done."""


class Opened(NamedTuple):
    """What the page shows."""

    number: int  # the page names it in every request
    image: int
    category: str
    view: View | None  # None for an image that cannot be read
    bare: View | None  # of a study: row (a), without proposal and optimisation
    proposal: tuple[int, int] | None


class Work:
    """A person's annotation of a folder.

    categories:  in the order of their keys;  study: a seeded fifth of the instances is annotated as row (a).
    recipe:      what every line of annotations.jsonl tells about the network and its settings.
    """

    def __init__(self, course: Course, categories: Sequence[str], study: bool = False, recipe: Any = None):
        self.course, self.store = course, course.store
        self.categories, self.study, self.recipe = list(categories), study, recipe or {}
        for category in dict.fromkeys(e["category"] for e in self.store.live):
            if category not in categories:
                course.notices.append(f"category {category!r}: not in --categories; its annotations stay as they are")
        self.at = Opened(0, 0, self.categories[0], None, None, None)
        self.latest = (0, 0)  # view and sequence number of the newest request for a mask
        self.last: tuple[list[Click], np.ndarray] | None = None  # the clicks and the mask shown last
        self.reopened: Event | None = None

    # ---- requests ----------------------------------------------------------------------------------------------------

    def state(self) -> Answer:
        """The names, and where to continue: the first image that is not finished."""
        used = [e["category"] for e in self.store.live if e["category"] in self.categories]
        category = used[-1] if used else self.categories[0]
        order = [category, *(c for c in self.categories if c != category)]
        names = self.store.names
        remaining = ((names.index(n), c) for c in order for n in names if not self.store.done(n, c))
        image, category = next(remaining, (len(names) - 1, category))
        return {"images": names, "categories": self.categories, "image": image, "category": category}

    def image(self, image: int) -> bytes:
        """The image as a PNG: exactly the pixels that the network sees."""
        return self.course.ahead.png(self._index(image))

    def open(self, image: int, category: str) -> Answer:
        """Show an image with its proposal."""
        if category not in self.categories:
            raise ValueError(f"category {category!r}: unknown; reload the page")
        number, image, self.last, self.reopened = self.at.number + 1, self._index(image), None, None
        plain = self.study and statistics.plain(len(self.store.live), self.course.settings.seed)
        error = view = bare = proposal = None
        try:
            view, bare = self.course.look(image, category, plain)
            proposal = None if plain else self.course.proposal(view)
        except ValueError as problem:
            error = str(problem)
        self.at = Opened(number, image, category, view, bare, proposal)
        mask = self._segmented([(*proposal, True)]) if proposal else None
        if (following := self._next()) != image:
            self.course.ahead.prepare(following)
        if error:
            self.course.notices.append(error)
        return {**self._shown(), "readable": error is None, "mask": mask}

    def announce(self, view: int, seq: int) -> None:
        """Note at once, from any thread, that a newer mask of the image shown is asked for."""
        if view == self.at.number:
            self.latest = max(self.latest, (view, seq))

    def segment(self, view: int, seq: int, clicks: list) -> Answer:
        """The mask after some clicks."""
        here = self._current(view, seq)
        return {"view": view, "seq": seq, "mask": self._segmented(page_clicks(clicks, here.shape))}

    def finish(self, view: int, seq: int, clicks: list, proposal: str, seconds: dict, stay: bool) -> Answer:
        """Save an instance, add it to the session, and show the next image (or the same again)."""
        here, at = self._current(view, seq), self.at
        expected = ("none",) if at.proposal is None or self.reopened else ("accepted", "rejected")
        if proposal not in expected:
            raise ValueError(f"proposal {proposal[:20]!r}: expected {' or '.join(expected)}; reload the page")
        checked, times = page_clicks(clicks, here.shape), checked_seconds(seconds)
        if self.last is None or self.last[0] != checked:
            self._segmented(checked)
        assert self.last is not None
        mask = self.last[1]
        if not mask.any():
            raise ValueError("the mask is empty; click the object first")
        event = self._event(mask, checked, proposal, times)
        self.store.add(event)
        self.course.take_over(event, here, mask)
        answer = self.open(at.image if stay else self._next(), at.category)
        return {**answer, "saved": f"{event['image']}, {at.category} {event['value']}"}

    def undo(self, view: int) -> Answer:
        """Undo the last finished instance: files, bank, ignore mask, memory and parameters."""
        self._current(view, readable=False)
        if not self.store.live:
            return {**self.open(self.at.image, self.at.category), "undone": "Nothing to undo"}
        event = max(self.store.live, key=lambda e: e["id"])
        self._take_back(event)
        category = event["category"] if event["category"] in self.categories else self.at.category
        image = self.store.names.index(event["image"]) if event["image"] in self.store.images else self.at.image
        return {**self.open(image, category), "undone": f"Undone: {event['image']}, {event['category']}"}

    def reopen(self, view: int, row: int, col: int) -> Answer:
        """Reopen the finished instance at a pixel."""
        here, index = self._current(view), self.store.index(self._name, self.at.category)
        inside = index is not None and 0 <= row < index.shape[0] and 0 <= col < index.shape[1]
        event = next((e for e in self._instances() if inside and e["value"] == index[row, col]), None)  # type: ignore
        if event is None or list(here.shape) != event["size"]:
            raise ValueError(f"no finished instance at pixel {row}, {col}")
        mask = from_counts(event["counts"], event["size"])
        bare = (self.at.bare or self.course.look(self.at.image, self.at.category, True)[1]) if event["plain"] else None
        self.at = self.at._replace(bare=bare)  # a correction is made in the row that the instance is of
        self.reopened, self.last = event, (page_clicks(event["clicks"], here.shape), mask)
        return {"id": event["id"], "clicks": event["clicks"], "mask": png(mask)}

    def delete(self, view: int, id: int) -> Answer:
        """Delete a finished instance of this image; the last one of all is undone."""
        self._current(view, readable=False)
        event = next((e for e in self._instances() if e["id"] == id), None)
        if event is None:
            raise ValueError(f"instance {id}: not in this image; reload the page")
        if event is max(self.store.live, key=lambda e: e["id"]) and "replaces" not in event:
            self._take_back(event)
        else:
            self.store.add({"event": "delete", "id": id})
            self.course.forget([event])
        return self.open(self.at.image, self.at.category)

    def empty(self, view: int, empty: bool) -> Answer:
        """Mark the image as holding no object of the category and open the next one, or remove the mark."""
        self._current(view, readable=False)
        if empty and self._instances():
            raise ValueError("this image has finished instances; delete them first")
        self.store.add({"event": "empty", "image": self._name, "category": self.at.category, "empty": empty})
        return self.open(self._next() if empty else self.at.image, self.at.category)

    # ---- parts of them -----------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self.store.names[self.at.image]

    def _current(self, view: int, seq: int | None = None, readable: bool = True) -> View:
        if view != self.at.number:
            raise LateError("the page shows another image; reload it")
        if seq is not None and (view, seq) < self.latest:
            raise LateError("a newer click has replaced this one")
        if self.at.view is None and readable:
            raise ValueError(f"{self._name}: cannot be read; continue with the next image")
        return self.at.view  # type: ignore[return-value]

    def _index(self, image: int) -> int:
        if not 0 <= image < len(self.store.names):
            raise ValueError(f"image {image}: the folder has {len(self.store.names)}")
        return image

    def _next(self) -> int:
        """The next image that is not finished; this one if all are."""
        n = len(self.store.names)
        order = [(self.at.image + k) % n for k in range(1, n)]
        return next((i for i in order if not self.store.done(self.store.names[i], self.at.category)), self.at.image)

    def _instances(self) -> list[Event]:
        return self.store.instances(self._name, self.at.category)

    def _segmented(self, clicks: list[Click]) -> str:
        at, course = self.at, self.course
        assert at.view is not None
        mask = course.bare.segment(at.bare, clicks) if at.bare else course.session.segment(at.view, clicks)
        self.last = clicks, mask.cpu().numpy()
        return png(self.last[1])

    def _event(self, mask: np.ndarray, clicks: list[Click], proposal: str, seconds: dict[str, Any]) -> Event:
        at, old = self.at, self.reopened
        accepted = None if proposal == "none" else proposal == "accepted"
        new = {"proposal": at.proposal, "accepted": accepted, "seconds": seconds, "plain": at.bare is not None}
        return {
            "event": "finish",
            "id": 1 + max((e["id"] for e in self.store.events if e["event"] == "finish"), default=0),
            "image": self._name,
            "category": at.category,
            "value": old["value"] if old else self.store.new_value(self._name, at.category),
            "clicks": clicks,
            **(_corrected(old, clicks, seconds) if old else new),
            "learn": self.course.free(at.category),
            **({"replaces": old["id"]} if old else {}),
            "recipe": self.recipe,
            "size": list(mask.shape),
            "counts": to_counts(mask),
        }

    def _take_back(self, event: Event) -> None:
        self.store.add({"event": "undo", "id": event["id"]})
        self.course.take_back(event)

    def _shown(self) -> Answer:
        at, index = self.at, self.store.index(self._name, self.at.category)
        notices, self.course.notices = self.course.notices, []
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
            "proposal": at.proposal,
            "finished": None if index is None else png(index),
            "instances": instances,
            "empty": (self._name, at.category) in self.store.empty,
            "plain": at.bare is not None,
            "notices": notices,
            "statistics": statistics.panel(self.store.live),
        }


def _corrected(old: Event, clicks: list[Click], seconds: dict[str, Any]) -> dict[str, Any]:
    """What was proposed for a corrected instance and the first reaction to it, with the time of the correction added.

    The proposal stays accepted, and costs no click (D14), while it is among the clicks; re-selected it was wrong, D15.
    """
    total, valid = old["seconds"]["total"] + seconds["total"], old["seconds"]["valid"] and seconds["valid"]
    return {
        "proposal": old["proposal"],
        "accepted": old["accepted"] and (*old["proposal"], True) in clicks,
        "seconds": {**old["seconds"], "total": total, "valid": valid},
        "plain": old["plain"],
    }
