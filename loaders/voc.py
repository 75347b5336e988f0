"""Sec. 4.1, Datasets: augmented PASCAL VOC, for training and testing."""

from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import SBDataset
from torchvision.datasets.voc import DATASET_YEAR_DICT

from loaders.fetch import Remote, fetch
from loaders.pictures import VOID, AnyPath, read_mask
from loaders.samples import FileSequence, Item, by_category, within
from support.command_line import progress

VOC_CLASSES = (  # classes 1 .. 20 of SegmentationClass
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
SBD = Path("benchmark_RELEASE") / "dataset"
OFFICIAL = DATASET_YEAR_DICT["2012"]  # address and checksum as torchvision knows them
VOC_ARCHIVE = Remote("PASCAL VOC 2012", OFFICIAL["url"], 2.0, OFFICIAL["md5"], "VOCdevkit")
SBD_ARCHIVE = Remote("SBD", SBDataset.url, 1.4, SBDataset.md5, SBD.parts[0])
COUNTS = {"train": 25_832, "val": 3_427}  # instances, Sec. 4.1


class PascalVOC(FileSequence):
    """PASCAL VOC 2012 and SBD, one sample per object (Sec. 4.1; Everingham et al. 2010; Hariharan et al. 2011).

    root:    holds VOCdevkit/VOC2012 with JPEGImages, SegmentationObject, SegmentationClass and ImageSets/Segmentation;
             for training also benchmark_RELEASE/dataset with img and inst (MATLAB files, read with SciPy).
    split:   'val', 3,427 instances in the paper: VOC's own, index 255 is void.
             'train', 25,832: VOC's own list and, where benchmark_RELEASE is there, all other images of SBD that are not
             in VOC's val list. An image in both has VOC's masks (whether in the paper too could not be checked).
    sbd:     True and False want SBD there or left out.
    filters: see `choose`. The instances are ordered by class.
    """

    def __init__(self, root: AnyPath, split: str = "val", sbd: bool | None = None, **filters: Any):
        root = Path(root)
        base = next((b for b in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root) if b.is_dir()), root)
        names = _names(root, base, split)
        items = _voc_items(base, names)
        if split == "train" and (sbd or (sbd is None and (root / SBD).is_dir())):
            items += _sbd_items(root / SBD, {*names, *_names(root, base, "val")})
        self.items = by_category(items, VOC_CLASSES)
        if split == "val" or sbd is not False:
            self.expect(COUNTS[split], f"{root}: PASCAL VOC {split}")
        self.choose(**filters)

    def masks(self, item):
        """Index masks with void 255, or SBD's, which know no void."""
        if item.mask.suffix != ".mat":
            return super().masks(item)
        mask = self.cached(_read_mat, item.mask)[0] == item.value
        return mask, np.zeros_like(mask)

    @staticmethod
    def fetch(folder: Path, sbd: bool, offline: bool = False) -> None:
        """Fetch VOC 2012 and, if asked for, SBD, what is not there yet."""
        if sbd:
            _scipy()
        for archive in (VOC_ARCHIVE, SBD_ARCHIVE)[: 1 + sbd]:
            fetch(archive, folder, offline)


def _names(root: Path, base: Path, split: str) -> list[str]:
    listing = base / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listing.is_file():
        raise ValueError(f"{root}: no VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt inside")
    names = listing.read_text(encoding="utf-8-sig").split()
    for name in names:
        within(base / "JPEGImages", name)
    return names


def _voc_items(base: Path, names: list[str]) -> list[Item]:
    """The objects of VOC's images; the class of one is that which most of its pixels have."""
    items = []
    for name in progress(names, "reading masks", len(names)):
        image, objects = base / "JPEGImages" / f"{name}.jpg", base / "SegmentationObject" / f"{name}.png"
        file = base / "SegmentationClass" / f"{name}.png"
        index, classes = read_mask(objects), read_mask(file)
        if index.shape != classes.shape:
            what = "its SegmentationObject mask has another size"
            raise ValueError(f"{file}: {what}, {index.shape} not {classes.shape}")
        for i in np.unique(index[(index != 0) & (index != VOID)]).tolist():
            counts = np.bincount(classes[(index == i) & (classes != VOID) & (classes != 0)])
            if not 1 <= len(counts) <= len(VOC_CLASSES) + 1:
                raise ValueError(f"{file}: object {i} has no class from 1 to {len(VOC_CLASSES)}")
            items.append(Item(image, objects, i, VOC_CLASSES[counts.argmax() - 1], name))
    return items


def _sbd_items(base: Path, known: set[str]) -> list[Item]:
    """The instances of SBD's images that are not known yet; the class of instance i is the i-th of Categories."""
    items, files = [], sorted((base / "inst").glob("*.mat"))
    if not files:
        raise ValueError(f"{base}: no inst/*.mat inside; unpack SBD's benchmark.tgz there, or remove the folder")
    files = [file for file in files if file.stem not in known]
    for file in progress(files, "reading SBD", len(files)):
        index, categories = _read_mat(file)
        for i in np.unique(index[index != 0]).tolist():
            if not (i <= len(categories) and 1 <= categories[i - 1] <= len(VOC_CLASSES)):
                raise ValueError(f"{file}: instance {i} has no class from 1 to {len(VOC_CLASSES)}")
            category = VOC_CLASSES[categories[i - 1] - 1]
            items.append(Item(base / "img" / f"{file.stem}.jpg", file, i, category, file.stem))
    return items


def _read_mat(path: Path) -> tuple[np.ndarray, list[int]]:
    """(index mask (H, W), class of each instance) of an SBD file."""
    loadmat = _scipy()
    try:
        instances = loadmat(path)["GTinst"][0, 0]
        return instances["Segmentation"], instances["Categories"].ravel().tolist()
    except Exception as error:  # what SciPy raises on a foreign file is anything
        raise ValueError(f"{path}: not a file of SBD's inst/ ({error})") from error


def _scipy():
    try:
        from scipy.io import loadmat
    except ImportError:
        raise ValueError('SBD: its masks are MATLAB files; install SciPy with pip install -e ".[sbd]"') from None
    return loadmat
