"""The events of an annotation as a state: what stands after undo and redo (D31). Knows no files.

An event's number is its line in annotations.jsonl, from 1 on.
"""

from collections.abc import Sequence
from typing import Any

Event = dict[str, Any]
Place = tuple[str, str]  # image, category
UNDOABLE = {  # and what the person is told that it was
    "finish": "finished",
    "correct": "corrected",
    "delete": "deleted",
    "category": "another category",
    "empty": "no object",
    "done": "image done",
}
KINDS = (*UNDOABLE, "undo", "redo", "import", "categories")


class History:
    """What some events make.

    Raises:  ValueError or KeyError for events that do not fit together.
    """

    def __init__(self, events: Sequence[Event]):
        self.live: dict[int, Event] = {}  # instances by id; later ones lie on top
        self.by_image: dict[str, dict[int, Event]] = {}  # the same
        self.empty: set[Place] = set()  # marked 'no object'
        self.done: set[str] = set()  # images marked as done
        self.photos: dict[str, str | None] = {}  # digests of the photos that are marked, where they are known
        self.categories: list[str] = []  # in the order of their ids
        self.undoable, self.redoable = list[int](), list[int]()  # numbers, the next one last
        self.keys = {e["key"]: e.get("n", n) for n, e in enumerate(events, start=1) if "key" in e}  # -> event done
        self.first = {e["id"]: e for e in events if e["event"] in ("finish", "import")}  # of each id, also undone ones
        for n, e in enumerate(events, start=1):
            kind = e["event"]
            if kind == "undo":
                self.undoable.remove(e["n"])
                self.redoable.append(e["n"])
            elif kind == "redo":
                self.redoable.remove(e["n"])
                self.undoable.append(e["n"])
            elif kind in UNDOABLE:
                self.undoable.append(n)
                self.redoable.clear()
        stands = set(self.undoable)
        for n, e in enumerate(events, start=1):
            if n in stands or e["event"] not in UNDOABLE:
                self._apply(e)

    def place(self, id: int | None) -> list[Place]:
        """The image and category that an instance is in now, if there is one."""
        return [(e["image"], e["category"]) for e in (self.live.get(id),) if e]  # type: ignore[arg-type]

    def _apply(self, e: Event) -> None:
        kind = e["event"]
        if kind in ("finish", "import"):
            if e["category"] not in self.categories:
                self.categories.append(e["category"])
            self._put(e)
        elif kind in ("correct", "category", "delete"):
            old = self.live.pop(e["id"], None)
            if old is not None:
                del self.by_image[old["image"]][e["id"]]
                if kind != "delete":
                    self._put({**old, **e, "event": old["event"]})
        elif kind == "empty":
            (self.empty.add if e["empty"] else self.empty.discard)((e["image"], e["category"]))
        elif kind == "done":
            (self.done.add if e["done"] else self.done.discard)(e["image"])
        elif kind == "categories":
            self.categories += [name for name in e["names"] if name not in self.categories]
        if kind in ("empty", "done"):
            self.photos[e["image"]] = e.get("photo") if e[kind] else None

    def _put(self, e: Event) -> None:
        self.empty.discard((e["image"], e["category"]))
        self.live[e["id"]] = self.by_image.setdefault(e["image"], {})[e["id"]] = e


def finished(events: Sequence[Event]) -> list[Event]:
    """The instances that a person has finished and that stand, for `statistics`."""
    return [e for e in History(events).live.values() if e["event"] == "finish"]
