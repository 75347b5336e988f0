"""Sec. 4.1, Datasets: what a server offers is fetched when it is missing.

A file gets its name, and a data set its folder, only when it is whole and checked, so that nothing that was cut off is
ever taken for either. With SIIS_MIRROR=BASE every file comes from BASE/NAME instead of its official address.
"""

import errno
import hashlib
import io
import os
import shutil
import socket
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from torchvision.datasets.utils import download_url, extract_archive

from support.command_line import cache_folder, exclusive

MIRROR = "SIIS_MIRROR"
PATIENCE = 60  # seconds of silence after which a server is given up, and between two lines of progress in a log
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class Remote(NamedTuple):
    """A file that can be fetched."""

    what: str  # shown while it is fetched
    url: str
    gigabytes: float
    digest: str = ""  # MD5 (32 digits), or the first digits of SHA-256; none is published for a zip, which has its CRCs

    @property
    def name(self) -> str:
        """The file's name, on the server and here."""
        return Path(urlsplit(self.url).path).name

    @property
    def address(self) -> str:
        """Where it comes from: its own server, or what SIIS_MIRROR names."""
        base = os.environ.get(MIRROR)
        return f"{base.rstrip('/')}/{self.name}" if base else self.url


class Archive(NamedTuple):
    """A data set that comes as one archive."""

    remote: Remote
    inside: str  # the folder that the archive unpacks to
    files: Mapping[str, int] = {}  # patterns in that folder, and how many files there are of each


def fetch_archive(archive: Archive, folder: Path, offline: bool = False) -> None:
    """Fetch and unpack an archive into `folder`, unless what is inside is there.

    Raises:  ValueError if it is not there and `offline`; OSError in one line for whatever stands in the way.
    """
    if (folder / archive.inside).is_dir():
        return
    advice = f"unpack it there, so that there is {folder / archive.inside}"
    if offline:
        raise _missing(archive.remote, folder, advice)
    with _fetch_lock():
        if (folder / archive.inside).is_dir():  # by another process, meanwhile
            return
        path = _fetched(archive.remote, folder, advice)
        print(f"{archive.remote.what}: unpacking {path.name}", file=sys.stderr, flush=True)
        try:
            with _cleared(folder / ".unpacking") as temporary:
                extract_archive(str(path), str(temporary))
                _counted(archive, temporary / archive.inside)
                (temporary / archive.inside).rename(folder / archive.inside)
        except Exception as error:  # what the unpackers raise on a damaged archive is anything
            if _of_disk(error):
                raise _disk(folder, error) from error
            path.unlink()
            raise OSError(f"{path}: {_line(error)}; it was removed, and the same command fetches it again") from error
        path.unlink()


def fetch_file(remote: Remote, folder: Path, offline: bool = False) -> Path:
    """Fetch a file into `folder`, unless it is there; its path.

    Raises:  ValueError if it is not there and `offline`; OSError in one line for whatever stands in the way.
    """
    if (folder / remote.name).exists():
        return _fetched(remote, folder, "")
    if offline:
        raise _missing(remote, folder, "put it there")
    with _fetch_lock():
        return _fetched(remote, folder, "put it there")


def _fetched(remote: Remote, folder: Path, advice: str) -> Path:
    """The file's path in `folder`, fetched if need be and checked."""
    path, url = folder / remote.name, remote.address
    if path.exists():
        if fault := _fault(path, remote):
            raise OSError(f"{path}: {fault}; remove it, and the same command fetches it again")
        return path
    print(f"{remote.what}: fetching {url}, about {remote.gigabytes:.2g} GB, into {folder}", file=sys.stderr, flush=True)
    part = folder / f".{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # of a process that was killed
        try:
            with _bar(remote.name), _timeout():
                download_url(url, str(folder), part.name)
            if not (fault := _fault(part, remote)):
                part.rename(path)
        finally:
            part.unlink(missing_ok=True)
    except Exception as error:  # URLError, HTTPException, RecursionError for too many redirects ...
        if _of_disk(error):
            raise _disk(folder, error) from error
        fault = _line(error)
    if fault:
        text = f"try again, set {MIRROR}, or fetch {remote.name} elsewhere and {advice} ({folder})"
        raise OSError(f"{url}: cannot be fetched ({fault}); {text}")
    return path


def _fault(path: Path, remote: Remote) -> str:
    """What is wrong with a file that was fetched; '' for nothing."""
    with path.open("rb") as file:
        if file.read(512).lstrip()[:1] == b"<":
            return "a web page came instead of the file, perhaps a proxy's"
        file.seek(0)
        if not remote.digest:
            return "" if zipfile.is_zipfile(file) else "not a zip file, or cut short"
        found = hashlib.md5(usedforsecurity=False) if len(remote.digest) == 32 else hashlib.sha256()
        while block := file.read(2**20):
            found.update(block)
    digest = found.hexdigest()[: len(remote.digest)]
    return "" if digest == remote.digest else f"cut short or changed: checksum {digest}, expected {remote.digest}"


def _counted(archive: Archive, folder: Path) -> None:
    """ValueError if an unpacked data set is not complete."""
    if not folder.is_dir():
        raise ValueError(f"no folder {archive.inside} inside")
    for pattern, expected in archive.files.items():
        found = sum(1 for _ in folder.glob(pattern))
        if found != expected:
            raise ValueError(f"holds {found} files {archive.inside}/{pattern}, expected {expected}")


def _missing(remote: Remote, folder: Path, advice: str) -> ValueError:
    text = f"fetch {remote.url} elsewhere and {advice}, or drop --offline"
    return ValueError(f"--offline: {remote.what} is not in {folder}; {text}")


def _of_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in DISK


def _disk(folder: Path, error: BaseException) -> OSError:
    reason = getattr(error, "strerror", None) or error
    return OSError(f"{folder}: cannot be written ({reason}); free some space, or set SIIS_CACHE to another folder")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _fetch_lock() -> Iterator[None]:
    """A block in which no other process fetches into the same cache; waits for its turn."""
    cache = cache_folder()
    with ExitStack() as locks:
        try:
            locks.enter_context(exclusive(cache, cache / ".fetch.lock", wait=True))
        except OSError as error:
            raise _disk(cache, error.__cause__ or error) from error
        yield


@contextmanager
def _cleared(folder: Path) -> Iterator[Path]:
    """An empty folder for the block, gone after it."""
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _timeout() -> Iterator[None]:
    """A server that falls silent is an error within the block."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _bar(name: str):
    """The downloader's progress bar on a terminal; in a log, a line now and then."""
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(_Log(name, sys.stderr))


class _Log(io.TextIOBase):
    """A stream that passes on what a progress bar says, once a minute and as a line."""

    def __init__(self, name: str, stream):
        self.name, self.stream, self.last = name, stream, time.monotonic()

    def write(self, text: str) -> int:
        """One state of the bar."""
        if text.strip() and time.monotonic() - self.last > PATIENCE:
            self.last = time.monotonic()
            print(f"{self.name}: {text.strip()}", file=self.stream, flush=True)
        return len(text)
