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
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from torchvision.datasets.utils import download_url, extract_archive

from support.command_line import cache_folder, exclusive

MIRROR = "SIIS_MIRROR"
PATIENCE = 60  # seconds of silence after which a server is given up
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
    inside: str  # the folder that the archive unpacks to, or that it is unpacked into
    files: Mapping[str, int] = {}  # patterns in that folder, and how many files there are of each


def fetch_archive(archive: Archive, folder: Path, offline: bool = False) -> None:
    """Fetch and unpack an archive into `folder`, unless what is inside is there.

    Raises:  ValueError if it is not there and `offline`; OSError in one line for whatever stands in the way.
    """
    place = folder / archive.inside
    if place.is_dir():
        return
    advice = f"unpack it there, so that there is {place}"
    with _fetching(archive.remote, folder, advice, offline):
        if not place.is_dir():  # else another process has put it there meanwhile
            _unpack(archive, _fetched(archive.remote, folder, advice), place)


def fetch_file(remote: Remote, folder: Path, offline: bool = False) -> Path:
    """Fetch a file into `folder`, unless it is there; its path.

    Raises:  ValueError if it is not there and `offline`; OSError in one line for whatever stands in the way.
    """
    if (folder / remote.name).exists():
        return _fetched(remote, folder, "")
    with _fetching(remote, folder, "put it there", offline):
        return _fetched(remote, folder, "put it there")


@contextmanager
def _fetching(remote: Remote, folder: Path, advice: str, offline: bool) -> Iterator[None]:
    """A block in which no other process fetches into the same cache; waits for its turn."""
    if offline:
        remedy = f"fetch {remote.url} elsewhere and {advice}, or drop --offline"
        raise ValueError(f"--offline: {remote.what} is not in {folder}; {remedy}")
    cache = cache_folder()
    with ExitStack() as locks:
        try:
            locks.enter_context(exclusive(cache, cache / ".fetch.lock", wait=True))
        except OSError as error:
            raise _disk(cache, error.__cause__ or error) from error
        yield


def _fetched(remote: Remote, folder: Path, advice: str) -> Path:
    """The file's path in `folder`, fetched if need be and checked."""
    path, part, url = folder / remote.name, folder / f".{remote.name}.part", remote.address
    if path.exists():
        if fault := _fault(path, remote):
            raise OSError(f"{path}: {fault}; remove it, and the same command fetches it again")
        return path
    print(f"{remote.what}: fetching {url}, about {remote.gigabytes:.2g} GB, into {folder}", file=sys.stderr, flush=True)
    before = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # of a process that was killed
        socket.setdefaulttimeout(PATIENCE)
        with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):  # no bar in a log
            download_url(url, str(folder), part.name)
        if not (fault := _fault(part, remote)):
            return part.rename(path)
    except Exception as error:  # URLError, HTTPException, RecursionError for too many redirects ...
        if getattr(error, "errno", None) in DISK:
            raise _disk(folder, error) from error
        fault = _line(error)
    finally:
        socket.setdefaulttimeout(before)
        if folder.is_dir():
            part.unlink(missing_ok=True)
    text = f"try again, set {MIRROR}, or fetch {remote.name} elsewhere and {advice} ({folder})"
    raise OSError(f"{url}: cannot be fetched ({fault}); {text}")


def _fault(path: Path, remote: Remote) -> str:
    """What is wrong with a file that was fetched; '' for nothing."""
    if not remote.digest:
        return "" if zipfile.is_zipfile(path) else "not a zip file, or cut short"
    found = hashlib.md5(usedforsecurity=False) if len(remote.digest) == 32 else hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    digest = found.hexdigest()[: len(remote.digest)]
    return "" if digest == remote.digest else f"cut short or changed: checksum {digest}, expected {remote.digest}"


def _unpack(archive: Archive, path: Path, place: Path) -> None:
    """Unpack and count an archive; what is inside gets its place, and the archive goes."""
    temporary = path.parent / ".unpacking"
    print(f"{archive.remote.what}: unpacking {path.name}", file=sys.stderr, flush=True)
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    try:
        temporary.mkdir()
        extract_archive(str(path), str(temporary))
        unpacked = temporary / archive.inside if (temporary / archive.inside).is_dir() else temporary
        for pattern, expected in archive.files.items():
            if (found := sum(1 for _ in unpacked.glob(pattern))) != expected:
                raise ValueError(f"holds {found} files {archive.inside}/{pattern}, expected {expected}")
        unpacked.rename(place)
    except Exception as error:  # what the unpackers raise on a damaged archive is anything
        if getattr(error, "errno", None) in DISK:
            raise _disk(path.parent, error) from error
        path.unlink()
        raise OSError(f"{path}: {_line(error)}; it was removed, and the same command fetches it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    path.unlink()


def _disk(folder: Path, error: BaseException) -> OSError:
    reason = getattr(error, "strerror", None) or error
    return OSError(f"{folder}: cannot be written ({reason}); free some space, or set SIIS_CACHE to another folder")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
