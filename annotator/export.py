"""The annotations in other programs' formats: what is visible of each instance, as the index masks have it.

Category ids are those of --categories, also of a category without instances. Images marked as holding no object, and
those that are done without any instance, are images of the data set.
"""

import base64
import glob
import io
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from annotator.history import Event
from annotator.masks import outlines, to_counts
from annotator.store import Store, flat, link, link_name
from loaders.pictures import read_image
from support.checks import image_digest
from support.command_line import progress
from support.files import atomic

LONGEST = 255  # bytes of a file's name


class Exported(NamedTuple):
    """An image with what is visible in it."""

    name: str
    file: str  # its path in the folder
    size: tuple[int, int]  # H, W
    instances: list[tuple[Event, np.ndarray]]  # with (H, W) bool masks


def coco(store: Store) -> str:
    """annotations.json: uncompressed run lengths of every instance, which keep holes."""
    images, left_out = exported(store)
    categories = [{"id": i, "name": c, "supercategory": ""} for i, c in enumerate(store.history.categories, start=1)]
    content: dict[str, list[dict[str, Any]]] = {"images": [], "categories": categories, "annotations": []}
    for i, image in enumerate(images, start=1):
        content["images"].append({"id": i, "file_name": image.file, "height": image.size[0], "width": image.size[1]})
        for e, mask in image.instances:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": i,
                    "category_id": store.history.categories.index(e["category"]) + 1,
                    "segmentation": {"size": e["size"], "counts": to_counts(mask)},
                    "area": int(mask.sum()),
                    "bbox": _box(mask),
                    "iscrowd": 0,
                }
            )
    _write(store.out / "annotations.json", json.dumps(content))
    return f"{store.out / 'annotations.json'}: {_count(images)} as run lengths{left_out}"


def yolo(store: Store) -> str:
    """yolo/data.yaml, labels/NAME.txt (category and polygon, x and y in units of the image) and images/ with links."""
    images, left_out = exported(store)
    out, lost = store.out / "yolo", 0
    for image in images:
        lines, (h, w) = [], image.size
        for e, mask in image.instances:
            polygons, holes = outlines(mask)
            lost += len(holes)
            numbers = (f"{x / w:.6f} {y / h:.6f}" for y, x in _joined(polygons).tolist())
            lines.append(f"{store.history.categories.index(e['category'])} {' '.join(numbers)}")
        _write(out / "labels" / f"{flat(image.name)}.txt", "".join(f"{line}\n" for line in lines))
        if image.name in store.images:
            link(store.images[image.name], out / "images" / link_name(image.name, Path(image.file).suffix))
    for name in _gone(store, images):
        for file in (out / "labels" / f"{name}.txt", *(out / "images").glob(f"{glob.escape(name)}.*")):
            file.unlink(missing_ok=True)
    names = "".join(f"  {i}: {json.dumps(c)}\n" for i, c in enumerate(store.history.categories))
    head = f"path: {json.dumps(out.resolve().as_posix())}\ntrain: images\nval: images\n"
    _write(out / "data.yaml", f"{head}names:\n{names}")
    return f"{out}: {_count(images)} as polygons; {lost} holes are lost, YOLO has none{left_out}"


def labelme(store: Store) -> str:
    """labelme/NAME.json: the polygons of every instance, those of one in a group; one with holes as a mask."""
    images, left_out = exported(store)
    out = store.out / "labelme"
    for image in images:
        shapes: list[dict[str, Any]] = []
        for group, (e, mask) in enumerate(image.instances, start=1):
            polygons, holes = outlines(mask)
            common = {"label": e["category"], "group_id": group, "flags": {}}
            if holes:
                shapes.append({**common, **_mask_shape(mask)})
                continue
            for polygon in polygons:
                points = [[float(x), float(y)] for y, x in polygon.tolist()]
                shapes.append({**common, "points": points, "shape_type": "polygon"})
        content: dict[str, Any] = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imageData": None}
        photo = os.path.relpath((store.folder / image.file).resolve(), out.resolve())
        content |= {"imagePath": photo.replace(os.sep, "/"), "imageHeight": image.size[0], "imageWidth": image.size[1]}
        _write(out / _json_name(flat(image.name)), json.dumps(content))
    for name in _gone(store, images):
        (out / _json_name(name)).unlink(missing_ok=True)
    return f"{out}: {_count(images)} as polygons, those with holes as masks{left_out}"


FORMATS: dict[str, Callable[[Store], str]] = {"coco": coco, "yolo": yolo, "labelme": labelme}


def exported(store: Store) -> tuple[list[Exported], str]:
    """The images of the data set by name, and what is to be said about what is left out or missing."""
    found, hidden, replaced = list[Exported](), 0, list[str]()
    names = sorted({e["image"] for e in store.live} | {image for image, _ in store.history.empty} | store.history.done)
    for name in progress(names, "exporting", len(names)):
        try:
            size = _size(store, name)
        except ValueError:
            replaced.append(name)
            continue
        instances = []
        for category in store.history.categories:
            index = store.index(name, category)
            masks = [(e, index == e["value"]) for e in store.instances(name, category)]
            instances += [(e, mask) for e, mask in masks if mask.any()]
            hidden += sum(not mask.any() for _, mask in masks)
        if size:
            found.append(Exported(name, store.photo(name), size, instances))
    said = f"; {hidden} instances that others cover are left out" if hidden else ""
    if replaced:
        what = f"{len(replaced)} images whose photo is not the annotated one are left out ({replaced[0]} ...)"
        said += f"; {what}: put the old file back and export again"
    if gone := [store.photo(name) for name in names if name not in store.images]:
        said += f"; {len(gone)} photos are missing ({gone[0]} ...): put them back into {store.folder} and export again"
    return found, said


def _size(store: Store, name: str) -> tuple[int, int] | None:
    """(H, W) of an image, None of one that is gone and has no instance; ValueError if it is no or another photo."""
    instances = store.instances(name)
    if name not in store.images:
        return instances[0]["size"] if instances else None
    pixels = read_image(store.images[name])
    store.check_photo(name, image_digest(pixels), pixels.shape[:2])
    return pixels.shape[0], pixels.shape[1]


def _count(images: list[Exported]) -> str:
    return f"{sum(len(image.instances) for image in images)} instances of {len(images)} images"


def _joined(polygons: list[np.ndarray]) -> np.ndarray:
    """YOLO has one polygon per instance: the parts, closed, joined by lines there and back from the first's start."""
    first, *others = polygons
    back = [part for p in others for part in (p, p[:1], first[:1])]
    return np.concatenate([first, *([first[:1], *back] if others else [])])


def _mask_shape(mask: np.ndarray) -> dict[str, Any]:
    """Labelme's shape of the kind 'mask': the corners of its box, both inclusive, and a PNG of what is in it."""
    x, y, w, h = _box(mask)
    file = io.BytesIO()
    Image.fromarray(mask[y : y + h, x : x + w]).save(file, "PNG")
    points = [[float(x), float(y)], [float(x + w - 1), float(y + h - 1)]]
    return {"points": points, "shape_type": "mask", "mask": base64.b64encode(file.getvalue()).decode()}


def _json_name(name: str) -> str:
    """NAME.json; where a file system takes no name as long as that, its beginning and a checksum."""
    whole = os.fsencode(f"{name}.json")
    return f"{name}.json" if len(whole) <= LONGEST else f"{name[:50]}-{zlib.crc32(whole):08x}.json"


def _gone(store: Store, images: list[Exported]) -> list[str]:
    """Names of the files that an earlier export may have written of images that are no longer among them."""
    return sorted({flat(e["image"]) for e in store.events if "image" in e} - {flat(image.name) for image in images})


def _box(mask: np.ndarray) -> list[int]:
    rows, cols = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
    return [int(v) for v in (cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1)]


def _write(file: Path, text: str) -> None:
    with atomic(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
