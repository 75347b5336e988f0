"""Sec. 4.1, Datasets: COCO and Fashionpedia, whose masks are polygons or run lengths in one JSON file."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from loaders.samples import FileSequence, Item, by_category, within
from loaders.voc import VOC_CLASSES

SETTINGS = ("individual", "unseen6k", "donut", "bench", "umbrella", "bed")  # Secs. 4.1 and 4.3, Tab. 8
INDIVIDUAL, UNSEEN = 10, 6_000
VOC_NAMES = {  # COCO's names of PASCAL VOC's classes, where they differ
    **{"aeroplane": "airplane", "diningtable": "dining table", "motorbike": "motorcycle"},
    **{"pottedplant": "potted plant", "sofa": "couch", "tvmonitor": "tv"},
}
SEEN = {VOC_NAMES.get(name, name) for name in VOC_CLASSES}
FINE = 4  # polygons are drawn this much larger, so that the outline that Pillow adds is thin


class Annotated(FileSequence):
    """A COCO-style data set: one sample an annotation, ordered by category id.

    file:    JSON with images (id, file_name, width, height), annotations (image_id, category_id, segmentation, iscrowd)
             and categories (id, name); category ids need not be contiguous.
    images:  folder of the image files;  crowds: keep annotations whose iscrowd is 1.
    Raises:  ValueError naming the file for what is missing or not of this form; annotations without a pixel are left
             out with one warning.
    """

    def __init__(self, file: Path, images: Path, crowds: bool = False):
        content = _read_json(file)
        try:
            names = {c["id"]: c["name"] for c in content["categories"]}
            shapes = {i["id"]: (i["height"], i["width"], within(images, i["file_name"])) for i in content["images"]}
            self.annotations = [a for a in content["annotations"] if crowds or not a.get("iscrowd")]
            self.shapes = [shapes[a["image_id"]][:2] for a in self.annotations]
            items = []
            for k, a in enumerate(self.annotations):
                image = shapes[a["image_id"]][2]
                name = image.relative_to(images).with_suffix("").as_posix()
                items.append(Item(image, file, k, names[a["category_id"]], name))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file}: not a COCO-style annotation file ({error!r})") from error
        self.images = [image for _, _, image in shapes.values()]
        place = {image: k for k, image in enumerate(self.images)}
        items = sorted(items, key=lambda item: place[item.image])  # file order
        drawn = [item for item in items if self.masks(item)[0].any()]
        if len(drawn) < len(items):
            warnings.warn(f"{file}: {len(items) - len(drawn)} annotations without a pixel are left out", stacklevel=3)
        self.items = by_category(drawn, [names[k] for k in sorted(names)])

    def masks(self, item):
        """The union of an annotation's polygons, or its run lengths; nothing is void."""
        mask = decode(self.annotations[item.value].get("segmentation") or [], self.shapes[item.value], item.mask)
        return mask, np.zeros_like(mask)


class COCO(Annotated):
    """COCO 2017 val (Lin et al., ECCV 2014), in the settings of Sec. 4.1 and Tab. 8.

    root:     holds annotations/instances_val2017.json and val2017/, 5,000 images.
    setting:  None: every instance; 'individual': ten of each category, drawn with seed 0 (as [34] does; its own draw is
              not published); 'unseen6k': of the 60 categories that PASCAL VOC lacks 6,000 instances, evenly spaced (how
              [26] chose its 6,000 could not be checked); 'donut', 'bench', 'umbrella', 'bed': that category.
    filters:  see `choose`; they come before the draw.
    """

    IMAGES = 5_000

    def __init__(self, root: Path, setting: str | None = None, limit: int | None = None, **filters: int):
        super().__init__(root / "annotations" / "instances_val2017.json", root / "val2017")
        self.expect(self.IMAGES, f"{root}: COCO", self.images, "images")
        if setting == "unseen6k":
            self.items = [item for item in self.items if item.category not in SEEN]
            limit = min(limit or UNSEEN, UNSEEN)
        elif setting not in (None, "individual"):
            self.items = [item for item in self.items if item.category == setting]
        self.choose(limit, per_category=INDIVIDUAL if setting == "individual" else None, **filters)


class Fashionpedia(Annotated):
    """Fashionpedia's validation set, parts of garments: 8,781 masks of 46 categories (Jia et al., ECCV 2020).

    root:  holds instances_attributes_val2020.json and the folder test/ of the archive val_test2020.zip. Polygons and
           run lengths; where these are compressed, pycocotools is needed. The layout, and what iscrowd means there,
           could not be checked on a copy; the paper counts every mask, so iscrowd is not looked at.
    """

    COUNT = 8_781

    def __init__(self, root: Path, **filters: int | None):
        super().__init__(root / "instances_attributes_val2020.json", root / "test", crowds=True)
        self.expect(self.COUNT, f"{root}: Fashionpedia")
        self.choose(**filters)  # type: ignore[arg-type]


def decode(segmentation: Any, shape: tuple[int, int], file: Path) -> np.ndarray:
    """An annotation's mask.

    segmentation:  polygons [[x, y, x, y, ...], ...] in pixels, (0, 0) the corner of the first pixel; or run lengths
                   {"counts", "size": [H, W]}, down the columns, background first, compressed or not.
    shape:         (H, W) of the image.
    Returns:       (H, W) bool.
    Raises:        ValueError naming `file` for another form, another size, a count that does not fit, or a missing
                   pycocotools.
    """
    try:
        if isinstance(segmentation, list):
            return rasterise(segmentation, shape)
        counts, size = segmentation["counts"], tuple(segmentation["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not a COCO-style annotation file; a segmentation is wrong ({error!r})") from error
    if size != tuple(shape):
        raise ValueError(f"{file}: run lengths for {size}, but the image is {shape} pixels")
    if not isinstance(counts, list):
        try:
            from pycocotools import mask as compressed
        except ImportError:
            extra = 'pip install "siis[coco]"'
            raise ValueError(f"{file}: its run lengths are compressed; install pycocotools with {extra}") from None
        return compressed.decode(segmentation).astype(bool)
    if sum(counts) != shape[0] * shape[1] or min(counts) < 0:
        raise ValueError(f"{file}: run lengths of {sum(counts)} pixels, but the image is {shape} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(shape, order="F")


def rasterise(polygons: list[list[float]], shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool mask of the pixels half or more inside one of the polygons (drawn an eighth of a pixel too wide)."""
    mask = np.zeros(shape, bool)
    for polygon in polygons:
        xy = np.asarray(polygon, float).reshape(-1, 2)
        if len(xy) < 3:
            continue
        first = np.clip(np.floor(xy.min(axis=0)).astype(int), 0, (shape[1], shape[0]))
        last = np.clip(np.ceil(xy.max(axis=0)).astype(int), 0, (shape[1], shape[0]))
        (w, h), (x, y) = last - first, first
        if w <= 0 or h <= 0:
            continue
        canvas = Image.new("L", (int(w) * FINE, int(h) * FINE))
        ImageDraw.Draw(canvas).polygon([tuple(p) for p in np.floor((xy - first) * FINE)], fill=255)
        inside = np.asarray(canvas.reduce(FINE)) >= 128
        mask[y : y + h, x : x + w] |= inside
    return mask


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file}: no such file") from None
    except ValueError as error:
        raise ValueError(f"{file}: not a readable JSON file ({error})") from error
