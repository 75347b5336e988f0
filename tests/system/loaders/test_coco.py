"""Sec. 4.1, Datasets: COCO in the paper's settings and Fashionpedia, polygons and run lengths. Rows: D12, D27."""

import copy
import json
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from layouts import INCOMPLETE, annotation, box, coco, picture, run_lengths, write
from strategies import seeds

from loaders.coco import COCO, SEEN, SETTINGS, CocoStyle, Fashionpedia, decode

mask_api = pytest.importorskip("pycocotools.mask", reason='polygons: pip install -e ".[coco]"')
pytestmark = pytest.mark.filterwarnings(INCOMPLETE)

PASCAL = """person; bicycle; car; motorcycle; airplane; bus; train; boat; bird; cat; dog; horse; sheep; cow; bottle;
chair; couch; potted plant; dining table; tv""".replace("\n", " ").split("; ")

SHAPE = (6, 9)  # of the image of the small layout
CORNER = [[1, 1, 8, 1, 8, 2, 3, 2, 3, 5, 1, 5]]  # an L on its side: 7 px along x, then 2 px wide down to y = 5
ROWS_OF_CORNER = [".........", ".#######.", ".##......", ".##......", ".##......", "........."]
HOLED = [".........", "..#####..", "..#.###..", "..#..##..", "..#####..", "........."]  # asymmetric in x and y


def pixels(rows):
    return np.array([[c == "#" for c in row] for row in rows])


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_the_samples_come_by_category_id_and_then_in_the_order_of_the_images(tmp_path):
    """D27: file order; bank, memory and parameters for each category, whose samples follow each other."""
    places = [(5, 2), (2, 1), (5, 9), (2, 9), (5, 2), (2, 2)]  # (category, image) of the annotations
    annotations = [annotation(box(0, 0, 2, 1 + k % 5), image, category) for k, (category, image) in enumerate(places)]
    data = COCO(coco(tmp_path, annotations, ((9, 6, 9), (1, 6, 9), (2, 6, 9)), ((5, "airplane"), (2, "bicycle"))))
    assert [(s.category, int(s.name)) for s in data] == [
        *[("bicycle", 9), ("bicycle", 1), ("bicycle", 2)],
        *[("airplane", 9), ("airplane", 2), ("airplane", 2)],
    ]
    assert [int(s.mask.sum()) for s in data][-2:] == [2, 10]


def test_ten_instances_of_each_category_are_drawn_the_same_each_time_and_after_the_filters(tmp_path):
    """Sec. 4.1: COCO in "individual" objects, 10 of each category; seed 0; "they come before the draw"."""
    large = [annotation(box(1, k % 3, 3 + k % 4, 3), category=k % 2 + 1) for k in range(24)]
    small = [annotation(box(1, 1, 1, 1), category=k % 2 + 1) for k in range(40)]
    rare = [annotation(box(1, 1, 4, 4), category=7)] * 2
    root = coco(tmp_path, small + large + rare, categories=((1, "person"), (2, "bicycle"), (7, "train")))
    first, again = (COCO(root, "individual", min_area=9, min_count=3) for _ in range(2))
    assert [s.category for s in first] == ["person"] * 10 + ["bicycle"] * 10
    assert all(s.mask.sum() >= 9 for s in first)
    assert first.items == again.items
    assert COCO(root, "individual", min_area=9, min_count=3, limit=4).items == first.items[::5]  # "of the rest"
    assert len(COCO(root, "individual")) == 10 + 10 + 2


def test_unseen6k_is_a_hundred_instances_of_each_category_or_all_that_there_are(tmp_path):
    """Sec. 4.1: "COCO (Unseen 6k)", the 60 categories that PASCAL VOC lacks, seed 0; Tab. 8: one category."""
    assert set(PASCAL) == SEEN
    whole = {"counts": [0, 12], "size": [3, 4]}
    many = [annotation(whole, category=i) for i in (1, *[54] * 250, *[15] * 99)]
    root = coco(tmp_path, many, images=((1, 3, 4),), categories=((1, "person"), (15, "bench"), (54, "sandwich")))
    first, again = COCO(root, "unseen6k").items, COCO(root, "unseen6k").items
    assert [item.category for item in first] == ["bench"] * 99 + ["sandwich"] * 100
    assert first == again
    assert len({item.value for item in first}) == 199
    assert {item.category for item in COCO(root, "bench").items} == {"bench"}
    assert {"donut", "bench", "umbrella", "bed"} < set(SETTINGS)  # Tab. 8


def test_fashionpedia_is_its_validation_file_beside_the_folder_test(tmp_path):
    """Sec. 4.1: Fashionpedia, 8,781 masks of 46 categories; another number is a warning with both."""
    holed = annotation(run_lengths(pixels(HOLED)), 12, 0, iscrowd=1)  # which is not looked at
    kinds = ((0, "shirt, blouse"), (31, "sleeve"))
    coco(tmp_path, [annotation(CORNER, 12, 31), holed], ((12, *SHAPE),), kinds, ["0a4aae5ecd.jpg"])
    (tmp_path / "annotations" / "instances_val2017.json").rename(tmp_path / "instances_attributes_val2020.json")
    (tmp_path / "val2017").rename(tmp_path / "test")
    with pytest.warns(UserWarning, match=r"Fashionpedia: 2 instances; .*\b8,781$"):
        data = Fashionpedia(tmp_path)
    assert [(s.category, s.name) for s in data] == [("shirt, blouse", "0a4aae5ecd"), ("sleeve", "0a4aae5ecd")]
    assert (data[0].mask == pixels(HOLED)).all()
    assert (data[1].mask == pixels(ROWS_OF_CORNER)).all()
    assert data[0].image.shape == (*SHAPE, 3)


# ---- from an annotation to a mask: claims ----------------------------------------------------------------------------


def test_a_polygon_is_x_then_y_with_the_origin_at_the_top_left_and_crowds_are_left_out(tmp_path):
    """COCO, data format: [x1, y1, x2, y2, ...]; here a mask is (row, col). iscrowd=1 is no instance. D12: no void."""
    crowd = {**annotation(run_lengths(pixels(HOLED))), "iscrowd": 1}
    (sample,) = COCO(coco(tmp_path, [crowd, annotation(CORNER), crowd]))
    assert sample.mask.dtype == bool
    assert (sample.mask == pixels(ROWS_OF_CORNER)).all()
    assert sample.void.shape == SHAPE
    assert not sample.void.any()


def test_annotations_without_a_pixel_are_left_out_with_one_warning_that_says_how_many(tmp_path):
    """`CocoStyle`: never skip without saying so."""
    nothing = [[], [[]], box(-9, -9, 5, 5), [[1, 1, 4, 4]], {"counts": [54], "size": [6, 9]}]
    root = coco(tmp_path, [annotation(CORNER), *map(annotation, nothing), {**annotation([]), "segmentation": None}])
    with pytest.warns(UserWarning, match="without a pixel") as warned:
        data = COCO(root)
    (text,) = [str(w.message) for w in warned if "without a pixel" in str(w.message)]
    assert "instances_val2017.json: 6 annotations without a pixel are left out" in text
    assert len(data) == 1


# ---- oracles ---------------------------------------------------------------------------------------------------------


def compressed(mask):
    """COCO's compressed run lengths, as a JSON file holds them."""
    runs = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"counts": runs["counts"].decode("ascii"), "size": list(map(int, runs["size"]))}


@given(st.tuples(st.integers(1, 20), st.integers(1, 20)), seeds())
@example((300, 300), 0)  # numbers of several letters
def test_run_lengths_give_back_the_mask_they_were_made_of(shape, seed):
    """COCO API, rleToString, and the slow `run_lengths`, pixel by pixel."""
    mask = np.random.default_rng(seed).random(shape) < 0.4
    for made in (compressed, run_lengths):
        assert (decode(made(mask), shape, "file") == mask).all()
        assert (decode(made(~mask), shape, "file") == ~mask).all()


@given(seeds())
def test_polygons_are_what_pycocotools_makes_of_them(seed):
    """COCO API, annToRLE: polygons, partly outside, merged."""
    rng = np.random.default_rng(seed)
    polygons = [rng.uniform(-5, 45, 2 * rng.integers(3, 9)).tolist() for _ in range(3)]
    expected = mask_api.decode(mask_api.merge(mask_api.frPyObjects(polygons, 30, 40)))
    assert (decode(polygons, (30, 40), "file") == expected).all()


def test_without_pycocotools_polygons_are_one_line_that_names_the_extra(tmp_path, monkeypatch):
    """pyproject.toml: extra coco."""
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ValueError, match=r'^COCO polygons: install pycocotools with pip install -e "\.\[coco\]"$'):
        COCO(coco(tmp_path, [annotation(CORNER)]))
    assert len(COCO(coco(tmp_path, [annotation(run_lengths(pixels(HOLED)))]))) == 1


# ---- edge cases ------------------------------------------------------------------------------------------------------


CONTENT = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "height": 6, "width": 9},
        {"id": 2, "file_name": "b.jpg", "height": 6, "width": 9},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "dog"}],
    "annotations": [
        {"id": 5, **annotation(box(1, 1, 3, 2))},
        annotation({"counts": [7, 2, 4, 2, 4, 2, 33], "size": [6, 9]}, image=2, category=3),  # nobody asks for its id
        {"id": 7, **annotation({"counts": "724000m0", "size": [6, 9]}, image=2, category=3)},
    ],
}


def opened(folder, content, **options):
    """The data set of a file with this content beside two images; other content than text as JSON."""
    for name in ("a.jpg", "b.jpg"):
        write(folder / name, picture(*SHAPE))
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "file.json").write_bytes(text)
    return CocoStyle(folder / "file.json", folder, **options)


def changed(*path):
    """CONTENT with one value replaced, given as (keys ..., value); a value of ... removes it."""
    content = copy.deepcopy(CONTENT)
    *path, last, value = path
    part = content
    for key in path:
        part = part[key]
    part[last] = value
    if value is ...:
        del part[last]
    return content


def rle(counts):
    return changed("annotations", 0, "segmentation", {"counts": counts, "size": [6, 9]})


def polygons(segmentation):
    return changed("annotations", 0, "segmentation", segmentation)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (changed("images", 1, "id", 1), r"images\[1\]: id 1 is there twice"),
        (changed("images", 0, "id", [1]), r"images\[0\]: id is \[1\]; expected a number"),
        (changed("categories", 0, "name", None), r"categories\[0\]: name is null; expected a text"),
        (changed("images", 0, "width", 10**9), r"images\[0\]: height and width are 6 and 1000000000"),
        (changed("annotations", 0, "image_id", 9), r"annotations\[0\]: image_id is 9, which no entry has"),
        (changed("annotations", 0, None), r"annotations\[0\] is null, expected an object"),
        (changed("categories", ...), "it has no list of categories"),
        (b"[" * 100_000, "not a readable JSON file"),
        (polygons({"counts": [13, 4, 37], "size": [9, 6]}), r"size is \[9, 6\], but the image is \[6, 9\] pixels"),
        (rle([13, 4, 38]), r"annotations\[0\]: counts are \[13, 4, 38\]; expected run lengths of \[6, 9\]"),
        (rle([50, -4, 8]), r"counts are \[50, -4, 8\]"),
        (rle("724000m"), "counts are '724000m'"),  # cut short
        (polygons([[1, 1, 8, 1, 8, 2, 3]]), r"segmentation has \[1, 1, 8, 1, 8, 2, 3\]; expected x, y, x, y"),
        (polygons([[1, 1, 8, 1, 8, float("nan")]]), "segmentation has .*nan"),
        (polygons(7), "segmentation is 7"),
    ],
)
def test_what_the_file_lacks_is_one_line_that_names_file_entry_and_field(tmp_path, content, named):
    """`CocoStyle`, `decode`: ValueError naming all three."""
    with pytest.raises(ValueError, match=rf"file\.json: .*{named}") as error:
        opened(tmp_path, content)
    assert "\n" not in str(error.value)


def places(value, path=()):
    """The paths of all values of a JSON content, itself left out."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, part in inside for p in ((*path, key), *places(part, (*path, key)))]


SIMPLE = [None, True, 0, -1, 1, 1.0, 2.5, 3, 7, 1e30, 10**30, float("nan"), float("inf")]
TEXTS = ["1", " 1 ", "x", "b.jpg", "..", "a\0", "/", "é"]
NESTED = [[], {}, [1], [[1, 1, 4, 1, 4, 3]], [[1, 2], [3, 4]], [None], {"id": 1}, {"counts": [54.0], "size": [6, 9.0]}]


@settings(max_examples=500)
@given(st.sampled_from(places(CONTENT)), st.sampled_from([*SIMPLE, *TEXTS, *NESTED]), st.booleans())
@pytest.mark.filterwarnings("ignore:.*without a pixel:UserWarning")
def test_variations_of_a_small_file_are_read_or_refused_in_one_line(tmp_path_factory, path, value, crowds):
    """CONTRIBUTING, 'How errors read': never a traceback; what is read has a pixel."""
    folder = tmp_path_factory.getbasetemp()
    refusal = None
    try:
        data = opened(folder, changed(*path, copy.deepcopy(value)), crowds=crowds)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert f"{folder}/file.json: " in refusal
    else:
        assert all(data.masks(item)[0].any() and isinstance(item.category, str) for item in data.items)
