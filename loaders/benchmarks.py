"""Beside the paper's data sets: GrabCut, Berkeley, DAVIS and COCO-MVal, which the papers of the field report."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from loaders.fetch import Remote
from loaders.listing import listing, split
from loaders.pictures import AnyPath, open_picture
from loaders.samples import FileSequence, Item

RELEASE = "https://github.com/saic-vul/fbrs_interactive_segmentation/releases/download/v1.0"
PICTURE = "[!.]*.[bjpBJP]*"  # bmp, jpg and png; not what systems leave behind
UNKNOWN = 128  # GrabCut's level of pixels that count nowhere


class Layout(NamedTuple):
    """How a benchmark lies on disk, as the release of f-BRS has it (Sofiiuk et al., CVPR 2020)."""

    name: str
    folder: str  # of the archive
    images: str
    masks: str
    counts: tuple[int, int]  # of images and of masks
    gigabytes: float
    trimap: bool = False  # 255 is the object and 128 void; else whatever is not 0 is the object

    @property
    def archive(self) -> Remote:
        """What is fetched."""
        files = {f"{part}/{PICTURE}": n for part, n in zip((self.images, self.masks), self.counts, strict=True)}
        return Remote(self.name, f"{RELEASE}/{self.folder}.zip", self.gigabytes, inside=self.folder, files=files)


BENCHMARKS = {
    layout.name: layout
    for layout in (
        Layout("GrabCut", "GrabCut", "data_GT", "boundary_GT", (50, 50), 0.011, trimap=True),
        Layout("Berkeley", "Berkeley", "images", "masks", (96, 100), 0.007),
        Layout("DAVIS", "DAVIS", "img", "gt", (345, 345), 0.043),
        Layout("COCO-MVal", "COCO_MVal", "img", "gt", (800, 800), 0.127),
    )
}


class Benchmark(FileSequence):
    """One of BENCHMARKS: single objects without categories, so that all are one, called 'object'.

    root:    holds the layout's two folders, or the folder of the archive that does. A mask has its image's name; one of
             a further object has a letter more.
    Raises:  ValueError naming a file without its counterpart, and what `check` finds.
    """

    def __init__(self, root: AnyPath, layout: Layout, **filters: Any):
        self.layout, root = layout, Path(root)
        root = root / layout.folder if (root / layout.folder).is_dir() else root
        images = {split(name)[0]: path for name, path in listing(root, layout.images).read.items()}
        self.items = []
        for name, mask in listing(root, layout.masks).read.items():
            stem = split(name)[0]
            image = images.get(stem) or images.get(stem[:-1] if stem[-1:].isalpha() else stem)
            if image is None:
                raise ValueError(f"{mask}: its image is missing; expected {root / layout.images / stem}.jpg")
            self.items.append(Item(image, mask, 0, "object", image.stem))
        if alone := sorted(set(images) - {item.name for item in self.items}):
            raise ValueError(f"{images[alone[0]]}: its mask is missing; expected {root / layout.masks / alone[0]}.png")
        self.items.sort(key=lambda item: (item.name, item.mask))
        self.expect(layout.counts[1], f"{root}: {layout.name}")
        self.choose(**filters)

    def masks(self, item):
        """Levels of a grey or coloured mask, or numbers of a palette."""
        levels = self.cached(_levels, item.mask)
        if self.layout.trimap:
            return levels > UNKNOWN, levels == UNKNOWN
        return levels > 0, np.zeros(levels.shape, bool)


def _levels(path: Path) -> np.ndarray:
    """(H, W) uint8: the numbers of a palette, or the largest channel."""
    picture = open_picture(path)
    return np.asarray(picture) if picture.mode == "P" else np.asarray(picture.convert("RGB")).max(axis=-1)
