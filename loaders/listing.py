"""Sec. 4.1, Datasets: which files of a folder are images and masks, and which belong together."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from loaders.pictures import SUFFIXES

SKIPPED = ("@eadir", "__macosx", "$recycle.bin", "system volume information")  # folders that systems leave behind
UNREAD = (  # kinds of pictures and masks that are not read, and are named instead of being passed over
    *(".heic", ".heif", ".avif", ".jp2", ".jxl", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".exr", ".hdr", ".psd"),
    *(".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".dcm", ".npy", ".npz", ".mat"),
)
MASK_ENDING = re.compile(  # of a mask's name, which the image's lacks
    r"[ _.-]+(masks?|gts?|ground[ _-]?truth|seg\d*|segmentations?|labels?|instances?|binary|annotations?|matte)$", re.I
)
IMAGE_ENDING = re.compile(r"[ _.-]+(images?|imgs?|rgb|photo)$", re.I)

Key = Callable[[str], str]  # what a name is compared by


class Listing(NamedTuple):
    """The files of a folder, by their path in it."""

    folder: Path
    read: dict[str, Path]
    unread: dict[str, Path]  # of other kinds


def listing(root: Path, folder: str, deep: bool = False) -> Listing:
    """The images below root/folder, in file order; links to folders are followed.

    deep:    also those in folders inside.
    Raises:  ValueError if there is none, and for a link to nowhere.
    """
    base = root / folder
    if not base.is_dir():
        raise ValueError(f"{root}: no {folder}/ inside; expected {base}/*.png")
    found = Listing(base, {}, {})
    for path in _files(base, deep):
        suffix = split(path.name)[1]
        if suffix in SUFFIXES and path.is_symlink() and not path.exists():
            raise ValueError(f"{path}: a link to {os.readlink(path)}, which is not there")
        if path.is_file():
            (found.read if suffix in SUFFIXES else found.unread)[path.relative_to(base).as_posix()] = path
    if not found.read:
        other = [_not_read(path) for path in found.unread.values() if path.suffix.lower() in UNREAD]
        raise ValueError(other[0] if other else f"{base}: no image inside; expected *.png")
    return found


def pairs(images: Listing, masks: Listing) -> list[tuple[Path, Path]]:
    """(image, mask) of each image, sorted by name.

    A mask has its image's whole name ('0.jpg.png' for '0.jpg'), its stem, its stem with an ending such as '_mask', or,
    if only one fits, a stem that differs in capitals or spaces; composed and decomposed letters are the same.
    Raises:  ValueError naming a file that has no counterpart, more than one, or a kind that is not read.
    """
    levels: list[tuple[Key, Key]] = [
        (composed, composed),
        (composed, _stem),
        (_stem, _stem),
        (_stem, lambda name: MASK_ENDING.sub("", _stem(name))),
        (_loose_image, _loose_mask),
    ]
    found: dict[str, str] = {}
    for of_image, of_mask in levels:
        used = set(found.values())
        mine = _group((name for name in images.read if name not in found), of_image)
        theirs = _group((name for name in masks.read if name not in used), of_mask)
        for key in sorted(mine.keys() & theirs.keys()):
            found[_only(images, mine[key])] = _only(masks, theirs[key])
    _complain(images, masks, found)
    return [(images.read[name], masks.read[found[name]]) for name in sorted(found, key=lambda n: (_stem(n), n))]


def distinct(names: Iterable[str]) -> dict[str, str]:
    """A short form of each path: without its suffix where that is not another's, so that no two are the same."""
    short = {name: name.removesuffix(Path(name).suffix) for name in names}
    while True:
        counts = Counter(short.values())
        twice = [name for name, form in short.items() if counts[form] > 1 and form != name]
        if not twice:
            return short
        short |= {name: name for name in twice}


def split(name: str) -> tuple[str, str]:
    """(stem, suffix in small letters) of a file's name; spaces at the end do not count."""
    stem, suffix = os.path.splitext(name.rstrip())
    return stem, suffix.lower()


def composed(text: str) -> str:
    """Text with composed letters, in whatever form a file system or an archive wrote them (Unicode NFC)."""
    return unicodedata.normalize("NFC", text)


# ---- matching --------------------------------------------------------------------------------------------------------


def _stem(name: str) -> str:
    return split(composed(name))[0]


def _loose(ending: re.Pattern[str], name: str) -> str:
    stem = ending.sub("", _stem(name).rstrip())
    return "/".join(part.strip() for part in stem.casefold().split("/"))


_loose_image, _loose_mask = partial(_loose, IMAGE_ENDING), partial(_loose, MASK_ENDING)


def _group(names: Iterable[str], key: Key) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _only(side: Listing, names: list[str]) -> str:
    """The one name of a list; ValueError if there are more."""
    if len(names) > 1:
        first, second = (side.read[name] for name in sorted(names)[:2])
        raise ValueError(f"{second}: {first.name} is there too; keep one of them, or name them apart")
    return names[0]


def _complain(images: Listing, masks: Listing, found: dict[str, str]) -> None:
    """ValueError for the first file without a counterpart, or of a kind that is not read."""
    used = set(found.values())
    unpaired = [name for name in images.read if name not in found], [name for name in masks.read if name not in used]
    keys: list[Key] = [_loose_image, _loose_mask]
    paired = set(map(keys[0], found))
    open_ = [
        set(map(key, [*names, *side.unread])) for key, names, side in zip(keys, unpaired, (images, masks), strict=True)
    ]
    for k, side in enumerate((images, masks)):
        for name, path in side.unread.items():
            key = keys[k](name)
            if key not in paired and (key in open_[1 - k] or split(name)[1] in UNREAD):
                raise ValueError(_not_read(path))
    for names, side, other, what in ((unpaired[0], images, masks, "mask"), (unpaired[1], masks, images, "image")):
        for name in names[:1]:
            there = other.folder / f"{_stem(name)}.{'png' if what == 'mask' else 'jpg'}"
            raise ValueError(f"{side.read[name]}: its {what} is missing; expected {there}, or remove the file")


def _not_read(path: Path) -> str:
    return f"{path}: files of the kind {path.suffix or 'without suffix'} are not read; save it as PNG or JPEG"


def _files(folder: Path, deep: bool, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """What lies in a folder, sorted, without what is hidden or a system's; no link is followed to a folder above."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            yield path
        elif deep and path.name.lower() not in SKIPPED and split(path.name)[1] not in SUFFIXES:
            yield from _files(path, deep, (*above, real))
