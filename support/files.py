"""Files that are written whole or not at all, and read without running what is in them."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from support.command_line import is_out_of_memory

SHORT = 40  # letters of a name that its temporary one has: in all, a name may have 255 bytes


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place when the block ends well, remove it otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:SHORT]}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch's writer has no other error than a RuntimeError
        if getattr(error, "filename", None) is not None or is_out_of_memory(error):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0][:120]
        text = f"{path}: cannot be written ({reason}); free some space, what was there before is kept"
        raise OSError(text) from error
    finally:
        temporary.unlink(missing_ok=True)


def sweep(*paths: Path) -> None:
    """Remove the temporary files that killed processes left beside `paths`; no other process may be writing them.

    paths:  as given to `atomic`. The last part of each is a glob pattern, so escape a literal name; the folder before
            it is always literal.
    """
    for path in paths:
        for temporary in path.parent.glob(f".{path.stem[:SHORT]}.[0-9]*{path.suffix}"):
            temporary.unlink()


def read_tensors(path: str | os.PathLike[str], device: torch.device | str = "cpu", mmap: bool = False) -> Any:
    """torch.load with weights_only=True; ValueError naming a file that torch cannot read or whose bits have changed."""
    try:
        if not mmap and zipfile.is_zipfile(path) and (part := zipfile.ZipFile(path).testzip()):  # torch compares none
            raise ValueError(f"the checksum of {part} differs")
        return torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except Exception as error:  # what the unpickler raises on a foreign file is anything
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError) or is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a readable checkpoint, or cut short ({reason}); remove or replace it") from error


def write_tensors(path: str | os.PathLike[str], content: Any) -> None:
    """torch.save to a temporary name, then rename; an OSError if the disk is full, and the earlier file is kept."""
    with atomic(path) as temporary:
        torch.save(content, temporary)


def pack_mask(mask: torch.Tensor) -> tuple[tuple[int, int], bytes]:
    """An (H, W) bool mask as its shape and its bits, compressed."""
    H, W = mask.shape
    return (H, W), zlib.compress(np.packbits(mask.numpy()).tobytes(), level=1)


def unpack_mask(shape: tuple[int, int], bits: bytes) -> torch.Tensor:
    """The (H, W) bool mask that `pack_mask` was given."""
    flat = np.unpackbits(np.frombuffer(zlib.decompress(bits), np.uint8), count=shape[0] * shape[1])
    return torch.from_numpy(flat.reshape(shape).astype(bool))
