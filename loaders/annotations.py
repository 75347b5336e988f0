"""Sec. 4.1, Datasets: what a COCO-style JSON file says, converted where it is plain and refused where it is not."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from loaders.listing import composed
from loaders.regions import number, shown, whole
from loaders.samples import within

NO_CROWD, CROWD = (None, False, 0, "0", "false", "False", ""), (True, 1, "1", "true", "True")
FORM = "not a COCO-style annotation file"

Id = int | str


class Picture(NamedTuple):
    """An entry of `images`."""

    path: Path
    shape: tuple[int, int]  # (H, W)


class Note(NamedTuple):
    """An entry of `annotations`."""

    where: str  # file and entry, for messages
    picture: Picture
    category: Id
    segmentation: Any


class Content(NamedTuple):
    """A COCO-style file."""

    pictures: list[Picture]
    categories: dict[Id, str]  # in the order of their ids
    notes: list[Note]


def read_annotations(file: Path, folder: Path, crowds: bool) -> Content:
    """The images, categories and annotations of a COCO-style file.

    folder:  of the image files;  crowds: keep annotations whose iscrowd is 1.
    Ids may be numbers or texts of digits, sizes 640.0 or "640", names of categories numbers; file names may have
    backslashes or another Unicode form. Entries that are there twice, word for word, count once, but for annotations.
    Raises:  ValueError naming file, entry and field for everything else.
    """
    content = _read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: {FORM}; it holds {shown(content)}, expected images, annotations and categories")
    pictures = _by_id(_entries(content, "images", file), "file_name")
    names = _by_id(_entries(content, "categories", file), "name")
    known = {i: _picture(entry, where, folder) for i, (where, entry) in pictures.items()}
    named = {i: _name(entry, where) for i, (where, entry) in names.items()}
    notes, ids = [], set[Id]()
    for where, entry in _entries(content, "annotations", file):
        if entry.get("id") is not None:
            i = _id(entry, where)
            if i in ids:
                raise ValueError(f"{where}: duplicate id; give every annotation its own, or none")
            ids.add(i)
        if crowds or not _is_crowd(entry.get("iscrowd"), where):
            image, category = (
                _known(entry, where, field, of) for field, of in (("image_id", known), ("category_id", named))
            )
            notes.append(Note(where, known[image], category, entry.get("segmentation")))
    order = sorted(named, key=lambda i: (isinstance(i, str), i))
    return Content(list(known.values()), _told_apart({i: named[i] for i in order}, {n.category for n in notes}), notes)


# ---- entries ---------------------------------------------------------------------------------------------------------


def _entries(content: dict[str, Any], key: str, file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and entry for messages, entry) of a list of the file."""
    entries = content.get(key)
    if not isinstance(entries, list):
        what = "has no" if key not in content else f"has {shown(entries)} as"
        raise ValueError(f"{file}: {FORM}; it {what} {key}, expected a list")
    for k, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{file}: {FORM}; {key}[{k}] is {shown(entry)}, expected an object")
        given = f" (id {shown(entry['id'])})" if entry.get("id") is not None else ""
        yield f"{file}: {key}[{k}]{given}", entry


def _by_id(entries: Iterator[tuple[str, dict[str, Any]]], label: str) -> dict[Id, tuple[str, dict[str, Any]]]:
    """Entries by their ids; ValueError if two different ones have the same."""
    found: dict[Id, tuple[str, dict[str, Any]]] = {}
    for where, entry in entries:
        i = _id(entry, where)
        if i in found and found[i][1] != entry:
            both = f"{shown(found[i][1].get(label))} and {shown(entry.get(label))}"
            raise ValueError(f"{where}: duplicate id, for {both}; give each its own")
        found.setdefault(i, (where, entry))
    return found


def _id(entry: dict[str, Any], where: str, field: str = "id") -> Id:
    """An id: a whole number, which may be written as text, or another text."""
    value = entry.get(field)
    if field not in entry:
        raise ValueError(f"{where}: {field} is missing")
    if isinstance(value, str) and value.strip():
        digits = value.strip().removeprefix("-")
        return int(value) if digits.isascii() and digits.isdigit() and len(digits) < 40 else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{where}: {field} is {shown(value)}; expected a number or a text")


def _known(entry: dict[str, Any], where: str, field: str, known: dict[Id, Any]) -> Id:
    i = _id(entry, where, field)
    if i not in known:
        raise ValueError(f"{where}: {field} is {shown(i)}, which no entry has as its id")
    return i


def _picture(entry: dict[str, Any], where: str, folder: Path) -> Picture:
    name = _text(entry.get("file_name"), where, "file_name")
    try:
        within(folder, name)
    except ValueError as error:
        raise ValueError(f"{where}: file_name {error}") from None
    height, width = (whole(entry.get(side), where, side, least=1) for side in ("height", "width"))
    if height * width > 2 * (Image.MAX_IMAGE_PIXELS or 2**31):
        raise ValueError(f"{where}: height and width are {height} x {width}; larger than any picture that is read")
    return Picture(_find(folder, name), (height, width))


def _find(folder: Path, name: str) -> Path:
    """The file of that name; one with '/' for '\\' or in another Unicode form if that is there."""
    for form in (name, name.replace("\\", "/")):
        if os.path.lexists(folder / form):
            return folder / form
    path = folder / name.replace("\\", "/")
    if not name.isascii() and path.parent.is_dir():
        same = [other for other in path.parent.iterdir() if composed(other.name) == composed(path.name)]
        return same[0] if same else path
    return path


def _name(entry: dict[str, Any], where: str) -> str:
    value = entry.get("name")
    if isinstance(value, int | float) and not isinstance(value, bool):
        number(value, where, "name")
        return str(value)
    return _text(value, where, "name")


def _text(value: Any, where: str, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {field} is {'missing or null' if value is None else shown(value)}; expected a text")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{where}: {field} is {shown(value)}, which is no valid text")
    return value


def _is_crowd(value: Any, where: str) -> bool:
    plain = isinstance(value, str | int | float | None)
    if plain and value in CROWD:
        return True
    if plain and value in NO_CROWD:
        return False
    raise ValueError(f"{where}: iscrowd is {shown(value)}; expected 0 or 1")


def _told_apart(categories: dict[Id, str], used: set[Id]) -> dict[Id, str]:
    """Categories in use that share a name have their id added to it."""
    counts: dict[str, int] = {}
    for i in used:
        counts[categories[i]] = counts.get(categories[i], 0) + 1
    return {i: f"{name} ({i})" if i in used and counts[name] > 1 else name for i, name in categories.items()}


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())  # UTF-8, -16 or -32, with a byte-order mark or without
    except FileNotFoundError:
        raise ValueError(f"{file}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not a readable JSON file ({error})") from error
