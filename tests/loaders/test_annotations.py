"""Sec. 4.1, Datasets: COCO-style JSON as people have it, converted where it is plain, else refused in one line."""

import copy
import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import annotation, box, picture, write

from loaders.coco import COCO, CocoStyle

SHAPE = (6, 9)
SQUARE = np.zeros(SHAPE, bool)
SQUARE[1:3, 1:4] = True
CONTENT = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "height": 6, "width": 9},
        {"id": 2, "file_name": "b.jpg", "height": 6, "width": 9},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "dog"}],
    "annotations": [
        {"id": 5, **annotation(box(1, 1, 3, 2))},
        {"id": 6, **annotation({"counts": [7, 2, 4, 2, 4, 2, 33], "size": [6, 9]}, image=2, category=3)},
        {"id": 7, **annotation({"counts": "724000m0", "size": [6, 9]}, image=2, category=3)},
    ],
}
EVERY = st.sampled_from(
    [
        *[None, True, 0, -1, 1, 1.0, 2.5, 3, 7, 1e30, 10**30, float("nan"), float("inf"), "", "1", " 1 ", "01", "x"],
        *[
            "b.jpg",
            "..",
            "a\0",
            "/",
            "é",
            "\ud800",
            "null",
            [],
            {},
            [1],
            [[1, 1, 4, 1, 4, 3]],
            [[1, 2], [3, 4]],
            [None],
        ],
        *[{"id": 1}, {"counts": "724000m0", "size": [6, 9]}, {"counts": [54.0], "size": ["6", 9.0]}],
        [[[1, 1], [4, 1], [4, 3]]],
    ]
)


def changed(*places):
    """The small valid content with values replaced, given as (keys ..., value)."""
    content = copy.deepcopy(CONTENT)
    for *path, last, value in places:
        part = content
        for key in path:
            part = part[key]
        part[last] = value
    return content


def without(*path):
    content = copy.deepcopy(CONTENT)
    part = content
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    return content


def opened(folder, content, **options):
    """The data set of this content, and its images, if they are not there yet."""
    for name in ("a.jpg", "b.jpg"):
        if not (folder / name).exists():
            write(folder / name, picture(*SHAPE))
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "file.json").unlink(missing_ok=True)  # quicker than to write over it
    (folder / "file.json").write_bytes(text)
    return CocoStyle(folder / "file.json", folder, **options)


def places(value, path=()):
    """The paths of all values of a JSON content, itself left out."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, part in inside for p in ((*path, key), *places(part, (*path, key)))]


def reaches(part, key):
    """Whether a part of a content, which an earlier change may have replaced, has this key or place."""
    return (
        key in part if isinstance(part, dict) else isinstance(part, list) and isinstance(key, int) and key < len(part)
    )


# ---- what is plain ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        CONTENT,
        changed(("images", 0, "id", "1"), ("categories", 0, "id", "1")),
        changed(("annotations", 0, "image_id", "1"), ("annotations", 0, "category_id", 1.0)),
        changed(("images", 0, "id", "000001")),
        changed(("images", 0, "id", "one"), ("annotations", 0, "image_id", "one")),
        changed(("images", 0, "height", 6.0), ("images", 0, "width", "9")),
        changed(("annotations", 0, "iscrowd", "0")),
        changed(("annotations", 0, "iscrowd", False)),
        without("annotations", 0, "iscrowd"),
        without("annotations", 0, "id"),
        changed(("annotations", 0, "area", float("nan"))),
        changed(("annotations", 0, "segmentation", box(1, 1, 3, 2)[0])),
        changed(("annotations", 0, "segmentation", [[1, 1], [4, 1], [4, 3], [1, 3]])),
        changed(("annotations", 0, "segmentation", [[[1, 1], [4, 1], [4, 3], [1, 3]]])),
        changed(("annotations", 0, "segmentation", [["1", "1", "4.0", "1", "4", "3", "1", "3"]])),
        changed(("annotations", 0, "segmentation", {"counts": ["7", 2.0, 4, 2, 4, 2, 33], "size": ["6", 9.0]})),
        {**CONTENT, "images": [*CONTENT["images"], CONTENT["images"][0]]},
        b"\xef\xbb\xbf" + json.dumps(CONTENT).encode(),
        json.dumps(CONTENT).encode("utf-16"),
    ],
)
def test_what_is_plain_is_read_as_it_is_meant(tmp_path, content):
    """`read_annotations`: ids, sizes and counts of any spelling, a byte-order mark, polygons of any nesting."""
    data = opened(tmp_path, content)
    assert [(s.name, s.category) for s in data] == [("a", "person"), ("b", "dog"), ("b", "dog")]
    assert [(s.mask == SQUARE).all() for s in data] == [True] * 3


def test_a_category_may_be_named_by_a_number_and_two_of_one_name_stay_apart(tmp_path):
    """D27: one bank, one memory, one set of parameters per category; a name is a text everywhere."""
    assert [s.category for s in opened(tmp_path, changed(("categories", 0, "name", 7)))] == ["7", "dog", "dog"]
    same = opened(tmp_path, changed(("categories", 0, "name", "dog")))
    assert [s.category for s in same] == ["dog (1)", "dog (3)", "dog (3)"]
    unused = {**CONTENT, "categories": [{"id": 0, "name": "dog"}, *CONTENT["categories"]]}
    assert [s.category for s in opened(tmp_path, unused)] == ["person", "dog", "dog"]


def test_ids_of_mixed_kind_are_sorted(tmp_path):
    """D27: categories by id; numbers come before texts."""
    content = changed(("categories", 0, "id", "zebra"), ("annotations", 0, "category_id", "zebra"))
    assert [s.category for s in opened(tmp_path, content)] == ["dog", "dog", "person"]


def test_images_that_share_a_stem_keep_their_suffix(tmp_path):
    """`Sample`: the name of an image is no other's."""
    write(tmp_path / "a.png", picture(*SHAPE))
    data = opened(tmp_path, changed(("images", 1, "file_name", "a.png")))
    assert [s.name for s in data] == ["a.jpg", "a.png", "a.png"]


def test_backslashes_and_other_unicode_forms_of_a_file_name_are_found(tmp_path):
    """`read_annotations`: files made on Windows, and archives that decompose letters."""
    decomposed, composed = (unicodedata.normalize(form, "é.jpg") for form in ("NFD", "NFC"))
    write(tmp_path / "sub" / "x.jpg", picture(*SHAPE))
    write(tmp_path / decomposed, picture(*SHAPE))
    data = opened(tmp_path, changed(("images", 0, "file_name", "sub\\x.jpg"), ("images", 1, "file_name", composed)))
    assert [s.image.shape for s in data] == [(*SHAPE, 3)] * 3
    assert data[0].name == "sub/x"


@pytest.mark.parametrize(
    "nothing", [None, [], [[]], [[1, 1, 4, 4]], box(-9, -9, 5, 5), {"counts": [54], "size": [6, 9]}]
)
def test_an_annotation_without_a_mask_is_left_out_with_one_warning(tmp_path, nothing):
    """`CocoStyle`: also one with a box alone; never skip without saying so."""
    with pytest.warns(UserWarning, match=r"file\.json: 1 annotations without a pixel") as said:
        data = opened(tmp_path, changed(("annotations", 0, "segmentation", nothing)))
    assert len(said) == 1
    assert len(data) == 2


# ---- what is not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (changed(("images", 1, "id", 1)), r"images\[1\] \(id 1\): duplicate id, for 'a\.jpg' and 'b\.jpg'"),
        (changed(("images", 1, "id", "1")), r"images\[1\] \(id '1'\): duplicate id"),
        (changed(("annotations", 1, "id", 5)), r"annotations\[1\] \(id 5\): duplicate id"),
        (changed(("categories", 1, "id", 1)), r"categories\[1\] \(id 1\): duplicate id, for 'person' and 'dog'"),
        (without("images", 0, "id"), r"images\[0\]: id is missing"),
        (changed(("images", 0, "id", None)), r"images\[0\]: id is null"),
        (changed(("images", 0, "id", [1])), r"images\[0\] \(id \[1\]\): id is \[1\]"),
        (changed(("categories", 0, "name", None)), r"categories\[0\] \(id 1\): name is missing or null"),
        (changed(("categories", 0, "name", [])), r"categories\[0\] \(id 1\): name is \[\]"),
        (changed(("images", 0, "height", None)), r"images\[0\] \(id 1\): height is null"),
        (changed(("images", 0, "height", 6.5)), r"images\[0\] \(id 1\): height is 6\.5"),
        (changed(("images", 0, "width", 0)), r"images\[0\] \(id 1\): width is 0; expected .* at least 1"),
        (changed(("images", 0, "width", 10**9)), r"images\[0\] \(id 1\): height and width are 6 x 1000000000"),
        (changed(("images", 0, "file_name", None)), r"images\[0\] \(id 1\): file_name is missing"),
        (changed(("images", 0, "file_name", "../a.jpg")), r"images\[0\] \(id 1\): file_name .*leads out"),
        (changed(("annotations", 0, "iscrowd", "maybe")), r"annotations\[0\] \(id 5\): iscrowd is 'maybe'"),
        (changed(("annotations", 0, "image_id", 9)), r"annotations\[0\] \(id 5\): image_id is 9, which no entry has"),
        (without("annotations", 0, "category_id"), r"annotations\[0\] \(id 5\): category_id is missing"),
        (changed(("annotations", 0, None)), r"annotations\[0\] is null, expected an object"),
        (changed(("images", {})), r"it has \{\} as images, expected a list"),
        (without("categories"), "it has no categories, expected a list"),
        ([CONTENT], r"it holds \[.*expected images, annotations and categories"),
        (b"[" * 100_000, "not a readable JSON file"),
    ],
)
def test_what_is_not_plain_is_one_line_that_names_file_entry_and_field(tmp_path, content, named):
    """`read_annotations`: ValueError naming all three."""
    with pytest.raises(ValueError, match=rf"file\.json: .*{named}") as error:
        opened(tmp_path, content)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:.*complete data set:UserWarning")
def test_lists_without_an_entry_are_said_to_be_empty(tmp_path):
    """`CocoStyle`: no instance, no data set."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    file = tmp_path / "annotations" / "instances_val2017.json"
    file.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(ValueError, match="no instance"):
        COCO(str(tmp_path))


@settings(max_examples=2_000)
@given(st.lists(st.tuples(st.sampled_from(places(CONTENT)), EVERY), min_size=1, max_size=3), st.booleans())
@pytest.mark.filterwarnings("ignore:.*without a pixel:UserWarning")
def test_two_thousand_variations_of_a_small_file_are_read_or_refused_in_one_line(tmp_path_factory, edits, crowds):
    """CONTRIBUTING, 'How errors read': never a traceback; what is read has a pixel."""
    content = copy.deepcopy(CONTENT)
    for path, value in edits:
        part = content
        for key in path[:-1]:
            part = part[key] if reaches(part, key) else {}
        if reaches(part, path[-1]):
            part[path[-1]] = copy.deepcopy(value)
    folder = tmp_path_factory.getbasetemp()
    refusal = None
    try:
        data = opened(folder, content, crowds=crowds)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert f"{folder}/file.json: " in refusal
    else:
        assert all(data.masks(item)[0].any() and isinstance(item.category, str) for item in data.items)
