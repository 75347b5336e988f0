"""Sec. 4.1, Datasets: the reading of files, and which instances of a data set are kept. Rows: D12, D27."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import TWO_OBJECTS, picture, png, write
from PIL import Image, ImageFile

from loaders.pictures import read_image, read_mask
from loaders.samples import FileSequence, Item, by_category

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


class Squares(FileSequence):
    """Instances without files of their own: `value` pixels each, of which the first `hidden` are void."""

    def __init__(self, root, sizes, hidden=0):
        write(root / "image.png", picture(8, 8))
        write(root / "mask.png", np.ones((8, 8), int))
        self.hidden = hidden
        self.items = [
            Item(root / "image.png", root / "mask.png", n, category, f"{k}") for k, (category, n) in enumerate(sizes)
        ]

    def masks(self, item):
        flat = np.arange(64).reshape(8, 8)
        return flat < item.value, flat < self.hidden


def names(data):
    return [item.name for item in data.items]


# ---- the choice of instances: claims ---------------------------------------------------------------------------------


def test_an_area_is_counted_outside_void(tmp_path):
    """`choose`, min_area; D12: void pixels are in no region."""
    data = Squares(tmp_path, [("a", 9), ("a", 10), ("a", 30)], hidden=6)
    data.choose(min_area=4)
    assert names(data) == ["1", "2"]


def test_categories_are_counted_after_small_instances_are_gone(tmp_path):
    """`choose`, min_count: instances of a category, of those that are left."""
    data = Squares(tmp_path, [("a", 20), ("b", 20), ("a", 3), ("b", 21), ("a", 3)])
    data.choose(min_area=10, min_count=2)
    assert names(data) == ["1", "3"]


def test_a_draw_by_category_comes_after_both_filters_and_before_the_limit(tmp_path):
    """`choose`, per_category and limit, which is last: "so many of what is left"."""
    sizes = [("a", 20)] * 9 + [("b", 20)] * 9 + [("a", 2)] * 40 + [("c", 20)]
    data = Squares(tmp_path, sizes)
    data.choose(min_area=10, min_count=2, per_category=4)
    drawn = names(data)
    assert [item.category for item in data.items] == ["a"] * 4 + ["b"] * 4
    assert all(int(name) < 18 for name in drawn)
    data = Squares(tmp_path, sizes)
    data.choose(4, min_area=10, min_count=2, per_category=4)
    assert names(data) == drawn[::2]


def test_a_draw_is_the_same_each_time_and_no_plain_cut(tmp_path):
    """`choose`, per_category: "drawn with seed 0"."""
    draws = []
    for _ in range(2):
        data = Squares(tmp_path, [("a", 20)] * 30 + [("b", 20)] * 3)
        data.choose(per_category=10)
        draws.append(names(data))
    assert draws[0] == draws[1]
    assert draws[0][-3:] == ["30", "31", "32"]
    assert draws[0][:10] == sorted(draws[0][:10], key=int) != [str(i) for i in range(10)]


@pytest.mark.parametrize("filters", [{"min_area": 65}, {"min_count": 4}, {"min_area": 20, "min_count": 2}])
def test_a_choice_that_leaves_nothing_is_refused_with_both_numbers(tmp_path, filters):
    """`choose`: ValueError if nothing is left."""
    data = Squares(tmp_path, [("a", 20), ("b", 5), ("a", 5)])
    area, count = filters.get("min_area", 0), filters.get("min_count", 1)
    with pytest.raises(ValueError, match=rf"\b{area} pixels and {count}\b"):
        data.choose(**filters)


def test_the_files_of_an_instance_that_is_not_chosen_need_not_be_there(tmp_path):
    """`choose`: keep some of the instances and check their files; `check` names the first that cannot be used."""
    data = Squares(tmp_path, [("a", 20), ("a", 20)])
    data.items[1] = data.items[1]._replace(image=tmp_path / "gone.png")
    data.choose(1)
    data = Squares(tmp_path, [("a", 20), ("a", 20)])
    data.items[1] = data.items[1]._replace(image=tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"gone\.png: no such file"):
        data.choose()


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 70))
def test_a_limit_keeps_samples_evenly_spaced_in_file_order(tmp_path_factory, n, limit):
    """D27: at most `limit`, the first among them, in order, and no gap more than one longer than another."""
    sequence = Squares(tmp_path_factory.getbasetemp(), [("a", 5)] * n)
    sequence.choose(limit)
    assert len(sequence) == min(limit, n)
    assert sequence.items[0].name == "0"
    gaps = np.diff([*map(int, names(sequence)), n])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 64)), min_size=1), st.integers(0, 40), st.data())
def test_what_is_chosen_are_the_large_instances_of_the_frequent_categories(tmp_path_factory, sizes, area, data):
    """`choose`: the definition, written out; the order stays."""
    large = [k for k, (_, n) in enumerate(sizes) if n >= area]
    least = data.draw(st.integers(1, 4))
    kept = [k for k in large if sum(sizes[j][0] == sizes[k][0] for j in large) >= least]
    sequence = Squares(tmp_path_factory.getbasetemp(), sizes)
    if kept:
        sequence.choose(min_area=area, min_count=least)
        assert names(sequence) == [str(k) for k in kept]
    else:
        with pytest.raises(ValueError, match="no instance left"):
            sequence.choose(min_area=area, min_count=least)


@given(st.lists(st.sampled_from("zya")))
def test_categories_follow_the_given_order_and_keep_file_order_within(categories):
    """D27: bank, memory and parameters for each category, whose samples follow each other in file order."""
    items = [Item(None, None, 0, category, str(k)) for k, category in enumerate(categories)]
    expected = [item for category in "zya" for item in items if item.category == category]
    assert by_category(items, "zya") == expected


# ---- the reading of files: oracles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTED)
def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path, orientation):
    """EXIF 2.3, tag 0x0112, written out as array operations."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(tmp_path / "a.png", picture(), exif=exif)
    assert (read_image(tmp_path / "a.png") == ORIENTED[orientation](picture())).all()


def test_a_palette_with_a_transparent_colour_is_read_without_a_warning(tmp_path):
    """`read_image`: the colours count, transparent or not; warnings are errors here."""
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(tmp_path / "p.png", transparency=bytes([255, 7]))
    assert (read_image(tmp_path / "p.png") == (10, 200, 30)).all()


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


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_named_and_closed(tmp_path, kind):
    """`read_image`: ValueError names a file that cannot be read; warnings (an unclosed file) are errors."""
    whole = io.BytesIO()
    Image.fromarray(picture(40, 40)).save(whole, kind)
    path = tmp_path / ("a.png" if kind == "PNG" else "a.jpg")
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(ValueError, match=r"a\.(png|jpg)"):
        read_image(path)


@pytest.mark.parametrize("level", [32768, 65535])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_a_channel_become_eight_without_saturation(tmp_path, channels, level):
    """`read_image`: 16-bit grey, RGB and RGBA; 32768 of 65535 is the middle, 127 or 128 of 255."""
    rows = np.full((2, 3, channels), level)
    (tmp_path / "deep.png").write_bytes(png({1: 0, 3: 2, 4: 6}[channels], rows))
    image = read_image(tmp_path / "deep.png")
    assert image.shape == (2, 3, 3)
    assert image.dtype == np.uint8
    assert np.abs(image - level / 257).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_grey_of_fewer_bits_in_sixteen_is_scaled_by_those_and_said_once(tmp_path, bits):
    """`read_image`: a camera's 12 bits are not nearly black; the largest value rounded up to a power of two."""
    levels = np.linspace(0, 0.9 * (2**bits - 1), 48).reshape(6, 8).astype(np.uint16)
    for name in "ab":
        write(tmp_path / f"{name}.png", levels)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        first, second = (read_image(tmp_path / f"{name}.png") for name in "ab")
    assert [str(w.message) for w in said] == [f"{tmp_path}: pictures of 16 bits with {bits} in use are scaled by those"]
    assert np.abs(first[..., 0] - levels * 255.0 / (2**bits - 1)).max() <= 0.5
    assert (first == second).all()


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_fewer_bits_in_sixteen_are_refused(tmp_path, channels):
    """`read_image`: Pillow keeps the upper eight bits only, so that of 12 bits four would be left."""
    levels = np.full((2, 3, channels), 2**14 - 1)
    (tmp_path / "deep.png").write_bytes(png({3: 2, 4: 6}[channels], levels))
    with pytest.raises(ValueError, match=r"deep\.png: colours of 16 bits with at most 14 in use; save it with 8 bits"):
        read_image(tmp_path / "deep.png")
    (tmp_path / "deep.png").write_bytes(png({3: 2, 4: 6}[channels], levels + 2))
    assert (read_image(tmp_path / "deep.png") == 64).all()


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("step", ["load", "convert"])
def test_too_little_memory_for_a_picture_names_it_and_its_size(tmp_path, monkeypatch, read, step):
    """`read_image`: never 'not a readable image', which would blame the file."""
    write(tmp_path / "big.png", picture(30, 40))

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile if step == "load" else Image.Image, step, full)
    with pytest.raises(
        OSError, match=r"big\.png: not enough memory to read it \(40 x 30 pixels, 0 MB as RGB\); make it"
    ):
        read(tmp_path / "big.png")


def test_sixteen_bit_grey_is_rounded_to_the_nearest_of_eight_bits(tmp_path):
    """`read_image`: 65,535 is 255; a level divided by 256, or cut instead of rounded, is off by more than a half."""
    levels = np.arange(0, 65536, 37).reshape(-1, 4)
    write(tmp_path / "deep.png", levels.astype(np.uint16))
    assert np.abs(read_image(tmp_path / "deep.png")[..., 0] - levels / 257).max() <= 0.5


def test_an_index_above_255_of_a_sixteen_bit_mask_is_its_own_instance(tmp_path):
    """`read_mask`: 16-bit files; 300 is neither 44 (300 mod 256) nor 255."""
    ids = np.array([[0, 300, 44], [255, 300, 65535]], np.uint16)
    write(tmp_path / "ids.png", ids)
    assert read_mask(tmp_path / "ids.png").tolist() == ids.tolist()


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1)])
def test_an_image_of_a_single_row_or_column_keeps_its_shape(tmp_path, shape):
    """`read_image` and `read_mask`: (H, W, 3) and (H, W), also where a side is 1."""
    write(tmp_path / "image.png", picture(*shape))
    write(tmp_path / "mask.png", np.ones(shape, int))
    assert (read_image(tmp_path / "image.png") == picture(*shape)).all()
    assert read_mask(tmp_path / "mask.png").shape == shape


def test_a_photograph_of_48_million_pixels_is_read(tmp_path):
    """`read_image`: pictures of today's cameras, without a warning."""
    Image.new("1", (8000, 6000), 1).save(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png").shape == (6000, 8000, 3)


@pytest.mark.parametrize(
    ("mode", "colours"), [("RGBA", [(9, 0, 0, 255), (0, 9, 0, 255)]), ("RGB", [9, 999]), ("F", [0.5])]
)
def test_a_mask_that_is_no_index_mask_is_refused_with_its_mode(tmp_path, mode, colours):
    """`read_mask`: ValueError names a file with colours, or with fractions."""
    image = Image.new(mode, (3, 3))
    for x, colour in enumerate(colours):
        image.putpixel((x, 0), colour)
    image.save(tmp_path / "m.tiff")
    with pytest.raises(ValueError, match=rf"m\.tiff.*{mode}"):
        read_mask(tmp_path / "m.tiff")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"text", png(2, np.zeros((9, 9, 3)))[:-30]])
def test_a_damaged_file_is_named_in_one_line(tmp_path, content):
    """`read_image`: ValueError names a file that cannot be read."""
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png: not a readable image") as error:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(error.value)
