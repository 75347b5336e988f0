"""The next image before it is asked for: pixels and features, made in a thread of low priority. Thumbnails."""

import io
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from annotator.learner import in_the_background
from loaders.pictures import read_image

KEPT = 3  # images: the last one, this one, the next
THUMBNAIL = 160  # longer side, pixels


class Prefetcher:
    """Pixels and features of the images looked at last, and of the next.

    paths:  of the images, by name;  features: what is computed of the next image's pixels, in this thread.
    """

    def __init__(self, paths: Mapping[str, Path], features: Callable[[np.ndarray], Any]):
        self.paths, self.features = paths, features
        self.thread = ThreadPoolExecutor(1, "prefetcher", in_the_background)
        self.lock, self.drawing = threading.Lock(), threading.Lock()
        self.images: dict[str, np.ndarray] = {}
        self.coming: dict[str, Future[Any]] = {}
        self.thumbnails: dict[str, bytes] = {}

    def pixels(self, image: str) -> np.ndarray:
        """(H, W, 3) uint8; ValueError names a file that cannot be read."""
        pixels = self.images.get(image)
        if pixels is None:
            pixels = read_image(self.paths[image])
            self._keep(self.images, image, pixels)
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
                path, file = self._path(image), io.BytesIO()
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

    def _path(self, image: str) -> Path:
        if image not in self.paths:
            raise ValueError(f"image {image[:80]!r}: the folder has none of that name; reload the page")
        return self.paths[image]

    def prepare(self, image: str) -> None:
        """Start on an image that may be asked for next."""
        if image not in self.coming:
            self._keep(self.coming, image, self.thread.submit(self._prepare, image))

    def prepared(self, image: str) -> Any:
        """The features of an image that was prepared, after waiting if that has started; None if it has not."""
        coming = self.coming.get(image)
        return None if coming is None or coming.cancel() else coming.result()

    def _prepare(self, image: str) -> Any:
        try:
            return self.features(self.pixels(image))
        except ValueError:
            return None  # the error is reported when the image is opened

    def _keep(self, kept: dict, image: str, value: object) -> None:
        with self.lock:
            kept[image] = value
            for old in list(kept)[:-KEPT]:
                del kept[old]
