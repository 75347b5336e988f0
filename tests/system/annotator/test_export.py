"""annotator/export.py: other programs read what is annotated, as it is."""

import base64
import io
import json

import numpy as np
import pytest
from layouts import write
from lines import event
from PIL import Image, ImageDraw
from test_masks import filled

from annotator import export
from annotator.store import Store
from loaders.pictures import read_mask


@pytest.fixture
def annotated(annotated):
    """The same with the categories of a command line, of which one has no instance."""
    annotated[0].name_categories(["starfish", "clover", "moth"])
    return annotated


def coco(store):
    export.coco(store)
    return json.loads((store.out / "annotations.json").read_text())


def test_an_instance_that_is_wholly_covered_is_left_out_and_counted(store):
    """PNG, COCO and the page's list agree on what is visible; nothing is dropped in silence."""
    store.add(event(4, "synthetic-0000", np.ones((64, 64), bool)))
    assert "1 instances of 2 images" not in export.coco(store)
    assert "2 instances of 2 images as run lengths; 2 instances that others cover are left out" in export.coco(store)
    assert [a["category_id"] for a in coco(store)["annotations"]] == [1, 2]
    assert [bool(v) for v in store.visible("synthetic-0000", "starfish").values()] == [False, False, True]
    assert np.unique(read_mask(store.mask_file("synthetic-0000", "starfish"))).tolist() == [4]


def test_category_ids_are_those_of_categories_whatever_is_annotated(store):
    """A category without an instance keeps its id, and so do those after it."""
    assert [(c["id"], c["name"]) for c in coco(store)["categories"]] == [(1, "starfish"), (2, "clover"), (3, "moth")]
    export.yolo(store)
    assert '  0: "starfish"\n  1: "clover"\n  2: "moth"\n' in (store.out / "yolo" / "data.yaml").read_text()
    assert (store.out / "yolo" / "labels" / "synthetic-0002.txt").read_text().startswith("1 ")
    store.add({"event": "delete", "id": 1}, {"event": "delete", "id": 2})
    assert [a["category_id"] for a in coco(store)["annotations"]] == [2]


def test_images_without_objects_are_images_of_the_data_set(store):
    """'No object' and 'image done' are what a person said of an image; YOLO takes an empty file for it."""
    store.add({"event": "empty", "image": "synthetic-0001", "category": "starfish", "empty": True})
    store.add({"event": "done", "image": "synthetic-0003", "done": True})
    assert [i["file_name"] for i in coco(store)["images"]] == [f"synthetic-000{k}.png" for k in range(4)]
    assert coco(store)["images"][1]["height"] == 64
    export.yolo(store)
    assert (store.out / "yolo" / "labels" / "synthetic-0001.txt").read_text() == ""
    assert (store.out / "yolo" / "images" / "synthetic-0001.png").exists()


def test_a_photo_that_was_renamed_keeps_its_name_with_suffix(store, photos):
    """The line knows the file, so that what is exported can be found again."""
    (photos / "synthetic-0002.png").rename(photos / "other.png")
    again = Store(photos, store.out)
    assert [i["file_name"] for i in coco(again)["images"]] == ["synthetic-0000.png", "synthetic-0002.png"]
    remedy = f"; 1 photos are missing (synthetic-0002.png ...): put them back into {photos} and export again"
    assert export.labelme(again).endswith(remedy)
    content = json.loads((store.out / "labelme" / "synthetic-0002.json").read_text())
    assert content["imagePath"].endswith("/synthetic-0002.png")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with NumPy 2
def test_pycocotools_opens_the_file_and_finds_the_masks_holes_included(annotated):
    """The public reader of the format gives back every mask, its image and its category."""
    reader = pytest.importorskip("pycocotools.coco", reason="no pycocotools: pip install -e '.[dev]'")
    store, ring, square = annotated
    assert "3 instances of 2 images" in export.coco(store)
    read = reader.COCO(str(store.out / "annotations.json"))
    found = read.loadAnns(read.getAnnIds())
    assert len(found) == 3
    for annotation, mask in zip(found, (ring & ~square, square, ring), strict=True):
        assert np.array_equal(read.annToMask(annotation).astype(bool), mask)
        assert annotation["area"] == mask.sum()
    assert found[0]["bbox"] == [5, 5, 25, 25]
    (last,) = read.loadAnns(read.getAnnIds(catIds=read.getCatIds(["clover"])))
    assert read.loadImgs(last["image_id"])[0]["file_name"] == "synthetic-0002.png"


def test_yolo_is_a_data_set_as_it_is(store):
    """data.yaml names path, train, val and categories; every label has its image; lost holes are counted."""
    assert "2 holes are lost" in export.yolo(store)
    text = (store.out / "yolo" / "data.yaml").read_text()
    values = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(" ") and ": " in line)
    assert json.loads(values["path"]) == (store.out / "yolo").resolve().as_posix()
    for part in ("train", "val"):
        assert (store.out / "yolo" / values[part] / "synthetic-0000.png").exists()
    line = (store.out / "yolo" / "labels" / "synthetic-0002.txt").read_text().split()
    corners = {(float(x) * 64, float(y) * 64) for x, y in zip(line[1::2], line[2::2], strict=True)}
    assert corners == {(5, 5), (30, 5), (30, 30), (5, 30)}


def test_labelme_finds_the_photo_and_keeps_holes(annotated):
    """imagePath leads from the JSON to the photo; an instance with holes is a shape of the kind 'mask'."""
    store, ring, square = annotated
    export.labelme(store)
    for name, masks in (("synthetic-0000", [ring & ~square, square]), ("synthetic-0002", [ring])):
        content = json.loads((store.out / "labelme" / f"{name}.json").read_text())
        assert (store.out / "labelme" / content["imagePath"]).samefile(store.images[name])
        assert len({s["group_id"] for s in content["shapes"]}) == len(masks)
        for group, mask in enumerate(masks, start=1):
            shapes = [s for s in content["shapes"] if s["group_id"] == group]
            assert np.array_equal(drawn(shapes, mask.shape), mask)


def drawn(shapes, size):
    """What labelme shows of some shapes."""
    found = np.zeros(size, bool)
    for s in shapes:
        if s["shape_type"] == "mask":
            (x0, y0), (x1, y1) = np.array(s["points"], int)
            part = np.asarray(Image.open(io.BytesIO(base64.b64decode(s["mask"])))).astype(bool)
            found[y0 : y1 + 1, x0 : x1 + 1] |= part
        else:
            found |= filled([[(int(y), int(x)) for x, y in s["points"]]], size)
    return found


PARTS = [[(10, 10, 40, 30), (15, 100, 35, 120)], [(40, 60, 50, 70), (2, 3, 9, 50), (20, 5, 60, 25)]]


@pytest.mark.parametrize("parts", PARTS)
def test_a_yolo_polygon_of_several_parts_is_filled_as_the_mask(photos, parts):
    """YOLO has one polygon per instance; Pillow fills it, sixteen times enlarged, and not what lies between."""
    mask = np.zeros((64, 128), bool)
    for top, left, bottom, right in parts:
        mask[top:bottom, left:right] = True
    write(photos / "synthetic-0000.png", np.zeros((64, 128, 3), np.uint8))
    store = Store(photos, photos.parent / "out")
    store.add(event(1, "synthetic-0000", mask))
    export.yolo(store)
    numbers = [float(v) for v in (store.out / "yolo" / "labels" / "synthetic-0000.txt").read_text().split()[1:]]
    points = [(round(x * 128) * 16, round(y * 64) * 16) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    picture = Image.new("L", (128 * 16, 64 * 16))
    ImageDraw.Draw(picture).polygon(points, fill=1)
    shares = np.asarray(picture, float).reshape(64, 16, 128, 16).mean(axis=(1, 3))
    np.testing.assert_array_equal(shares > 0.5, mask)


def test_a_photo_whose_name_is_as_long_as_a_file_system_takes_is_exported(photos, sequence):
    """255 bytes with .png: .json would be one too many, and two such names differ in their last letter alone."""
    names = ["a" * 250 + last for last in "bc"]
    for name in names:
        write(photos / f"{name}.png", sequence[0].image)
    store = Store(photos, photos.parent / "out")
    for number, name in enumerate(names, start=1):
        store.add(event(number, name, np.ones((64, 64), bool)))
    for make in export.FORMATS.values():
        assert "2 instances of 2 images" in make(store)
    files = list((store.out / "labelme").iterdir())
    found = {(store.out / "labelme" / json.loads(f.read_text())["imagePath"]).resolve().stem for f in files}
    assert found == set(names)
    store.add({"event": "delete", "id": 1}, {"event": "delete", "id": 2})
    export.labelme(store)
    assert list((store.out / "labelme").iterdir()) == []


def test_an_export_leaves_nothing_of_what_was_deleted_since_and_no_file_of_others_is_touched(store):
    """An export is what is annotated now; files that no export made stay."""
    for make in export.FORMATS.values():
        make(store)
    others = [store.out / "yolo" / "labels" / "synthetic-0001.txt", store.out / "labelme" / "mine.json"]
    for file in others:
        file.write_text("of somebody else")
    store.add({"event": "delete", "id": 3})
    for make in export.FORMATS.values():
        make(store)
    left = {
        p.relative_to(store.out).as_posix()
        for f in ("yolo/labels", "yolo/images", "labelme")
        for p in (store.out / f).iterdir()
    }
    names = {f.relative_to(store.out).as_posix() for f in others}
    mine = ("yolo/labels/{}.txt", "yolo/images/{}.png", "labelme/{}.json")
    assert left == names | {form.format("synthetic-0000") for form in mine}
