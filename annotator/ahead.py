"""The next image before it is asked for: pixels, features and PNG, made in a thread of low priority."""

import io
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from annotator.learner import in_the_background
from loaders.pictures import read_image
from session import Session

KEPT = 3  # images: the last one, this one, the next
Looked = tuple[str, torch.Tensor, list[torch.Tensor]]  # what a session holds of the image that it opened last


class Ahead:
    """Pixels, PNGs and features of the images looked at last, and of the next.

    scout:  a session that is used for nothing else;  paths: of the images.
    """

    def __init__(self, scout: Session, paths: Sequence[Path]):
        self.scout, self.paths = scout, paths
        self.thread = ThreadPoolExecutor(1, "ahead", in_the_background)
        self.lock = threading.Lock()
        self.pngs: dict[int, bytes] = {}
        self.images: dict[int, np.ndarray] = {}
        self.coming: dict[int, Future[Looked | None]] = {}

    def pixels(self, image: int) -> np.ndarray:
        """(H, W, 3) uint8; ValueError names a file that cannot be read."""
        pixels = self.images.get(image)
        if pixels is None:
            pixels = read_image(self.paths[image])
            self._keep(self.images, image, pixels)
        return pixels

    def png(self, image: int) -> bytes:
        """The same pixels as a PNG."""
        png = self.pngs.get(image)
        if png is None:
            file = io.BytesIO()
            Image.fromarray(self.pixels(image)).save(file, "PNG", compress_level=1)
            png = file.getvalue()
            self._keep(self.pngs, image, png)
        return png

    def prepare(self, image: int) -> None:
        """Start on an image that may be asked for next."""
        if image not in self.coming:
            self._keep(self.coming, image, self.thread.submit(self._prepare, image))

    def looked(self, image: int) -> Looked | None:
        """What was prepared of an image, after waiting if that has started; None if it has not."""
        coming = self.coming.get(image)
        return None if coming is None or coming.cancel() else coming.result()

    def _prepare(self, image: int) -> Looked | None:
        try:
            self.png(image)
            self.scout.open(self.pixels(image), "", "")
        except ValueError:
            return None  # the error is reported when the image is opened
        return self.scout.opened

    def _keep(self, kept: dict, image: int, value: object) -> None:
        with self.lock:
            kept[image] = value
            for old in list(kept)[:-KEPT]:
                del kept[old]
