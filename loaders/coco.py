"""Sec. 4.1, Datasets: COCO and Fashionpedia, whose masks are polygons or run lengths in one JSON file."""

import warnings
from pathlib import Path

import numpy as np

from loaders.annotations import read_annotations
from loaders.listing import distinct
from loaders.pictures import AnyPath
from loaders.regions import decode
from loaders.samples import FileSequence, Item, by_category
from loaders.voc import VOC_CLASSES
from support.command_line import progress

SETTINGS = ("individual", "unseen6k", "donut", "bench", "umbrella", "bed")  # Secs. 4.1 and 4.3, Tab. 8
INDIVIDUAL, UNSEEN = 10, 6_000
VOC_NAMES = {  # COCO's names of PASCAL VOC's classes, where they differ
    **{"aeroplane": "airplane", "diningtable": "dining table", "motorbike": "motorcycle"},
    **{"pottedplant": "potted plant", "sofa": "couch", "tvmonitor": "tv"},
}
SEEN = {VOC_NAMES.get(name, name) for name in VOC_CLASSES}


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
        content = read_annotations(file, images, crowds)
        self.notes = content.notes
        self.images = list(dict.fromkeys(picture.path for picture in content.pictures))
        names = distinct(image.relative_to(images).as_posix() for image in self.images)
        place = {image: k for k, image in enumerate(self.images)}
        order = sorted(range(len(self.notes)), key=lambda k: place[self.notes[k].picture.path])  # file order
        items = []
        for k in progress(order, "reading annotations", len(order)):
            image, category = self.notes[k].picture.path, content.categories[self.notes[k].category]
            item = Item(image, file, k, category, names[image.relative_to(images).as_posix()])
            items += [item] if self.masks(item)[0].any() else []
        if len(items) < len(order):
            warnings.warn(f"{file}: {len(order) - len(items)} annotations without a pixel are left out", stacklevel=3)
        self.items = by_category(items, list(content.categories.values()))

    def masks(self, item):
        """The union of an annotation's polygons, or its run lengths; nothing is void."""
        note = self.notes[item.value]
        mask = decode(note.segmentation, note.picture.shape, note.where)
        return mask, np.zeros_like(mask)


class COCO(CocoStyle):
    """COCO 2017 val (Lin et al., ECCV 2014), in the settings of Sec. 4.1 and Tab. 8.

    root:     holds annotations/instances_val2017.json and val2017/, 5,000 images.
    setting:  None: every instance; 'individual': ten of each category, drawn with seed 0 (as [34] does; its own draw is
              not published); 'unseen6k': of the 60 categories that PASCAL VOC lacks 6,000 instances, evenly spaced (how
              [26] chose its 6,000 could not be checked); 'donut', 'bench', 'umbrella', 'bed': that category.
    filters:  see `choose`; they come before the draw.
    """

    IMAGES = 5_000

    def __init__(self, root: AnyPath, setting: str | None = None, limit: int | None = None, **filters: int):
        root = Path(root)
        super().__init__(root / "annotations" / "instances_val2017.json", root / "val2017")
        self.expect(self.IMAGES, f"{root}: COCO", self.images, "images")
        if setting == "unseen6k":
            self.items = [item for item in self.items if item.category not in SEEN]
            limit = min(limit or UNSEEN, UNSEEN)
        elif setting not in (None, "individual"):
            self.items = [item for item in self.items if item.category == setting]
        self.choose(limit, per_category=INDIVIDUAL if setting == "individual" else None, **filters)


class Fashionpedia(CocoStyle):
    """Fashionpedia's validation set, parts of garments: 8,781 masks of 46 categories (Jia et al., ECCV 2020).

    root:  holds instances_attributes_val2020.json and the folder test/ of the archive val_test2020.zip. Polygons and
           run lengths, compressed or not. The layout, and what iscrowd means there,
           could not be checked on a copy; the paper counts every mask, so iscrowd is not looked at.
    """

    COUNT = 8_781

    def __init__(self, root: AnyPath, **filters: int | None):
        root = Path(root)
        super().__init__(root / "instances_attributes_val2020.json", root / "test", crowds=True)
        self.expect(self.COUNT, f"{root}: Fashionpedia")
        self.choose(**filters)  # type: ignore[arg-type]
