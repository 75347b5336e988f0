"""What the command lines share: one-line errors, also of memory, Ctrl-C, the lock on --out, progress, the cache."""

import argparse
import errno
import fcntl
import io
import os
import re
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
Label = str | Callable[[], str]  # a text, or a function that returns the current one

LINE_SECONDS = 60  # between two lines of progress where stderr is no terminal
_spoken = [time.monotonic()]  # when this process wrote the last such line, or began
_doing = [""]  # the label of the current progress, for errors that do not say what was being done
MEMORY = re.compile(  # in messages of torch, CUDA's libraries and C++; where a process's memory is limited, the last
    "out of memory|not enough memory|allocate memory|MemoryError|bad_alloc|ALLOC_FAILED|can't start new thread"
)


class InUseError(ValueError):
    """Another process holds the lock."""


class OutOfMemoryError(MemoryError):
    """Out of memory, with a message for the user: what needed it, and the remedy."""


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help texts with their defaults where there are some."""

    def _get_help_string(self, action):
        plain = action.default in (None, False, 0) or isinstance(action.default, list | tuple)
        return action.help if plain else super()._get_help_string(action)


class LineParser(argparse.ArgumentParser):
    """An ArgumentParser that shows defaults, knows ~ in texts and paths, and answers bad input in one line, exit 2."""

    def __init__(self, **settings):
        super().__init__(formatter_class=Help, **settings)
        self.register("type", None, os.path.expanduser)
        self.register("type", Path, lambda text: Path(os.path.expanduser(text)))

    def error(self, message):
        """Print `PROGRAM: error: MESSAGE` on stderr and leave with exit code 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def run_main(main: Callable[[Sequence[str] | None], None], program: str) -> None:
    """Run a command line whose errors are one line each.

    Bad input and running out of memory leave with exit code 2, Ctrl-C with 130, a second one at once.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # for letters that the terminal lacks, and file names that are no text
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_: print(f"{program}: warning: {message}", file=sys.stderr)

    def interrupt(*_):
        signal.signal(signal.SIGINT, lambda *_: None)  # until the line is written
        line = f"\n{program}: interrupted; run the same command again to continue\n"
        os.write(2, line.encode())  # not through sys.stderr, which may be in use
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        main(None)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        text = str(error)
        if is_out_of_memory(error):
            text = out_of_memory(error, _doing[0])
        elif isinstance(error, RuntimeError):
            raise
        print(f"{program}: error: {' '.join(text.split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy, Pillow, torch or the operating system says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and MEMORY.search(str(error)) is not None


def out_of_memory(error: BaseException, what: str = "", remedy: str = "free some memory") -> str:
    """The line for a user; what `needing_memory` said before, if it did."""
    if isinstance(error, OutOfMemoryError):
        return str(error)
    amount = re.search(r"allocate ([\d.]+ ?\w+)", str(error))
    where = "GPU" if re.search("CUDA|CUDNN|CUBLAS|MPS", str(error)) else "machine"
    tried = f" (tried to allocate {amount[1]})" if amount else ""
    return f"{what or 'the program'}: the {where} is out of memory{tried}; {remedy}"


@contextmanager
def needing_memory(what: Label, remedy: str = "make it smaller, or free some memory") -> Iterator[None]:
    """Within the block running out of memory is an OutOfMemoryError about `what`; of nested blocks the inner counts."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(out_of_memory(error, _text(what), remedy)) from error


@contextmanager
def exclusive(out: Path, lock: Path, wait: bool = False) -> Iterator[None]:
    """Within the block no other process enters a block on the same `lock`, a file that is created and kept.

    The lock is the operating system's: it ends with the process, even if that is killed. Worker processes do not
    inherit it.
    out:     what --out names, for the errors;  wait: until the lock is free, instead of an error.
    Raises:  InUseError if another process holds the lock; OSError if the file cannot be written or locked.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+", encoding="utf-8")
    except OSError as error:
        raise OSError(f"--out {out}: cannot be written ({error.strerror}); choose another") from error
    with file:
        try:
            # a record lock: fork does not inherit it, and closing any other handle of the file would end it
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            file.truncate(0)
            os.write(file.fileno(), f"{os.getpid()}\n".encode())  # a full disk says so here, not when it is closed
        except (BlockingIOError, PermissionError):
            file.seek(0)
            process = f"another process (PID {file.read().strip() or 'unknown'})"
            raise InUseError(f"--out {out}: in use by {process}; wait for it or choose another") from None
        except OSError as error:
            text = f"--out {out}: cannot be locked ({error.strerror}); choose a folder on another file system"
            raise OSError(text) from error
        yield


def whole_number(text: str, least: int = 0) -> int:
    """argparse type: an integer of at least `least`."""
    if not text.strip().lstrip("+").isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least {least}")
    return int(text)


positive_int = partial(whole_number, least=1)


def size_int(text: str) -> int:
    """argparse type: a side of the network input, a multiple of 16 from 64 to 1024 (D10)."""
    if not text.isdecimal() or int(text) % 16 or not 64 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a multiple of 16 from 64 to 1024")
    return int(text)


def device_name(text: str) -> str:
    """argparse type: a torch device that exists."""
    try:
        torch.zeros(1, device=text).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {str(error).splitlines()[0]}; try cpu") from None
    return text


def default_device() -> str:
    """'cuda' where there is one, else 'cpu'."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def rank() -> int:
    """The number of this process among those of torchrun; 0 without torchrun."""
    return int(os.environ.get("RANK", 0))


def cache_folder() -> Path:
    """Where trained networks and downloads are kept: $SIIS_CACHE, else siis/ in the user's cache folder."""
    users = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("SIIS_CACHE") or Path(users) / "siis")


def progress(
    work: Iterable[T], label: Label, total: int, done: int = 0, each: int = 1, show: bool = True
) -> Iterator[T]:
    """Pass the items on while showing done, total, rate and time left on stderr.

    On a terminal this is one line, updated in place and cut to its width. Elsewhere it is at most a line a minute for
    the whole process, so short work is quiet and the log of a long run stays short.
    total, done:  in units, of which each item is `each`.
    """
    terminal, first, start = sys.stderr.isatty(), done, time.monotonic()
    last, outer = start, _doing[0]
    _doing[0] = _text(label)
    if show and terminal:
        _overwrite(f"{_text(label)}: {done}/{total}")
    for item in work:
        yield item
        done += each
        now = time.monotonic()
        due = now - last > 0.5 or done == total if terminal else now - _spoken[0] >= LINE_SECONDS
        if show and due:
            last = _spoken[0] = now
            rate = (done - first) / max(now - start, 1e-9)
            line = f"{_text(label)}: {done}/{total}, {rate:.3g}/s, {(total - done) / rate:.0f} s left"
            _overwrite(line) if terminal else print(line, file=sys.stderr, flush=True)
    _doing[0] = outer
    if show and terminal:
        print(file=sys.stderr)


def _text(label: Label) -> str:
    return label if isinstance(label, str) else label()


def _overwrite(text: str) -> None:
    """Overwrite a line of the terminal, cut to its width."""
    width = shutil.get_terminal_size().columns - 1
    print(f"\r{text[:width].ljust(width)}", end="", file=sys.stderr, flush=True)
