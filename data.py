"""Sec. 4.1, Datasets: the index, every data set by its name."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from loaders.benchmarks import BENCHMARKS, Benchmark
from loaders.coco import COCO, SETTINGS, Fashionpedia
from loaders.fetch import fetch
from loaders.folders import CoCA, CoSOD3k, Folder, LeedsButterfly
from loaders.pictures import AnyPath
from loaders.samples import FileSequence, Sample
from loaders.synthetic import Synthetic
from loaders.voc import PascalVOC
from support.command_line import cache_folder

__all__ = ["BENCHMARKS", "DATASETS", "CoCA", "CoSOD3k", "Folder", "LeedsButterfly", "Sample", "Synthetic"]

DATASETS: dict[str, Callable[..., FileSequence]] = {
    "LeedsButterfly": LeedsButterfly,
    "LeedsButterfly-one": partial(LeedsButterfly, species=False),  # the other reading of D27
    "PascalVOC": PascalVOC,
    "COCO": COCO,
    **{f"COCO-{setting}": partial(COCO, setting=setting) for setting in SETTINGS},
    "CoSOD3k": CoSOD3k,
    "CoCA": CoCA,
    "Fashionpedia": Fashionpedia,
    **{name: partial(Benchmark, layout=layout) for name, layout in BENCHMARKS.items()},
}
ARCHIVES = {"LeedsButterfly": LeedsButterfly.ARCHIVE, **{name: b.archive for name, b in BENCHMARKS.items()}}
MASKED = ("CoSOD3k", "CoCA")  # data sets whose masks may be index or binary ones


def open_dataset(
    data: str,
    root: AnyPath | None,
    split: str = "val",
    masks: str | None = None,
    sbd: bool | None = None,
    offline: bool = False,
    **filters: Any,
) -> Sequence[Sample]:
    """The data set that `--data` names: one of DATASETS, or the path of a folder of images and masks.

    root:     the folder that holds it; without one it lies in the cache folder, and is fetched where that can be done.
    split:    'train' or 'val', of PascalVOC;  sbd: whether to train on SBD too (None: where it lies in `root`).
    masks:    'index', 'binary' or 'trimap': what those of a folder, CoSOD3k or CoCA are; None to decide for each.
    offline:  fetch nothing;  filters: see `FileSequence.choose`.
    Raises:   ValueError or OSError in the words of the command line.
    """
    if data not in DATASETS:
        if not Path(data).is_dir():
            raise ValueError(f"--data {data}: no such data set or folder; known are Synthetic, {', '.join(DATASETS)}")
        if root is not None:
            raise ValueError(f"--root {root}: --data names a folder already, {data}; drop one of them")
        return Folder(Path(data), masks=masks, **filters)
    if masks and data not in MASKED:
        only = f"only for a folder, {' and '.join(MASKED)}"
        raise ValueError(f"--masks {masks}: {only}; what the masks of {data} mean is known")
    if root is not None and not Path(root).is_dir():
        raise ValueError(f"--root {root}: no such folder; without --root it would be {_place(data)}")
    if masks:
        filters["masks"] = masks
    if data == "PascalVOC":
        sbd = bool(sbd) if root is None else sbd  # in the cache folder what lies there decides nothing
        filters |= {"split": split, "sbd": sbd}
    return DATASETS[data](root or _kept(data, bool(sbd) and split == "train", offline), **filters)


def _place(data: str) -> Path:
    """Where a data set lies without --root."""
    shared = data if data in BENCHMARKS else data.split("-")[0]  # the settings of a data set share its files
    return cache_folder() / "data" / shared


def _kept(data: str, sbd: bool, offline: bool) -> Path:
    """The data set's own folder in the cache, with the data set in it, which is fetched if need be and possible."""
    folder = _place(data)
    if data == "PascalVOC":
        PascalVOC.fetch(folder, sbd, offline)
    elif archive := ARCHIVES.get(folder.name):
        fetch(archive, folder, offline)
    elif not folder.is_dir():
        raise ValueError(f"--data {data}: --root is missing; name the folder that holds it, or put it into {folder}")
    return folder


def builtin(**given: object) -> None:
    """ValueError for a flag that was given beside the built-in sequence, which has no files."""
    for flag, value in given.items():
        if value:
            raise ValueError(f"--{flag.replace('_', '-')} {value}: the built-in sequence does not use it; set --data")
