"""What a person has annotated, on disk: the source that everything else is made from.

    annotations.jsonl         one line per event: an instance finished, undone or deleted, an image without objects
    masks/CATEGORY/NAME.png   index masks with a palette, made of those lines; images/CATEGORY/NAME.* links the images

A line is written before its index mask, and both are on disk before the page is told. A line cut short by a kill is
dropped at the next start, and index masks that are out of date are made again. Decisions owned here: D31 (files).
"""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from loaders.listing import distinct, listing
from loaders.pictures import read_mask
from support.files import atomic, sweep

MOST = 254  # instances of a category in an image: an index mask holds 0 for none and 255 for void
KINDS = ("finish", "undo", "delete", "empty")
PALETTE = [0, 0, 0] + [(i * k + 40) % 216 + 40 for i in range(1, 256) for k in (97, 57, 151)]

Event = dict[str, Any]


class Store:
    """The images of a folder and the events of its annotation.

    folder:  exists and holds the images;  out: for the annotations.
    Raises:  ValueError for a folder without images or a file that is no list of events;
             OSError if `out` cannot be written.
    """

    def __init__(self, folder: Path, out: Path):
        found = listing(folder.parent, folder.name).read
        self.images = {name: found[file] for file, name in distinct(found).items()}
        self.names, self.out, self.file = list(self.images), out, out / "annotations.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        self.events = self._read()
        self.live: list[Event] = []
        self.annotated: set[tuple[str, str]] = set()  # images and categories that have instances
        self.empty: set[tuple[str, str]] = set()
        self._fold()
        sweep(*(category / "*.png" for category in (out / "masks").glob("*")))
        for image, category in self.annotated:
            self._write_mask(image, category)

    def instances(self, image: str, category: str) -> list[Event]:
        """The finished instances of a category in an image, oldest first."""
        return [e for e in self.live if (e["image"], e["category"]) == (image, category)]

    def done(self, image: str, category: str) -> bool:
        """Whether an image has an instance of the category, or is marked as having none."""
        return (image, category) in self.empty or (image, category) in self.annotated

    def find(self, id: int) -> Event:
        """The instance of that number as it was finished, live or not."""
        return next(e for e in self.events if e["event"] == "finish" and e["id"] == id)

    def effective(self) -> list[Event]:
        """The events without those that were undone and without their undoing: what a session has to repeat."""
        return without_undone(self.events)

    def new_value(self, image: str, category: str) -> int:
        """A free value of the index mask; ValueError if there is none."""
        taken = {e["value"] for e in self.instances(image, category)}
        free = [v for v in range(1, MOST + 1) if v not in taken]
        if not free:
            raise ValueError(f"{image}: {MOST} instances of {category} already; an index mask holds no more")
        return free[0]

    def index(self, image: str, category: str) -> np.ndarray | None:
        """(H, W) uint8: the value of the newest instance at each pixel, 0 where there is none; None without any."""
        found = self.instances(image, category)
        if not found:
            return None
        index = np.zeros(found[0]["size"], np.uint8)
        for e in found:
            index[from_counts(e["counts"], e["size"])] = e["value"]
        return index

    def add(self, event: Event) -> None:
        """Write an event and the index mask that it changes; OSError leaves everything as it was."""
        of = event if event["event"] in ("finish", "empty") else self.find(event["id"])
        before = self.file.stat().st_size if self.file.exists() else 0
        try:
            with self.file.open("ab") as file:
                file.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self.events.append(event)
            self._fold()
            self._write_mask(of["image"], of["category"])
        except OSError:
            self.events = [e for e in self.events if e is not event]
            self._fold()
            with suppress(FileNotFoundError):
                os.truncate(self.file, before)
            raise

    def _fold(self) -> None:
        effective = self.effective()
        self.live, self.empty = standing(effective), set()
        self.annotated = {(e["image"], e["category"]) for e in self.live}
        for e in effective:
            if e["event"] == "empty":
                (self.empty.add if e["empty"] else self.empty.discard)((e["image"], e["category"]))

    def _read(self) -> list[Event]:
        if not self.file.exists():
            return []
        events, whole = read_events(self.file)
        if whole < self.file.stat().st_size:
            os.truncate(self.file, whole)  # a line cut short by a kill, which was never confirmed
        return events

    def _write_mask(self, image: str, category: str) -> None:
        index = self.index(image, category)
        mask = self.out / "masks" / category / f"{image}.png"
        link = self.out / "images" / category / self.images[image].name if image in self.images else None
        if index is None:
            for path in filter(None, (mask, link)):
                path.unlink(missing_ok=True)
            return
        if link is not None and not os.path.lexists(link):
            _link(self.images[image].resolve(), link)
        if mask.exists() and np.array_equal(_index_or_nothing(mask), index):
            return
        with atomic(mask) as temporary:
            picture = Image.fromarray(index, "P")
            picture.putpalette(PALETTE)
            picture.save(temporary)


def read_events(file: Path) -> tuple[list[Event], int]:
    """The events of an annotations.jsonl, without a last line that was cut short, and how many bytes they take.

    Raises:  OSError if it cannot be read; ValueError naming the line that is no event.
    """
    text, events = file.read_bytes(), list[Event]()
    whole = text[: text.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            events.append(json.loads(line))
            if events[-1]["event"] not in KINDS:
                raise ValueError(events[-1]["event"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{file}:{number}: not an annotation; correct the line or remove it") from None
    return events, len(whole)


def without_undone(events: Sequence[Event]) -> list[Event]:
    """The events without those that were undone and without their undoing."""
    undone = {e["id"] for e in events if e["event"] == "undo"}
    return [e for e in events if e["event"] != "undo" and not (e["event"] == "finish" and e["id"] in undone)]


def finished(events: Sequence[Event]) -> list[Event]:
    """The finished instances that stand, as they were finished last."""
    return standing(without_undone(events))


def standing(effective: Sequence[Event]) -> list[Event]:
    """The same, of events from which those that were undone are left out already.

    One of another size than those that stand in its image and category was finished on a photo that had been replaced,
    and was never saved as a mask: it does not count.
    """
    live: dict[int, Event] = {}
    together: dict[tuple[str, str], dict[int, Event]] = {}  # the same by image and category
    for e in effective:
        if e["event"] == "empty":
            continue
        old = live.pop(e["replaces" if "replaces" in e else "id"], None)
        if old is not None:
            del together[old["image"], old["category"]][old["id"]]
        if e["event"] == "finish":
            others = together.setdefault((e["image"], e["category"]), {})
            if all(other["size"] == e["size"] for other in list(others.values())[:1]):
                live[e["id"]] = others[e["id"]] = e
    return list(live.values())


def to_counts(mask: np.ndarray) -> list[int]:
    """Run lengths of an (H, W) bool mask as COCO writes them: column by column, False first."""
    flat = np.asarray(mask, bool).T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    return np.diff(edges, prepend=0).tolist()


def from_counts(counts: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """The (H, W) bool mask that `to_counts` took apart; ValueError if the lengths do not add up to `size`."""
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths of {sum(counts)} pixels for a mask of {size[0]}x{size[1]}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size[1], size[0]).T


def _index_or_nothing(path: Path) -> np.ndarray:
    try:
        return read_mask(path)
    except ValueError:  # damaged from outside: made again
        return np.zeros((0, 0), np.uint8)


def _link(image: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(image)
    except OSError:  # a file system or a Windows account without links
        shutil.copyfile(image, link)
