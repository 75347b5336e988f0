"""What the command lines share: one-line errors, checked numbers, progress on stderr, the cache folder."""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


class LineParser(argparse.ArgumentParser):
    """An ArgumentParser that shows defaults and answers bad input in one line, with exit code 2."""

    def __init__(self, **settings):
        super().__init__(formatter_class=argparse.ArgumentDefaultsHelpFormatter, **settings)

    def error(self, message):
        """Print `PROGRAM: error: MESSAGE` on stderr and leave with exit code 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def run_main(main: Callable[[Sequence[str] | None], None], program: str) -> None:
    """Run a command line: bad input is one line and exit code 2, Ctrl-C one line and 130."""
    warnings.showwarning = lambda message, *_: print(f"{program}: warning: {message}", file=sys.stderr)
    try:
        main(None)
    except (ValueError, OSError) as error:
        print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def positive_int(text: str) -> int:
    """argparse type: an integer of at least 1."""
    if not text.strip().lstrip("+").isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least 1")
    return int(text)


def size_int(text: str) -> int:
    """argparse type: a side of the network input, a multiple of 16 from 64 to 1024 (D10)."""
    if not text.isdecimal() or int(text) % 16 or not 64 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a multiple of 16 from 64 to 1024")
    return int(text)


def device_name(text: str) -> str:
    """argparse type: a torch device that is there."""
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {str(error).splitlines()[0]}; try cpu") from None
    return text


def default_device() -> str:
    """'cuda' where there is one, else 'cpu'."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def cache_folder() -> Path:
    """Where trained baselines and features are kept: $SIIS_CACHE, else siis/ in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SIIS_CACHE") or Path(base) / "siis")


def progress(
    work: Iterable[T], label: str | Callable[[], str], total: int, done: int = 0, each: int = 1, show: bool = True
) -> Iterator[T]:
    """Pass the items on while showing done, total, rate and time left on stderr; quiet when that is no terminal.

    label:  a text or what gives the present one;  total, done: in units, of which each item is `each`.
    """
    show = show and sys.stderr.isatty()
    start = last = time.monotonic()
    first = done
    for item in work:
        yield item
        done += each
        now = time.monotonic()
        if show and (now - last > 0.5 or done == total):
            last, rate = now, (done - first) / max(now - start, 1e-9)
            left = f"{(total - done) / rate:.0f} s left"
            text = label if isinstance(label, str) else label()
            print(f"\r{text}: {done}/{total}, {rate:.3g}/s, {left}   ", end="", file=sys.stderr, flush=True)
    if show:
        print(file=sys.stderr)
