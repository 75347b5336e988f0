"""Small copies of the official layouts, shared by the tests of the data sets."""

import io
import json
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

TWO_OBJECTS = np.array([[0, 4, 4, 255], [9, 255, 4, 0], [9, 9, 0, 0]])  # an index mask with a void contour
FOUR_VALUES = np.array([[0, 0, 1, 1, 1], [0, 2, 2, 3, 1], [0, 0, 3, 3, 0]])  # of an official LeedsButterfly mask
INCOMPLETE = "ignore:.*complete data set:UserWarning"  # what every small copy is told


def write(path, array, palette=False, **options):
    """Save an array as an image file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array.astype(np.uint8) if array.dtype == int else array)
    if palette:
        image.putpalette([(i * k) % 256 for i in range(256) for k in (3, 5, 7)])
    image.save(path, **options)


def picture(h=3, w=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def folder(root, masks, images="images", into="masks", **options):
    """A plain folder with one image beside each of the masks {name: array}."""
    for name, mask in masks.items():
        write(root / images / f"{name}.png", picture(*np.shape(mask)))
        write(root / into / f"{name}.png", mask, **options)
    return root


def butterflies(root, names=("0010001", "0010002", "0020001"), suffix=".png"):
    """The official layout of LeedsButterfly."""
    for seed, name in enumerate(names):
        write(root / "images" / f"{name}{suffix}", picture(seed=seed))
        write(root / "segmentations" / f"{name}_seg0.png", FOUR_VALUES)
    return root


def voc(root, names=("2007_000032", "2007_000033"), split="val"):
    """The official layout: palette masks, object 4 of class 1, object 9 of class 15, void contours."""
    base = root / "VOCdevkit" / "VOC2012"
    classes = np.select([TWO_OBJECTS == 4, TWO_OBJECTS == 9], [1, 15], TWO_OBJECTS)
    for name in names:
        write(base / "JPEGImages" / f"{name}.jpg", picture(3, 4))
        write(base / "SegmentationObject" / f"{name}.png", TWO_OBJECTS, palette=True)
        write(base / "SegmentationClass" / f"{name}.png", classes, palette=True)
    (base / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
    (base / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))
    return base


def coco(root, annotations, images=((1, 6, 9),), categories=((1, "person"),), names=()):
    """The official layout of COCO 2017 val: annotations as given, images (id, h, w), categories (id, name)."""
    names = names or [f"{i:012d}.jpg" for i, *_ in images]
    listed = [(*image, name) for image, name in zip(images, names, strict=True)]
    for i, h, w, name in listed:
        write(root / "val2017" / name, picture(h, w, seed=i))
    content = {
        "images": [{"id": i, "file_name": name, "height": h, "width": w} for i, h, w, name in listed],
        "categories": [{"id": i, "name": name, "supercategory": "any"} for i, name in categories],
        "annotations": [{"id": k, **a} for k, a in enumerate(annotations, start=1)],
    }
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return root


def box(x, y, w, h):
    """A rectangle as COCO writes it: one polygon x, y, x, y, ..."""
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def annotation(segmentation, image=1, category=1, **more):
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def run_lengths(mask):
    """COCO's uncompressed run lengths, pixel by pixel: down the columns, background first."""
    counts, value = [0], False
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if bool(mask[y, x]) != value:
                counts.append(0)
                value = not value
            counts[-1] += 1
    return {"counts": counts, "size": list(mask.shape)}


def png(colour_type, rows):
    """A 16-bit PNG written by hand (ISO 15948): `rows` (H, W, channels) of big-endian samples, no filter."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    h, w = rows.shape[:2]
    header = struct.pack(">IIBBBBB", w, h, 16, colour_type, 0, 0, 0)
    pixels = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def zipped(files):
    """A zip of files {name: content}."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def dot(mode, value):
    """A PNG of 2 x 2 pixels of one colour."""
    content = io.BytesIO()
    Image.new(mode, (2, 2), value).save(content, "png")
    return content.getvalue()
