"""Sec. 4.1, Datasets: how image and mask files are read, and what a mask file means. Row owned here: D12."""

import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from support.command_line import needing_memory

VOID, DEEP = 255, 65_535  # index of void pixels in PASCAL-style index masks (D12); the same in masks of larger numbers
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif")
INDEX, BINARY, TRIMAP = MASKS = ("index", "binary", "trimap")  # what --masks can say
CUT, MIDDLE = -1, -2  # in place of an index value: the mask is cut at half; it is a trimap
HALF, SMALL = 128, 32  # level of the cut; the largest value that is an index rather than a grey
DARK, BRIGHT = 32, 224  # levels between them are soft edges
BAND = 0.08  # of the longer side: a trimap's unknown band is thinner (GrabCut's 0.004; objects of VOC and DAVIS 0.10)

AnyPath = str | os.PathLike[str]


class MaskFile(NamedTuple):
    """What a mask file holds."""

    values: np.ndarray  # (H, W) integers as they are in the file; of a palette its numbers
    grey: np.ndarray | None  # (H, W) uint8, the same as levels from 0 to 255; None if the values cannot be greys
    palette: bool
    lossy: bool  # compressed so that values change


def open_picture(path: AnyPath) -> Image.Image:
    """The only picture of a file, turned as its EXIF orientation says; ValueError names a file that cannot be read."""
    try:
        with Image.open(path) as image:
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a telephone's JPEG with extras
            image.info["deep"] = ";16" in str(image.tile)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except MemoryError:
        raise
    except Exception as error:  # what Pillow raises on a foreign file is anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a readable image ({reason})") from error
    if frames > 1:
        raise ValueError(f"{path}: has {frames} pictures; expected one, save the one that is meant")
    return image


def read_image(path: AnyPath) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Grey files of 16 bits in which fewer are in use (a camera's 10, 12 or 14) are scaled by those, with one warning for
    a folder.
    Raises:  ValueError naming a file that cannot be read; OutOfMemoryError.
    """
    with needing_memory(partial(_sized, path)):
        image = open_picture(path)
        if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip at 255
            levels = np.asarray(image)
            bits = max(int(levels.max()).bit_length(), 8)
            if bits < 16:
                what = f"pictures of 16 bits with {bits} in use are scaled by those"
                warnings.warn(f"{Path(path).parent}: {what}", stacklevel=2)
            image = Image.fromarray(_eight_bits(levels, path, white=2**bits - 1))
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")  # Pillow warns on the direct way
        if image.mode in ("F", "LAB"):
            raise ValueError(f"{path}: an image of mode {image.mode}; save it with 8 bits per channel, grey or RGB")
        rgb = np.asarray(image.convert("RGB"))
        if image.info.get("deep") and rgb.max() < 64:  # Pillow keeps the upper 8 of 16 bits of colours
            raise ValueError(f"{path}: colours of 16 bits with at most 14 in use; save it with 8 bits per channel")
        return rgb


def _sized(path: AnyPath) -> str:
    """A picture's name and size, for errors; reads no pixel."""
    with Image.open(path) as image:
        w, h = image.size
    return f"{path}, {h}x{w} pixels, {3 * w * h / 1e6:.0f} MB as RGB"


def drawn_on(path: AnyPath) -> str | None:
    """The digest of the image that a mask file of annotate.py was drawn on; None for other files."""
    with Image.open(path) as mask:
        return mask.info.get("photo")


def read_mask(path: AnyPath) -> np.ndarray:
    """(H, W) integers of an index mask: a palette, 1, 8 or 16 bits, or equal channels; ValueError names another."""
    return read_mask_file(path).values


def read_mask_file(path: AnyPath) -> MaskFile:
    """The values of a mask file; ValueError names one that cannot be read or has colours."""
    with needing_memory(partial(_sized, path)):
        image = open_picture(path)
        lossy = _lossy(image, path)
        if "transparency" in image.info and image.mode in ("1", "L", "RGB"):  # a level that is transparent
            image = image.convert("RGBA")
        if image.mode == "P":
            return _palette_mask(image, path)
        if image.mode in ("RGB", "RGBA", "LA"):
            index = _one_channel(image, lossy, path)
        elif image.mode in ("1", "L") or image.mode.startswith("I"):
            index = np.asarray(image) + np.uint8(0)  # also of one bit
        else:
            raise ValueError(f"{path}: a mask of mode {image.mode}; expected whole numbers in one channel or a palette")
        if index.min() < 0:
            remedy = f"expected 0 for the background and more; save unknown pixels as {VOID}"
            raise ValueError(f"{path}: a mask with the value {index.min()}; {remedy}")
        grey = None
        if index.max() <= VOID:
            grey = index.astype(np.uint8)
        elif BRIGHT * 257 <= index.max() <= DEEP:
            grey = _eight_bits(index, path, white=DEEP)
        return MaskFile(index, grey, False, lossy)


def instances(path: AnyPath, masks: str | None = None) -> list[int]:
    """The instances of a mask file: values of an index mask, CUT for a binary one with soft edges, MIDDLE for a trimap.

    masks:   'index', 'binary' or 'trimap' if it is known which; None to decide from the file.
    Raises:  ValueError naming a file that is none of them or may be a trimap, and what `read_mask_file` finds.
    """
    mask = read_mask_file(path)
    if masks in (INDEX, TRIMAP) and mask.lossy:
        remedy = "save it as PNG, or use --masks binary"
        raise ValueError(f"{path}: {masks} masks do not survive a lossy format; {remedy}")
    if masks == TRIMAP:
        _trimap(mask, path)
        return [MIDDLE]
    if masks is None and (band := _unknown_band(mask)):
        unknown, low, high = band
        known = f"save them as {void_of(mask.values)}" if low == 0 and unknown > high else "use --masks trimap"
        remedy = f"{known} if they are unknown, else use --masks index or --masks binary"
        raise ValueError(f"{path}: the pixels of {unknown} are a thin band between {low} and {high}; {remedy}")
    if (masks or _meaning(mask, path)) == BINARY:
        return [CUT]
    void = void_of(mask.values)
    numbers = [int(v) for v in np.unique(mask.values) if v not in (0, void)]
    if masks is None and len(numbers) > 1 and mask.values.min() > 0:
        remedy = "save the background as 0, or use --masks trimap or --masks index"
        raise ValueError(f"{path}: no 0 among the values {_listed(numbers)}; {remedy}")
    return numbers or [void]


def instance(mask: MaskFile, value: int) -> tuple[np.ndarray, np.ndarray]:
    """(instance, void), (H, W) bool each, of one of the `instances` of a file.

    A binary mask is cut at half, or, where no level reaches that, is all that is not 0. Void is 255 (65,535 in masks
    of larger numbers) unless it is the instance itself.
    """
    if value == MIDDLE:
        return _trimap(mask, "mask")
    number = void_of(mask.values)
    void = mask.values == number
    if value != CUT:
        return mask.values == value, void & (value != number)
    nothing = np.zeros(void.shape, bool)
    if mask.grey is not None and (_is_soft(mask.grey) if mask.palette else mask.grey.max() >= HALF):
        return mask.grey >= HALF, nothing
    others = (mask.values != 0) & ~void
    return (others, void) if others.any() else (void, nothing)


def void_of(values: np.ndarray) -> int:
    """The value of void pixels in an index mask."""
    return VOID if values.max() <= VOID else DEEP


# ---- what a mask file means ------------------------------------------------------------------------------------------


def _meaning(mask: MaskFile, path: AnyPath) -> str:
    """INDEX or BINARY; ValueError if the values are neither few small numbers nor greys up to white."""
    if mask.grey is None:
        return INDEX
    levels = [level for level in np.unique(mask.grey).tolist() if level]
    if not mask.lossy and (len(levels) < 2 or max(level for level in levels if level < VOID) <= SMALL):
        return INDEX
    if _is_soft(mask.grey):
        return BINARY
    if mask.palette:
        return INDEX
    what = f"neither an index mask nor a binary one: its greys are 0, {_listed(levels)}"
    raise ValueError(f"{path}: {what}; use --masks index, --masks binary or --masks trimap, or save it with a palette")


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")


def _trimap(mask: MaskFile, path: AnyPath) -> tuple[np.ndarray, np.ndarray]:
    """(object, unknown) of a trimap: the largest of three values and the middle one, or of two the larger and none.

    Where there is no 0 but 1, 2 and 3, they are those of Oxford-IIIT Pet: 1 is the object, 2 the background, 3 unknown.
    """
    levels = mask.values if mask.grey is None else mask.grey
    values = np.unique(levels).tolist()
    if values[0] > 0 and set(values) <= {1, 2, 3}:
        return levels == 1, levels == 3
    if len(values) not in (2, 3) or values[0] > 0:
        expected = "0, unknown and object, or 1, 2 and 3"
        raise ValueError(f"{path}: --masks trimap: the values are {_listed(values)}; expected {expected}")
    return levels == values[-1], levels == values[1] if len(values) == 3 else np.zeros(levels.shape, bool)


def _unknown_band(mask: MaskFile) -> tuple[int, int, int] | None:
    """(band, and the two others) of exactly three values if one lies as a thin band between the others, as in a trimap.

    It is the middle value, of 1, 2 and 3 the last (see `_trimap`), or the largest one that is not void.
    """
    levels = mask.values if mask.grey is None or mask.palette else mask.grey
    values = np.unique(levels).tolist()
    if mask.lossy or len(values) != 3:
        return None
    low, middle, largest = values
    orders = [(1, 3, 2)] if values == [1, 2, 3] else [(low, middle, largest), (low, largest, middle)]
    bands = [(b, a, c) for a, b, c in orders if b != void_of(levels) and _is_band(levels, a, b, c)]
    return bands[0] if bands else None


def _is_band(levels: np.ndarray, low: int, band: int, high: int) -> bool:
    """Whether the pixels of one value are a thin band between those of two others."""
    low_band, band_high, low_high = (_contacts(levels, *pair) for pair in ((low, band), (band, high), (low, high)))
    width = 2 * int((levels == band).sum()) / max(low_band + band_high, 1)
    between = min(low_band, band_high) > 0 and 5 * low_high <= band_high
    return between and width <= BAND * max(levels.shape)


def _contacts(levels: np.ndarray, low: int, high: int) -> int:
    """How many edges the pixels of two values share."""
    a, b = levels == low, levels == high
    across = (a[:, :-1] & b[:, 1:]).sum() + (b[:, :-1] & a[:, 1:]).sum()
    return int(across + (a[:-1] & b[1:]).sum() + (b[:-1] & a[1:]).sum())


def _is_soft(grey: np.ndarray) -> bool:
    """Whether greys reach white and those between are edges, not areas: 3x3 pixels of one level, about."""
    if grey.max() < BRIGHT:
        return False
    picture = Image.fromarray(grey)
    high, low = (np.asarray(picture.filter(f(3))) for f in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
    areas = (high - low <= 4) & (grey >= DARK) & (grey < BRIGHT)
    return int(areas.sum()) * 4 <= int((grey >= DARK).sum())


# ---- channels --------------------------------------------------------------------------------------------------------


def _palette_mask(image: Image.Image, path: AnyPath) -> MaskFile:
    """Numbers of the palette; greys too if all its colours in use are grey, and instead if number 0 is not black."""
    index = np.asarray(image)
    if "transparency" in image.info:
        _refuse_unknown(np.asarray(image.convert("RGBA").getchannel("A")), index, path)
    colours = np.zeros((256, 3), np.uint8)
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours[: len(palette)] = palette
    used = colours[np.unique(index)]
    if (used != used[:, :1]).any():
        return MaskFile(index, None, True, False)
    grey = colours[index, 0]
    return MaskFile(index if colours[0].max() == 0 else grey, grey, True, False)


def _refuse_unknown(alpha: np.ndarray, grey: np.ndarray, path: AnyPath) -> None:
    """ValueError if pixels are transparent beside an opaque background: they are neither that nor the object."""
    if alpha.min() < 255 and (grey[alpha == 255] == 0).any() and (grey[alpha == 255] > 0).any():
        what = "a mask with transparent pixels beside an opaque background and object"
        raise ValueError(f"{path}: {what}; save unknown pixels as {VOID} of an index mask, or without alpha")


def _one_channel(image: Image.Image, lossy: bool, path: AnyPath) -> np.ndarray:
    """(H, W) uint8 of an image whose channels say the same; what is transparent is background."""
    rgb = np.asarray(image.convert("RGB")).astype(int)
    grey: np.ndarray = rgb[..., 1]
    if np.ptp(rgb, axis=-1).max() > (16 if lossy else 0):
        raise ValueError(f"{path}: a mask with colours ({image.mode}); save it with one channel or a palette")
    if image.mode in ("RGBA", "LA"):
        alpha = np.asarray(image.getchannel("A"))
        _refuse_unknown(alpha, grey, path)
        grey = grey * alpha // 255
    return grey.astype(np.uint8)


def _eight_bits(levels: np.ndarray, path: AnyPath, white: int) -> np.ndarray:
    """Levels of up to 16 bits as uint8, rounded: `white` becomes 255."""
    if levels.min() < 0 or levels.max() > DEEP:
        raise ValueError(f"{path}: levels from {levels.min()} to {levels.max()}; expected 8 or 16 bits per channel")
    return ((levels.astype(np.int64) * 255 + white // 2) // white).astype(np.uint8)


def _lossy(image: Image.Image, path: AnyPath) -> bool:
    """Whether the file's compression changes values: JPEG, and WebP unless it is lossless."""
    if image.format == "WEBP":
        return b"VP8L" not in Path(path).read_bytes()
    return image.format in ("JPEG", "MPO")
