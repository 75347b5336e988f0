"""Sec. 4.1, Datasets: LeedsButterfly, CoSOD3k, CoCA, and folders of images and masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loaders.fetch import Archive, Remote
from loaders.samples import VOID, FileSequence, Item, by_category, listing, pairs, read_mask
from support.command_line import progress

IMAGES = ("images", "image", "img", "imgs")  # names of an image folder, in any case
MASKS = ("masks", "mask", "instance", "instances", "groundtruth", "gt")  # of a mask folder, the first found


class LeedsButterfly(FileSequence):
    """832 photographs of butterflies, one instance each, one category (Sec. 4.1; Wang et al., BMVC 2009).

    root:    holds images/0010001.png (or .jpg) and segmentations/0010001_seg0.png, whose values 1 and 3 are butterfly,
             or a folder leedsbutterfly/ that does: what the official archive (Zenodo record 7559420) unpacks to.
    Raises:  ValueError naming the file for a missing half of a pair and for what `check` finds.
    """

    COUNT = 832
    FOREGROUND = (1, 3)
    ARCHIVE = Archive(
        Remote("LeedsButterfly", "https://zenodo.org/records/7559420/files/leedsbutterfly_dataset_v1.1.zip", 0.2),
        "leedsbutterfly",
        {"images/[0-9]*": COUNT, "segmentations/[0-9]*_seg0.png": COUNT},
    )

    def __init__(self, root: Path, limit: int | None = None, **filters: int):
        if (root / "leedsbutterfly").is_dir():
            root = root / "leedsbutterfly"
        images, masks = listing(root, "images"), listing(root, "segmentations", ending="_seg0")
        self.items = [Item(i, m, 0, "butterfly", i.stem) for i, m in pairs(images, masks)]
        self.expect(self.COUNT, f"{root}: LeedsButterfly")
        self.choose(limit, **filters)

    def masks(self, item):
        """Official values: 0 background, 1 and 3 butterfly, 2 body parts outside it; nothing is void."""
        index = self.held(read_mask, item.mask)
        return np.isin(index, self.FOREGROUND), np.zeros(index.shape, bool)


class Folder(FileSequence):
    """Any folder of images and masks, with or without a folder for each category in both.

    root:    holds images/NAME.jpg with masks/NAME.png, or images/CATEGORY/NAME.jpg with masks/CATEGORY/NAME.png; the
             two may have other names: see IMAGES and MASKS.
    filters: see `choose`. The samples are ordered by category.
    Each value of an index mask is an instance and 255 is void; in a mask whose only value beside 0 is 255, 255 is the
    instance. Without category folders there is one category, named like the root.
    """

    COUNT: int | None = None  # instances of the complete data set

    def __init__(self, root: Path, limit: int | None = None, **filters: int):
        images, masks = (_folder(root, names) for names in (IMAGES, MASKS))
        self.items = []
        found = pairs(listing(root, images, deep=True), listing(root, masks, deep=True))
        for image, mask in progress(found, "reading masks", len(found)):
            category = image.parent.name if image.parent != root / images else root.resolve().name
            values = np.unique(read_mask(mask))
            indices = [int(v) for v in values if v not in (0, VOID)] or [VOID]
            name = image.relative_to(root / images).with_suffix("").as_posix()
            self.items += [Item(image, mask, v, category, name) for v in indices]
        self.items = by_category(self.items, sorted({item.category for item in self.items}))
        if self.COUNT:
            self.expect(self.COUNT, f"{root}: {type(self).__name__}")
        self.choose(limit, **filters)

    def masks(self, item):
        """255 is void, unless it is the only value beside 0."""
        index = self.held(read_mask, item.mask)
        return index == item.value, (index == VOID) & (item.value != VOID)


class CoSOD3k(Folder):
    """4,874 instances of 160 categories (Sec. 4.1; Fan et al., CVPR 2020), one folder a category for images and masks.

    The masks must be index masks of the instances; the official names and values could not be checked against a copy.
    """

    COUNT = 4_874


class CoCA(Folder):
    """2,143 instances of 80 categories (Sec. 4.1; Zhang et al., ECCV 2020), one folder a category for images and masks.

    The masks must be index masks of the instances; the official names and values could not be checked against a copy.
    """

    COUNT = 2_143


def _folder(root: Path, names: Sequence[str]) -> str:
    """The folder in `root` that has the first of these names, in any case; the first name if there is none."""
    there = {path.name.lower(): path.name for path in sorted(root.iterdir()) if path.is_dir()}
    return next((there[name] for name in names if name in there), names[0])
