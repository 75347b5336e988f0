"""Sec. 4.1, Datasets: what a sample is, and what all data sets made of files share.

Every data set lists and checks its files when it is made, so that a bad file is one clear error before a run begins,
and reads pixels when a sample is asked for. The samples of a category follow each other, in file order (D27).
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from loaders.pictures import VOID, read_image, read_mask
from support.command_line import progress

DRAW_SEED = 0  # of instances drawn by category


class Sample(NamedTuple):
    """One instance to annotate; the instances of one image and category follow each other."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    mask: np.ndarray  # (H, W) bool, the instance
    void: np.ndarray  # (H, W) bool, pixels that count nowhere
    category: str
    name: str  # of the image


class Item(NamedTuple):
    """Where a sample lies: its files, and which value of the mask file it is (see the data set)."""

    image: Path
    mask: Path
    value: int
    category: str
    name: str


class FileSequence(Sequence[Sample]):
    """A data set of image and mask files; `masks` tells how a mask file becomes (mask, void)."""

    items: list[Item]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i):
        item = self.items[i]
        return Sample(self.cached(read_image, item.image), *self.masks(item), item.category, item.name)

    def masks(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """(mask, void) of an instance, (H, W) bool each, from an index mask: its value is the instance, 255 void."""
        index = self.cached(read_mask, item.mask)
        return index == item.value, index == VOID

    def cached(self, read: Callable[[Path], Any], path: Path) -> Any:
        """What `read` makes of a file; the last result is cached, since the instances of an image follow each other."""
        last = self.__dict__.setdefault("_cached", {})
        if read not in last or last[read][0] != path:
            last[read] = path, read(path)
        return last[read][1]

    def expect(self, count: int, what: str, found: Sequence | None = None, things: str = "instances") -> None:
        """Warn if the data set is not complete: not so many instances, or other things found."""
        n = len(self if found is None else found)
        if n != count:
            warnings.warn(f"{what}: {n} {things}; the complete data set has {count:,}", stacklevel=3)

    def choose(
        self, limit: int | None = None, min_area: int = 0, min_count: int = 1, per_category: int | None = None
    ) -> None:
        """Keep some of the instances, in their order, and check their files.

        min_area:      pixels of an instance outside void.
        min_count:     instances of a category, after `min_area`.
        per_category:  this many of each category, drawn with seed 0.
        limit:         this many of the rest, evenly spaced.
        Raises:        ValueError if nothing is left, and what `check` finds.
        """
        if min_area:
            large = list[Item]()
            for item in progress(self.items, "measuring instances", len(self)):
                mask, void = self.masks(item)
                large += [item] if (mask & ~void).sum() >= min_area else []
            self.items = large
        counts = Counter(item.category for item in self.items)
        self.items = [item for item in self.items if counts[item.category] >= min_count]
        if per_category:
            rng, groups = np.random.default_rng(DRAW_SEED), defaultdict[str, list[Item]](list)
            for item in self.items:
                groups[item.category].append(item)
            drawn = ((group, sorted(rng.permutation(len(group))[:per_category])) for group in groups.values())
            self.items = [group[i] for group, places in drawn for i in places]
        if not self.items:
            raise ValueError(f"--min-area {min_area}, --min-count {min_count}: no instance is left; lower them")
        if limit is not None and limit < len(self):
            self.items = [self.items[i * len(self) // limit] for i in range(limit)]
        self.check()

    def check(self) -> None:
        """Read every file once; ValueError names the first that cannot be used and says why."""
        for item in progress(self.items, "checking files", len(self)):
            image, (mask, _) = self.cached(read_image, item.image), self.masks(item)
            if image.shape[:2] != mask.shape:
                sizes = "{}x{} but {}x{}".format(*image.shape[:2], *mask.shape)
                turned = ", and is turned as its EXIF orientation says" if image.shape[1::-1] == mask.shape else ""
                raise ValueError(f"{item.mask}: its image {item.image.name} has another size ({sizes}){turned}")
            if not mask.any():
                raise ValueError(f"{item.mask}: no foreground pixel in the mask; draw it, or remove it and its image")


def categories(samples: Sequence[Sample]) -> list[str]:
    """The category of every sample, without reading the files of a data set that has some."""
    return [s.category for s in (samples.items if isinstance(samples, FileSequence) else samples)]


def by_category(items: Sequence[Item], order: Sequence[str]) -> list[Item]:
    """The items of the first category, then those of the second ..., each in the order given (D27)."""
    place = {category: i for i, category in enumerate(order)}
    return sorted(items, key=lambda item: place[item.category])


def within(folder: Path, name: str, where: str = "") -> Path:
    """folder/name; ValueError if the name, which a data set's file gives (`where`), would lead out of the folder."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or "\0" in name or Path(name).is_absolute() or Path(name).drive:
        raise ValueError(f"{where}{name!r}: leads out of {folder}; expected the name of a file inside")
    return folder / name
