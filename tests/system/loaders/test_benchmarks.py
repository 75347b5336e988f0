"""GrabCut, Berkeley, DAVIS and COCO-MVal as the release of f-BRS has them, read and fetched."""

import numpy as np
import pytest
from layouts import INCOMPLETE, dot, picture, write, zipped

from data import BENCHMARKS, open_dataset

OBJECT = np.zeros((6, 9), int)
OBJECT[2:5, 3:7] = 1
TRIMAP = np.where(OBJECT == 1, 255, 0)
TRIMAP[1, 3:7] = 128

incomplete = pytest.mark.filterwarnings(INCOMPLETE)


def grabcut(root):
    write(root / "data_GT" / "book.bmp", picture(6, 9))
    write(root / "data_GT" / "music.JPG", picture(6, 9))
    for name in ("book", "music"):
        write(root / "boundary_GT" / f"{name}.bmp", TRIMAP)
    return root


def test_grabcut_s_255_is_the_object_and_its_128_is_void(tmp_path):
    """`data_GT` and `boundary_GT`; D12."""
    with pytest.warns(UserWarning, match=r"GrabCut: 2 instances; the complete data set has 50"):
        data = open_dataset("GrabCut", grabcut(tmp_path))
    assert [(s.name, s.category) for s in data] == [("book", "object"), ("music", "object")]
    assert all((s.mask == (TRIMAP == 255)).all() and (s.void == (TRIMAP == 128)).all() for s in data)


@incomplete
def test_further_objects_of_a_berkeley_image_have_a_letter_more_in_their_mask_s_name(tmp_path):
    """`images` and `masks`, RGB; the objects of an image share its name and follow each other."""
    masks = {"20": OBJECT * 255, "10b": OBJECT[::-1] * 255, "10a": OBJECT * 197}
    for name, mask in masks.items():
        write(tmp_path / "masks" / f"{name}.png", np.dstack([mask] * 3).astype(np.uint8))
        write(tmp_path / "images" / f"{name[:2]}.jpg", picture(6, 9))
    data = open_dataset("Berkeley", tmp_path)
    assert [s.name for s in data] == ["10", "10", "20"]
    assert all((s.mask == (masks[m] > 0)).all() and not s.void.any() for s, m in zip(data, sorted(masks), strict=True))


@incomplete
def test_whatever_is_not_black_is_davis_s_object(tmp_path):
    """`img` and `gt`: numbers of a palette, colours and greys; no value is void."""
    parts = np.where(np.arange(9) > 4, 3 * OBJECT, OBJECT)
    colours = np.dstack([OBJECT * 0, parts * 40, OBJECT * 90]).astype(np.uint8)
    write(tmp_path / "gt" / "000.png", parts, palette=True)
    write(tmp_path / "gt" / "001.png", colours)
    write(tmp_path / "gt" / "002.png", np.where(parts == 3, 255, parts))
    for k in range(3):
        write(tmp_path / "img" / f"00{k}.jpg", picture(6, 9))
    data = open_dataset("DAVIS", tmp_path)
    assert [(s.mask == OBJECT).all() and not s.void.any() for s in data] == [True] * 3


def archive(layout, top):
    """The zip of a layout, below the folder `top`; the last image has several objects."""
    images, masks = layout.counts
    names = [f"{layout.images}/{k:03d}.png" for k in range(images)]
    for k in range(masks):
        letter = "abcdef"[k - images + 1] if k >= images - 1 else ""
        names.append(f"{layout.masks}/{min(k, images - 1):03d}{letter}.png")
    junk = [f"{top}{layout.images}/.DS_Store", f"{top}{layout.images}/Thumbs.db", f"__MACOSX/{layout.images}/._000.png"]
    return zipped({top + name: dot("L", 255) for name in names} | dict.fromkeys(junk, b""))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_fetched_by_its_name_whether_its_archive_has_the_folder_or_not(server, tmp_path, name):
    """--data NAME without --root: fetched once, counted, kept in $SIIS_CACHE/data/NAME."""
    layout = BENCHMARKS[name]
    server.files[f"{layout.folder}.zip"] = archive(layout, "" if name == "GrabCut" else f"{layout.folder}/")
    assert len(open_dataset(name, None, limit=2)) == 2
    place = tmp_path / "cache" / "data" / name / layout.folder
    assert {layout.images, layout.masks} <= {path.name for path in place.iterdir()}
    assert [path.name for path in place.parent.iterdir()] == [layout.folder]
    assert len(open_dataset(name, None, offline=True, limit=3)) == 3
    assert len(server.asked) == 1
