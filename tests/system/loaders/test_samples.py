"""Sec. 4.1, Datasets: the reading of files, and which instances of a data set are kept. Rows: D12, D27."""

import warnings
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import picture, png, write
from PIL import Image, ImageFile

from loaders.pictures import read_image, read_mask
from loaders.samples import FileSequence, Item
from support.command_line import OutOfMemoryError


class Squares(FileSequence):
    """Instances without files of their own: `value` pixels each, of which the first `hidden` are void."""

    def __init__(self, root, sizes, hidden=0):
        self.hidden, file = hidden, root / "image.png"
        self.items = [Item(file, file, n, category, f"{k}") for k, (category, n) in enumerate(sizes)]

    def masks(self, item):
        flat = np.arange(64).reshape(8, 8)
        return flat < item.value, flat < self.hidden


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the image of all instances."""
    write(tmp_path_factory.mktemp("squares") / "image.png", picture(8, 8))
    return tmp_path_factory.getbasetemp() / "squares0"


SIZES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 64)), min_size=1)


@given(SIZES, st.integers(0, 40), st.integers(1, 4), st.integers(0, 20), st.integers(1, 30))
def test_what_is_chosen_are_some_of_the_large_instances_of_the_frequent_categories(
    root, sizes, area, least, void, limit
):
    """`choose`: the definition, written out: D12, no void pixel counts; D27: evenly spaced in file order."""
    large = [k for k, (_, n) in enumerate(sizes) if not area or n - void >= area]
    kept = [k for k in large if sum(sizes[j][0] == sizes[k][0] for j in large) >= least]
    sequence = Squares(root, sizes, void)
    if not kept:
        with pytest.raises(ValueError, match="no instance is left"):
            sequence.choose(limit, min_area=area, min_count=least)
        return
    sequence.choose(limit, min_area=area, min_count=least)
    places = [kept.index(int(item.name)) for item in sequence.items]
    assert len(places) == min(limit, len(kept))
    assert places[0] == 0
    gaps = np.diff([*places, len(kept)])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_grey_transparent_and_cmyk_images_become_rgb(tmp_path):
    """`read_image`: (H, W, 3) uint8 RGB whatever the mode; magenta and yellow without cyan or black is red."""
    rgb, palette = picture(), Image.new("P", (5, 3), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    palette.save(tmp_path / "p.png", transparency=bytes([255, 7]))  # Pillow warns on the direct way
    write(tmp_path / "grey.png", rgb[..., 0])
    write(tmp_path / "alpha.png", np.dstack([rgb, np.full((3, 5), 7, np.uint8)]))
    Image.new("CMYK", (5, 3), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    expected = {"p.png": (10, 200, 30), "grey.png": rgb[..., :1], "alpha.png": rgb, "cmyk.jpg": (255, 0, 0)}
    for name, pixels in expected.items():
        image = read_image(tmp_path / name)
        assert (image.shape, image.dtype) == ((3, 5, 3), np.uint8)
        assert np.abs(image.astype(int) - pixels).max() <= (8 if name == "cmyk.jpg" else 0)


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_a_colour_become_eight_and_fewer_in_use_are_refused(tmp_path, channels):
    """`read_image`: Pillow keeps the upper eight bits only, so that of 12 bits four would be left."""
    for level in (2**14, 32768, 65535):
        (tmp_path / "deep.png").write_bytes(png({3: 2, 4: 6}[channels], np.full((2, 3, channels), level)))
        image = read_image(tmp_path / "deep.png")
        assert (image.shape, image.dtype) == ((2, 3, 3), np.uint8)
        assert np.abs(image - level / 257).max() <= 1
    (tmp_path / "deep.png").write_bytes(png({3: 2, 4: 6}[channels], np.full((2, 3, channels), 2**14 - 1)))
    with pytest.raises(ValueError, match=r"deep\.png: colours of 16 bits with at most 14 in use; save it with 8 bits"):
        read_image(tmp_path / "deep.png")


@pytest.mark.parametrize("bits", [8, 12, 14, 16])
def test_grey_of_fewer_bits_in_sixteen_is_scaled_by_those_and_said_once(tmp_path, bits):
    """`read_image`: a camera's 12 bits are not nearly black; the largest value rounded up to a power of two."""
    levels = np.linspace(0, 0.9 * (2**bits - 1), 48).reshape(6, 8).astype(np.uint16)
    for name in "ab":
        write(tmp_path / f"{name}.png", levels)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        first, second = (read_image(tmp_path / f"{name}.png") for name in "ab")
    warning = [f"{tmp_path}: pictures of 16 bits with {bits} in use are scaled by those"]
    assert [str(w.message) for w in said] == (warning if bits < 16 else [])
    assert np.abs(first[..., 0] - levels * 255.0 / (2**bits - 1)).max() <= 0.5
    assert (first == second).all()


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("step", ["load", "convert"])
def test_too_little_memory_for_a_picture_names_it_and_its_size(tmp_path, monkeypatch, read, step):
    """`read_image`: never 'not a readable image', which would blame the file."""
    write(tmp_path / "big.png", picture(30, 40))
    owner = ImageFile.ImageFile if step == "load" else Image.Image
    monkeypatch.setattr(owner, step, Mock(side_effect=MemoryError))
    text = r"big\.png, 30x40 pixels, 0 MB as RGB: the machine is out of memory; make it smaller"
    with pytest.raises(OutOfMemoryError, match=text):
        read(tmp_path / "big.png")


@pytest.mark.parametrize("content", [b"", b"text", png(2, np.zeros((9, 9, 3)))[:-30]])
def test_a_damaged_file_is_named_in_one_line(tmp_path, content):
    """`read_image`: ValueError names a file that cannot be read."""
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png: not a readable image") as error:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(error.value)
