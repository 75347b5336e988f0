"""Sec. 4.1, Datasets: PASCAL VOC 2012 and SBD, their splits and classes. Rows: D12, D27."""

import hashlib
import io
import sys
import tarfile

import numpy as np
import pytest
from layouts import INCOMPLETE, TWO_OBJECTS, picture, voc, write

from data import open_dataset
from loaders import voc as voc_module
from loaders.voc import VOC_CLASSES, PascalVOC

pytestmark = pytest.mark.filterwarnings(INCOMPLETE)

THREE = np.array([[1, 1, 0, 3], [1, 2, 2, 3], [0, 2, 2, 0]])  # instances of an SBD image, H 3, W 4
OFFICIAL = {1: "aeroplane", 4: "boat", 8: "cat", 12: "dog", 15: "person", 20: "tvmonitor"}  # VOC devkit, VOCinit.m


@pytest.fixture
def scipy_io():
    return pytest.importorskip("scipy.io", reason="SciPy, which reads SBD's masks, is not installed")


@pytest.fixture
def sbd(scipy_io):
    """A function that lays out an image of SBD as the official archive does."""

    def lay_out(dataset, name, classes=(12, 8, 15), index=THREE):
        h, w = index.shape
        write(dataset / "img" / f"{name}.jpg", picture(h, w))
        (dataset / "inst").mkdir(exist_ok=True)
        boundaries = np.empty((len(classes), 1), object)
        boundaries[:, 0] = [np.zeros((h, w), np.uint8) for _ in classes]
        instances = {
            "Segmentation": index.astype(np.uint8),
            "Boundaries": boundaries,
            "Categories": np.array(classes, np.uint8).reshape(-1, 1),
        }
        scipy_io.savemat(dataset / "inst" / f"{name}.mat", {"GTinst": instances}, do_compression=True)

    return lay_out


@pytest.fixture
def augmented(tmp_path, sbd):
    """VOC with train image 2007_000032 and val image 2007_000033, SBD with both and one image more."""
    voc(tmp_path, ["2007_000032"], "train")
    voc(tmp_path, ["2007_000033"], "val")
    for name in ("2007_000032", "2007_000033", "2008_000009"):
        sbd(tmp_path / "benchmark_RELEASE" / "dataset", name)
    return tmp_path


@pytest.mark.filterwarnings("default:.*complete data set:UserWarning")
def test_the_training_set_is_voc_train_and_the_images_of_sbd_in_neither_list(augmented):
    """Sec. 4.1: "augmented" PASCAL VOC, trained on train and tested on val, which SBD overlaps; 25,832 instances."""
    with pytest.warns(UserWarning, match=r"PASCAL VOC train: 5 instances; .*\b25,832$"):
        data = PascalVOC(augmented, "train")
    assert [(s.category, s.name) for s in data] == [  # class by class, in file order within (D27)
        ("aeroplane", "2007_000032"),
        ("cat", "2008_000009"),
        ("dog", "2008_000009"),
        ("person", "2007_000032"),
        ("person", "2008_000009"),
    ]
    both = [s for s in data if s.name == "2007_000032"]  # an image in both has VOC's masks
    assert [(s.category, int(s.mask.sum())) for s in both] == [("aeroplane", 3), ("person", 3)]
    assert all((s.void == (TWO_OBJECTS == 255)).all() for s in both)
    sbd = {s.category: s for s in data if s.name == "2008_000009"}  # SBD's README: the i-th category is instance i's
    assert all((sbd[name].mask == (i == THREE)).all() for i, name in enumerate(("dog", "cat", "person"), start=1))
    assert not any(s.void.any() for s in sbd.values())  # SBD has none
    (augmented / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").unlink()  # then nobody knows what must be left out
    with pytest.raises(ValueError, match=r"ImageSets/Segmentation/val\.txt"):
        PascalVOC(augmented, "train")


@pytest.mark.filterwarnings("default:.*complete data set:UserWarning")
def test_the_val_set_is_voc_alone_one_sample_an_object_and_void_belongs_to_none(augmented):
    """Sec. 4.1: 3,427 instances, PASCAL VOC's own; SBD is there only to augment the training; D12: 255 is void."""
    with pytest.warns(UserWarning, match=r"PASCAL VOC val: 2 instances; .*\b3,427$"):
        data = PascalVOC(augmented, "val")
    assert [(s.name, s.category) for s in data] == [("2007_000033", "aeroplane"), ("2007_000033", "person")]
    for s, value in zip(data, (4, 9), strict=True):
        assert (s.mask == (value == TWO_OBJECTS)).all()
        assert (s.void == (TWO_OBJECTS == 255)).all()
        assert s.image.shape == (3, 4, 3)


def test_the_classes_are_numbered_from_1_as_the_devkit_does():
    """VOC development kit: aeroplane is 1, tvmonitor 20."""
    assert {number: VOC_CLASSES[number - 1] for number in OFFICIAL} == OFFICIAL


def test_a_voc_without_its_split_file_or_a_picture_or_with_a_class_mask_that_does_not_fit_is_one_error(tmp_path):
    """`PascalVOC`: a split is a file of ImageSets/Segmentation; the category comes from SegmentationClass."""
    base = voc(tmp_path)
    with pytest.raises(ValueError, match=r"ImageSets/Segmentation/train\.txt"):
        PascalVOC(tmp_path, "train")
    (base / "JPEGImages" / "2007_000033.jpg").unlink()
    with pytest.raises(ValueError, match=r"2007_000033\.jpg"):
        PascalVOC(tmp_path)
    for shape, value, named in (((4, 4), 1, "another size"), ((3, 4), 77, "no class"), ((3, 4), 0, "no class")):
        write(base / "SegmentationClass/2007_000033.png", np.full(shape, value), palette=True)
        with pytest.raises(ValueError, match=rf"SegmentationClass/2007_000033\.png: .*{named}"):
            PascalVOC(tmp_path)


def test_an_object_has_the_class_that_most_of_its_pixels_have(tmp_path):
    """`PascalVOC`: neither the first, the largest nor the rarest of its classes; background and void do not vote."""
    base = voc(tmp_path, ["a"])
    write(base / "JPEGImages" / "a.jpg", picture(3, 5))
    write(base / "SegmentationObject" / "a.png", np.full((3, 5), 1), palette=True)
    classes = np.array([[20, 0, 0, 0, 0], [1, 8, 8, 8, 1], [255, 255, 255, 255, 255]])
    write(base / "SegmentationClass" / "a.png", classes, palette=True)
    assert [s.category for s in PascalVOC(tmp_path)] == ["cat"]


def test_masks_of_sbd_that_are_damaged_or_missing_or_lack_a_class_are_one_line(augmented, sbd, scipy_io):
    """`PascalVOC`: never skip a file; an empty folder is no reason to train without SBD unasked."""
    for classes in ((12, 8), (12, 8, 21), (12, 0, 8), ()):
        sbd(augmented / "benchmark_RELEASE" / "dataset", "2008_000009", classes)
        with pytest.raises(ValueError, match=r"2008_000009\.mat: instance \d has no class from 1 to 20"):
            PascalVOC(augmented, "train")
    folder = augmented / "benchmark_RELEASE" / "dataset" / "inst"
    file = folder / "2008_000009.mat"
    half = file.read_bytes()[:200]
    for damage in (b"not MATLAB" * 40, half, None):
        scipy_io.savemat(file, {"GTinst": {"Segmentation": THREE.astype(np.uint8)}})  # without categories
        if damage:
            file.write_bytes(damage)
        with pytest.raises(ValueError, match=r"2008_000009\.mat: not a file of SBD's inst/") as error:
            PascalVOC(augmented, "train")
        assert "\n" not in str(error.value)
    for left in folder.iterdir():
        left.unlink()
    with pytest.raises(ValueError, match=r"benchmark_RELEASE/dataset: no inst/\*\.mat inside"):
        PascalVOC(augmented, "train")


def test_without_scipy_sbd_is_one_line_that_says_what_to_install(augmented, monkeypatch):
    """pyproject.toml, extra `sbd`: its masks are MATLAB files; VOC's own need nothing."""
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    for need in (lambda: PascalVOC(augmented, "train"), lambda: PascalVOC.fetch(augmented, sbd=True)):
        with pytest.raises(ValueError, match=r'^SBD: .*install SciPy with pip install -e "\.\[sbd\]"$'):
            need()
    assert len(PascalVOC(augmented, "val")) == 2


@pytest.fixture
def official(server, augmented, monkeypatch):
    """A server with both archives in their official layouts, and their checksums taken for the published ones."""
    for constant, top, compression in (("VOC_ARCHIVE", "VOCdevkit", ""), ("SBD_ARCHIVE", "benchmark_RELEASE", "gz")):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode=f"w:{compression}") as archive:
            archive.add(augmented / top, top)
        remote = getattr(voc_module, constant)._replace(digest=hashlib.md5(content.getvalue()).hexdigest())
        monkeypatch.setattr(voc_module, constant, remote)
        server.files[remote.name] = content.getvalue()
    return server


@pytest.mark.filterwarnings(INCOMPLETE, "ignore:Python 3.14 will, by default:DeprecationWarning")
def test_voc_is_fetched_to_test_and_to_train_and_sbd_where_the_recipe_wants_it(official, tmp_path):
    """Sec. 4.1: augmented PASCAL VOC is VOC 2012 and SBD; D28 alone trains on it, D30 on VOC whatever lies there."""
    archives = ["VOCtrainval_11-May-2012.tar", "benchmark.tgz"]
    whole = official.files[archives[0]]
    official.files[archives[0]] += b"more"  # torchvision's published MD5: nothing else is ever unpacked
    with pytest.raises(OSError, match=r"VOCtrainval_11-May-2012\.tar: cannot be fetched \(.*checksum \w{32}, expected"):
        open_dataset("PascalVOC", None)
    assert list((tmp_path / "cache" / "data" / "PascalVOC").iterdir()) == []
    official.files[archives[0]] = whole
    assert {s.name for s in open_dataset("PascalVOC", None)} == {"2007_000033"}
    assert {s.name for s in open_dataset("PascalVOC", None, "train")} == {"2007_000032"}
    assert list(dict.fromkeys(official.asked)) == archives[:1]
    assert {s.name for s in open_dataset("PascalVOC", None, "train", sbd=True)} == {"2007_000032", "2008_000009"}
    assert list(dict.fromkeys(official.asked)) == archives
    assert {s.name for s in open_dataset("PascalVOC", None, "train")} == {"2007_000032"}
    assert {s.name for s in open_dataset("PascalVOC", None, "train", sbd=True, offline=True)} >= {"2008_000009"}
