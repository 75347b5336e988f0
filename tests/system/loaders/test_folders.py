"""Sec. 4.1, Datasets: folders of images and masks as people have them. Rows: D12, D27."""

import unicodedata

import numpy as np
import pytest
from layouts import picture, write
from PIL import Image, ImageDraw, ImageFilter

from data import open_dataset
from loaders.folders import Folder
from loaders.listing import distinct

SQUARE = np.zeros((8, 8), int)
SQUARE[2:6, 2:6] = 1


def discs(side=96):
    """(H, W) uint8: three discs with antialiased edges, drawn eight times larger."""
    large = Image.new("L", (side * 8, side * 8))
    for x, y, r in ((25, 25, 18), (68, 30, 14), (45, 70, 20)):
        ImageDraw.Draw(large).ellipse([8 * (x - r), 8 * (y - r), 8 * (x + r), 8 * (y + r)], fill=255)
    return np.asarray(large.reduce(8))


def beside(root, mask, suffix=".png", **options):
    """A plain folder of one image and this mask: an array or a Pillow image."""
    mask = mask if isinstance(mask, Image.Image) else Image.fromarray(np.asarray(mask).astype(np.uint8))
    write(root / "images" / "a.png", picture(mask.height, mask.width))
    (root / "masks").mkdir(parents=True, exist_ok=True)
    mask.save(root / "masks" / f"a{suffix}", **options)
    return root


def blocks(*levels, side=12):
    """(side, n * side) uint8: an area of each level side by side, on black."""
    grey = np.zeros((side + 4, len(levels) * side + 4), np.uint8)
    for k, level in enumerate(levels):
        grey[2:-2, 2 + k * side : 2 + (k + 1) * side] = level
    return grey


def layout(root, *files):
    """Files as they are named; images are pictures, masks are squares."""
    for file in files:
        write(root / file, picture(8, 8) if "image" in file else SQUARE * 255)
    return root


# ---- what a mask means: claims ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "options", "mode"),
    [
        (".png", {}, "L"),
        (".png", {}, "RGBA"),
        (".png", {}, "I;16"),
        (".jpg", {"quality": 75}, "L"),
        (".jpg", {"quality": 40}, "RGB"),
        (".webp", {"quality": 60}, "RGB"),
        (".webp", {"lossless": True}, "RGB"),
        (".gif", {}, "L"),
    ],
)
def test_soft_edges_are_one_binary_mask_cut_at_half_and_said_once(tmp_path, suffix, options, mode):
    """`Folder`: greys that reach white, of 8 or 16 bits, or a lossy format; nothing of it is void."""
    grey = discs()
    soft = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    root = beside(tmp_path, soft, suffix, **options)
    with pytest.warns(UserWarning, match=r"1 of 1 masks have soft edges.*--masks") as said:
        data = Folder(root)
    assert len(said) == len(data) == 1
    mask, true = data[0].mask, grey >= 128
    assert (mask & true).sum() / (mask | true).sum() > (0.97 if suffix in (".jpg", ".webp") else 0.999)
    assert not data[0].void.any()


def trimap(background, unknown, inside, side=96):
    """(H, W) uint16: three discs with a band around them, four pixels wide."""
    picture = Image.fromarray(discs(side) >= 128).convert("L")
    inner, outer = (np.asarray(picture.filter(f(5))) > 0 for f in (ImageFilter.MinFilter, ImageFilter.MaxFilter))
    return np.select([inner, outer], [inside, unknown], background).astype(np.uint16)


TRIMAPS = [(0, 128, 255), (0, 127, 255), (0, 1, 2), (2, 3, 1), (0, 32768, 65535)]  # the fourth is Oxford-IIIT Pet's


@pytest.mark.parametrize("levels", TRIMAPS)
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_of_a_trimap_the_band_is_void_and_never_guessed(tmp_path, levels, mode):
    """`--masks trimap`; D12: GrabCut's 0, 128, 255 and the like; Oxford-IIIT Pet: 1 object, 2 background, 3 rim."""
    index = trimap(*levels)
    mask = Image.fromarray(index if levels[2] > 255 else index.astype(np.uint8))
    root = beside(tmp_path, mask if levels[2] > 255 else mask.quantize(4) if mode == "P" else mask.convert(mode))
    with pytest.raises(ValueError, match=r"masks/a\.png: the pixels of \d+ are a thin band .*--masks trimap") as error:
        Folder(root)
    assert "\n" not in str(error.value)
    (sample,) = open_dataset(str(root), None, masks="trimap")
    assert (sample.mask == (index == levels[2])).all()
    assert (sample.void == (index == levels[1])).all()


def test_a_grey_rim_beside_white_may_be_a_trimap_too(tmp_path):
    """`Folder`: a rim of one pixel is unknown or a soft edge: the user says which."""
    grey = np.where(discs() == 0, 0, np.where(discs() == 255, 255, 128)).astype(np.uint8)
    root = beside(tmp_path, grey)
    with pytest.raises(
        ValueError, match=r"--masks trimap if they are unknown, else use --masks index or --masks binary$"
    ):
        Folder(root)
    assert [(s.mask == (grey >= 128)).all() for s in Folder(root, masks="binary")] == [True]
    assert [int(s.mask.sum()) for s in Folder(root, masks="index")] == [int((grey == 128).sum())]


@pytest.mark.parametrize("levels", [(0, 2, 1), (0, 254, 1), (0, 2000, 300)])
def test_a_band_of_the_largest_value_may_be_unknown_too(tmp_path, levels):
    """`Folder`: not taken for an instance of its own, or for the object; as 255 or 65,535 it is void."""
    index = trimap(*levels)
    root = beside(tmp_path, Image.fromarray(index if max(levels) > 255 else index.astype(np.uint8)))
    void = 65535 if max(levels) > 255 else 255
    said = rf"pixels of {levels[1]} are a thin band between 0 and {levels[2]}; save them as {void} if .*--masks index"
    with pytest.raises(ValueError, match=said):
        Folder(root)
    assert (Folder(root, masks="index")[0].mask == (index == levels[2])).all()


def test_a_trimap_without_unknown_pixels_is_its_object(tmp_path):
    """`--masks trimap`: some of GrabCut's and of Oxford-IIIT Pet's."""
    for name, index, inside in (("grab", SQUARE * 255, 1), ("pet", 2 - SQUARE, 1)):
        (sample,) = Folder(beside(tmp_path / name, index), masks="trimap")
        assert (sample.mask == (inside == SQUARE)).all()
        assert not sample.void.any()


@pytest.mark.parametrize(
    ("mask", "suffix", "named"),
    [
        (blocks(60, 128, 255), ".png", "the values are 0, 60, 128, 255; expected 0, unknown and object, or 1, 2 and 3"),
        (blocks(60), ".jpg", "trimap masks do not survive a lossy format"),
        (SQUARE + 4, ".png", "the values are 4, 5"),
        (SQUARE * 0, ".png", "the values are 0; expected"),
    ],
)
def test_what_is_no_trimap_is_refused_as_one(tmp_path, mask, suffix, named):
    """`--masks trimap`: the values are never guessed."""
    with pytest.raises(ValueError, match=rf"masks/a\{suffix}: .*{named}"):
        Folder(beside(tmp_path, mask, suffix), masks="trimap")


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
    data = Folder(beside(tmp_path, index))
    numbers = [v for v in np.unique(index) if v not in (0, 255)]
    assert [(s.mask == (index == v)).all() for s, v in zip(data, numbers, strict=True)] == [True] * len(numbers)
    assert all((s.void == (index == 255)).all() for s in data)


def test_an_index_mask_without_a_background_is_refused_with_its_values(tmp_path):
    """`Folder`: the background of Oxford-IIIT Pet, 2, is no instance; `--masks index` says that all are."""
    root = beside(tmp_path / "pets", 2 - SQUARE)
    with pytest.raises(ValueError, match=r"a\.png: no 0 among the values 1, 2; .* --masks trimap or --masks index$"):
        Folder(root)
    assert [int(s.mask.sum()) for s in Folder(root, masks="index")] == [16, 48]
    (sample,) = Folder(beside(tmp_path / "whole", SQUARE * 0 + 1))
    assert sample.mask.all()


# ---- what else may be unknown ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["LA", "P", "L", "RGB"])
def test_transparent_pixels_beside_an_opaque_background_are_refused(tmp_path, mode):
    """`read_mask`: they are neither background nor object; on a transparent ground they are the background."""
    grey, alpha = (SQUARE * 255).astype(np.uint8), np.full((8, 8), 255, np.uint8)
    alpha[1] = 0
    mask, options = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), {}
    if mode == "P":
        grey[1] = 7
        mask, options = Image.fromarray(np.where(grey == 255, 1, grey)).convert("P"), {"transparency": 7}
    elif mode in ("L", "RGB"):
        grey[1] = 7
        mask = Image.fromarray(grey).convert(mode)
        options = {"transparency": 7 if mode == "L" else (7, 7, 7)}
    with pytest.raises(ValueError, match=r"a\.png: a mask with transparent pixels beside an opaque background"):
        Folder(beside(tmp_path, mask, **options))


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (np.int32, r"a mask with the value -1; expected 0 for the background and more; save unknown pixels as 255"),
        (np.float32, r"a mask of mode F; expected whole numbers in one channel"),
    ],
)
def test_minus_one_is_no_index(tmp_path, kind, named):
    """`read_mask`: in masks of 32 bits, whole or floating-point numbers."""
    index = SQUARE.astype(kind)
    index[1] = -1
    write(tmp_path / "images" / "a.png", picture(8, 8))
    write(tmp_path / "masks" / "a.tif", index)
    with pytest.raises(ValueError, match=rf"a\.tif: {named}"):
        Folder(tmp_path)


@pytest.mark.parametrize(
    "name", ["void", "Ignore", "trimaps", "ignore_masks", "masks_void", "Don't care", "unlabelled"]
)
def test_a_folder_of_unknown_pixels_beside_the_masks_is_refused(tmp_path, name):
    """`Folder`: a second file that says what counts nowhere is not passed over."""
    layout(tmp_path, "images/a.png", "masks/a.png", f"{name}/a.png")
    with pytest.raises(ValueError, match=rf"{name}: a folder of unknown pixels is not read; save those pixels as 255"):
        Folder(tmp_path)


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
    data = Folder(beside(tmp_path, mask))
    expected = [v for v in levels if v != 255] or [255]
    assert [(s.mask == (index == v)).all() for s, v in zip(data, expected, strict=True)] == [True] * len(expected)
    assert all((s.void == ((index == 255) & (len(levels) > 1))).all() for s in data)


def test_numbers_above_255_are_instances_and_65535_is_their_void(tmp_path):
    """`Folder`: in a 16-bit mask with such numbers 255 is one of them."""
    index = np.array([[0, 254, 255, 256], [300, 300, 65535, 0]], np.uint16)
    write(tmp_path / "images" / "a.png", picture(2, 4))
    write(tmp_path / "masks" / "a.png", index)
    data = Folder(tmp_path)
    assert [int(s.mask.sum()) for s in data] == [1, 1, 1, 2]
    assert all((s.void == (index == 65535)).all() for s in data)


def test_one_bit_a_palette_in_any_order_and_a_transparent_ground_are_one_object(tmp_path):
    """`read_mask`: what is plain is converted."""
    palette = Image.fromarray((SQUARE == 0).astype(np.uint8))
    palette.putpalette([255, 255, 255, 0, 0, 0])
    alpha = Image.fromarray((SQUARE * 255).astype(np.uint8))
    for k, mask in enumerate((SQUARE == 1, palette, Image.merge("LA", [Image.new("L", (8, 8), 255), alpha]))):
        (sample,) = Folder(beside(tmp_path / f"{k}", mask if k else Image.fromarray(mask)))
        assert (sample.mask == (SQUARE == 1)).all()


@pytest.mark.parametrize(
    ("mask", "suffix", "named"),
    [
        (
            blocks(60, 120, 180),
            ".png",
            r"greys are 0, 60, 120, 180; use --masks index, --masks binary or --masks trimap",
        ),
        (blocks(51, 102, 153, 204, 255), ".png", "use --masks index"),
        (blocks(51, 102, 153, 204), ".jpg", "use --masks"),
        (np.zeros((8, 8)), ".png", "no foreground pixel in the mask; draw it, or remove it"),
        (picture(8, 8), ".png", "a mask with colours"),
    ],
)
def test_a_mask_that_is_neither_is_one_line_that_names_it_and_the_remedy(tmp_path, mask, suffix, named):
    """`Folder`: where neither an index mask nor a binary one fits."""
    with pytest.raises(ValueError, match=rf"masks/a\{suffix}: .*{named}") as error:
        Folder(beside(tmp_path, mask, suffix))
    assert "\n" not in str(error.value)


def test_masks_settles_what_a_mask_is(tmp_path):
    """`--masks index|binary`: said by the user, so nothing is said to him; an index mask is joined or cut."""
    root = beside(tmp_path / "levels", blocks(60, 120, 180))
    assert len(Folder(root, masks="index")) == 3
    (sample,) = open_dataset(str(root), None, masks="binary")
    assert (sample.mask == (blocks(60, 120, 180) >= 128)).all()
    (sample,) = Folder(beside(tmp_path / "numbers", blocks(1, 2, 9)), masks="binary")
    assert (sample.mask == (blocks(1, 2, 9) > 0)).all()
    (sample,) = Folder(beside(tmp_path / "soft", discs(), ".jpg"), masks="binary")
    with pytest.raises(ValueError, match=r"a\.jpg.*do not survive"):
        Folder(tmp_path / "soft", masks="index")
    with pytest.raises(ValueError, match="masks 'soft': expected index, binary, trimap"):
        Folder(tmp_path / "soft", masks="soft")


def test_masks_is_refused_for_a_data_set_that_says_what_its_masks_are(tmp_path):
    """`open_dataset`: a flag that was given is never silently overridden."""
    with pytest.raises(ValueError, match=r"--masks binary: .*COCO"):
        open_dataset("COCO", tmp_path, masks="binary")
    layout(tmp_path, "image/cat/a.jpg", "binary/cat/a.png")
    with pytest.warns(UserWarning, match="CoCA: 1 instances"):
        assert len(open_dataset("CoCA", tmp_path, masks="binary")) == 1


# ---- which files belong together: claims -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        *[("a.jpg", f"a{end}.png") for end in ("_mask", "-mask", "_GT", " masks")],
        *[(f"a{suffix}", f"a{suffix}") for suffix in (".bmp", ".tif", ".gif", ".PNG", ".webp")],
        *[("A.JPEG", "a.png"), ("a .jpg", "a.png"), ("a.jpg", "a.png "), ("cat/a.jpg", "Cat/a_mask.png")],
    ],
)
def test_a_mask_is_found_by_the_name_of_its_image(tmp_path, image, mask):
    """`pairs`: the whole name, the stem, the stem with an ending, or capitals and spaces apart."""
    for name, array in ((f"images/{image}", picture(8, 8)), (f"masks/{mask}", SQUARE * 255)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = Image.registered_extensions()[path.suffix.strip().lower()]
        Image.fromarray(array.astype(np.uint8)).save(path, kind, lossless=True)
    (sample,) = Folder(tmp_path, masks="binary")
    assert (sample.mask == (SQUARE == 1)).all()


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_letters_are_one_name(tmp_path, forms):
    """Unicode Standard Annex 15: archives and file systems write either."""
    image, mask = (unicodedata.normalize(form, "café/Müller é") for form in forms)
    assert len(Folder(layout(tmp_path, f"images/{image}.jpg", f"masks/{mask}.png"))) == 1


def test_images_that_share_a_stem_keep_their_suffix_and_others_lose_it(tmp_path):
    """`Sample`: features are known by the name, which no other image has."""
    files = ("images/0.jpg", "images/0.png", "images/1.png", "masks/0.jpg.png", "masks/0.png.png", "masks/1.png")
    data = Folder(layout(tmp_path, *files))
    assert [s.name for s in data] == ["0.jpg", "0.png", "1"]
    tricky = ["a.jpg", "a.png", "a.jpg.png", "b/a.jpg"]
    assert len(set(distinct(tricky).values())) == 4
    assert distinct(tricky)["b/a.jpg"] == "b/a"


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["images/0.jpg", "images/0.bmp", "masks/0.png"], r"0\.jpg: 0\.bmp is there too; keep one"),
        (["images/0.jpg", "masks/0_mask.png", "masks/0_gt.png"], r"0_mask\.png: 0_gt\.png is there too"),
        (
            ["images/0.jpg", "images/1.jpg", "masks/0.png"],
            r"images/1\.jpg: its mask is missing; expected .*masks/1\.png",
        ),
        (
            ["images/0.jpg", "masks/1.png", "masks/0.png"],
            r"masks/1\.png: its image is missing; expected .*images/1\.jpg",
        ),
    ],
)
def test_a_file_without_its_counterpart_is_named_with_the_remedy(tmp_path, files, named):
    """`pairs`: never skip a file, never guess between two."""
    with pytest.raises(ValueError, match=named):
        Folder(layout(tmp_path, *files))


@pytest.mark.parametrize("lost", ["a.heic", "a.npy"])
def test_a_file_of_a_kind_that_is_not_read_is_named_with_its_suffix(tmp_path, lost):
    """`pairs`: not called missing, in either folder, and not passed over when both are of that kind."""
    for k, place in enumerate((["images"], ["masks"], ["images", "masks"])):
        root = layout(tmp_path / str(k), "images/b.jpg", "masks/b.png", "images/a.jpg", "masks/a.png")
        for folder in place:
            next((root / folder).glob("a.*")).rename(root / folder / lost)
        with pytest.raises(ValueError, match=rf"{place[0]}/{lost}: files of the kind {lost[1:]} are not read"):
            Folder(root)


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
    with pytest.raises(ValueError, match=r"images/lost\.jpg: its mask is missing"):
        Folder(root)


@pytest.mark.parametrize("place", ["images", "masks"])
def test_an_animation_is_refused(tmp_path, place):
    """`open_picture`: nobody knows which of its pictures is meant."""
    root = layout(tmp_path, "images/a.png", "masks/a.png")
    (root / place / "a.png").unlink()
    Image.new("L", (8, 8), 0).save(
        root / place / "a.gif", save_all=True, append_images=[Image.new("L", (8, 8), k) for k in (90, 255)]
    )
    with pytest.raises(ValueError, match=rf"{place}/a\.gif: has 3 pictures; expected one"):
        Folder(root)


def test_an_upright_mask_fits_a_photograph_that_its_exif_turns_and_a_lying_one_is_told_why_not(tmp_path):
    """EXIF 2.3, tag 0x0112: a mask belongs to what a viewer shows, and is turned itself if it says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "images" / "a.jpg", picture(4, 9), exif=exif)
    upright = np.zeros((9, 4), int)
    upright[:2] = 1
    write(tmp_path / "masks" / "a.png", upright)
    assert (Folder(tmp_path)[0].mask == (upright == 1)).all()
    write(tmp_path / "masks" / "a.png", np.rot90(upright), exif=exif)
    assert (Folder(tmp_path)[0].mask == (upright == 1)).all()
    write(tmp_path / "masks" / "a.png", np.rot90(upright))
    with pytest.raises(ValueError, match=r"9x4 but 4x9\).*EXIF"):
        Folder(tmp_path)
