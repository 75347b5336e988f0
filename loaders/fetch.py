"""Sec. 4.1, Datasets: what a server offers is fetched when it is missing.

A file gets its name, and a data set its folder, only when it is whole and checked, so that nothing that was cut off is
ever taken for either. With SIIS_MIRROR=BASE every file comes from BASE/NAME instead of its official address.
"""

import errno
import hashlib
import os
import shutil
import socket
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from torch.hub import download_url_to_file
from torchvision.datasets.utils import extract_archive

from support.command_line import cache_folder, exclusive

MIRROR = "SIIS_MIRROR"
PATIENCE = 60  # seconds of silence after which a server is given up
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class Remote(NamedTuple):
    """A file that can be fetched; an archive is unpacked, and removed."""

    what: str  # shown while it is fetched
    url: str
    gigabytes: float
    digest: str = ""  # MD5 (32 digits), or the first digits of SHA-256; none is published for a zip, which has its CRCs
    inside: str = ""  # the folder that an archive unpacks to, or that it is unpacked into
    files: Mapping[str, int] = {}  # patterns in that folder, and how many files there are of each

    @property
    def name(self) -> str:
        """The file's name, on the server and here."""
        return Path(urlsplit(self.url).path).name


def fetch(remote: Remote, folder: Path, offline: bool = False) -> Path:
    """Fetch what is not there yet into `folder`; returns the file, or what was inside the archive.

    Raises:  ValueError if it is not there and `offline`; OSError in one line for whatever stands in the way.
    """
    path, cache = folder / remote.name, cache_folder()
    place = folder / remote.inside if remote.inside else path
    if path.exists():  # an archive that was not unpacked yet, or the file itself
        with _told(folder, f"{path}: is damaged", "remove it, and the same command fetches it again"):
            _check(path, remote)
    if place.exists():
        return place
    advice = f"unpack it there, so that there is {place}" if remote.inside else "put it there"
    if offline:
        remedy = f"fetch {remote.url} elsewhere and {advice}, or drop --offline"
        raise ValueError(f"--offline: {remote.what} is not in {folder}; {remedy}")
    with _told(cache, f"{cache}: cannot be written"):
        cache.mkdir(parents=True, exist_ok=True)
        (cache / ".fetch.lock").touch()
    with exclusive(cache, cache / ".fetch.lock", wait=True):
        if not place.exists():  # else another process has put it there meanwhile
            _download(remote, path, advice)
            if remote.inside:
                _unpack(remote, path, place)
    return place


def _download(remote: Remote, path: Path, advice: str) -> None:
    """Put the file into its place once it is whole, unless it is there."""
    if path.exists():
        return
    folder, part, mirror = path.parent, path.with_name(f".{path.name}.part"), os.environ.get(MIRROR)
    url = f"{mirror.rstrip('/')}/{remote.name}" if mirror else remote.url
    print(f"{remote.what}: fetching {url}, about {remote.gigabytes:.2g} GB, into {folder}", file=sys.stderr, flush=True)
    remedy = f"try again, set {MIRROR}, or fetch {remote.name} elsewhere and {advice} ({folder})"
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        with _told(folder, f"{url}: cannot be fetched", remedy):
            folder.mkdir(parents=True, exist_ok=True)
            download_url_to_file(url, str(part), progress=sys.stderr.isatty())
            _check(part, remote)
            part.rename(path)
    finally:
        socket.setdefaulttimeout(before)
        for left in folder.glob(f"{part.name}*"):  # also by processes that were killed
            left.unlink()


def _check(path: Path, remote: Remote) -> None:
    """ValueError for a file that is not what was published."""
    if not remote.digest:
        if not zipfile.is_zipfile(path):
            raise ValueError("not a zip file, or cut short")
        return
    found = hashlib.md5(usedforsecurity=False) if len(remote.digest) == 32 else hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    if not found.hexdigest().startswith(remote.digest):
        shown = found.hexdigest()[: len(remote.digest)]
        raise ValueError(f"cut short or changed: checksum {shown}, expected {remote.digest}")


def _unpack(archive: Remote, path: Path, place: Path) -> None:
    """Unpack and count an archive; what is inside gets its place, and the archive goes."""
    temporary = path.with_name(".unpacking")
    print(f"{archive.what}: unpacking {path.name}", file=sys.stderr, flush=True)
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    try:
        with _told(path.parent, f"{path}: cannot be unpacked", "remove it, and the same command fetches it again"):
            extract_archive(str(path), str(temporary))
            unpacked = temporary / archive.inside if (temporary / archive.inside).is_dir() else temporary
            for pattern, expected in archive.files.items():
                if (found := sum(1 for _ in unpacked.glob(pattern))) != expected:
                    raise ValueError(f"it holds {found} files {archive.inside}/{pattern}, expected {expected}")
            unpacked.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    path.unlink()


@contextmanager
def _told(folder: Path, what: str, remedy: str = "set SIIS_CACHE to another folder") -> Iterator[None]:
    """Whatever goes wrong within the block as an OSError in one line."""
    try:
        yield
    except Exception as error:  # URLError, HTTPException, what the unpackers raise on a damaged archive ...
        if getattr(error, "errno", None) in DISK:
            what, remedy = f"{folder}: cannot be written", "free some space, or set SIIS_CACHE to another folder"
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"{what} ({reason}); {remedy}") from error
