"""Sec. 4.1, Datasets: from polygons and run lengths to masks, against slow oracles and COCO's own program."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from layouts import box, run_lengths
from strategies import seeds

from loaders.regions import decode, rasterise

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools, NumPy 2

# ---- laws ------------------------------------------------------------------------------------------------------------

sides = st.integers(1, 20)
corners = st.tuples(st.integers(-8, 24), st.integers(-8, 24))


@given(sides, sides, corners, corners)
@example(6, 9, (0, 0), (9, 6))
@example(6, 9, (-3, -2), (4, 3))
@example(6, 9, (7, 4), (15, 11))
def test_a_rectangle_of_whole_pixels_is_exactly_those_pixels(h, w, one, other):
    """`rasterise`: (0, 0) is the corner of the first pixel; what lies outside of the image is cut off."""
    (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(one, other, strict=True))
    expected = np.zeros((h, w), bool)
    expected[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    if x0 == x1 or y0 == y1:
        expected[:] = False
    assert (rasterise(box(x0, y0, x1 - x0, y1 - y0), (h, w)) == expected).all()


eighths = st.integers(0, 80).map(lambda n: n / 8)
polygons = st.lists(st.lists(st.tuples(eighths, eighths), min_size=3, max_size=7), min_size=1, max_size=3)


@given(polygons, st.integers(0, 9), st.integers(0, 9))
def test_a_polygon_moved_by_whole_pixels_is_its_mask_moved(shapes, dx, dy):
    """`rasterise`: no pixel is special; the grid of 1/8 px is exact in floating point."""
    there = rasterise([[c for x, y in shape for c in (x, y)] for shape in shapes], (10, 10))
    moved = rasterise([[c for x, y in shape for c in (x + dx, y + dy)] for shape in shapes], (20, 20))
    expected = np.zeros((20, 20), bool)
    expected[dy : dy + 10, dx : dx + 10] = there
    assert (moved == expected).all()


@given(polygons, st.integers(0, 9), st.integers(0, 9))
def test_a_polygon_partly_outside_is_the_part_inside(shapes, dx, dy):
    """`rasterise`: cutting the mask and drawing on a smaller image are the same."""
    flat = [[c for x, y in shape for c in (x, y)] for shape in shapes]
    shifted = [[c for x, y in shape for c in (x - dx, y - dy)] for shape in shapes]
    assert (rasterise(shifted, (8, 7)) == rasterise(flat, (20, 20))[dy : dy + 8, dx : dx + 7]).all()


@given(polygons)
def test_a_polygon_is_never_smaller_than_one_of_several(shapes):
    """`rasterise`: the union of the polygons, each drawn alone."""
    flat = [[c for x, y in shape for c in (x, y)] for shape in shapes]
    each = [rasterise([polygon], (10, 10)) for polygon in flat]
    assert (rasterise(flat, (10, 10)) == np.logical_or.reduce(each)).all()


@given(st.tuples(sides, sides), seeds())
@example((6, 9), 0)
def test_run_lengths_give_back_the_mask_they_were_made_of(shape, seed):
    """COCO API, maskApi.h, written out pixel by pixel in `run_lengths`."""
    mask = np.random.default_rng(seed).random(shape) < 0.4
    assert (decode(run_lengths(mask), shape, "file") == mask).all()
    assert (decode(run_lengths(~mask), shape, "file") == ~mask).all()


# ---- oracles ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mask_api():
    return pytest.importorskip("pycocotools.mask", reason="pycocotools, the reference, is not installed")


def compressed(mask_api, mask):
    """Compressed run lengths as a JSON file holds them."""
    runs = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"counts": runs["counts"].decode("ascii"), "size": list(map(int, runs["size"]))}


@given(st.tuples(sides, sides), seeds())
@example((6, 9), 0)
def test_compressed_run_lengths_are_the_mask_that_pycocotools_encoded(mask_api, shape, seed):
    """COCO API: rleToString and rleFrString."""
    mask = np.random.default_rng(seed).random(shape) < 0.4
    assert (decode(compressed(mask_api, mask), shape, "file") == mask).all()


def crossings(polygon, x, y):
    """How many edges a ray from the left meets before (x, y), in exact fractions."""
    points = [tuple(map(Fraction, p)) for p in zip(polygon[::2], polygon[1::2], strict=True)]
    count = 0
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if min(y0, y1) <= y < max(y0, y1):
            count += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    return count


@given(polygons)
@example([[(1, 1), (8, 1), (1, 8), (8, 8)], [(0.5, 0.5), (3.5, 0.5), (3.5, 3.5), (0.5, 3.5)]])
def test_a_pixel_is_in_a_polygon_if_an_odd_number_of_edges_lies_left_of_its_centre(shapes):
    """`rasterise`: the even-odd rule, pixel by pixel, also of polygons that cross themselves."""
    flat = [[c for point in shape for c in point] for shape in shapes]
    half = Fraction(1, 2)
    expected = [[any(crossings(p, x + half, y + half) % 2 for p in flat) for x in range(10)] for y in range(10)]
    assert (rasterise(flat, (10, 10)) == np.array(expected)).all()


@given(seeds())
def test_a_polygon_is_what_pycocotools_makes_of_it_but_for_its_rim(mask_api, seed):
    """COCO API, rleFrPoly: the outline is rounded otherwise there; IoU of at least 0.95 from 1,000 px on."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 24))
    radii = rng.uniform(30, 45) * rng.uniform(0.75, 1, 24)
    polygon = np.column_stack([65 + radii * np.cos(angles), 48 + radii * np.sin(angles)]).ravel().tolist()
    reference = mask_api.decode(mask_api.merge(mask_api.frPyObjects([polygon], 96, 130))).astype(bool)
    ours = rasterise([polygon], (96, 130))
    if reference.sum() >= 1000:
        assert (ours & reference).sum() / (ours | reference).sum() >= 0.95
