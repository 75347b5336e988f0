"""Sec. 4.1, Datasets: LeedsButterfly, CoSOD3k, CoCA, and folders of images and masks."""

import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from loaders.fetch import Remote
from loaders.listing import distinct, listing, pairs
from loaders.pictures import (
    CUT,
    MASKS,
    VOID,
    AnyPath,
    drawn_on,
    instance,
    instances,
    read_image,
    read_mask,
    read_mask_file,
)
from loaders.samples import FileSequence, Item, by_category
from support.checks import image_digest
from support.command_line import progress

IMAGE_FOLDERS = ("images", "image", "img", "imgs")  # names of an image folder, in any case
MASK_FOLDERS = (  # of a mask folder, the first found
    *("masks", "mask", "instance", "instances", "groundtruth", "gt", "gts", "binary", "annotations"),
)
UNKNOWN = re.compile("unknown|void|ignor|don.?t.?care|trimap|unlabel")  # in the name of a folder: pixels of no label
SPECIES = (  # of LeedsButterfly, numbered from 001 to 010
    *("Danaus plexippus", "Heliconius charitonius", "Heliconius erato", "Junonia coenia", "Lycaena phlaeas"),
    *("Nymphalis antiopa", "Papilio cresphontes", "Pieris rapae", "Vanessa atalanta", "Vanessa cardui"),
)


class LeedsButterfly(FileSequence):
    """832 photographs of butterflies, one instance each, in ten categories (Sec. 4.1; Wang et al., BMVC 2009).

    root:     holds images/0010001.png (or .jpg) and segmentations/0010001_seg0.png, or leedsbutterfly/ with both.
    species:  the categories are the species, by the first three digits of the file name (D27); False: one category.
    Raises:   ValueError naming the file for a missing half of a pair, an unknown species and for what `check` finds.
    """

    COUNT = 832
    ARCHIVE = Remote(
        "LeedsButterfly",
        "https://zenodo.org/records/7559420/files/leedsbutterfly_dataset_v1.1.zip",
        gigabytes=0.2,
        inside="leedsbutterfly",
        files={"images/[0-9]*": COUNT, "segmentations/[0-9]*_seg0.png": COUNT},
    )

    def __init__(self, root: AnyPath, species: bool = True, **filters: Any):
        root = Path(root)
        root = root / "leedsbutterfly" if (root / "leedsbutterfly").is_dir() else root
        numbered = {f"{k:03d}": name for k, name in enumerate(SPECIES, start=1)}
        images, masks = listing(root, "images"), listing(root, "segmentations")
        drawn = {name: path for name, path in masks.read.items() if path.stem.endswith("_seg0")}
        self.items = []
        for image, mask in pairs(images, masks._replace(read=drawn), "_seg0"):
            number = image.stem[:3]
            if number not in numbered:
                raise ValueError(f"{image}: begins with {number!r}; expected the number of a species, 001 to 010")
            category = numbered[number] if species else "butterfly"
            self.items.append(Item(image, mask, 0, category, image.stem))
        self.expect(self.COUNT, f"{root}: LeedsButterfly")
        self.choose(**filters)

    def masks(self, item):
        """Official values: 0 background, 1 and 3 butterfly, 2 body parts outside it; nothing is void."""
        index = self.cached(read_mask, item.mask)
        return np.isin(index, (1, 3)), np.zeros(index.shape, bool)


class Folder(FileSequence):
    """Any folder of images and masks, with or without a folder for each category in both.

    root:    holds images/NAME.jpg with masks/NAME.png, or images/CATEGORY/NAME.jpg with masks/CATEGORY/NAME.png; the
             two may have other names: see IMAGE_FOLDERS and MASK_FOLDERS, and `pairs` for those of masks.
    masks:   'index', 'binary', 'trimap', or None to decide for each file: see `pictures.instances`.
    filters: see `choose`. The samples are ordered by category, which is the path of the folder in images/, or the
             root's name.
    Raises:  ValueError naming a file that cannot be used, and what `listing`, `pairs` and `check` find.
    """

    COUNT: int | None = None  # instances of the complete data set

    def __init__(self, root: AnyPath, masks: str | None = None, **filters: Any):
        root = Path(root)
        if masks not in (None, *MASKS):
            raise ValueError(f"masks {masks!r}: expected {', '.join(MASKS)}")
        there = {path.name.lower(): path.name for path in sorted(root.iterdir()) if path.is_dir()}
        for name in there:
            if UNKNOWN.search(name):
                remedy = f"save those pixels as {VOID} in the masks, or move the folder away"
                raise ValueError(f"{root / there[name]}: a folder of unknown pixels is not read; {remedy}")
        images, drawn = (
            listing(root, next((there[name] for name in names if name in there), names[0]), deep=True)
            for names in (IMAGE_FOLDERS, MASK_FOLDERS)
        )
        self.items = []
        found, names = pairs(images, drawn), distinct(images.read)
        content = cache(lambda photo: image_digest(read_image(photo)))  # one photo may have links in several categories
        for image, mask in progress(found, "reading masks", len(found)):
            place = image.relative_to(images.folder).as_posix()
            category = place.rpartition("/")[0] or root.resolve().name
            self.items += [Item(image, mask, v, category, names[place]) for v in instances(mask, masks)]
            if (photo := drawn_on(mask)) and photo != content(image.resolve()):
                remedy = "put the old file back, or delete what is annotated there"
                raise ValueError(f"{image}: is another photo than the one that was annotated; {remedy}")
        soft = [item.mask.name for item in self.items if item.value == CUT]
        if soft and not masks:
            what = f"{len(soft)} of {len(found)} masks have soft edges and are cut at half, one object each"
            warnings.warn(f"{root}: {what} ({soft[0]}); --masks index or --masks binary settles it", stacklevel=2)
        self.items = by_category(self.items, sorted({item.category for item in self.items}))
        if self.COUNT:
            self.expect(self.COUNT, f"{root}: {type(self).__name__}")
        self.choose(**filters)

    def masks(self, item):
        """(mask, void) of an index mask's value, or of a binary mask cut at half: see `pictures.instance`."""
        return instance(self.cached(read_mask_file, item.mask), item.value)


class CoSOD3k(Folder):
    """4,874 instances of 160 categories (Sec. 4.1; Fan et al., CVPR 2020).

    Images and masks each have one folder per category. The masks must be index masks of the instances; the official
    names and values could not be checked against a copy.
    """

    COUNT = 4_874


class CoCA(Folder):
    """2,143 instances of 80 categories (Sec. 4.1; Zhang et al., ECCV 2020), laid out as those of CoSOD3k."""

    COUNT = 2_143
