"""Sec. 4.1, Implementation Details: a data set that is kept in memory while it is trained on. Rows: D28, D30."""

from collections.abc import Sequence

import numpy as np

from data import Sample
from training import decoded as module
from training.decoded import CHUNK, LIMIT, Decoded, memory_to_use


def same(a, b):
    return all(map(np.array_equal, a[:3], b[:3])) and a[3:] == b[3:] and all(m.dtype == bool for m in a[1:3])


class Read(Sequence[Sample]):
    """`n` samples, three of each image, that know how often they were read; every read gives new arrays."""

    def __init__(self, n):
        self.n, self.reads = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        i = range(self.n)[i]
        self.reads.append(i)
        rng = np.random.default_rng(i)
        image = np.random.default_rng(i // 3).integers(0, 256, (9, 13, 3), np.uint8)
        mask = rng.random((9, 13)) < 0.5
        return Sample(image, mask, (rng.random((9, 13)) < 0.5) & ~mask, f"kind {i % 2}", f"image {i // 3}")


def test_what_is_held_equals_what_was_read():
    """D28, D30: memory changes nothing; masks survive as bits, images of one name that differ stay apart."""
    found = [Read(12)[i] for i in range(12)]
    found += [s._replace(image=255 - s.image, name=found[0].name) for s in found[3:6]]
    decoded = Decoded(found)
    assert len(decoded) == len(found)
    assert all(map(same, decoded, found))


def test_an_image_is_held_once_and_read_once_however_many_instances_it_has():
    """`Decoded`: "each image once"."""
    source = Read(12)
    decoded = Decoded(source)
    assert decoded[0].image is decoded[1].image is decoded[2].image is not decoded[3].image
    assert len({id(decoded[i].image) for i in range(12)}) == 4
    assert source.reads == list(range(12))


def test_what_is_beyond_the_limit_is_read_again_whenever_it_is_asked_for():
    """`LIMIT`: a data set larger than memory is trained on all the same."""
    source = Read(3 * CHUNK)
    decoded = Decoded(source, limit=1)
    assert source.reads == list(range(CHUNK))  # a chunk at a time
    for i in (0, CHUNK - 1, CHUNK, 3 * CHUNK - 1, CHUNK):
        assert same(decoded[i], Read(i + 1)[i])
    assert source.reads[CHUNK:] == [CHUNK, 3 * CHUNK - 1, CHUNK]


def test_a_small_machine_or_container_keeps_less_in_memory(tmp_path, monkeypatch):
    """`memory_to_use`: a run that keeps more than there is would be killed."""
    files = [tmp_path / name for name in ("v2", "v1")]
    monkeypatch.setattr(module, "CONTAINER", files)
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**24}.__getitem__)  # 64 GiB
    assert memory_to_use() == LIMIT
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**21}.__getitem__)  # 8 GiB
    assert memory_to_use() == 4 * 2**30
    for text, expected in (("max\n", 4 * 2**30), (f"{2**31}\n", 2**30)):
        files[0].write_text(text)
        assert memory_to_use() == expected
    files[1].write_text(f"{2**29}\n")
    assert memory_to_use() == 2**28
