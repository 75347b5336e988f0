"""Figs. 4-6: tiles and sheets of pictures with torchvision's drawing helpers, plots with matplotlib where it is."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.functional import resize
from torchvision.utils import draw_keypoints, draw_segmentation_masks, make_grid

from support.files import atomic

SHEET = 8  # instances in a picture sheet
TILE = 160  # height of a picture in the sheet, pixels
GREEN, RED, BLUE, PURPLE = (0, 190, 0), (230, 0, 0), (40, 90, 255), (190, 0, 190)


def tile(record: dict[str, Any]) -> torch.Tensor:
    """Image with clicks, confidence map with the proposal, prediction, ground truth: (3, h, w) uint8 (Figs. 5-6).

    Clicks are red on the object and blue on the background; the proposal is purple.
    """
    sample, image = record["sample"], _image(record)
    clicked = _clicked(image, record["clicks"])
    if record["proposal"] is not None:
        clicked = _dots(clicked, [record["proposal"]] if record["hit"] else [], PURPLE)
    return _strip([clicked, _heat(record), _shown(image, record["mask"]), _shown(image, sample.mask)])


def proposal_tile(shot: dict[str, Any]) -> torch.Tensor:
    """Image with the proposal, confidence map with it, prediction from it alone: a row of Fig. 5.

    Without a correct proposal the prediction is that of the user's first click, which is red.
    """
    image = _image(shot)
    marked = _dots(image, [shot["proposal"]] if shot["proposal"] is not None else [], PURPLE)
    first = [] if shot["hit"] else shot["clicks"][:1]
    return _strip([_clicked(marked, first), _heat(shot), _shown(image, shot["masks"][0])])


def clicks_tile(shots: Sequence[dict[str, Any]]) -> torch.Tensor:
    """Ground truth, then for each row its predictions after 1, 2 and 3 clicks with those clicks: a row of Fig. 6.

    Where fewer clicks were enough, the last prediction stays.
    """
    image = _image(shots[0])
    pictures = [_shown(image, shots[0]["sample"].mask)]
    for shot in shots:
        pictures += [_clicked(_shown(image, mask), shot["clicks"][: k + 1]) for k, mask in enumerate(shot["masks"])]
    return _strip(pictures)


def save_sheet(tiles: Sequence[torch.Tensor], file: Path) -> None:
    """Put (3, h, w) uint8 tiles under each other into one PNG."""
    stack([t.permute(1, 2, 0).numpy() for t in tiles], file)


def save_tile(record: dict[str, Any], folder: Path) -> None:
    """Write the pictures of an instance to FOLDER/sheet/INDEX.png, for `sheet`."""
    save_sheet([tile(record)], folder / "sheet" / f"{record['index']:06d}.png")


def sheet(folder: Path) -> Path | None:
    """Put the tiles of FOLDER/sheet together, one a row: FOLDER/sheet.png; None if there are none."""
    files = sorted((folder / "sheet").glob("[0-9]*.png"))
    if not files:
        return None
    tiles = []
    for file in files:
        with Image.open(file) as picture:
            tiles.append(np.asarray(picture))
    stack(tiles, folder / "sheet.png")
    return folder / "sheet.png"


def stack(tiles: Sequence[np.ndarray], file: Path) -> None:
    """Write (h, w, 3) uint8 pictures under each other, white where one is narrower."""
    width = max(t.shape[1] for t in tiles)
    rows = [np.pad(t, ((0, 0), (0, width - t.shape[1]), (0, 0)), constant_values=255) for t in tiles]
    with atomic(file) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary)


def _image(record: dict[str, Any]) -> torch.Tensor:
    return torch.from_numpy(record["sample"].image.copy()).permute(2, 0, 1)


def _heat(record: dict[str, Any]) -> torch.Tensor:
    """The confidence map from blue to red, with the proposal; black without one."""
    confidence = record["confidence"]
    if confidence is None:
        return torch.zeros_like(_image(record))
    v = confidence.cpu() - confidence.min().cpu()
    v = v / v.max().clamp_min(1e-6)
    heat = torch.stack([v, 1 - (2 * v - 1).abs(), 1 - v]).mul(255).byte()  # blue, green, red
    return _dots(heat, [record["proposal"]] if record["proposal"] is not None else [], PURPLE)


def _shown(image: torch.Tensor, mask: Any) -> torch.Tensor:
    return draw_segmentation_masks(image, torch.as_tensor(mask).cpu(), alpha=0.5, colors=[GREEN])


def _clicked(picture: torch.Tensor, clicks: Sequence[Sequence]) -> torch.Tensor:
    for colour, positive in ((RED, True), (BLUE, False)):
        picture = _dots(picture, [c[:2] for c in clicks if c[2] == positive], colour)
    return picture


def _strip(pictures: Sequence[torch.Tensor]) -> torch.Tensor:
    """Pictures of one size side by side, TILE pixels high."""
    h, w = pictures[0].shape[1:]
    scale = min(TILE / h, 4 * TILE / w)  # a strip of 1 x N pixels stays within the sheet
    size = [max(1, round(side * scale)) for side in (h, w)]
    tiles = [resize(p, size, antialias=True) for p in pictures]
    return make_grid(tiles, nrow=len(tiles), padding=2, pad_value=255)


def _dots(picture: torch.Tensor, points: Sequence[Sequence[int]], colour: tuple[int, int, int]) -> torch.Tensor:
    if not points:
        return picture
    xy = torch.tensor([[[col, row] for row, col in points]])  # torchvision draws at (x, y)
    return draw_keypoints(picture, xy, colors=colour, radius=max(3, picture.shape[1] // 50))


# ---- plots -----------------------------------------------------------------------------------------------------------


class Curve(NamedTuple):
    """Figures over an axis; `low` and `high` bound their 95 % intervals and may be empty."""

    label: str
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


def can_plot() -> bool:
    """Whether matplotlib is there (extra `plots`)."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(curves: Sequence[Curve], axis: str, value: str, file: Path, steep: bool = False) -> None:
    """Draw curves into a PNG; `steep` spreads small x apart (logarithmic beyond 1)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel=axis, ylabel=value)
    for curve in curves:
        axes.plot(curve.x, curve.y, marker="o", markersize=3, label=curve.label)
        if curve.low:
            axes.fill_between(curve.x, curve.low, curve.high, alpha=0.2)
    if steep:
        axes.set_xscale("symlog", linthresh=1)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(file) as temporary:
        figure.savefig(temporary, format="png")
