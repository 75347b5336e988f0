"""Sec. 4.1, Implementation Details: a data set that is decoded once and kept in memory while it is trained on."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader

from loaders.samples import Sample
from support.command_line import progress

LIMIT = 12 * 2**30  # bytes to keep; the rest is read from disk each time
CHUNK = 16  # instances that a worker process reads in a row, since those of one image follow each other


class Packed(NamedTuple):
    """A sample whose masks take one bit per pixel."""

    image: np.ndarray
    mask: np.ndarray
    void: np.ndarray
    category: str
    name: str


class Decoded(Sequence[Sample]):
    """Samples in memory: each image once, however many instances it has, and masks as bits.

    loader:   makes a DataLoader: `Trainer`'s worker processes do the reading.
    """

    def __init__(self, samples: Sequence[Sample], loader: Callable[..., Any] = DataLoader, limit: int = LIMIT):
        self.samples, self.packed = samples, list[Packed]()
        images = dict[tuple[str, int], np.ndarray]()
        room = limit
        chunks = [range(i, min(i + CHUNK, len(samples))) for i in range(0, len(samples), CHUNK)]
        read = loader(Packing(samples), batch_sampler=chunks, collate_fn=list)
        for chunk in progress(read, "reading samples", len(samples), each=CHUNK):
            for p in chunk:
                key = (p.name, zlib.crc32(p.image))
                if key not in images:
                    room -= p.image.nbytes
                    images[key] = p.image
                room -= p.mask.nbytes + p.void.nbytes
                self.packed.append(p._replace(image=images[key]))
            if room < 0:
                break

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i):
        i = range(len(self))[i]
        if i >= len(self.packed):
            return self.samples[i]
        p = self.packed[i]
        h, w = p.image.shape[:2]
        mask, void = (np.unpackbits(bits, count=h * w).reshape(h, w).view(bool) for bits in (p.mask, p.void))
        return Sample(p.image, mask, void, p.category, p.name)


class Packing(Sequence[Packed]):
    """The samples in the form in which they are kept."""

    def __init__(self, samples: Sequence[Sample]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i):
        sample = self.samples[i]
        return Packed(sample.image, np.packbits(sample.mask), np.packbits(sample.void), sample.category, sample.name)
