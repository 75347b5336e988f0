"""The next image before it is asked for, in a thread that leaves half of the cores to clicks. Thumbnails."""

import io
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from loaders.pictures import read_image

KEPT = 3  # images: the last one, this one, the next
THUMBNAIL = 160  # longer side, pixels
NICENESS = 10  # of the threads that no click waits for
CORES = max(1, torch.get_num_threads() // 2)


class Newest(dict):
    """A dictionary that keeps only so many of its newest entries."""

    def __init__(self, most: int):
        super().__init__()
        self.most, self.lock = most, threading.Lock()

    def __setitem__(self, key: Any, value: Any) -> None:
        with self.lock:
            self.pop(key, None)
            super().__setitem__(key, value)
            for old in list(self)[: -self.most]:
                del self[old]


class Prefetcher:
    """Pixels and features of the images looked at last, and of the next.

    paths:  of the images, by name;  features: what is computed of the next image's pixels, in this thread.
    """

    def __init__(self, paths: Mapping[str, Path], features: Callable[[np.ndarray], Any]):
        self.paths, self.features = paths, features
        self.thread = ThreadPoolExecutor(1, "prefetcher", in_the_background)
        self.drawing = threading.Lock()
        self.images, self.coming = Newest(KEPT), Newest(KEPT)  # pixels; futures of features
        self.thumbnails: dict[str, bytes] = {}

    def pixels(self, image: str) -> np.ndarray:
        """(H, W, 3) uint8; ValueError names a file that cannot be read."""
        pixels = self.images.get(image)
        if pixels is None:
            pixels = self.images[image] = read_image(self.paths[image])
        return pixels

    def bmp(self, image: str) -> bytes:
        """The same pixels as a BMP: making a PNG of 12 megapixels takes 0.6 s."""
        file = io.BytesIO()
        Image.fromarray(self.pixels(image)).save(file, "BMP")
        return file.getvalue()

    def thumbnail(self, image: str) -> bytes:
        """A small JPEG, one at a time, from any thread; ValueError for a file that cannot be read."""
        with self.drawing:
            if image not in self.thumbnails:
                path, file = self.paths[image], io.BytesIO()
                try:
                    with Image.open(path) as picture:
                        picture.draft("RGB", (2 * THUMBNAIL, 2 * THUMBNAIL))  # a JPEG is read at about that size
                        small = ImageOps.exif_transpose(picture)
                    small.thumbnail((THUMBNAIL, THUMBNAIL))
                    small.convert("RGB").save(file, "JPEG", quality=80)
                except Exception as error:  # what Pillow raises on a foreign file is anything
                    raise ValueError(f"{path}: not a readable image") from error
                self.thumbnails[image] = file.getvalue()
            return self.thumbnails[image]

    def prepare(self, image: str) -> None:
        """Start on an image that may be asked for next."""
        if image not in self.coming:
            self.coming[image] = self.thread.submit(lambda: self.features(self.pixels(image)))

    def prepared(self, image: str) -> Any:
        """The features of an image that was prepared, after waiting if that has started; None if there are none."""
        coming: Future[Any] | None = self.coming.get(image)
        if coming is None or coming.cancel() or coming.exception():  # reported when the image is opened
            return None
        return coming.result()


def in_the_background() -> None:
    """Let this thread use half of the cores, at least one, and only when nothing else needs them."""
    torch.set_num_threads(CORES)
    with suppress(OSError):  # without it clicks are only a little slower
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
