"""What a person has annotated, on disk: the source that everything else is made from.

    annotations.jsonl         one line per event, see `annotator.history`
    masks/CATEGORY/NAME.png   index masks with a palette, made of those lines; images/CATEGORY/NAME.* links the images
    annotator.json            the token, the way of working and the place; only its owner can read it

A line is written before its index mask, and both are on disk before the page is told. A line cut short by a kill is
dropped at the next start, and index masks that are missing are made again. Decisions owned here: D31 (files).
"""

import json
import os
import secrets
import shutil
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from annotator.history import KINDS, Event, History, Place
from annotator.masks import from_counts, loops
from loaders.listing import UNREAD, distinct, listing, split
from support.files import atomic, sweep

MOST = 254  # instances of a category in an image: an index mask holds 0 for none and 255 for void
FORBIDDEN = set('/\\:*?"<>|\0\n\r\t')  # in names of folders
PALETTE = [0, 0, 0] + [(i * k + 40) % 216 + 40 for i in range(1, 256) for k in (97, 57, 151)]


class Store:
    """The images of a folder, those in folders inside too, and the events of its annotation.

    folder:  exists and holds the images;  out: for the annotations.
    Raises:  ValueError for a folder without images or a file that is no list of events;
             OSError if `out` cannot be written.
    """

    def __init__(self, folder: Path, out: Path):
        self.folder, self.out, self.file = folder, out, out / "annotations.jsonl"
        self.notices: list[str] = []  # lines that the page and the terminal have yet to show
        out.mkdir(parents=True, exist_ok=True)
        self.kept = self._kept()
        self.events, self.size = self._read()
        self.keys: list[str] = []  # the categories that this run was given, in the order of their keys
        self.images = self._images()
        self.names = list(self.images)
        self.history = self._folded()
        self._visible: dict[Place, dict[int, list[list[int]]]] = {}
        self._mend()

    # ---- what stands -------------------------------------------------------------------------------------------------

    @property
    def live(self) -> list[Event]:
        """The instances that stand, in the order in which they lie on top of each other."""
        return list(self.history.live.values())

    @property
    def categories(self) -> list[str]:
        """All of them, in the order of their keys."""
        return [*self.keys, *(name for name in self.history.categories if name not in self.keys)]

    def instances(self, image: str, category: str | None = None) -> list[Event]:
        """Those of an image, of one category or of all."""
        found = self.history.by_image.get(image, {}).values()
        return [e for e in found if category in (None, e["category"])]

    def done(self, image: str, category: str) -> bool:
        """Whether nothing is left to do: the person said so, or the category was finished or has no object there.

        With several objects an image that holds for every category.
        """
        finished, history = {e["category"] for e in self.instances(image) if not e.get("more")}, self.history
        categories = self.categories if self.kept["several"] else [category]
        return image in history.done or all(c in finished or (image, c) in history.empty for c in categories)

    def next(self, image: str, category: str) -> str:
        """The next image that is not done; this one if all are."""
        at = self.names.index(image)
        return next((n for n in self.names[at + 1 :] + self.names[:at] if not self.done(n, category)), image)

    def index(self, image: str, category: str) -> np.ndarray | None:
        """(H, W) uint8: the value of the newest instance at each pixel, 0 where there is none; None without any."""
        found = self.instances(image, category)
        if not found:
            return None
        index = np.zeros(found[0]["size"], np.uint8)
        for e in found:
            index[from_counts(e["counts"], e["size"])] = e["value"]
        return index

    def visible(self, image: str, category: str) -> dict[int, list[list[int]]]:
        """By id, the outlines of what later instances of its category leave visible of each one in an image."""
        place = (image, category)
        if place not in self._visible:
            index = self.index(image, category)
            self._visible[place] = {e["id"]: loops(index == e["value"]) for e in self.instances(image, category)}
        return self._visible[place]

    def check_photo(self, image: str, content: str, size: Sequence[int]) -> None:
        """ValueError if a photo, by its digest and (H, W), is another than the one that was annotated."""
        found = self.instances(image)
        photos = {self.history.photos.get(image), *(e.get("photo") for e in found)} - {None}
        if photos - {content} or any(e["size"] != list(size) for e in found):
            raise ValueError(f"{image}: is another photo than the one that was annotated; put the old file back")

    def new_value(self, image: str, category: str) -> int:
        """A free value of the index mask; ValueError if there is none."""
        taken = {e["value"] for e in self.instances(image, category)}
        if len(taken) == MOST:
            raise ValueError(f"{image}: {MOST} instances of {category} already; an index mask holds no more")
        return min(set(range(1, MOST + 1)) - taken)

    # ---- what changes ------------------------------------------------------------------------------------------------

    def add(self, *events: Event) -> None:
        """Write events and the index masks that they change; a failure leaves everything as it was."""
        before, history = self.file.stat().st_size if self.file.exists() else 0, self.history
        if before != self.size:  # lines are numbered: in another file these would mean something else
            raise OSError(f"{self.file}: moved or changed by another program; put it back, or start this one again")
        lines, count, tried = [json.dumps(e, separators=(",", ":")) for e in events], len(self.events), list[Place]()
        try:
            with self.file.open("ab") as file:
                file.write("".join(f"{line}\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
            self.events += map(json.loads, lines)  # as the next start reads them
            self.history = self._folded()
            for place in sorted(self._touched(events, history)):
                tried.append(place)
                self._write_mask(*place)
            self.size = self.file.stat().st_size
        except Exception:
            del self.events[count:]
            self.history = history
            with suppress(FileNotFoundError):
                os.truncate(self.file, before)
            for place in tried:
                with suppress(OSError, MemoryError):  # the first error is the one to be told
                    self.mask_file(*place).unlink(missing_ok=True)  # if no other can be written, the next start does it
                    self._write_mask(*place)
            raise

    def keep(self, **values: Any) -> None:
        """Remember how and where the person works."""
        self.kept |= values
        with atomic(self.out / "annotator.json") as temporary:
            temporary.touch(0o600)
            temporary.write_text(json.dumps(self.kept), encoding="utf-8")

    def name_categories(self, given: Sequence[str]) -> None:
        """Give the categories of a run their keys; a new one gets the next id for ever."""
        known, self.keys = self.history.categories, list(dict.fromkeys(given))
        new = self.add_categories(self.keys)
        if known and (new or self.keys != known[: len(self.keys)]):
            ids = ", ".join(f"{i} {name}" for i, name in enumerate(self.history.categories, start=1))
            self.notices.append(f"--categories {' '.join(given)}: an earlier run had others; the ids stay: {ids}")

    def add_categories(self, names: Sequence[str]) -> list[str]:
        """Give the categories that are new their ids.

        Raises:  ValueError for a name that no folder can have, or that differs from another in capitals only.
        """
        known = {name.casefold(): name for name in self.history.categories}
        for name in names:
            if not 1 <= len(name) <= 64 or name[0] in ". " or name[-1] in ". " or FORBIDDEN & set(name):
                raise ValueError(f"category {name!r}: expected a name that a folder can have, of at most 64 characters")
            if (other := known.setdefault(name.casefold(), name)) != name:
                raise ValueError(f"category {name!r}: {other!r} is there already; a file system may take them for one")
        new = [name for name in names if name not in self.history.categories]
        if new:
            self.add({"event": "categories", "names": new})
        return new

    # ---- files -------------------------------------------------------------------------------------------------------

    def mask_file(self, image: str, category: str) -> Path:
        """masks/CATEGORY/NAME.png; a name with a path becomes one name, for folders inside are categories."""
        return self.out / "masks" / category / f"{flat(image)}.png"

    def photo(self, image: str) -> str:
        """The path of an image in the folder, also of one that is gone since."""
        if image in self.images:
            return self.images[image].relative_to(self.folder).as_posix()
        return next((e["file"] for e in self.events if e.get("image") == image and "file" in e), image)

    def _images(self) -> dict[str, Path]:
        found, inside = listing(self.folder.parent, self.folder.name, deep=True), self.out.resolve()
        read = {name: path for name, path in found.read.items() if not path.parent.resolve().is_relative_to(inside)}
        if not read:
            raise ValueError(f"{self.folder}: no image inside")
        newest = {e["image"]: e["file"] for e in self.events if "file" in e}
        known = {file: name for name, file in newest.items()}  # a name stays, whatever other files come and go
        named = [(known.get(file, name), read[file]) for file, name in distinct(read).items()]
        twice = [name for name, count in Counter(flat(name) for name, _ in named).items() if count > 1]
        if twice:
            first, second = [path for name, path in named if flat(name) == twice[0]][:2]
            raise ValueError(f"{second}: its mask would have the name of that of {first}; rename one of them")
        unread = Counter(split(name)[1] for name in found.unread)
        kinds = [f"{count} {kind}" for kind, count in sorted(unread.items()) if kind in UNREAD]
        if kinds:
            self.notices.append(f"left out: {', '.join(kinds)}; files of these kinds are not read, save them as JPEG")
        return dict(named)

    def _kept(self) -> dict[str, Any]:
        file = self.out / "annotator.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        except ValueError:  # cut short by a power cut
            self.notices.append(f"{file}: cannot be read; the page has a new address")
            kept = {}
        return {"token": secrets.token_urlsafe(24), "several": False, **kept}

    def _read(self) -> tuple[list[Event], int]:
        """The events, and the size of their file."""
        if not self.file.exists():
            return [], 0
        events, whole = read_events(self.file)
        with self.file.open("r+b") as file:
            file.truncate(len(whole))  # a line cut short by a kill, which was never confirmed
            if whole and not whole.endswith(b"\n"):  # an editor's doing
                file.seek(0, os.SEEK_END)
                file.write(b"\n")
        return events, self.file.stat().st_size

    def _folded(self) -> History:
        try:
            return History(self.events)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{self.file}: events that do not fit together ({error}); put the file back") from error

    def _touched(self, events: Sequence[Event], before: History) -> set[Place]:
        """The places whose index masks some events change."""
        subjects = [self.events[e["n"] - 1] if "n" in e else e for e in events]
        ids = [e["id"] for e in subjects if "id" in e]
        places = {place for id in ids for history in (before, self.history) for place in history.place(id)}
        for place in places:
            self._visible.pop(place, None)
        return places

    def _mend(self) -> None:
        """Make the masks and links that a kill, a removed photo or a move of the folders left missing or wrong."""
        sweep(*(category / "*.png" for category in (self.out / "masks").glob("*")), self.out / "annotator.json")
        for old in (self.out / "images").glob("*/*"):
            if old.is_symlink() and not old.exists():
                old.unlink()
        newest = self._touched(self.events[-1:], History(self.events[:-1]))
        for image, category in newest | {(e["image"], e["category"]) for e in self.live}:
            mask = self.mask_file(image, category)
            if (image, category) in newest or image not in self.images or not mask.exists() or not mask.stat().st_size:
                self._write_mask(image, category)
            else:
                link(self.images[image], self._link_file(image, category))
        if gone := sorted({e["image"] for e in self.live} - self.images.keys()):
            more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
            self.notices.append(f"{gone[0]}{more}: no such image; what is annotated there stays in annotations.jsonl")

    def _write_mask(self, image: str, category: str) -> None:
        """The index mask of a place and, after it, the link; neither where there is no instance or no photo."""
        mask, index = self.mask_file(image, category), None
        if image not in self.images or (index := self.index(image, category)) is None:
            mask.unlink(missing_ok=True)
            if image in self.images:
                self._link_file(image, category).unlink(missing_ok=True)
            return
        with atomic(mask) as temporary:
            picture = Image.fromarray(index, "P")
            picture.putpalette(PALETTE)
            photo = PngImagePlugin.PngInfo()
            for digest in {e["photo"] for e in self.instances(image) if "photo" in e}:
                photo.add_text("photo", digest)  # for --data, which refuses another
            picture.save(temporary, pnginfo=photo)
        link(self.images[image], self._link_file(image, category))

    def _link_file(self, image: str, category: str) -> Path:
        return self.out / "images" / category / link_name(image, self.images[image].suffix)


def link(photo: Path, file: Path) -> None:
    """Link a photo by a relative path, so that both folders can be moved together."""
    file.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(photo.resolve(), file.parent.resolve())
    if file.is_symlink() and os.readlink(file) != target:
        file.unlink()
    if os.path.lexists(file):
        return
    try:
        file.symlink_to(target)
    except OSError:  # a file system without links
        shutil.copyfile(photo, file)


def one_line(error: Exception) -> str:
    """A failure as a line for the person; the terminal shows where a fault of the program is."""
    if isinstance(error, ValueError | OSError | MemoryError):
        return str(error)
    traceback.print_exception(error)
    return f"a fault of the program ({type(error).__name__}: {error}); please report what the terminal shows"


def flat(name: str) -> str:
    """An image's name without folders."""
    return name.replace("/", "__")


def link_name(name: str, suffix: str) -> str:
    """The file name of an image's link: without folders, with the suffix of its photo once."""
    return f"{flat(name).removesuffix(suffix)}{suffix}"


def read_events(file: Path) -> tuple[list[Event], bytes]:
    """The events of an annotations.jsonl, without a last line that was cut short, and their lines.

    Raises:  OSError if it cannot be read; ValueError naming the line that is no event.
    """
    text, events = file.read_bytes(), list[Event]()
    whole = text[: text.rfind(b"\n") + 1]
    with suppress(ValueError):  # cut short, unless only its line feed is missing
        json.loads(text[len(whole) :])
        whole = text
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            events.append(json.loads(line))
            if events[-1]["event"] not in KINDS:
                raise ValueError(events[-1]["event"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{file}:{number}: not an annotation; put the file back or correct the line, but keep it"
            ) from None
    return events, whole
