"""Figs. 4-6: sheets of pictures of annotated instances, plots with matplotlib where it is."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from experiments.drawing import GREEN, Row, blank, heated, joined, marked, masked, page, parted, plain
from experiments.ledger import ROWS, Ledger, Run, data_name
from robot_user import noc
from support.files import atomic

SHEET = 6  # instances in a picture sheet
HEADINGS = ("Image", "Confidence map, proposal", "Prediction, clicks", "Ground truth")
ASSISTANCE = {"a": "clicks alone", "b": "proposals", "c": "online optimisation", "d": "proposals, online optimisation"}


# ---- the sheet of a run ----------------------------------------------------------------------------------------------


def save_tile(shot: dict[str, Any], folder: Path, run: Run) -> None:
    """Write the pictures of an instance, without text, to FOLDER/sheet, for `sheet`.

    shot:  `index`, `sample`, `confidence`, `proposal`, `correct`, `clicks` and `mask` of `siis.Annotated`.
    """
    image, shape = shot["sample"].image, shot["sample"].mask.shape
    star = shot["proposal"] if shot["correct"] else None
    pictures = [
        plain(image),
        _map(shot, "first image:\nno proposal yet" if ROWS[run.row].icp else f"row ({run.row}):\nno proposals"),
        marked(masked(image, shot["mask"]), shape, shot["clicks"][bool(shot["correct"]) :], star),
        masked(image, shot["sample"].mask, GREEN),
    ]
    with atomic(tile(folder, run, shot["index"])) as temporary:
        joined(pictures).save(temporary, format="png")


def tile(folder: Path, run: Run, index: int) -> Path:
    """The file of the pictures of an instance."""
    return folder / "sheet" / f"{run.name}-{index:06d}.png"


def sheet(ledger: Ledger, data: str) -> Path | None:
    """Lay out the pictures of the last run that has some, with what its ledger says: OUT/sheet.png, or None."""
    drawn: dict[Run, list[tuple[Path, dict[str, Any]]]] = {}
    for file in sorted((ledger.folder / "sheet").glob("[!.]*.png")):
        for run, records in ledger.runs.items():
            index = file.stem.removeprefix(f"{run.name}-")
            if index.isdecimal() and int(index) < len(records):
                drawn.setdefault(run, []).append((file, records[int(index)]))
    if not drawn:
        return None
    run, rows = max(drawn), []
    for file, record in drawn[run]:
        with Image.open(file) as whole:
            rows.append(Row(parted(whole.convert("RGB"), len(HEADINGS)), _captions(record, run, ledger)))
    name = "Built-in sequence" if data == "Synthetic" else data_name(data)
    title = f"{name}, row ({run.row}) of Tab. 1: {ASSISTANCE[run.row]}. Target: IoU {run.target * 100:g} %"
    page(title, HEADINGS, rows, ledger.folder / "sheet.png")
    return ledger.folder / "sheet.png"


def _captions(record: dict[str, Any], run: Run, ledger: Ledger) -> list[str]:
    """What stands below the four pictures of an instance."""
    index, category = record["index"], record["category"]
    nth = sum(c == category for _, c in ledger.labels[: index + 1])
    row_a = ledger.of(run._replace(row="a", seed=0))
    versus = f" (row (a): {noc(row_a[index]['ious'], run.target)})" if run.row != "a" and index < len(row_a) else ""
    clicks, reached = noc(record["ious"], run.target), max(record["ious"]) >= run.target
    needed = f"{clicks} click{'s' * (clicks != 1)}" if reached else "not reached"
    verdict = {None: "", True: "proposal correct", False: "proposal wrong"}[record["correct"]]
    return [f"{category} no. {nth}", verdict, needed + versus, f"IoU {record['ious'][-1]:.0%}"]


def _map(shot: dict[str, Any], otherwise: str) -> Image.Image:
    """The confidence map with the proposal, or why there is none."""
    image = shot["sample"].image
    if shot["confidence"] is None:
        return blank(image, otherwise)
    return marked(heated(image, shot["confidence"]), image.shape, (), shot["proposal"])


# ---- Figs. 5 and 6 ---------------------------------------------------------------------------------------------------


def save_proposals(shots: Sequence[dict[str, Any]], title: str, file: Path) -> None:
    """Fig. 5: image, confidence map with the proposal, prediction from it, or from the user's first click, alone."""
    rows = []
    for shot in shots:
        image, star = shot["sample"].image, shot["proposal"]
        first, wrong = ((), "proposal correct") if shot["correct"] else (shot["clicks"][:1], "the user's first click")
        result = marked(masked(image, shot["masks"][0]), image.shape, first, star if shot["correct"] else None)
        pictures = [plain(image), _map(shot, "first image:\nno proposal yet"), result]
        rows.append(
            Row(pictures, [shot["category"], {None: "", True: "correct", False: "wrong"}[shot["correct"]], wrong])
        )
    page(title, ("Image", "Confidence map, proposal", "Prediction from one click"), rows, file)


def save_first_clicks(pairs: Sequence[Sequence[dict[str, Any]]], title: str, file: Path) -> None:
    """Fig. 6: ground truth, then for rows (a) and (c) the predictions after 1, 2 and 3 clicks.

    Where fewer clicks were enough, the last prediction stays.
    """
    headings = ["Ground truth"]
    for row in "ac":
        headings += [f"({row}), {k} click{'s' * (k > 1)}" for k in range(1, len(pairs[0][0]["masks"]) + 1)]
    rows = []
    for pair in pairs:
        image = pair[0]["sample"].image
        pictures, captions = [masked(image, pair[0]["sample"].mask, GREEN)], [pair[0]["category"]]
        for shot in pair:
            for k, mask in enumerate(shot["masks"], start=1):
                pictures.append(marked(masked(image, mask), image.shape, shot["clicks"][:k]))
                captions.append("" if k <= len(shot["clicks"]) else "content before")
        rows.append(Row(pictures, captions))
    page(title, headings, rows, file)


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
