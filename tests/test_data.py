"""Sec. 4.1, Datasets: what a sample is, the order of samples, and which files are refused. Rows: D12, D27."""

import io
import itertools
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from strategies import seeds

from data import (
    LEEDS_URL,
    VOC_CLASSES,
    FileSequence,
    Folder,
    LeedsButterfly,
    PascalVOC,
    Synthetic,
    open_dataset,
    read_image,
    read_mask,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FOUR_VALUES = np.array([[0, 0, 1, 1, 1], [0, 2, 2, 3, 1], [0, 0, 3, 3, 0]])  # of an official LeedsButterfly mask
TWO_OBJECTS = np.array([[0, 4, 4, 255], [9, 255, 4, 0], [9, 9, 0, 0]])  # an index mask with a void contour
ORIENTED = {  # EXIF orientation -> what turns the stored pixels upright (EXIF 2.3, tag 0x0112)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def write(path, array, palette=False, **options):
    """Save an array as an image file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array.astype(np.uint8) if array.dtype == int else array)
    if palette:
        image.putpalette([(i * k) % 256 for i in range(256) for k in (3, 5, 7)])
    image.save(path, **options)


def picture(h=3, w=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def butterflies(root, names=("0010001", "0010002", "0020001"), suffix=".png"):
    for seed, name in enumerate(names):
        write(root / "images" / f"{name}{suffix}", picture(seed=seed))
        write(root / "segmentations" / f"{name}_seg0.png", FOUR_VALUES)
    return root


def leeds(root, limit=None):
    with pytest.warns(UserWarning, match="832"):
        return LeedsButterfly(root, limit)


def folder(root, masks, **options):
    """A plain folder with one image beside each of the masks {name: array}."""
    for name, mask in masks.items():
        write(root / "images" / f"{name}.png", picture(*np.shape(mask)))
        write(root / "masks" / f"{name}.png", mask, **options)
    return root


def voc(root, names=("2007_000032", "2007_000033"), split="val"):
    """The official layout: palette masks, object 4 of class 1, object 9 of class 15, void contours."""
    base = root / "VOCdevkit" / "VOC2012"
    classes = np.select([TWO_OBJECTS == 4, TWO_OBJECTS == 9], [1, 15], TWO_OBJECTS)
    for name in names:
        write(base / "JPEGImages" / f"{name}.jpg", picture(3, 4))
        write(base / "SegmentationObject" / f"{name}.png", TWO_OBJECTS, palette=True)
        write(base / "SegmentationClass" / f"{name}.png", classes, palette=True)
    (base / "ImageSets" / "Segmentation").mkdir(parents=True)
    (base / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))
    return base


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_values_1_and_3_of_a_leedsbutterfly_mask_are_the_butterfly(tmp_path):
    """Sec. 4.1, LeedsButterfly; the README of the data set; D12: nothing in it is void."""
    sample = leeds(butterflies(tmp_path))[0]
    assert (sample.mask == ((FOUR_VALUES == 1) | (FOUR_VALUES == 3))).all()
    assert sample.mask.dtype == bool
    assert not sample.void.any()
    assert sample.void.shape == sample.mask.shape


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPG", ".jpeg"])
def test_leedsbutterfly_is_one_category_in_file_order(tmp_path, suffix):
    """Sec. 4.1; D27: file order, LeedsButterfly is one category."""
    data = leeds(butterflies(tmp_path, ("0100832", "0010001", "0020001"), suffix))
    assert [s.name for s in data] == ["0010001", "0020001", "0100832"]
    assert {s.category for s in data} == {"butterfly"}


def test_the_832_real_butterflies_are_complete():
    """Sec. 4.1: "a data set that contains 832 images of butterflies"; any other number would be a warning."""
    root = SHARED / "leedsbutterfly"
    if not root.is_dir():
        pytest.skip(f"{root} is not there; the data set is downloaded, not shipped")
    data = LeedsButterfly(root, limit=5)
    assert len(data) == 5
    assert data[0].name == "0010001"
    assert all(s.image.shape == (*s.mask.shape, 3) and 0.01 < s.mask.mean() < 0.9 for s in data)


def test_the_real_pascal_voc_yields_single_objects_with_their_class():
    """Sec. 4.1, PASCAL VOC; D12: index 255 is void."""
    if not (SHARED / "VOCdevkit").is_dir():
        pytest.skip(f"{SHARED}/VOCdevkit is not there; the data set is downloaded, not shipped")
    data = PascalVOC(SHARED, limit=4)
    assert len(data) == 4
    for s in data:
        assert s.category in VOC_CLASSES
        assert s.image.shape == (*s.mask.shape, 3)
        assert s.mask.any()
        assert s.void.any()
        assert not (s.mask & s.void).any()


def test_the_instances_of_one_image_follow_each_other_and_share_its_name(tmp_path):
    """Sec. 3.2, multiple instances; D27: file order."""
    data = Folder(folder(tmp_path, {"b": TWO_OBJECTS, "a": TWO_OBJECTS}))
    names = [s.name for s in data]
    assert names == sorted(names)
    assert [len(list(same)) for _, same in itertools.groupby(names)] == [2, 2]
    assert [int(s.mask.sum()) for s in data] == [3, 3, 3, 3]
    assert (data[0].image == data[1].image).all()


def test_a_void_pixel_belongs_to_no_instance_of_a_voc_image(tmp_path):
    """D12: 255 of SegmentationObject; Sec. 4.1, PASCAL VOC: one sample an object, class from SegmentationClass."""
    voc(tmp_path)
    data = PascalVOC(tmp_path)
    assert [s.category for s in data] == ["aeroplane", "person"] * 2
    assert [s.name for s in data] == ["2007_000032"] * 2 + ["2007_000033"] * 2
    for s, value in zip(data, (4, 9, 4, 9), strict=True):
        assert (s.mask == (value == TWO_OBJECTS)).all()
        assert (s.void == (TWO_OBJECTS == 255)).all()


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 0, 1, 2, 7, 254, 255])))
def test_the_instances_of_an_index_mask_and_its_void_part_its_foreground(tmp_path_factory, index):
    """D12: the masks of an image are disjoint, none is empty, and with void they make up all that is not 0."""
    index[0, 0] = 7
    data = Folder(folder(tmp_path_factory.mktemp("index"), {"a": index}, palette=True))
    counted = sum(s.mask.astype(int) for s in data) + data[0].void
    assert (counted == (index != 0)).all()
    assert all(s.mask.any() and (s.void == (index == 255)).all() for s in data)


@given(st.integers(1, 60), st.integers(1, 70))
def test_a_limit_keeps_samples_evenly_spaced_in_file_order(n, limit):
    """D27: at most `limit`, the first among them, in order, and no gap more than one longer than another."""
    sequence = FileSequence()
    sequence.items = list(range(n))
    sequence.thin(limit)
    assert len(sequence) == min(limit, n)
    assert sequence.items[0] == 0
    gaps = np.diff([*sequence.items, n])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@settings(max_examples=10)
@given(seeds(), st.sampled_from(["train", "test"]), st.integers(0, 4))
def test_the_same_seed_draws_the_same_synthetic_pixels(seed, split, i):
    """Synthetic: "the same seed gives the same pixels", whatever else was read before."""
    a, c = Synthetic(5, seed, split, 64)[i], Synthetic(5, seed + 1, split, 64)[i]
    b = list(Synthetic(5, seed, split, 64))[i]
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a.image, c.image)


@settings(max_examples=20)
@given(seeds(), st.sampled_from(["train", "test"]), st.sampled_from([64, 80, 128]))
def test_a_synthetic_target_is_one_of_four_objects_that_leave_room_for_each_other(seed, split, size):
    """Synthetic: four objects of one size, so that none covers a quarter of the image; nothing is void."""
    sample = Synthetic(2, seed, split, size)[1]
    assert sample.image.shape == (size, size, 3)
    assert sample.image.dtype == np.uint8
    assert 0 < sample.mask.mean() < 0.25
    assert sample.mask.dtype == bool
    assert not sample.void.any()


@settings(max_examples=10)
@given(st.integers(2, 30))
def test_the_two_synthetic_test_categories_come_in_two_blocks_of_half_the_samples(n):
    """Synthetic; D27: file order, one state per category."""
    data = Synthetic(n, size=16)
    blocks = [len(list(same)) for _, same in itertools.groupby(s.category for s in data)]
    assert len(blocks) == 2
    assert abs(blocks[0] - blocks[1]) <= 1


# ---- oracles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTED)
def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path, orientation):
    """EXIF 2.3, tag 0x0112, written out as array operations."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(tmp_path / "a.png", picture(), exif=exif)
    assert (read_image(tmp_path / "a.png") == ORIENTED[orientation](picture())).all()


def test_grey_transparent_and_cmyk_images_become_rgb(tmp_path):
    """`read_image`: (H, W, 3) uint8 RGB whatever the mode; magenta and yellow without cyan or black is red."""
    rgb = picture()
    write(tmp_path / "grey.png", rgb[..., 0])
    write(tmp_path / "alpha.png", np.dstack([rgb, np.full((3, 5), 7, np.uint8)]))
    Image.new("CMYK", (5, 3), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    grey, alpha, cmyk = (read_image(tmp_path / name) for name in ("grey.png", "alpha.png", "cmyk.jpg"))
    assert grey.shape == alpha.shape == cmyk.shape == (3, 5, 3)
    assert (grey == rgb[..., :1]).all()
    assert (alpha == rgb).all()
    assert np.abs(cmyk.astype(int) - (255, 0, 0)).max() <= 8


def test_masks_of_every_depth_give_their_indices(tmp_path):
    """`read_mask`: palette, grey, 16-bit and 1-bit files; a palette's colours do not matter."""
    write(tmp_path / "p.png", TWO_OBJECTS, palette=True)
    write(tmp_path / "l.png", TWO_OBJECTS)
    write(tmp_path / "16.png", (TWO_OBJECTS * 100).astype(np.uint16))
    write(tmp_path / "1.png", TWO_OBJECTS > 0)
    assert (read_mask(tmp_path / "p.png") == TWO_OBJECTS).all()
    assert (read_mask(tmp_path / "l.png") == TWO_OBJECTS).all()
    assert (read_mask(tmp_path / "16.png") == TWO_OBJECTS * 100).all()
    assert (read_mask(tmp_path / "1.png") == (TWO_OBJECTS > 0)).all()


# ---- edge cases ------------------------------------------------------------------------------------------------------


def test_another_number_of_butterflies_is_a_warning_with_both_numbers(tmp_path):
    """Sec. 4.1: 832 images; an incomplete download must not pass for the data set."""
    with pytest.warns(UserWarning, match=r"\b3 pairs.*\b832\b"):
        LeedsButterfly(butterflies(tmp_path))


def test_a_limit_of_a_file_data_set_spans_it(tmp_path):
    """D27: evenly spaced in file order."""
    data = leeds(butterflies(tmp_path, [f"00{i}0001" for i in range(1, 7)]), limit=3)
    assert [s.name for s in data] == ["0010001", "0030001", "0050001"]


HOLES = {  # what is done to a layout -> what the message names
    "images/0010002.png": lambda root: (root / "segmentations/0010002_seg0.png").unlink(),
    "segmentations/0010002_seg0.png": lambda root: (root / "images/0010002.png").unlink(),
    "images/0010002.(png|jpg)": lambda root: write(root / "images/0010002.jpg", picture()),
    "no segmentations/": lambda root: (root / "segmentations").rename(root / "masks"),
    "images: no image": lambda root: [path.unlink() for path in (root / "images").iterdir()],
}
FAULTS = {
    r"0010002_seg0.png.*3x5.*5x3": lambda root: write(root / "segmentations/0010002_seg0.png", FOUR_VALUES.T),
    r"0010002_seg0.png.*no fore": lambda root: write(root / "segmentations/0010002_seg0.png", FOUR_VALUES * 0 + 2),
    r"0010002_seg0.png.*RGB": lambda root: write(root / "segmentations/0010002_seg0.png", picture()),
    r"images/0010002.png": lambda root: (root / "images/0010002.png").write_text("not a picture"),
}


@pytest.mark.parametrize("named", HOLES)
def test_a_layout_with_a_hole_is_one_error_that_names_the_place(tmp_path, named):
    """`data`: "a bad file is one clear error before a run begins"; never skip a file."""
    HOLES[named](butterflies(tmp_path))
    with pytest.raises(ValueError, match=named):
        LeedsButterfly(tmp_path)


@pytest.mark.parametrize("named", FAULTS)
@pytest.mark.filterwarnings("ignore:.*832:UserWarning")
def test_a_file_that_cannot_be_used_is_named_when_the_data_set_is_made(tmp_path, named):
    """`FileSequence.check`: ValueError names the first file that cannot be used and says why."""
    FAULTS[named](butterflies(tmp_path))
    with pytest.raises(ValueError, match=named):
        LeedsButterfly(tmp_path)


def test_an_unreachable_download_is_one_error_with_address_and_folder(tmp_path, monkeypatch):
    """`LeedsButterfly.download`: offline, the message says what to fetch and where to put it."""

    def offline(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(OSError, match="cannot be downloaded") as error:
        LeedsButterfly.download(tmp_path / "leeds")
    assert LEEDS_URL in str(error.value)
    assert str(tmp_path / "leeds") in str(error.value)


def test_category_folders_name_the_categories(tmp_path):
    """`Folder`; D27: one bank, one memory, one set of parameters per category."""
    data = Folder(folder(tmp_path, {"dog/x": np.eye(4, dtype=int), "cat/y": np.eye(4, dtype=int)}))
    assert [s.category for s in data] == ["cat", "dog"]


def test_a_plain_folder_is_one_category_named_like_it(tmp_path):
    """`Folder`: without category folders there is one category, named like the root."""
    data = Folder(folder(tmp_path / "mugs", {"a": np.eye(4, dtype=int), "b": np.eye(4, dtype=int)}))
    assert [(s.name, s.category) for s in data] == [("a", "mugs"), ("b", "mugs")]


def test_255_alone_is_the_instance_and_beside_others_void(tmp_path):
    """`Folder`: binary 0/255 masks are common; D12 holds where other values are there."""
    binary, mixed = np.eye(4, dtype=int) * 255, np.eye(4, dtype=int) * 255
    mixed[0, 1] = 1
    data = Folder(folder(tmp_path, {"binary": binary, "mixed": mixed}))
    assert len(data) == 2
    assert (data[0].mask == (binary == 255)).all()
    assert not data[0].void.any()
    assert (data[1].mask == (mixed == 1)).all()
    assert (data[1].void == (mixed == 255)).all()


@pytest.mark.parametrize("damage", ["images", "masks", "colours", "empty"])
def test_a_plain_folder_with_a_hole_is_one_error_that_names_the_file(tmp_path, damage):
    """`Folder`: the same care as for the data sets of the paper."""
    folder(tmp_path, {"a": np.eye(4, dtype=int), "b": np.eye(4, dtype=int) * (damage != "empty")})
    if damage == "colours":
        write(tmp_path / "masks" / "b.png", picture(4, 4))
    elif damage != "empty":
        (tmp_path / damage / "b.png").unlink()
    with pytest.raises(ValueError, match=r"b\.png"):
        Folder(tmp_path)


def test_a_voc_without_its_split_file_or_a_picture_is_one_error_that_names_it(tmp_path):
    """`PascalVOC`: a split is a file of ImageSets/Segmentation."""
    base = voc(tmp_path)
    with pytest.raises(ValueError, match=r"ImageSets/Segmentation/train\.txt"):
        PascalVOC(tmp_path, split="train")
    (base / "JPEGImages" / "2007_000033.jpg").unlink()
    with pytest.raises(ValueError, match=r"2007_000033\.jpg"):
        PascalVOC(tmp_path)


def test_training_scenes_show_no_category_of_the_test():
    """Synthetic: 'test' has two categories of shapes that 'train' never shows."""
    shown = {s.category for s in Synthetic(40, size=16, split="train")}
    tested = {s.category for s in Synthetic(10, size=16)}
    assert len(tested) == 2
    assert not shown & tested


def test_a_synthetic_sequence_has_the_indices_of_a_sequence():
    """`Synthetic` is a Sequence: negative indices count from the end, those outside are IndexErrors."""
    data = Synthetic(3, size=16)
    assert len(list(data)) == len(data) == 3
    assert data[-1].name == data[2].name != data[1].name
    for outside in (3, -4):
        with pytest.raises(IndexError):
            data[outside]


def test_an_unknown_split_is_refused():
    """`Synthetic`: bad input raises ValueError with what was got and what was expected."""
    with pytest.raises(ValueError, match=r"'val'.*'train'"):
        Synthetic(split="val")


def test_a_data_set_that_is_not_there_is_refused_with_what_was_given(tmp_path):
    """`open_dataset`: an unknown name, a missing --root, a --root that does not exist."""
    with pytest.raises(ValueError, match=r"Butterflies.*LeedsButterfly"):
        open_dataset("Butterflies", tmp_path)
    for data in ("LeedsButterfly", "PascalVOC"):
        with pytest.raises(ValueError, match=f"{data}.*--root"):
            open_dataset(data, None)
        with pytest.raises(ValueError, match="nowhere"):
            open_dataset(data, tmp_path / "nowhere")


def test_a_name_opens_its_data_set_with_limit_and_split(tmp_path):
    """`open_dataset`: LeedsButterfly, PascalVOC, or the path of a folder."""
    voc(tmp_path / "voc", split="train")
    assert len(open_dataset("PascalVOC", tmp_path / "voc", limit=3, split="train")) == 3
    assert isinstance(open_dataset(str(folder(tmp_path / "f", {"a": np.eye(4, dtype=int)})), None), Folder)
    with pytest.warns(UserWarning, match="832"):
        assert len(open_dataset("LeedsButterfly", butterflies(tmp_path / "l"))) == 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_named_and_closed(tmp_path, kind):
    """`read_image`: ValueError names a file that cannot be read; warnings (an unclosed file) are errors."""
    whole = io.BytesIO()
    Image.fromarray(picture(40, 40)).save(whole, kind)
    path = tmp_path / ("a.png" if kind == "PNG" else "a.jpg")
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(ValueError, match=r"a\.(png|jpg)"):
        read_image(path)


def test_images_of_two_categories_never_share_a_name(tmp_path):
    """`Sample`: the instances of one image share its name, and other images do not; D27."""
    data = Folder(folder(tmp_path, {"cat/001": np.eye(64, dtype=int), "dog/001": np.eye(64, dtype=int)}))
    assert [s.name for s in data] == ["cat/001", "dog/001"]


@pytest.mark.parametrize("fault", ["size", "class", "none"])
def test_a_class_mask_that_does_not_fit_is_named(tmp_path, fault):
    """`PascalVOC`: the category comes from SegmentationClass."""
    base = voc(tmp_path)
    shape, value = {"size": ((4, 4), 1), "class": ((3, 4), 77), "none": ((3, 4), 0)}[fault]
    write(base / "SegmentationClass/2007_000033.png", np.full(shape, value), palette=True)
    with pytest.raises(ValueError, match="2007_000033"):
        PascalVOC(tmp_path)
