"""Sec. 4.1, Datasets: sequences of (image, mask, void, category, name), one sample an instance, in file order (D27).

Every data set lists and checks its files when it is made, so that a bad file is one clear error before a run begins,
and reads pixels when a sample is asked for. Void pixels (255 in index masks) belong to no region (D12).
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from console import progress

VOID = 255  # index of void pixels in PASCAL-style index masks
SUFFIXES = (".png", ".jpg", ".jpeg")
LEEDS_URL = "https://zenodo.org/records/7559420/files/leedsbutterfly_dataset_v1.1.zip"
VOC_CLASSES = (  # classes 1 .. 20 of SegmentationClass
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


class Sample(NamedTuple):
    """One instance to annotate; the instances of one image follow each other and share its name."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    mask: np.ndarray  # (H, W) bool, the instance
    void: np.ndarray  # (H, W) bool, pixels that count nowhere
    category: str
    name: str


class Item(NamedTuple):
    """Where a sample lies: its files, and which value of the index mask it is (0: see the data set)."""

    image: Path
    mask: Path
    value: int
    category: str
    name: str


class FileSequence(Sequence[Sample]):
    """A data set of image and mask files; `decode` tells how a mask file becomes (mask, void)."""

    items: list[Item]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i):
        item = self.items[i]
        mask, void = self.decode(read_mask(item.mask), item.value)
        return Sample(read_image(item.image), mask, void, item.category, item.name)

    def decode(self, mask: np.ndarray, value: int) -> tuple[np.ndarray, np.ndarray]:
        """Index mask: the pixels of this value are the instance, those of 255 are void."""
        return mask == value, mask == VOID

    def thin(self, limit: int | None) -> None:
        """Keep `limit` samples, evenly spaced in file order (all of them if None)."""
        if limit is not None and limit < len(self):
            self.items = [self.items[i * len(self) // limit] for i in range(limit)]

    def check(self) -> None:
        """Read every file once; ValueError names the first that cannot be used and says why."""
        for item in progress(self.items, "checking files", len(self)):
            image, (mask, _) = read_image(item.image), self.decode(read_mask(item.mask), item.value)
            if image.shape[:2] != mask.shape:
                sizes = "{}x{} but {}x{}".format(*image.shape[:2], *mask.shape)
                raise ValueError(f"{item.mask}: its image {item.image.name} has another size ({sizes})")
            if not mask.any():
                raise ValueError(f"{item.mask}: no foreground pixel in the mask")


class LeedsButterfly(FileSequence):
    """832 photographs of butterflies, one instance each, one category (Sec. 4.1; Wang et al., BMVC 2009).

    root:    holds images/0010001.png (or .jpg) and segmentations/0010001_seg0.png, whose values 1 and 3 are butterfly,
             or a folder leedsbutterfly/ that does (how the official archive unpacks could not be checked).
    Raises:  ValueError naming the file for a missing half of a pair and for what `check` finds.
    """

    COUNT = 832
    FOREGROUND = (1, 3)

    def __init__(self, root: Path, limit: int | None = None):
        if (root / "leedsbutterfly").is_dir():
            root = root / "leedsbutterfly"
        images, masks = _listing(root, "images"), _listing(root, "segmentations", ending="_seg0")
        self.items = [Item(i, m, 0, "butterfly", i.stem) for i, m in _pairs(images, masks)]
        if len(self) != self.COUNT:
            warnings.warn(f"{root}: {len(self)} pairs; the complete data set has {self.COUNT}", stacklevel=2)
        self.thin(limit)
        self.check()

    def decode(self, mask, value):
        """Official values: 0 background, 1 and 3 butterfly, 2 body parts outside it; nothing is void."""
        return np.isin(mask, self.FOREGROUND), np.zeros(mask.shape, bool)

    @staticmethod
    def download(root: Path) -> None:
        """Fetch and unpack the official archive (Zenodo record 7559420) into `root` with torchvision's downloader."""
        from torchvision.datasets.utils import download_and_extract_archive

        try:
            download_and_extract_archive(LEEDS_URL, str(root), filename=LEEDS_URL.rsplit("/", 1)[1])
        except (OSError, RuntimeError) as error:
            raise OSError(f"{LEEDS_URL}: cannot be downloaded ({error}); unpack it into {root} by hand") from error


class Folder(FileSequence):
    """Any folder: images/NAME.jpg with masks/NAME.png, or images/CATEGORY/NAME.jpg with masks/CATEGORY/NAME.png.

    Each value of an index mask is an instance and 255 is void; in a mask whose only value beside 0 is 255, 255 is the
    instance. Without category folders there is one category, named like the root.
    """

    def __init__(self, root: Path, limit: int | None = None):
        images, masks = _listing(root, "images", deep=True), _listing(root, "masks", deep=True)
        self.items = []
        pairs = _pairs(images, masks)
        for image, mask in progress(pairs, "reading masks", len(pairs)):
            category = image.parent.name if image.parent != root / "images" else root.resolve().name
            values = np.unique(read_mask(mask))
            indices = [int(v) for v in values if v not in (0, VOID)] or [VOID]
            name = image.relative_to(root / "images").with_suffix("").as_posix()
            self.items += [Item(image, mask, v, category, name) for v in indices]
        self.thin(limit)
        self.check()

    def decode(self, mask, value):
        """255 is void, unless it is the only value beside 0."""
        return mask == value, (mask == VOID) & (value != VOID)


class PascalVOC(FileSequence):
    """PASCAL VOC 2012 segmentation, one sample an object (Sec. 4.1; Everingham et al., IJCV 2010).

    root:   holds VOCdevkit/VOC2012 with JPEGImages, SegmentationObject, SegmentationClass and ImageSets/Segmentation.
    split:  a file of ImageSets/Segmentation: train, val or trainval. Index 255 is void.
    """

    def __init__(self, root: Path, limit: int | None = None, split: str = "val"):
        base = next((b for b in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root) if b.is_dir()), root)
        listing = base / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not listing.is_file():
            raise ValueError(f"{root}: no VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt inside")
        self.items = []
        names = listing.read_text().split()
        for name in progress(names, "reading masks", len(names)):
            image, objects = base / "JPEGImages" / f"{name}.jpg", base / "SegmentationObject" / f"{name}.png"
            index, classes = read_mask(objects), base / "SegmentationClass" / f"{name}.png"
            for i, category in _voc_categories(index, read_mask(classes), classes):
                self.items.append(Item(image, objects, i, category, name))
        self.thin(limit)
        self.check()


class Synthetic(Sequence[Sample]):
    """The built-in sequence: textured shapes of equal size on textured ground, one of them the target (NumPy, Pillow).

    n:      samples;  seed: the same seed gives the same pixels.
    split:  'train' draws any object of any scene as target; 'test' has two categories, half of the samples each, of
            shapes, patterns and colours that 'train' never shows, each among same-size distractors.
    size:   side of the square images in pixels.
    """

    def __init__(self, n: int = 40, seed: int = 0, split: str = "test", size: int = 128):
        if split not in ("train", "test"):
            raise ValueError(f"split {split!r}: expected 'train' or 'test'")
        self.n, self.seed, self.split, self.size = n, seed, split, size

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i):
        i = range(self.n)[i]
        rng = np.random.default_rng([self.seed, i, self.split == "train"])
        kinds = _training_kinds(rng) if self.split == "train" else _test_kinds(rng, i * len(TEST_KINDS) // self.n)
        image, index = _scene(kinds, self.size, rng)
        mask = index == 1
        return Sample(image, mask, np.zeros_like(mask), kinds[0].name, f"synthetic-{i:04d}")


# ---- the synthetic scenes --------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A category of synthetic objects: outline, pattern, hues in [0, 1) of its two colours, and of a core (or None)."""

    name: str
    lobes: int
    depth: float
    pattern: str
    hues: tuple[float, float]
    core: float | None


TEST_KINDS = (
    Kind("starfish", 5, 0.20, "rings", (0.05, 0.55), 0.80),
    Kind("clover", 4, 0.15, "waves", (0.35, 0.85), 0.12),
)


def _training_kinds(rng: np.random.Generator) -> list[Kind]:
    patterns = ("plain", "stripes", "checks", "dots")
    return [
        Kind(f"blob-{lobes}", int(lobes), 0.15 * (lobes != 0), str(rng.choice(patterns)), tuple(rng.random(2)), None)
        for lobes in rng.choice((0, 2, 3, 6), size=4)
    ]


def _test_kinds(rng: np.random.Generator, which: int) -> list[Kind]:
    return [TEST_KINDS[which], *_training_kinds(rng)[:3]]


def _scene(kinds: list[Kind], size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four objects of one size, jittered on a 2x2 grid: (size, size, 3) uint8 image and index mask (1 = first kind)."""
    image = _texture("noise", (rng.random(), rng.random()), size, rng) * 0.6
    index = np.zeros((size, size), np.uint8)
    cells = rng.permutation(4)
    radius = size * rng.uniform(0.20, 0.23)
    yx = np.mgrid[:size, :size] + 0.5
    for i, (kind, cell) in enumerate(zip(kinds, cells, strict=True), start=1):
        centre = (np.array(divmod(int(cell), 2)) + 0.5 + rng.uniform(-0.03, 0.03, 2)) * size / 2
        dy, dx = yx - centre[:, None, None]
        angle, r = np.arctan2(dy, dx) + rng.uniform(0, 2 * np.pi), np.hypot(dy, dx)
        outline = radius * (1 + kind.depth * np.cos(kind.lobes * angle)) / (1 + kind.depth / 2)
        inside = r < outline
        image[inside] = _texture(kind.pattern, kind.hues, size, rng)[inside]
        if kind.core is not None:
            image[r < 0.45 * outline] = _colour(kind.core, 0.9)
        index[inside] = i
    image = image + rng.normal(0, 0.03, image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), index


def _texture(pattern: str, hues: Sequence[float], size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) float in [0, 1]: two colours blended by a pattern with random phase and direction."""
    y, x = np.mgrid[:size, :size] - rng.uniform(0, size, 2)[:, None, None]
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    wave = 2 * np.pi / 12
    blend = {
        "plain": lambda: np.zeros((size, size)),
        "stripes": lambda: np.sin(u * wave) > 0,
        "checks": lambda: (np.sin(u * wave) > 0) ^ (np.sin(v * wave) > 0),
        "dots": lambda: (np.sin(u * wave) + np.sin(v * wave)) > 0.8,
        "rings": lambda: np.sin(np.hypot(u - size / 2, v) * wave) > 0,
        "waves": lambda: np.sin((u + 3 * np.sin(v / 5)) * wave) > 0,
        "noise": lambda: _smooth_noise(size, rng),
    }[pattern]()
    a, b = (_colour(h + rng.uniform(-0.03, 0.03), rng.uniform(0.7, 1.0)) for h in hues)
    return a + (b - a) * np.asarray(blend, float)[..., None]


def _smooth_noise(size: int, rng: np.random.Generator) -> np.ndarray:
    small = Image.fromarray(rng.integers(0, 256, (size // 8, size // 8), dtype=np.uint8))
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)) / 255


def _colour(hue: float, value: float) -> np.ndarray:
    """HSV with saturation 0.75 to (3,) RGB in [0, 1]."""
    ramp = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (0.25 + 0.75 * ramp)


# ---- files -----------------------------------------------------------------------------------------------------------


def open_dataset(data: str, root: Path | None, limit: int | None = None, split: str = "val") -> Sequence[Sample]:
    """The data set that `--data` names: LeedsButterfly, PascalVOC, or the path of a folder with images/ and masks/."""
    if data in ("LeedsButterfly", "PascalVOC"):
        if root is None:
            raise ValueError(f"--data {data}: --root is missing; name the folder that holds it")
        if not root.is_dir():
            raise ValueError(f"--root {root}: no such folder")
        return LeedsButterfly(root, limit) if data == "LeedsButterfly" else PascalVOC(root, limit, split)
    if not Path(data).is_dir():
        raise ValueError(f"--data {data}: no such data set or folder; known are Synthetic, LeedsButterfly, PascalVOC")
    return Folder(Path(data), limit)


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF orientation says; ValueError names a file that cannot be read."""
    return np.asarray(ImageOps.exif_transpose(_open(path)).convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """(H, W) integer index mask from a palette, grey, 16-bit or 1-bit file; ValueError names a file with colours."""
    image = _open(path)
    if image.mode not in ("P", "L", "1", "I", "I;16"):
        raise ValueError(f"{path}: a mask of mode {image.mode}; expected one channel or a palette")
    mask = np.asarray(image)
    return mask.astype(np.uint8) if image.mode == "1" else mask


def _voc_categories(index: np.ndarray, classes: np.ndarray, file: Path) -> list[tuple[int, str]]:
    """(object, category) for each object of a VOC index mask, by the class that most of its pixels have."""
    if index.shape != classes.shape:
        sizes = "{}x{} but {}x{}".format(*classes.shape, *index.shape)
        raise ValueError(f"{file}: its SegmentationObject mask has another size ({sizes})")
    found = []
    for i in np.unique(index[(index != 0) & (index != VOID)]).tolist():
        counts = np.bincount(classes[(index == i) & (classes != VOID) & (classes != 0)])
        if not 1 <= len(counts) <= len(VOC_CLASSES) + 1:
            raise ValueError(f"{file}: object {i} has no class from 1 to {len(VOC_CLASSES)}")
        found.append((i, VOC_CLASSES[counts.argmax() - 1]))
    return found


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable image ({str(error).splitlines()[0]})") from error
    return image


def _listing(root: Path, folder: str, ending: str = "", deep: bool = False) -> dict[str, Path]:
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


def _pairs(images: dict[str, Path], masks: dict[str, Path]) -> list[tuple[Path, Path]]:
    for key, path in [*images.items(), *masks.items()]:
        if key not in images or key not in masks:
            raise ValueError(f"{path}: its {'mask' if key in images else 'image'} is missing")
    return [(images[key], masks[key]) for key in sorted(images)]
