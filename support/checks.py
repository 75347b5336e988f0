"""What people hand to a session, checked before anything is done with it: names, images, masks, clicks."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch


def checked_text(what: str, value: Any) -> str:
    """A name or category as text: text, a path or a whole number. Raises ValueError for anything else."""
    if isinstance(value, (str, os.PathLike)):
        return str.__str__(os.fsdecode(value))  # of an enumeration its value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    raise ValueError(f"{what} {value!r}: expected text, a path or a whole number, not {type(value).__name__}")


def checked_image(image: Any) -> np.ndarray:
    """An (H, W, 3) uint8 image as an array. Raises ValueError for anything else, with the remedy."""
    array = _array(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        expected = 'expected (H, W, 3), uint8, RGB, such as np.asarray(Image.open(file).convert("RGB"))'
        raise ValueError(f"image: shape {array.shape}, {array.dtype}; {expected}")
    return array


def image_digest(image: np.ndarray) -> str:
    """Twelve hexadecimal digits that stand for the pixels and the shape of an image."""
    digest = hashlib.sha256(f"{image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:12]


def checked_mask(mask: Any, shape: Sequence[int]) -> torch.Tensor:
    """A mask, bool or whole numbers 0 and 1, as an (H, W) bool tensor on the CPU.

    mask:    tensor, array or nested sequence;  shape: (H, W) of the image.
    Raises:  ValueError for another shape, dtype or value.
    """
    array = _array(mask)
    if array.shape != tuple(shape):
        raise ValueError(f"mask: shape {array.shape}; expected {tuple(shape)}, that of the image")
    if array.dtype != np.bool_ and not (np.issubdtype(array.dtype, np.integer) and np.isin(array, (0, 1)).all()):
        held = f"{array.dtype} from {array.min()} to {array.max()}"
        raise ValueError(f"mask: {held}; expected bool, or 0 and 1, such as mask > 0.5 or mask > 127")
    return torch.from_numpy(array.astype(np.bool_))


def checked_clicks(clicks: Iterable[Any], shape: Sequence[int]) -> list[tuple[int, int, bool]]:
    """Clicks as (row, col, positive) in pixels of an image of size (H, W) = `shape`.

    Raises:  ValueError for one that is no such triple, not on a whole pixel or outside the image.
    """
    return [_checked_click(click, shape) for click in clicks]


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _checked_click(click: Any, shape: Sequence[int]) -> tuple[int, int, bool]:
    H, W = shape
    try:
        row, col, positive = click
        pixel = int(row), int(col)
        whole = pixel == (row, col) and positive in (0, 1)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one is torch's
        whole = False
    if not whole:
        raise ValueError(f"click {click!r}: expected (row, col, positive), whole pixels and True or False")
    if not (0 <= pixel[0] < H and 0 <= pixel[1] < W):
        raise ValueError(f"click {click!r}: outside the image of {H}x{W} pixels")
    return *pixel, bool(positive)
