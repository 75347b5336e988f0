"""Sec. 4.1, Implementation Details: a data set that is decoded once and kept in memory while it is trained on."""

import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from loaders.samples import Sample
from support.command_line import progress

LIMIT = 12 * 2**30  # bytes to keep at most; the rest is read from disk each time
CONTAINER = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # its limit, Linux
CHUNK = 16  # instances that a worker process reads in a row, since those of one image follow each other


class Decoded(Sequence[Sample]):
    """Samples in memory: each image once, however many instances it has, and masks as bits.

    loader:  makes a DataLoader, whose worker processes do the reading;  limit: bytes, `memory_to_use` if None.
    """

    def __init__(self, samples: Sequence[Sample], loader: Callable[..., Any] = DataLoader, limit: int | None = None):
        self.samples, self.packed = samples, list[Sample]()
        images = dict[tuple[str, int], np.ndarray]()
        free = memory_to_use() if limit is None else limit
        read = loader(samples, batch_size=CHUNK, collate_fn=packed)
        for chunk in progress(read, "reading samples", len(samples), each=CHUNK):
            for p in chunk:
                key = (p.name, zlib.crc32(p.image))
                if key not in images:
                    free -= p.image.nbytes
                    images[key] = p.image
                free -= p.mask.nbytes + p.void.nbytes
                self.packed.append(p._replace(image=images[key]))
            if free < 0:
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
        return p._replace(mask=mask, void=void)


def packed(samples: Sequence[Sample]) -> list[Sample]:
    """Samples with one bit per pixel in their masks; the worker processes do this."""
    return [s._replace(mask=np.packbits(s.mask), void=np.packbits(s.void)) for s in samples]


def memory_to_use() -> int:
    """Bytes that samples may take: half of what the machine or its container has."""
    sizes = [2 * LIMIT]
    if hasattr(os, "sysconf"):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    texts = [file.read_text(encoding="utf-8").strip() for file in CONTAINER if file.exists()]
    sizes += [int(text) for text in texts if text.isdigit()]
    return min(sizes) // 2
