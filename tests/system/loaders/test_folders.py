"""Sec. 4.1, Datasets: folders of images and masks as people have them. Rows: D12, D27."""

import unicodedata

import numpy as np
import pytest
from layouts import picture, write
from PIL import Image, ImageDraw, ImageFilter

from data import open_dataset
from loaders.folders import Folder

SQUARE = np.zeros((8, 8), int)
SQUARE[2:6, 2:6] = 1


def discs(side=96):
    """(H, W) uint8: three discs with antialiased edges, drawn eight times larger."""
    large = Image.new("L", (side * 8, side * 8))
    for x, y, r in ((25, 25, 18), (68, 30, 14), (45, 70, 20)):
        ImageDraw.Draw(large).ellipse([8 * (x - r), 8 * (y - r), 8 * (x + r), 8 * (y + r)], fill=255)
    return np.asarray(large.reduce(8))


def trimap(background, unknown, inside, side=96):
    """(H, W) uint8 or uint16: three discs with a band around them, four pixels wide."""
    picture = Image.fromarray(discs(side) >= 128).convert("L")
    inner, outer = (np.asarray(picture.filter(f(5))) > 0 for f in (ImageFilter.MinFilter, ImageFilter.MaxFilter))
    deep = max(background, unknown, inside) > 255
    return np.select([inner, outer], [inside, unknown], background).astype(np.uint16 if deep else np.uint8)


def blocks(*levels, side=12):
    """(side + 4, n * side + 4) uint8: an area of each level side by side, on black."""
    return np.pad(np.repeat(np.array([levels] * side), side, axis=1), 2).astype(np.uint8)


def beside(root, mask, suffix=".png", **options):
    """A plain folder of one image and this mask: a Pillow image, or an array, of int as 8 bits."""
    if not isinstance(mask, Image.Image):
        mask = Image.fromarray(mask.astype(np.uint8) if mask.dtype == int else mask)
    write(root / "images" / "a.png", picture(mask.height, mask.width))
    (root / "masks").mkdir(parents=True, exist_ok=True)
    mask.save(root / "masks" / f"a{suffix}", **options)
    return root


def layout(root, *files):
    """Files as they are named, all of them PNG; images are pictures, masks are squares."""
    for file in files:
        write(root / file, picture(8, 8) if "image" in file else SQUARE * 255, format="png")
    return root


def refused(root, named, **how):
    """Opening a folder ends in one line that says `named`."""
    with pytest.raises(ValueError, match=named) as error:
        Folder(root, **how)
    assert "\n" not in str(error.value)


def equal(data, *masks, void=None):
    """Whether these are the masks, and their void pixels: none without `void`."""
    assert [s.mask.tolist() for s in data] == [(m > 0).tolist() for m in masks]
    return all((s.void == (np.zeros_like(s.void) if void is None else void)).all() for s in data)


# ---- what a mask means: claims ---------------------------------------------------------------------------------------

LOSSY = [(".jpg", {"quality": 75}, "L"), (".jpg", {"quality": 40}, "RGB"), (".webp", {"quality": 60}, "RGB")]
EXACT = [(".png", {}, "L"), (".png", {}, "RGBA"), (".png", {}, "I;16"), (".webp", {"lossless": True}, "RGB")]


@pytest.mark.parametrize(("suffix", "options", "mode"), [*LOSSY, *EXACT, (".gif", {}, "L")])
def test_soft_edges_are_one_binary_mask_cut_at_half_and_said_once(tmp_path, suffix, options, mode):
    """`Folder`: greys that reach white, of 8 or 16 bits, or a lossy format; nothing of it is void."""
    grey = discs()
    soft = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    root = beside(tmp_path, soft, suffix, **options)
    with pytest.warns(UserWarning, match=r"1 of 1 masks have soft edges.*--masks") as said:
        data = Folder(root)
    assert len(said) == len(data) == 1
    mask, true = data[0].mask, grey >= 128
    assert (mask & true).sum() / (mask | true).sum() > (0.97 if (suffix, options, mode) in LOSSY else 0.999)
    assert not data[0].void.any()
    if suffix == ".jpg":
        refused(root, r"a\.jpg: index masks do not survive a lossy format", masks="index")


TRIMAPS = [(0, 128, 255), (0, 127, 255), (0, 1, 2), (2, 3, 1), (0, 32768, 65535)]  # the fourth is Oxford-IIIT Pet's


@pytest.mark.parametrize("levels", TRIMAPS)
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_of_a_trimap_the_band_is_void_and_never_guessed(tmp_path, levels, mode):
    """`--masks trimap`; D12: GrabCut's 0, 128, 255 and the like; Oxford-IIIT Pet: 1 object, 2 background, 3 rim."""
    index = trimap(*levels)
    mask = Image.fromarray(index)
    root = beside(tmp_path, mask if levels[2] > 255 else mask.quantize(4) if mode == "P" else mask.convert(mode))
    refused(root, r"masks/a\.png: the pixels of \d+ are a thin band .*--masks trimap")
    assert equal(open_dataset(str(root), None, masks="trimap"), index == levels[2], void=index == levels[1])


@pytest.mark.parametrize("levels", [(0, 2, 1), (0, 254, 1), (0, 2000, 300)])
def test_a_band_of_the_largest_value_may_be_unknown_too(tmp_path, levels):
    """`Folder`: not taken for an instance of its own, or for the object; as 255 or 65,535 it is void."""
    index, void = trimap(*levels), 65535 if max(levels) > 255 else 255
    root = beside(tmp_path, index)
    refused(root, rf"of {levels[1]} are a thin band between 0 and {levels[2]}; save them as {void} if .*--masks index")
    assert (Folder(root, masks="index")[0].mask == (index == levels[2])).all()


def test_a_grey_rim_beside_white_may_be_a_trimap_too_and_a_trimap_may_lack_it(tmp_path):
    """`Folder`: a rim of one pixel is unknown or a soft edge; some of GrabCut's and Oxford-IIIT Pet's have none."""
    grey = np.where(discs() == 0, 0, np.where(discs() == 255, 255, 128)).astype(np.uint8)
    root = beside(tmp_path, grey)
    refused(root, "--masks trimap if they are unknown, else use --masks index or --masks binary$")
    assert equal(Folder(root, masks="binary"), grey >= 128)
    for name, index in (("grab", SQUARE * 255), ("pet", 2 - SQUARE)):
        assert equal(Folder(beside(tmp_path / name, index), masks="trimap"), SQUARE)


@pytest.mark.parametrize(
    "index",
    [
        trimap(0, 255, 5),  # the void contour of an index mask
        trimap(0, 255, 1),
        blocks(1, 2),
        np.pad(np.kron([[1, 2]], np.ones((4, 4), int)), 40),  # small neighbours
        np.kron(np.array([[0] * 5, [0, 1, 1, 1, 0], [0, 1, 2, 1, 0], [0, 1, 1, 1, 0], [0] * 5]), np.ones((9, 9), int)),
    ],
)
def test_an_index_mask_of_two_values_is_not_taken_for_a_trimap(tmp_path, index):
    """`Folder`: objects beside or within each other, and contours of 255, are what they were."""
    numbers = [v for v in np.unique(index) if v not in (0, 255)]
    assert equal(Folder(beside(tmp_path, index)), *(index == v for v in numbers), void=index == 255)


@pytest.mark.parametrize("levels", [(1, 2, 3), (1, 255), (3, 7, 12, 255), (200,), (255,), tuple(range(1, 33))])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "I;16"])
def test_few_small_values_are_instances_with_255_void_whatever_the_mode(tmp_path, levels, mode):
    """`Folder`; D12: a value is an instance, 255 void unless alone; equal channels are one channel."""
    index = blocks(*levels)
    mask = Image.fromarray(index.astype(np.uint16) if mode == "I;16" else index)
    if mode == "P":
        mask.putpalette([(i * k) % 256 for i in range(256) for k in (3, 5, 7)])
    elif mode == "RGB":
        mask = mask.convert("RGB")
    expected = [index == v for v in levels if v != 255] or [index == 255]
    assert equal(Folder(beside(tmp_path, mask)), *expected, void=(index == 255) & (len(levels) > 1))


def test_numbers_above_255_are_instances_and_65535_is_their_void(tmp_path):
    """`Folder`: in a 16-bit mask with such numbers 255 is one of them."""
    index = np.array([[0, 254, 255, 256], [300, 300, 65535, 0]], np.uint16)
    assert equal(Folder(beside(tmp_path, index)), *(index == v for v in (254, 255, 256, 300)), void=index == 65535)


def test_one_bit_a_palette_in_any_order_and_a_transparent_ground_are_one_object(tmp_path):
    """`read_mask`: what is plain is converted."""
    palette = Image.fromarray((SQUARE == 0).astype(np.uint8))
    palette.putpalette([255, 255, 255, 0, 0, 0])
    alpha = Image.fromarray((SQUARE * 255).astype(np.uint8))
    for k, mask in enumerate((SQUARE == 1, palette, Image.merge("LA", [Image.new("L", (8, 8), 255), alpha]))):
        assert equal(Folder(beside(tmp_path / f"{k}", mask)), SQUARE)


def test_masks_settles_what_a_mask_is(tmp_path):
    """`--masks index|binary`: said by the user, so nothing is said to him; an index mask is joined or cut."""
    levels, numbers = blocks(60, 120, 180), blocks(1, 2, 9)
    root = beside(tmp_path / "levels", levels)
    assert equal(Folder(root, masks="index"), *(levels == v for v in (60, 120, 180)))
    assert equal(open_dataset(str(root), None, masks="binary"), levels >= 128)
    assert equal(Folder(beside(tmp_path / "numbers", numbers), masks="binary"), numbers)
    refused(root, "masks 'soft': expected index, binary, trimap", masks="soft")
    pets = beside(tmp_path / "pets", 2 - SQUARE)  # whose background, 2, is no instance
    refused(pets, r"a\.png: no 0 among the values 1, 2; .* --masks trimap or --masks index$")
    assert equal(Folder(pets, masks="index"), SQUARE, 1 - SQUARE)
    assert equal(Folder(beside(tmp_path / "whole", SQUARE * 0 + 1)), SQUARE * 0 + 1)


def test_masks_is_refused_for_a_data_set_that_says_what_its_masks_are(tmp_path):
    """`open_dataset`: a flag that was given is never silently overridden."""
    with pytest.raises(ValueError, match=r"--masks binary: .*COCO"):
        open_dataset("COCO", tmp_path, masks="binary")
    layout(tmp_path, "image/cat/a.jpg", "binary/cat/a.png")
    with pytest.warns(UserWarning, match="CoCA: 1 instances"):
        assert len(open_dataset("CoCA", tmp_path, masks="binary")) == 1


# ---- masks that are refused ------------------------------------------------------------------------------------------

NEITHER = [  # mask, suffix, --masks, what is said
    (blocks(60, 120, 180), ".png", None, "0, 60, 120, 180; use --masks index, --masks binary or --masks trimap"),
    (blocks(51, 102, 153, 204, 255), ".png", None, "use --masks index"),
    (blocks(51, 102, 153, 204), ".jpg", None, "use --masks"),
    (SQUARE * 0, ".png", None, "no foreground pixel in the mask; draw it, or remove it"),
    (picture(8, 8), ".png", None, "a mask with colours"),
    (np.where(SQUARE, 1, -1).astype(np.int32), ".tif", None, "the value -1; expected 0 for .*unknown pixels as 255"),
    (np.where(SQUARE, 1, -1).astype(np.float32), ".tif", None, "a mask of mode F; expected whole numbers in one"),
    (blocks(60, 128, 255), ".png", "trimap", "are 0, 60, 128, 255; expected 0, unknown and object, or 1, 2 and 3"),
    (blocks(60), ".jpg", "trimap", "trimap masks do not survive a lossy format"),
    (SQUARE + 4, ".png", "trimap", "the values are 4, 5"),
    (SQUARE * 0, ".png", "trimap", "the values are 0; expected"),
]


@pytest.mark.parametrize(("mask", "suffix", "masks", "named"), NEITHER)
def test_a_mask_that_is_none_is_one_line_that_names_it_and_the_remedy(tmp_path, mask, suffix, masks, named):
    """`Folder`: where nothing fits, or not what `--masks` says; values are never guessed."""
    refused(beside(tmp_path, mask, suffix), rf"masks/a\{suffix}: .*{named}", masks=masks)


def test_transparent_pixels_beside_an_opaque_background_are_refused(tmp_path):
    """`read_mask`: they are neither background nor object; on a transparent ground they are the background."""
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[1] = 0
    mask = Image.merge("LA", [Image.fromarray((SQUARE * 255).astype(np.uint8)), Image.fromarray(alpha)])
    refused(beside(tmp_path, mask), r"a\.png: a mask with transparent pixels beside an opaque background")


# ---- which files belong together: claims -----------------------------------------------------------------------------


def test_the_categories_of_a_folder_are_its_folders_and_a_plain_one_is_a_category_named_like_it(tmp_path):
    """`Folder`; D27: one bank, one memory, one set of parameters per category; no two images share a name."""
    files = ("images/dog/001.png", "images/cat/001.png", "masks/dog/001.png", "masks/cat/001.png")
    data = Folder(layout(tmp_path, *files))
    assert [(s.name, s.category) for s in data] == [("cat/001", "cat"), ("dog/001", "dog")]
    data = Folder(layout(tmp_path / "mugs", "images/a.png", "masks/a.png"))
    assert [(s.name, s.category) for s in data] == [("a", "mugs")]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        *[("a.jpg", f"a{end}.png") for end in ("_mask", "-mask", "_GT", " masks")],
        *[(f"a{suffix}", f"a{suffix}") for suffix in (".bmp", ".tif", ".gif", ".PNG", ".webp")],
        *[("A.JPEG", "a.png"), ("a .jpg", "a.png"), ("a.jpg", "a.png "), ("cat/a.jpg", "Cat/a_mask.png")],
        *[
            (unicodedata.normalize(f"NF{a}", "é.jpg"), unicodedata.normalize(f"NF{b}", "é.png"))
            for a, b in ("CD", "DC")
        ],
    ],
)
def test_a_mask_is_found_by_the_name_of_its_image(tmp_path, image, mask):
    """`pairs`: the whole name, the stem, with an ending, capitals and spaces apart, in either form of Unicode."""
    for name, array in ((f"images/{image}", picture(8, 8)), (f"masks/{mask}", SQUARE * 255)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = Image.registered_extensions()[path.suffix.strip().lower()]
        Image.fromarray(array.astype(np.uint8)).save(path, kind, lossless=True)
    assert equal(Folder(tmp_path, masks="binary"), SQUARE)


def test_images_that_share_a_stem_keep_their_suffix_and_others_lose_it(tmp_path):
    """`Sample`: features are known by the name, which no other image has."""
    files = ("images/0.jpg", "images/0.png", "images/1.png", "masks/0.jpg.png", "masks/0.png.png", "masks/1.png")
    assert [s.name for s in Folder(layout(tmp_path, *files))] == ["0.jpg", "0.png", "1"]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ("images/0.jpg images/0.bmp masks/0.png", r"0\.jpg: 0\.bmp is there too; keep one"),
        ("images/0.jpg masks/0_mask.png masks/0_gt.png", r"0_mask\.png: 0_gt\.png is there too"),
        ("images/0.jpg images/1.jpg masks/0.png", r"images/1\.jpg: its mask is missing; expected .*masks/1\.png"),
        ("images/0.jpg masks/1.png masks/0.png", r"masks/1\.png: its image is missing; expected .*images/1\.jpg"),
        ("images/0.jpg masks/0.png images/1.heic masks/1.png", r"1\.heic: files of the kind \.heic are not read"),
        ("images/0.jpg masks/0.png images/1.jpg masks/1.npy", r"masks/1\.npy: files of the kind \.npy are not read"),
        ("images/0.jpg masks/0.png images/1.heic masks/1.npy", r"1\.heic: files of the kind \.heic are not read"),
        ("image/a.jpg mask/a.png void/0.png", "void: a folder of unknown pixels is not read; save those pixels as 255"),
        ("images/0.jpg masks/0.png masks_Ignore/0.png", "masks_Ignore: a folder of unknown pixels is not read"),
    ],
)
def test_a_file_without_its_counterpart_or_that_is_not_read_is_named_with_the_remedy(tmp_path, files, named):
    """`pairs`: never skip a file, never guess between two."""
    refused(layout(tmp_path, *files.split()), named)


def test_hidden_and_system_files_and_folders_and_sidecars_are_skipped(tmp_path):
    """`listing`: what editors and systems leave behind, and what a camera writes beside a picture."""
    layout(tmp_path, "images/a.jpg", "masks/a.png", "images/.a.jpg", "images/.ipynb_checkpoints/a-checkpoint.jpg")
    layout(tmp_path, "images/@eaDir/a.jpg", "masks/__MACOSX/images/b.png")
    for name in ("images/Thumbs.db", "images/readme.txt", "images/a.json", "images/a.cr2"):
        (tmp_path / name).write_text("")
    assert [s.name for s in Folder(tmp_path)] == ["a"]


def test_links_to_category_folders_are_followed_and_one_to_nowhere_is_named(tmp_path):
    """`listing`: data sets are put together with links; a circle of links ends."""
    layout(tmp_path / "store", "images/x.jpg", "masks/x.png")
    root = layout(tmp_path / "data", "images/cat/a.jpg", "masks/cat/a.png")
    for side in ("images", "masks"):
        (root / side / "dog").symlink_to(tmp_path / "store" / side)
        (tmp_path / "store" / side / "back").symlink_to(root / side)
    assert [(s.category, s.name) for s in Folder(root)] == [("cat", "cat/a"), ("dog", "dog/x")]
    (root / "images" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    refused(root, r"images/lost\.jpg: its mask is missing")


def test_an_upright_mask_fits_a_photograph_that_its_exif_turns_and_a_lying_one_is_told_why_not(tmp_path):
    """EXIF 2.3, tag 0x0112: a mask belongs to what a viewer shows, and is turned itself if it says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "images" / "a.jpg", picture(4, 9), exif=exif)
    upright = np.pad(np.ones((2, 4), int), ((0, 7), (0, 0)))
    for mask, options in ((upright, {}), (np.rot90(upright), {"exif": exif})):
        write(tmp_path / "masks" / "a.png", mask, **options)
        assert equal(Folder(tmp_path), upright)
    write(tmp_path / "masks" / "a.png", np.rot90(upright))
    refused(tmp_path, r"9x4 but 4x9\).*EXIF")
