"""Sec. 4.1, Datasets: the index, every data set by its name."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from loaders.coco import COCO, SETTINGS, Fashionpedia
from loaders.folders import CoCA, CoSOD3k, Folder, LeedsButterfly
from loaders.samples import FileSequence, Sample
from loaders.synthetic import Synthetic
from loaders.voc import PascalVOC

__all__ = [
    "DATASETS",
    "CoCA",
    "CoSOD3k",
    "Folder",
    "LeedsButterfly",
    "Sample",
    "Synthetic",
    "open_dataset",
]


DATASETS: dict[str, Callable[..., FileSequence]] = {
    "LeedsButterfly": LeedsButterfly,
    "PascalVOC": PascalVOC,
    "COCO": COCO,
    **{f"COCO-{setting}": partial(COCO, setting=setting) for setting in SETTINGS},
    "CoSOD3k": CoSOD3k,
    "CoCA": CoCA,
    "Fashionpedia": Fashionpedia,
}


def open_dataset(data: str, root: Path | None, split: str = "val", **filters: int | None) -> Sequence[Sample]:
    """The data set that `--data` names: one of DATASETS below `root`, or the path of a folder of images and masks.

    split:    'train' or 'val', of PascalVOC;  filters: see `FileSequence.choose`.
    Raises:   ValueError in the words of the command line.
    """
    if data not in DATASETS:
        if not Path(data).is_dir():
            raise ValueError(f"--data {data}: no such data set or folder; known are Synthetic, {', '.join(DATASETS)}")
        if root is not None:
            raise ValueError(f"--root {root}: --data names a folder already, {data}; leave one of them out")
        return Folder(Path(data), **filters)  # type: ignore[arg-type]
    if root is None:
        raise ValueError(f"--data {data}: --root is missing; name the folder that holds it")
    if not root.is_dir():
        raise ValueError(f"--root {root}: no such folder")
    chosen: dict[str, Any] = {**filters, "split": split} if data == "PascalVOC" else dict(filters)
    return DATASETS[data](root, **chosen)


def builtin(**given: object) -> None:
    """ValueError for a flag that was given beside the built-in sequence, which has no files."""
    for flag, value in given.items():
        if value:
            raise ValueError(
                f"--{flag.replace('_', '-')} {value}: the built-in sequence has no use for it; name --data"
            )


def download(data: str, root: Path | None, split: str = "val") -> None:
    """Fetch what `--data` names into `root`; ValueError for a data set that has no download."""
    fetch: dict[str, Callable[[Path], None]] = {
        "LeedsButterfly": LeedsButterfly.download,
        "PascalVOC": partial(PascalVOC.download, split=split),
    }
    if data not in fetch or root is None:
        given = f"--data {data} and {'no --root' if root is None else f'--root {root}'}"
        raise ValueError(f"--download with {given}: only {' and '.join(fetch)} can be fetched, into what --root names")
    fetch[data](root)
