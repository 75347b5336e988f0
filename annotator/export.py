"""The annotations in other programs' formats: COCO run lengths, which keep holes, and polygons, which lose them."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from annotator.store import Event, Store, from_counts
from support.files import atomic

STEPS = {(0, 1): 0, (1, 0): 1, (0, -1): 2, (-1, 0): 3}  # along pixel edges: right, down, left, up


def coco(store: Store) -> str:
    """annotations.json: uncompressed run lengths of every instance."""
    events, categories = _sorted(store)
    names = list(dict.fromkeys(e["image"] for e in events))
    sizes = {e["image"]: e["size"] for e in events}
    content = {
        "info": {"description": "annotated with siis"},
        "images": [
            {"id": i, "file_name": _file(store, n), "height": sizes[n][0], "width": sizes[n][1]}
            for i, n in enumerate(names, start=1)
        ],
        "categories": [{"id": i, "name": c, "supercategory": ""} for i, c in enumerate(categories, start=1)],
        "annotations": [
            {
                "id": i,
                "image_id": names.index(e["image"]) + 1,
                "category_id": categories.index(e["category"]) + 1,
                "segmentation": {"size": e["size"], "counts": e["counts"]},
                "area": sum(e["counts"][1::2]),
                "bbox": _box(from_counts(e["counts"], e["size"])),
                "iscrowd": 0,
            }
            for i, e in enumerate(events, start=1)
        ],
    }
    _write(store, "annotations.json", json.dumps(content))
    return f"{store.out / 'annotations.json'}: {len(events)} instances of {len(names)} images as run lengths"


def yolo(store: Store) -> str:
    """yolo/labels/NAME.txt: category and polygon, x and y in units of the image; yolo/data.yaml the names."""
    events, categories = _sorted(store)
    lost = 0
    for name in dict.fromkeys(e["image"] for e in events):
        lines = []
        for e in events:
            if e["image"] == name:
                (h, w), (polygons, holes) = e["size"], outlines(from_counts(e["counts"], e["size"]))
                lost += holes
                points = [p for polygon in _joined(polygons) for p in polygon]
                numbers = (f"{x / w:.6f} {y / h:.6f}" for y, x in points)
                lines.append(f"{categories.index(e['category'])} {' '.join(numbers)}")
        _write(store, f"yolo/labels/{name}.txt", "".join(f"{line}\n" for line in lines))
    _clear(store, "yolo/labels/{}.txt")
    names = "".join(f"  {i}: {json.dumps(c)}\n" for i, c in enumerate(categories))
    _write(store, "yolo/data.yaml", f"names:\n{names}")
    return f"{store.out / 'yolo'}: {len(events)} instances as polygons; {lost} holes are lost, YOLO has none"


def labelme(store: Store) -> str:
    """labelme/NAME.json: the polygons of every instance, those of one in a group."""
    events, _ = _sorted(store)
    lost = 0
    for name in dict.fromkeys(e["image"] for e in events):
        shapes, mine = [], [e for e in events if e["image"] == name]
        for group, e in enumerate(mine, start=1):
            polygons, holes = outlines(from_counts(e["counts"], e["size"]))
            lost += holes
            for polygon in polygons:
                points = [[float(x), float(y)] for y, x in polygon]
                shapes.append(
                    {"label": e["category"], "points": points, "group_id": group, "shape_type": "polygon", "flags": {}}
                )
        h, w = mine[0]["size"]
        content: dict[str, Any] = {"version": "5.0.0", "flags": {}, "shapes": shapes, "imageData": None}
        content |= {"imagePath": _file(store, name), "imageHeight": h, "imageWidth": w}
        _write(store, f"labelme/{name}.json", json.dumps(content))
    _clear(store, "labelme/{}.json")
    return f"{store.out / 'labelme'}: {len(events)} instances as polygons; {lost} holes are lost, labelme has none"


FORMATS: dict[str, Callable[[Store], str]] = {"coco": coco, "yolo": yolo, "labelme": labelme}


def outlines(mask: np.ndarray) -> tuple[list[list[tuple[int, int]]], int]:
    """Outer outlines of an (H, W) bool mask and the number of its holes.

    Returns:  polygons of (row, col) corners of pixels, 0..H and 0..W, one for each 4-connected region, clockwise;
              filled, they give the mask back without its holes.
    """
    inside = np.pad(np.asarray(mask, bool), 1)
    core = inside[1:-1, 1:-1]
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}  # corner -> steps to the next ones, the mask on the right
    for neighbour, start, step in (
        (inside[:-2, 1:-1], (0, 0), (0, 1)),
        (inside[1:-1, 2:], (0, 1), (1, 0)),
        (inside[2:, 1:-1], (1, 1), (0, -1)),
        (inside[1:-1, :-2], (1, 0), (-1, 0)),
    ):
        for row, col in np.argwhere(core & ~neighbour).tolist():
            edges.setdefault((row + start[0], col + start[1]), []).append(step)
    polygons, holes = [], 0
    while edges:
        polygon = _loop(edges)
        if _area(polygon) > 0:
            polygons.append(polygon)
        else:
            holes += 1
    return polygons, holes


def _loop(edges: dict[tuple[int, int], list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Remove one closed line from the edges: its corners. Where two lines touch it turns right: they stay separate."""
    at = start = min(edges)
    last, corners = (0, 0), list[tuple[int, int]]()
    while not corners or at != start:
        steps = edges[at]
        turns = [step for step in steps if last in STEPS and (STEPS[step] - STEPS[last]) % 4 == 1]
        step = turns[0] if turns else steps[0]
        steps.remove(step)
        if not steps:
            del edges[at]
        if step != last:
            corners.append(at)
        at, last = (at[0] + step[0], at[1] + step[1]), step
    return corners


def _area(polygon: list[tuple[int, int]]) -> float:
    """Signed area in pixels: positive clockwise on the screen."""
    y, x = np.array(polygon, float).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _joined(polygons: list[list[tuple[int, int]]]) -> list[list[tuple[int, int]]]:
    """YOLO has one polygon per instance: the parts, closed, joined by lines there and back from the first's start."""
    if len(polygons) < 2:
        return polygons
    start = polygons[0][0]
    return [[*polygons[0], start], *([*p, p[0], start] for p in polygons[1:])]


def _sorted(store: Store) -> tuple[list[Event], list[str]]:
    events = sorted(store.live, key=lambda e: (e["image"], e["category"], e["value"]))
    return events, sorted({e["category"] for e in events})


def _clear(store: Store, file: str) -> None:
    """Remove what an earlier export wrote of images whose instances have all been deleted or undone since."""
    for name in {e["image"] for e in store.events if e["event"] == "finish"} - {e["image"] for e in store.live}:
        (store.out / file.format(name)).unlink(missing_ok=True)


def _file(store: Store, name: str) -> str:
    return store.images[name].name if name in store.images else name


def _box(mask: np.ndarray) -> list[int]:
    rows, cols = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
    return [int(v) for v in (cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1)]


def _write(store: Store, name: str, text: str) -> None:
    with atomic(store.out / name) as temporary:
        temporary.write_text(text, encoding="utf-8")
