"""Sec. 4: the ledger of annotated instances, and the table and the picture sheet made from a run.

The ledger DIR/clicks.jsonl has one JSON line an instance; each names its run (row, target, seed) and the hash of the
configuration that produced it.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.functional import resize
from torchvision.utils import draw_keypoints, draw_segmentation_masks, make_grid

from model import atomic
from robot_user import nof


class Row(NamedTuple):
    """A row of Tab. 1."""

    icp: bool
    opo: bool


class Run(NamedTuple):
    """One pass over a sequence."""

    row: str
    target: float
    seed: int


ROWS = {"a": Row(False, False), "b": Row(True, False), "c": Row(False, True), "d": Row(True, True)}
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 97.5 %, 1 to 10 degrees
PAPER = {  # Tab. 1: NoC @85, @90 of rows (a) .. (d)
    "PascalVOC": {"a": (3.18, 4.07), "b": (2.82, 3.70), "c": (3.11, 3.98), "d": (2.74, 3.60)},
    "LeedsButterfly": {"a": (2.16, 2.89), "b": (1.37, 2.07), "c": (1.25, 1.48), "d": (0.29, 0.52)},
}


class Ledger:
    """DIR/clicks.jsonl: what was annotated, one line an instance, written as it finishes.

    folder:  made if missing;  config: plain values that fix the results;  length: instances of a complete run.
    Raises:  ValueError if the file holds lines of another configuration; OSError if it cannot be written.
    """

    def __init__(self, folder: Path, config: dict[str, Any], length: int):
        self.folder, self.length = folder, length
        self.file = folder / "clicks.jsonl"
        self.config = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file.open("a").close()
        except OSError as error:
            raise OSError(f"--out {folder}: cannot be written ({error.strerror}); choose another folder") from error
        self.records, broken = read_ledger(self.file)
        if any(r.get("config") != self.config for r in self.records):
            raise ValueError(f"--out {folder}: holds results of another configuration; choose another folder")
        if broken:
            self._rewrite()

    def of(self, run: Run) -> list[dict[str, Any]]:
        """The records of a run, in order."""
        return [r for r in self.records if run_of(r) == run]

    def finished(self, run: Run) -> bool:
        """Whether every instance of the run is there."""
        return len(self.of(run)) == self.length

    def keep(self, run: Run, count: int) -> None:
        """Forget the records of a run from instance `count` on."""
        kept = [r for r in self.records if run_of(r) != run or r["index"] < count]
        if len(kept) != len(self.records):
            self.records = kept
            self._rewrite()

    def append(self, run: Run, record: dict[str, Any]) -> None:
        """Write one record; what only serves drawing is left out."""
        line = {"config": self.config, **run._asdict()}
        line |= {k: v for k, v in record.items() if k not in ("sample", "mask", "confidence")}
        text = json.dumps(line)
        try:
            with self.file.open("a") as out:
                out.write(text + "\n")
        except OSError as error:
            kept = f"free some space and give the same command again, {len(self.records)} instances are kept"
            raise OSError(f"{self.file}: cannot be written ({error.strerror}); {kept}") from error
        self.records.append(json.loads(text))

    def _rewrite(self) -> None:
        with atomic(self.file) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.records))


def read_ledger(file: Path) -> tuple[list[dict[str, Any]], bool]:
    """The records of a ledger, and whether its last line was cut short (it is left out).

    Raises:  ValueError naming the line if another one is not a record.
    """
    lines = file.read_text().split("\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not an object")
            records.append(record)
        except ValueError as error:
            raise ValueError(f"{file}: line {number} is not a record ({error})") from error
    return records, lines[-1] != ""


def run_of(record: dict[str, Any]) -> Run:
    """The run that a record belongs to."""
    return Run(record["row"], record["target"], record["seed"])


def interval(values: Sequence[float]) -> float:
    """Half width of the 95 % confidence interval of the mean over seeds (Student's t); NaN for a single value (D29)."""
    n = len(values)
    if n < 2:
        return math.nan
    z, v = 1.959964, n - 1
    t = (
        T_QUANTILES[v - 1]
        if v <= len(T_QUANTILES)
        else z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3) / (96 * v * v)
    )
    return t * float(np.std(values, ddof=1)) / math.sqrt(n)


def table(records: Sequence[dict[str, Any]], data: str) -> str:
    """Tab. 1 as Markdown, from the records of a ledger alone.

    NoC is the mean over instances, then over seeds, with a 95 % interval where there are several; NoF counts instances
    that never reached the target, averaged over seeds; obeyed is the share of clicks whose own pixel came out right.
    """
    targets = sorted({r["target"] for r in records})
    names = [f"@{t * 100:g}" for t in targets]
    head = ["row", "ICP", "OPO", *(f"NoC{n}" for n in names), *(f"NoF{n}" for n in names)]
    head += ["proposals right", "clicks obeyed", "s/click", *(f"paper NoC{n}" for n in names)]
    lines = [head, ["---"] * len(head)]
    for row in sorted({r["row"] for r in records}):
        runs = {t: _by_seed(r for r in records if r["row"] == row and r["target"] == t) for t in targets}
        of_row = [r for r in records if r["row"] == row]
        line = [f"({row})", *("yes" if flag else "" for flag in ROWS[row])]
        line += [_mean([float(np.mean([r["noc"] for r in run])) for run in runs[t]]) for t in targets]
        line += [_mean([nof([r["ious"] for r in run], t) for run in runs[t]], "{:g}") for t in targets]
        line += [_share([r["hit"] for r in of_row if r["hit"] is not None])]
        line += [_share([ok for r in of_row for ok in r["obeyed"]]), _seconds_per_click(of_row)]
        paper = PAPER.get(data, {}).get(row)
        line += [f"{paper[(0.85, 0.9).index(t)]:.2f}" if paper and t in (0.85, 0.9) else "" for t in targets]
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _by_seed(records: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    seeds: dict[int, list] = {}
    for r in records:
        seeds.setdefault(r["seed"], []).append(r)
    return list(seeds.values())


def _mean(values: Sequence[float], form: str = "{:.2f}") -> str:
    if not values:
        return ""
    half = interval(values)
    return form.format(float(np.mean(values))) + ("" if math.isnan(half) else f" ± {half:.2f}")


def _share(flags: Sequence[bool]) -> str:
    return f"{np.mean(flags):.0%}" if flags else ""


def _seconds_per_click(records: Sequence[dict[str, Any]]) -> str:
    clicks = sum(len(r["clicks"]) for r in records)
    return f"{sum(r['seconds']['clicks'] for r in records) / clicks:.3f}" if clicks else ""


# ---- pictures --------------------------------------------------------------------------------------------------------

TILE = 160  # height of a picture in the sheet, pixels
GREEN, RED, BLUE, PURPLE = (0, 190, 0), (230, 0, 0), (40, 90, 255), (190, 0, 190)


def tile(record: dict[str, Any]) -> torch.Tensor:
    """Image with clicks, confidence map with the proposal, prediction, ground truth: (3, h, w) uint8 (Figs. 5-6).

    Clicks are red on the object and blue on the background; the proposal is purple.
    """
    sample = record["sample"]
    image = torch.from_numpy(sample.image.copy()).permute(2, 0, 1)
    confidence = record["confidence"]
    heat = torch.zeros_like(image)
    if confidence is not None:
        v = confidence.cpu() - confidence.min().cpu()
        v = v / v.max().clamp_min(1e-6)
        heat = torch.stack([v, 1 - (2 * v - 1).abs(), 1 - v]).mul(255).byte()  # blue, green, red
    clicked = image
    for colour, positive in ((RED, True), (BLUE, False)):
        clicked = _dots(clicked, [c[:2] for c in record["clicks"] if c[2] == positive], colour)
    if record["proposal"] is not None:
        heat = _dots(heat, [record["proposal"]], PURPLE)
        clicked = _dots(clicked, [record["proposal"]] if record["hit"] else [], PURPLE)
    masks = [torch.as_tensor(m).cpu() for m in (record["mask"], sample.mask)]
    pictures = [clicked, heat, *(draw_segmentation_masks(image, m, alpha=0.5, colors=[GREEN]) for m in masks)]
    scale = min(TILE / image.shape[1], 4 * TILE / image.shape[2])  # a strip of 1 x N pixels stays within the sheet
    size = [max(1, round(side * scale)) for side in image.shape[1:]]
    return make_grid([resize(p, size, antialias=True) for p in pictures], nrow=4, padding=2, pad_value=255)


def save_tile(record: dict[str, Any], folder: Path) -> None:
    """Write the pictures of an instance to FOLDER/sheet/INDEX.png, for `sheet`."""
    with atomic(folder / "sheet" / f"{record['index']:06d}.png") as temporary:
        Image.fromarray(tile(record).permute(1, 2, 0).numpy()).save(temporary)


def sheet(folder: Path) -> Path | None:
    """Put the tiles of FOLDER/sheet together, one a row: FOLDER/sheet.png; None if there are none."""
    files = sorted((folder / "sheet").glob("[0-9]*.png"))
    if not files:
        return None
    tiles = []
    for file in files:
        with Image.open(file) as picture:
            tiles.append(np.asarray(picture))
    width = max(t.shape[1] for t in tiles)
    rows = [np.pad(t, ((0, 0), (0, width - t.shape[1]), (0, 0)), constant_values=255) for t in tiles]
    with atomic(folder / "sheet.png") as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary)
    return folder / "sheet.png"


def _dots(picture: torch.Tensor, points: Sequence[Sequence[int]], colour: tuple[int, int, int]) -> torch.Tensor:
    if not points:
        return picture
    xy = torch.tensor([[[col, row] for row, col in points]])  # torchvision draws at (x, y)
    return draw_keypoints(picture, xy, colors=colour, radius=max(3, picture.shape[1] // 50))
