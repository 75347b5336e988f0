"""Sec. 4.1, Datasets: how image and mask files are read, and what a mask file means. Row owned here: D12."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps

VOID, DEEP = 255, 65_535  # index of void pixels in PASCAL-style index masks (D12); the same in masks of larger numbers
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif")
INDEX, BINARY = MASKS = ("index", "binary")  # what --masks can say
CUT = -1  # in place of an index value: the mask is cut at half
HALF, SMALL = 128, 32  # level of the cut; the largest value that is an index rather than a grey
DARK, BRIGHT = 32, 224  # levels between them are soft edges
COLOURS = ("RGB", "RGBA", "RGBX", "LA", "CMYK", "YCbCr")  # modes whose channels may all say the same

AnyPath = str | os.PathLike[str]


class MaskFile(NamedTuple):
    """What a mask file holds."""

    values: np.ndarray  # (H, W) integers as they are in the file; of a palette its numbers
    grey: np.ndarray | None  # (H, W) uint8, the same as levels from 0 to 255; None if the values cannot be greys
    palette: bool
    lossy: bool  # compressed so that values change


def open_picture(path: AnyPath) -> Image.Image:
    """The only picture of a file, turned as its EXIF orientation says; ValueError names one that cannot be read."""
    try:
        with Image.open(path) as image:
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a telephone's JPEG with extras
            image.load()
        turned = ImageOps.exif_transpose(image)
        turned.format = image.format
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # what Pillow raises on a foreign file is anything
        empty = os.path.isfile(path) and not os.path.getsize(path)
        reason = "it is empty" if empty else (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a readable image ({reason})") from error
    if frames > 1:
        raise ValueError(f"{path}: has {frames} pictures; expected one, save the one that is meant")
    return turned


def read_image(path: AnyPath) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF orientation says; ValueError names a file that cannot be read."""
    image = open_picture(path)
    if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip at 255
        image = Image.fromarray(_eight_bits(np.asarray(image), path))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns on the direct way
    if image.mode in ("F", "LAB"):
        raise ValueError(f"{path}: an image of mode {image.mode}; save it with 8 bits per channel, grey or RGB")
    return np.asarray(image.convert("RGB"))


def read_mask(path: AnyPath) -> np.ndarray:
    """(H, W) integers of an index mask: a palette, 1, 8 or 16 bits, or equal channels; ValueError names another."""
    return read_mask_file(path).values


def read_mask_file(path: AnyPath) -> MaskFile:
    """The values of a mask file.

    Raises:  ValueError naming a file that cannot be read or has colours.
    """
    image = open_picture(path)
    lossy = _lossy(image, path)
    if image.mode == "P":
        return _palette_mask(image)
    if image.mode == "1":
        return MaskFile(np.asarray(image).astype(np.uint8), None, False, False)
    if image.mode in COLOURS:
        index = _one_channel(image, lossy, path)
    elif image.mode == "L" or image.mode.startswith("I"):
        index = np.asarray(image)
    else:
        raise ValueError(f"{path}: a mask of mode {image.mode}; expected one channel or a palette")
    if index.min() < 0:
        raise ValueError(f"{path}: a mask with the value {index.min()}; expected 0 for the background and more")
    grey = None
    if index.max() <= VOID:
        grey = index.astype(np.uint8)
    elif BRIGHT * 257 <= index.max() <= DEEP:
        grey = _eight_bits(index, path)
    return MaskFile(index, grey, False, lossy)


def instances(path: AnyPath, masks: str | None = None) -> list[int]:
    """The instances of a mask file: values of its index mask, or CUT for a binary one with soft edges.

    masks:   'index' or 'binary' if it is known which; None to decide from the file.
    Raises:  ValueError naming a file that is neither, and what `read_mask_file` finds.
    """
    mask = read_mask_file(path)
    if masks == INDEX and mask.lossy:
        raise ValueError(f"{path}: index masks do not survive a lossy format; save it as PNG, or use --masks binary")
    if (masks or _meaning(mask, path)) == BINARY:
        return [CUT]
    void = void_of(mask.values)
    return [int(v) for v in np.unique(mask.values) if v not in (0, void)] or [void]


def instance(mask: MaskFile, value: int) -> tuple[np.ndarray, np.ndarray]:
    """(instance, void), (H, W) bool each, of one of the `instances` of a file.

    A binary mask is cut at half, or, where no level reaches that, is all that is not 0. Void is 255 (65,535 in masks
    of larger numbers) unless it is the instance itself.
    """
    number = void_of(mask.values)
    void = mask.values == number
    if value != CUT:
        return mask.values == value, void & (value != number)
    nothing = np.zeros(void.shape, bool)
    if mask.grey is not None and (_is_soft(mask) if mask.palette else mask.grey.max() >= HALF):
        return mask.grey >= HALF, nothing
    others = (mask.values != 0) & ~void
    return (others, void) if others.any() else (void, nothing)


def void_of(values: np.ndarray) -> int:
    """The value of void pixels in an index mask."""
    return VOID if values.max() <= VOID else DEEP


# ---- what a mask file means ------------------------------------------------------------------------------------------


def _meaning(mask: MaskFile, path: AnyPath) -> str:
    """INDEX or BINARY; ValueError if the values are neither few small numbers nor greys up to white."""
    levels = _levels(mask.grey)
    if mask.grey is None or levels.size == 0:
        return INDEX
    if not mask.lossy and (levels.size == 1 or _is_index(mask.grey, levels)):
        return INDEX
    if _is_soft(mask):
        return BINARY
    if mask.palette:
        return INDEX
    some = ", ".join(map(str, levels[:6])) + (", ..." if len(levels) > 6 else "")
    if mask.lossy and levels[-1] < HALF:
        raise ValueError(f"{path}: greys of at most {levels[-1]} in a lossy format; save the mask as PNG")
    what = f"neither an index mask nor a binary one: its greys are 0, {some}"
    raise ValueError(f"{path}: {what}; use --masks index or --masks binary, or save it with a palette")


def _levels(grey: np.ndarray | None) -> np.ndarray:
    """The levels above 0 that occur."""
    return np.zeros(0, int) if grey is None else np.flatnonzero(np.bincount(grey.ravel(), minlength=256)[1:]) + 1


def _is_index(grey: np.ndarray, levels: np.ndarray) -> bool:
    """Whether levels are few small values, or 1, 2, 3 ..., of areas and not of the rim around a white one."""
    numbers = levels[levels < VOID]
    even, numbered = _even(grey, 0), (grey > 0) & (grey < VOID)
    if numbers[-1] <= SMALL and not (even & (grey == VOID)).any():
        return True
    if numbers[-1] > SMALL and len(numbers) != numbers[-1]:
        return False
    return int((even & numbered).sum()) * 4 >= int(numbered.sum())


def _is_soft(mask: MaskFile) -> bool:
    """Whether greys reach white and those between are edges, not areas; a single grey beside white is the rim."""
    grey, levels = mask.grey, _levels(mask.grey)
    if grey is None or levels.size == 0 or levels[-1] < BRIGHT:
        return False
    if len(levels) == 2 and not (mask.lossy or mask.palette):
        return True
    areas = _even(grey, 4) & (grey >= DARK) & (grey < BRIGHT)
    return int(areas.sum()) * 4 <= int((grey >= DARK).sum())


def _even(grey: np.ndarray, tolerance: int) -> np.ndarray:
    """(H, W) bool: pixels whose 3x3 neighbourhood has one level, but for the tolerance."""
    picture = Image.fromarray(grey)
    high, low = (np.asarray(picture.filter(f(3))) for f in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
    return high - low <= tolerance  # type: ignore[no-any-return]


# ---- channels --------------------------------------------------------------------------------------------------------


def _palette_mask(image: Image.Image) -> MaskFile:
    """Numbers of the palette; greys too if all its colours in use are grey, and instead if number 0 is not black."""
    index = np.asarray(image)
    colours = np.zeros((256, 3), np.uint8)
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours[: len(palette)] = palette
    used = colours[np.unique(index)]
    if (used != used[:, :1]).any():
        return MaskFile(index, None, True, False)
    grey = colours[index, 0]
    return MaskFile(index if colours[0].max() == 0 else grey, grey, True, False)


def _one_channel(image: Image.Image, lossy: bool, path: AnyPath) -> np.ndarray:
    """(H, W) uint8 of an image whose channels say the same; what is transparent is background."""
    alpha = np.asarray(image.getchannel("A")) if image.mode in ("RGBA", "LA") else None
    rgb = np.asarray(image.convert("RGB")).astype(int)
    grey: np.ndarray = rgb[..., 1]
    seen = rgb.any(axis=-1)
    if np.abs(rgb - grey[..., None]).max() > (16 if lossy else 0):
        colour = rgb[seen]
        if lossy or (colour != colour[0]).any():
            raise ValueError(f"{path}: a mask with colours ({image.mode}); save it with one channel or a palette")
        grey = np.where(seen, VOID, 0)  # one colour on black
    if alpha is not None and alpha.min() < 255:
        grey = alpha if grey.min() == grey.max() else grey * alpha // 255
    return grey.astype(np.uint8)


def _eight_bits(levels: np.ndarray, path: AnyPath) -> np.ndarray:
    """16-bit levels as uint8, rounded: 65,535 becomes 255."""
    if levels.min() < 0 or levels.max() > DEEP:
        raise ValueError(f"{path}: levels from {levels.min()} to {levels.max()}; expected 8 or 16 bits per channel")
    return ((levels.astype(np.int64) * 255 + DEEP // 2) // DEEP).astype(np.uint8)


def _lossy(image: Image.Image, path: AnyPath) -> bool:
    """Whether the compression of the file changes values: JPEG, also inside TIFF, and WebP unless it is lossless."""
    if image.format == "WEBP":
        return b"VP8 " in _chunks(Path(path).read_bytes())
    return image.format in ("JPEG", "MPO") or image.info.get("compression") in ("jpeg", "webp", "tiff_jpeg")


def _chunks(riff: bytes) -> list[bytes]:
    """The names of the chunks of a RIFF file."""
    names, at = [], 12
    while at + 8 <= len(riff):
        names.append(riff[at : at + 4])
        size = int.from_bytes(riff[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return names
