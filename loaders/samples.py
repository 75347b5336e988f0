"""Sec. 4.1, Datasets: what a sample is, and what all data sets made of files share.

Every data set lists and checks its files when it is made, so that a bad file is one clear error before a run begins,
and reads pixels when a sample is asked for. Void pixels (255 in index masks) belong to no region (D12). The samples of
a category follow each other, in file order (D27).
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from support.command_line import progress

VOID = 255  # index of void pixels in PASCAL-style index masks
SUFFIXES = (".png", ".jpg", ".jpeg")
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
        return Sample(self.held(read_image, item.image), *self.masks(item), item.category, item.name)

    def masks(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """(mask, void) of an instance, (H, W) bool each, from an index mask: its value is the instance, 255 void."""
        index = self.held(read_mask, item.mask)
        return index == item.value, index == VOID

    def held(self, read: Callable[[Path], Any], path: Path) -> Any:
        """What `read` makes of a file; the last file is held, since the instances of an image follow each other."""
        last = self.__dict__.setdefault("_held", {})
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
        min_count:     instances of a category, of those that are left.
        per_category:  of each category so many, drawn with seed 0.
        limit:         so many of what is left, evenly spaced.
        Raises:        ValueError if nothing is left, and what `check` finds.
        """
        if min_area:
            large = progress(self.items, "measuring instances", len(self))
            self.items = [item for item in large if self._area(item) >= min_area]
        counts = Counter(item.category for item in self.items)
        self.items = [item for item in self.items if counts[item.category] >= min_count]
        if per_category:
            self.items = _draw(self.items, per_category)
        if not self.items:
            raise ValueError(f"no instance left of at least {min_area} pixels and {min_count} in its category")
        if limit is not None and limit < len(self):
            self.items = [self.items[i * len(self) // limit] for i in range(limit)]
        self.check()

    def check(self) -> None:
        """Read every file once; ValueError names the first that cannot be used and says why."""
        for item in progress(self.items, "checking files", len(self)):
            image, (mask, _) = self.held(read_image, item.image), self.masks(item)
            if image.shape[:2] != mask.shape:
                sizes = "{}x{} but {}x{}".format(*image.shape[:2], *mask.shape)
                raise ValueError(f"{item.mask}: its image {item.image.name} has another size ({sizes})")
            if not mask.any():
                raise ValueError(f"{item.mask}: no foreground pixel in the mask")

    def _area(self, item: Item) -> int:
        mask, void = self.masks(item)
        return int((mask & ~void).sum())


def labels(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """(name, category) of every sample, without reading the files of a data set that has some."""
    return [(s.name, s.category) for s in (samples.items if isinstance(samples, FileSequence) else samples)]


def by_category(items: Sequence[Item], order: Sequence[str]) -> list[Item]:
    """The items of the first category, then those of the second ..., each in the order given (D27)."""
    place = {category: i for i, category in enumerate(order)}
    return sorted(items, key=lambda item: place[item.category])


def _draw(items: list[Item], n: int) -> list[Item]:
    rng, kept = np.random.default_rng(DRAW_SEED), list[Item]()
    for category in dict.fromkeys(item.category for item in items):
        mine = [item for item in items if item.category == category]
        kept += [mine[i] for i in sorted(rng.permutation(len(mine))[:n])]
    return kept


# ---- files -----------------------------------------------------------------------------------------------------------


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF orientation says; ValueError names a file that cannot be read."""
    image = ImageOps.exif_transpose(_open(path))
    if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip at 255
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns on the direct way
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """(H, W) integer index mask from a palette, grey, 16-bit or 1-bit file; ValueError names a file with colours."""
    image = _open(path)
    if image.mode not in ("P", "L", "1", "I", "I;16"):
        raise ValueError(f"{path}: a mask of mode {image.mode}; expected one channel or a palette")
    mask = np.asarray(image)
    return mask.astype(np.uint8) if image.mode == "1" else mask


def listing(root: Path, folder: str, ending: str = "", deep: bool = False) -> dict[str, Path]:
    """Images below root/folder by their path without `ending` and suffix, in file order."""
    if not (root / folder).is_dir():
        raise ValueError(f"{root}: no {folder}/ inside; expected {root / folder}/*{ending}.png")
    found: dict[str, Path] = {}
    for path in sorted((root / folder).rglob("*") if deep else (root / folder).iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.stem.endswith(ending):
            key = str(path.relative_to(root / folder).with_suffix("")).removesuffix(ending)
            if key in found:
                raise ValueError(f"{path}: {found[key].name} is there too; keep one of them")
            found[key] = path
    if not found:
        raise ValueError(f"{root / folder}: no image inside; expected *{ending}.png")
    return found


def within(folder: Path, name: str) -> Path:
    """folder/name; ValueError if the name, which a data set's file gives, would lead out of the folder."""
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or "\0" in name or Path(name).is_absolute() or Path(name).drive:
        raise ValueError(f"{name!r}: leads out of {folder}; expected the name of a file inside")
    return folder / name


def pairs(images: dict[str, Path], masks: dict[str, Path]) -> list[tuple[Path, Path]]:
    """(image, mask) of each key, sorted; ValueError names a file that has no counterpart."""
    for key, path in [*images.items(), *masks.items()]:
        if key not in images or key not in masks:
            raise ValueError(f"{path}: its {'mask' if key in images else 'image'} is missing")
    return [(images[key], masks[key]) for key in sorted(images)]


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable image ({str(error).splitlines()[0]})") from error
    return image
