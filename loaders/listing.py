"""Sec. 4.1, Datasets: which files of a folder are images and masks, and which belong together."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
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

Key = Callable[[str], str]  # what a name is compared by


class Listing(NamedTuple):
    """The files of a folder, by their path in it."""

    folder: Path
    read: dict[str, Path]
    unread: dict[str, Path]  # of the kinds UNREAD


def listing(root: Path, folder: str, deep: bool = False) -> Listing:
    """The images below root/folder, in file order; links to folders are followed.

    deep:    also those in folders inside.
    Raises:  ValueError if there is none.
    """
    base = root / folder
    if not base.is_dir():
        raise ValueError(f"{root}: no {folder}/ inside; expected {base}/*.png")
    found = Listing(base, {}, {})
    for path in _files(base, deep):
        suffix, name = split(path.name)[1], path.relative_to(base).as_posix()
        if suffix in SUFFIXES:
            found.read[name] = path
        elif suffix in UNREAD:
            found.unread[name] = path
    if not found.read:
        _refuse_unread(found, set())
        raise ValueError(f"{base}: no image inside; expected *.png")
    return found


def pairs(images: Listing, masks: Listing, ending: str = "") -> list[tuple[Path, Path]]:
    """(image, mask) of each image, sorted by name.

    A mask has its image's whole name ('0.jpg.png' for '0.jpg'), its stem, or, if only one fits, a stem that has an
    ending such as '_mask' or differs in capitals or spaces; composed and decomposed letters are the same.
    ending:  of the masks' stems, for the error that names a missing file.
    Raises:  ValueError naming a file that has no counterpart, more than one, or a kind that is not read.
    """
    levels: list[tuple[Key, Key]] = [(composed, _stem), (_stem, _stem), (_loose, _loose_mask)]
    found: dict[str, str] = {}
    for of_image, of_mask in levels:
        used = set(found.values())
        mine = _group((name for name in images.read if name not in found), of_image)
        theirs = _group((name for name in masks.read if name not in used), of_mask)
        for key in sorted(mine.keys() & theirs.keys()):
            found[_only(images, mine[key])] = _only(masks, theirs[key])
    known = set(map(_stem, (*found, *found.values())))
    _refuse_unread(images, known)
    _refuse_unread(masks, known)
    used = set(found.values())
    for side, paired, what, expected in ((images, found, "mask", masks), (masks, used, "image", images)):
        for name in side.read:
            if name not in paired:
                end = f"{ending}.png" if what == "mask" else ".jpg"
                there = expected.folder / f"{_stem(name).removesuffix(ending)}{end}"
                raise ValueError(f"{side.read[name]}: its {what} is missing; expected {there}, or remove the file")
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


# ---- matching --------------------------------------------------------------------------------------------------------


def composed(name: str) -> str:
    """With composed letters, in whatever form a file system or an archive wrote them (Unicode NFC)."""
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    return split(composed(name))[0]


def _loose(name: str) -> str:
    return "/".join(part.strip() for part in _stem(name).casefold().split("/"))


def _loose_mask(name: str) -> str:
    return MASK_ENDING.sub("", _loose(name)).rstrip()


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


def _refuse_unread(side: Listing, known: set[str]) -> None:
    """ValueError for a file of a kind that is not read, unless its stem is one of those known."""
    for name, path in side.unread.items():
        if _stem(name) not in known:
            raise ValueError(f"{path}: files of the kind {path.suffix} are not read; save it as PNG or JPEG")


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
        elif deep and path.name.lower() not in SKIPPED:
            yield from _files(path, deep, (*above, real))
