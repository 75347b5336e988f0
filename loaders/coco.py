"""Sec. 4.1, Datasets: COCO and Fashionpedia, whose masks are polygons or run lengths in one JSON file."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from loaders.listing import distinct
from loaders.pictures import AnyPath
from loaders.samples import FileSequence, Item, by_category, within
from loaders.voc import VOC_CLASSES
from support.command_line import progress

SETTINGS = ("individual", "unseen6k", "donut", "bench", "umbrella", "bed")  # Secs. 4.1 and 4.3, Tab. 8
DRAWN = {"individual": 10, "unseen6k": 100}  # instances of each category
VOC_NAMES = {  # COCO's names of PASCAL VOC's classes, where they differ
    **{"aeroplane": "airplane", "diningtable": "dining table", "motorbike": "motorcycle"},
    **{"pottedplant": "potted plant", "sofa": "couch", "tvmonitor": "tv"},
}
SEEN = {VOC_NAMES.get(name, name) for name in VOC_CLASSES}


class Note(NamedTuple):
    """An entry of `annotations`."""

    where: str  # file and entry, for messages
    image: Path
    shape: tuple[int, int]  # (H, W) of the image
    category: str
    segmentation: Any


class CocoStyle(FileSequence):
    """A COCO-style data set: one sample per annotation, ordered by category id.

    file:    JSON with images (id, file_name, width, height), annotations (image_id, category_id, segmentation, iscrowd)
             and categories (id, name); category ids need not be contiguous.
    images:  folder of the image files;  crowds: keep annotations whose iscrowd is 1.
    Raises:  ValueError naming file, entry and field for what is missing or wrong; annotations without a pixel are left
             out with one warning.
    """

    def __init__(self, file: AnyPath, images: AnyPath, crowds: bool = False):
        file, images = Path(file), Path(images)
        self.images, categories, self.notes = _read(file, images, crowds)
        names = distinct(image.relative_to(images).as_posix() for image in self.images)
        place = {image: k for k, image in enumerate(self.images)}
        order = sorted(range(len(self.notes)), key=lambda k: place[self.notes[k].image])  # file order
        items = []
        for k in progress(order, "reading annotations", len(order)):
            image, category = self.notes[k].image, self.notes[k].category
            item = Item(image, file, k, category, names[image.relative_to(images).as_posix()])
            items += [item] if self.masks(item)[0].any() else []
        if len(items) < len(order):
            warnings.warn(f"{file}: {len(order) - len(items)} annotations without a pixel are left out", stacklevel=3)
        self.items = by_category(items, categories)

    def masks(self, item):
        """The union of an annotation's polygons, or its run lengths; nothing is void."""
        note = self.notes[item.value]
        mask = decode(note.segmentation, note.shape, note.where)
        return mask, np.zeros_like(mask)


class COCO(CocoStyle):
    """COCO 2017 val (Lin et al., ECCV 2014), in the settings of Sec. 4.1 and Tab. 8.

    root:     holds annotations/instances_val2017.json and val2017/, 5,000 images.
    setting:  None: every instance; 'individual': ten of each category (as [34] does; its own draw is not published);
              'unseen6k': a hundred of each of the 60 categories that PASCAL VOC lacks, or all where there are fewer
              (how [26] chose its 6,000 could not be checked); 'donut', 'bench', 'umbrella', 'bed': that category.
              Instances are drawn with seed 0.
    filters:  see `choose`; they come before the draw.
    """

    IMAGES = 5_000

    def __init__(self, root: AnyPath, setting: str | None = None, **filters: Any):
        root = Path(root)
        super().__init__(root / "annotations" / "instances_val2017.json", root / "val2017")
        self.expect(self.IMAGES, f"{root}: COCO", self.images, "images")
        if setting == "unseen6k":
            self.items = [item for item in self.items if item.category not in SEEN]
        elif setting not in (None, "individual"):
            self.items = [item for item in self.items if item.category == setting]
        self.choose(per_category=DRAWN.get(setting or ""), **filters)


class Fashionpedia(CocoStyle):
    """Fashionpedia's validation set, parts of garments: 8,781 masks of 46 categories (Jia et al., ECCV 2020).

    root:  holds instances_attributes_val2020.json and the folder test/ of the archive val_test2020.zip. The layout, and
           what iscrowd means there, could not be checked on a copy; the paper counts every mask, so iscrowd is ignored.
    """

    COUNT = 8_781

    def __init__(self, root: AnyPath, **filters: Any):
        root = Path(root)
        super().__init__(root / "instances_attributes_val2020.json", root / "test", crowds=True)
        self.expect(self.COUNT, f"{root}: Fashionpedia")
        self.choose(**filters)


# ---- from a segmentation to a mask -----------------------------------------------------------------------------------


def decode(segmentation: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    """An annotation's mask, COCO's own pixels.

    segmentation:  polygons [[x, y, x, y, ...], ...] in pixels, drawn by pycocotools; those of less than three points
                   have none. Or run lengths {"counts", "size": [H, W]}, down the columns, background first, as numbers
                   or as COCO's compressed text. None: no pixel.
    shape:         (H, W) of the image;  where: file and annotation, for the errors.
    Returns:       (H, W) bool.
    Raises:        ValueError naming the place for what is none of these, or does not fit the image.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation.get("counts"), segmentation.get("size"), shape, where)
    h, w = shape
    polygons = [] if segmentation is None else segmentation
    if not isinstance(polygons, list) or not all(isinstance(polygon, list) for polygon in polygons):
        raise ValueError(f"{where}: segmentation is {_shown(segmentation)}; expected polygons or run lengths")
    for polygon in polygons:
        inside = (type(c) in (int, float) and -max(shape) <= c <= 2 * max(shape) for c in polygon)
        if len(polygon) % 2 or not all(inside):
            raise ValueError(f"{where}: segmentation has {_shown(polygon)}; expected x, y, x, y, ... in pixels")
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if not polygons:
        return np.zeros(shape, bool)
    try:
        from pycocotools import mask as api
    except ImportError:
        raise ValueError('COCO polygons: install pycocotools with pip install -e ".[coco]"') from None
    return api.decode(api.merge(api.frPyObjects(polygons, h, w))).astype(bool)  # type: ignore[no-any-return]


def _from_runs(counts: Any, size: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    """The mask of run lengths; not by pycocotools, which reads beyond the end of those that are cut short."""
    if size != list(shape):
        raise ValueError(f"{where}: size is {_shown(size)}, but the image is {list(shape)} pixels")
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(type(run) is int and run >= 0 for run in runs)
    if not whole or sum(runs) != shape[0] * shape[1]:
        raise ValueError(f"{where}: counts are {_shown(counts)}; expected run lengths of {list(shape)} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape, order="F")


def _decompressed(text: str) -> list[int]:
    """COCO's compressed run lengths as numbers.

    Source:  COCO API, rleFrString: characters from '0' on hold 5 bits each, least first, and whether another follows;
             the last one's highest bit is the sign; from the fourth on, a number is the difference to the last but one.
    """
    runs: list[int] = []
    value = bits = 0
    for code in (ord(letter) - 48 for letter in text):
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            value -= (1 << bits) if code & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return runs


# ---- what the file says ----------------------------------------------------------------------------------------------


def _read(file: Path, folder: Path, crowds: bool) -> tuple[list[Path], list[str], list[Note]]:
    """Image files, names of categories in the order of their ids, and annotations of a COCO-style file."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{file}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not a readable JSON file ({error})") from error
    images, categories, notes = dict[int, tuple[Path, tuple[int, int]]](), dict[int, str](), []
    for where, entry in _entries(content, "images", file):
        path = within(folder, _field(entry, "file_name", where, str), f"{where}: file_name ")
        h, w = (_field(entry, side, where, int) for side in ("height", "width"))
        if not (0 < h < 2**16 and 0 < w < 2**16):
            raise ValueError(f"{where}: height and width are {h} and {w}; expected those of the picture")
        _add(images, entry, where, (path, (h, w)))
    for where, entry in _entries(content, "categories", file):
        _add(categories, entry, where, _field(entry, "name", where, str))
    for where, entry in _entries(content, "annotations", file):
        if crowds or not entry.get("iscrowd"):
            path, shape = _named(entry, "image_id", images, where)
            category = _named(entry, "category_id", categories, where)
            notes.append(Note(where, path, shape, category, entry.get("segmentation")))
    return list(dict.fromkeys(path for path, _ in images.values())), [categories[i] for i in sorted(categories)], notes


def _entries(content: Any, key: str, file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and entry for messages, entry) of a list of the file."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"{file}: not a COCO-style annotation file; it has no list of {key}")
    for k, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{file}: {key}[{k}] is {_shown(entry)}, expected an object")
        yield f"{file}: {key}[{k}]", entry


def _field(entry: dict[str, Any], field: str, where: str, kind: type) -> Any:
    """A value of an entry, of this type."""
    value = entry.get(field)
    if type(value) is not kind:
        raise ValueError(f"{where}: {field} is {_shown(value)}; expected a {'text' if kind is str else 'number'}")
    return value


def _add(known: dict[int, Any], entry: dict[str, Any], where: str, value: Any) -> None:
    """Enter what an entry's id stands for."""
    i = _field(entry, "id", where, int)
    if i in known:
        raise ValueError(f"{where}: id {i} is there twice; give each entry its own")
    known[i] = value


def _named(entry: dict[str, Any], field: str, known: dict[int, Any], where: str) -> Any:
    """What an id refers to."""
    i = _field(entry, field, where, int)
    if i not in known:
        raise ValueError(f"{where}: {field} is {i}, which no entry has as its id")
    return known[i]


def _shown(value: Any) -> str:
    """A value of a JSON file for a message, in one short line."""
    text = "null" if value is None else ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
