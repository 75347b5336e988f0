"""Out of memory, on any device, as one line that says what needed it."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SIGNS = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "Unable to allocate",
    "MemoryError",
    "bad_alloc",
    "ALLOC_FAILED",  # CUDA's libraries
    "can't start new thread",  # where the memory of a process is limited
)


class OutOfMemoryError(MemoryError):
    """Out of memory, with a message for the user: what needed it, and the remedy."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy, Pillow, torch or the operating system says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def out_of_memory(error: BaseException, what: str = "", remedy: str = "free some memory") -> str:
    """The line for a user; what `needing_memory` said before, if it did."""
    if isinstance(error, OutOfMemoryError):
        return str(error)
    amount = re.search(r"allocate ([\d.]+ ?\w+)", str(error))
    where = "GPU" if "CUDA" in str(error) else "machine"
    tried = f" (tried to allocate {amount[1]})" if amount else ""
    return f"{what or 'the program'}: the {where} is out of memory{tried}; {remedy}"


@contextmanager
def needing_memory(what: str, remedy: str = "make it smaller, or free some memory") -> Iterator[None]:
    """Within the block running out of memory is an OutOfMemoryError about `what`; of nested blocks the inner counts."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(out_of_memory(error, what, remedy)) from error
