"""The events of an annotation as a state: what stands after undo and redo (D31). Knows no files.

An event's number is its line in annotations.jsonl, from 1 on. Lines of the first version are understood: there a
correction was a `finish` that `replaces` another, and `undo` named the instance.
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
        self.categories: list[str] = []  # in the order of their ids
        self.undoable, self.redoable = list[int](), list[int]()  # numbers, the next one last
        self.keys = {e["key"]: e.get("n", n) for n, e in enumerate(events, start=1) if "key" in e}  # -> event done
        self.ids = max((e["id"] for e in events if e["event"] in ("finish", "import")), default=0)
        self._first: dict[int, int] = {}  # id of a corrected instance in the first version -> its first id
        finished: dict[int, int] = {}
        for n, e in enumerate(events, start=1):
            kind = e["event"]
            if kind == "undo":
                undone = e["n"] if "n" in e else finished[e["id"]]
                self.undoable.remove(undone)
                self.redoable.append(undone)
            elif kind == "redo":
                self.redoable.remove(e["n"])
                self.undoable.append(e["n"])
            elif kind in UNDOABLE:
                self.undoable.append(n)
                self.redoable.clear()
            if kind == "finish":
                finished[e["id"]] = n
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
            self._finish(e)
        elif kind in ("correct", "category", "delete"):
            id = self._first.get(e["id"], e["id"])
            old = self._drop(id)
            if old is not None and kind != "delete":
                self._put({**old, **e, "id": id, "event": old["event"]})
        elif kind == "empty":
            (self.empty.add if e["empty"] else self.empty.discard)((e["image"], e["category"]))
        elif kind == "done":
            (self.done.add if e["done"] else self.done.discard)(e["image"])
        elif kind == "categories":
            self.categories += [name for name in e["names"] if name not in self.categories]

    def _finish(self, e: Event) -> None:
        if e["category"] not in self.categories:
            self.categories.append(e["category"])
        id: int = e["id"]
        if "replaces" in e:
            self._first[id] = self._first.get(e["replaces"], e["replaces"])  # type: ignore[assignment]
            id = self._first[id]
            self._drop(id)
        # one of another size was finished on a photo that had been replaced: it was never saved as a mask
        if all(other["size"] == e["size"] for other in list(self.by_image.get(e["image"], {}).values())[:1]):
            self._put({**e, "id": id})

    def _put(self, e: Event) -> None:
        self.empty.discard((e["image"], e["category"]))
        self.live[e["id"]] = self.by_image.setdefault(e["image"], {})[e["id"]] = e

    def _drop(self, id: Any) -> Event | None:
        old = self.live.pop(id, None)
        if old is not None:
            del self.by_image[old["image"]][id]
        return old


def finished(events: Sequence[Event]) -> list[Event]:
    """The instances that a person has finished and that stand, for `statistics`."""
    return [e for e in History(events).live.values() if e["event"] == "finish"]
