"""Sec. 4.1, Datasets: LeedsButterfly, folders, CoSOD3k and CoCA, and every data set by its name. Rows: D12, D27."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from layouts import INCOMPLETE, TWO_OBJECTS, annotation, coco, folder, picture, run_lengths, voc, write

from data import DATASETS, CoCA, CoSOD3k, Folder, LeedsButterfly, open_dataset
from loaders.folders import SPECIES
from support.command_line import cache_folder

FOUR_VALUES = np.array([[0, 0, 1, 1, 1], [0, 2, 2, 3, 1], [0, 0, 3, 3, 0]])  # of an official LeedsButterfly mask


def butterflies(root, names=("0010001", "0010002", "0020001"), suffix=".png"):
    for seed, name in enumerate(names):
        write(root / "images" / f"{name}{suffix}", picture(seed=seed))
        write(root / "segmentations" / f"{name}_seg0.png", FOUR_VALUES)
    return root


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


# ---- edge cases ------------------------------------------------------------------------------------------------------


FAULTS = {  # what is done to a layout -> what the message names
    "images/0010002.png: its mask": lambda root: (root / "segmentations/0010002_seg0.png").unlink(),
    "no segmentations/": lambda root: (root / "segmentations").rename(root / "masks"),
    "images: no image": lambda root: [path.unlink() for path in (root / "images").iterdir()],
    r"0110001.png: begins with '011'; expected the number of a species": lambda root: butterflies(root, ("0110001",)),
    r"images/0010002.png: not a readable": lambda root: (root / "images/0010002.png").write_text("not a picture"),
}


@pytest.mark.parametrize("named", FAULTS)
@pytest.mark.filterwarnings(INCOMPLETE)
def test_a_file_that_is_missing_or_cannot_be_used_is_named_when_the_data_set_is_made(tmp_path, named):
    """`data`: "a bad file is one clear error before a run begins"; never skip a file."""
    FAULTS[named](butterflies(tmp_path))
    with pytest.raises(ValueError, match=named):
        LeedsButterfly(tmp_path)


def test_the_categories_of_a_folder_are_its_folders_and_a_plain_one_is_a_category_named_like_it(tmp_path):
    """`Folder`; D27: one bank, one memory, one set of parameters per category; no two images share a name."""
    data = Folder(folder(tmp_path, {"dog/001": np.eye(4, dtype=int), "cat/001": np.eye(4, dtype=int)}))
    assert [(s.name, s.category) for s in data] == [("cat/001", "cat"), ("dog/001", "dog")]
    data = Folder(folder(tmp_path / "mugs", {"a": np.eye(4, dtype=int), "b": np.eye(4, dtype=int)}))
    assert [(s.name, s.category) for s in data] == [("a", "mugs"), ("b", "mugs")]


@pytest.mark.filterwarnings(INCOMPLETE)
def test_a_name_opens_its_data_set_with_limit_split_and_setting(tmp_path, monkeypatch):
    """`open_dataset`: PascalVOC, COCO in a setting of Tab. 8, or the path of a folder; else $SIIS_CACHE/data/NAME."""
    voc(tmp_path / "voc", split="train")
    assert len(open_dataset("PascalVOC", tmp_path / "voc", limit=3, split="train")) == 3
    assert isinstance(open_dataset(str(folder(tmp_path / "f", {"a": np.eye(4, dtype=int)})), None), Folder)
    small, large = np.eye(6, 9) > 0, np.ones((6, 9), bool)
    two = [annotation(run_lengths(small)), annotation(run_lengths(large), category=7)]
    root = coco(tmp_path / "data" / "COCO", two, categories=((1, "person"), (7, "donut")))
    assert [s.category for s in open_dataset("COCO", root, min_area=7)] == ["donut"]
    assert [s.category for s in open_dataset("COCO-donut", root)] == ["donut"]
    assert len(open_dataset("COCO", root)) == 2
    monkeypatch.setenv("SIIS_CACHE", str(tmp_path))
    assert [len(open_dataset(name, None)) for name in ("COCO", "COCO-donut")] == [2, 1]


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_says_in_one_line_what_an_empty_root_lacks(tmp_path, name):
    """CONTRIBUTING, 'How errors read': what was got and expected; every name of `--data` is a data set below --root."""
    with pytest.raises(ValueError, match=str(tmp_path)) as error:
        open_dataset(name, tmp_path)
    assert "\n" not in str(error.value)
