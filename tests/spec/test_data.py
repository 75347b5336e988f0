"""Sec. 4.1, Datasets: LeedsButterfly, CoSOD3k and CoCA; PASCAL VOC and COCO: tests/system/loaders. Rows: D12, D27."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from layouts import FOUR_VALUES, INCOMPLETE, TWO_OBJECTS, butterflies, folder

from data import CoCA, CoSOD3k, Folder, LeedsButterfly, open_dataset
from loaders.folders import SPECIES
from support.command_line import cache_folder

# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_values_1_and_3_of_a_leedsbutterfly_mask_are_the_butterfly(tmp_path):
    """Sec. 4.1, LeedsButterfly; the README of the data set; D12: nothing in it is void."""
    with pytest.warns(UserWarning, match=r"\b3 instances.*\b832\b"):
        sample = LeedsButterfly(butterflies(tmp_path))[0]
    assert (sample.mask == ((FOUR_VALUES == 1) | (FOUR_VALUES == 3))).all()
    assert sample.mask.dtype == bool
    assert not sample.void.any()
    assert sample.void.shape == sample.mask.shape


@pytest.mark.filterwarnings(INCOMPLETE)
@pytest.mark.parametrize("suffix", [".png", ".JPG"])
def test_the_categories_of_leedsbutterfly_are_its_species_in_file_order(tmp_path, suffix):
    """Sec. 4.1; D27; the README of the data set: the first three digits of a name are the species."""
    data = LeedsButterfly(butterflies(tmp_path, ("0100832", "0010002", "0010001", "0060001"), suffix))
    assert [(s.name, s.category) for s in data] == [
        ("0010001", "Danaus plexippus"),
        ("0010002", "Danaus plexippus"),
        ("0060001", "Nymphalis antiopa"),
        ("0100832", "Vanessa cardui"),
    ]
    assert {s.category for s in open_dataset("LeedsButterfly-one", tmp_path)} == {"butterfly"}  # D27's other reading


def test_the_832_real_butterflies_are_complete():
    """Sec. 4.1: "a dataset that contains 832 images of butterflies"; any other number would be a warning."""
    root = cache_folder() / "data" / "LeedsButterfly"
    if not root.is_dir():
        pytest.skip(f"{root} is not there; siis.py --data LeedsButterfly fetches it")
    data = LeedsButterfly(root, limit=5)
    assert len(data) == 5
    assert data[0].name == "0010001"
    counts = Counter(item.category for item in LeedsButterfly(root).items)
    assert list(counts.values()) == [82, 93, 61, 90, 88, 100, 89, 55, 90, 84]
    assert list(counts) == list(SPECIES)
    assert all(s.image.shape == (*s.mask.shape, 3) and 0.01 < s.mask.mean() < 0.9 for s in data)


@pytest.mark.parametrize(
    ("kind", "total", "images", "masks"),
    [(CoSOD3k, "4,874", "Image", "GroundTruth"), (CoCA, "2,143", "img", "instances")],
)
def test_cosod3k_and_coca_are_category_folders_of_instances_with_their_count(tmp_path, kind, total, images, masks):
    """Sec. 4.1: 4,874 instances of CoSOD3k and 2,143 of CoCA; another number is a warning. D27: file order."""
    layout = {"cat/b": TWO_OBJECTS, "cat/a": TWO_OBJECTS, "axe/c": TWO_OBJECTS}
    folder(tmp_path, layout, images=images, into=masks)
    with pytest.warns(UserWarning, match=rf"{kind.__name__}: 6 instances; .*{total}"):
        data = kind(tmp_path)
    expected = [("axe", "axe/c"), ("cat", "cat/a"), ("cat", "cat/b")]  # the two of an image follow each other
    assert [(s.category, s.name) for s in data] == [found for found in expected for _ in range(2)]
    for s, value in zip(data, [4, 9] * 3, strict=True):
        assert (s.mask == (value == TWO_OBJECTS)).all()
        assert (s.void == (TWO_OBJECTS == 255)).all()


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 0, 1, 2, 7, 254, 255])))
def test_the_instances_of_an_index_mask_and_its_void_part_its_foreground(tmp_path_factory, index):
    """D12: the masks of an image are disjoint, none is empty, and with void they make up all that is not 0."""
    index[0, :2] = 7, 0
    data = Folder(folder(tmp_path_factory.mktemp("index"), {"a": index}, palette=True))
    counted = sum(s.mask.astype(int) for s in data) + data[0].void
    assert (counted == (index != 0)).all()
    assert all(s.mask.any() and (s.void == (index == 255)).all() for s in data)
