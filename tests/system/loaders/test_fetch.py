"""Sec. 4.1, Datasets: what is fetched from a server, here one of the loopback interface, by the real code."""

import errno
import os
import signal
import socket
import sys
from pathlib import Path
from urllib.error import HTTPError

import pytest
from layouts import dot, zipped
from processes import disk_of, ended, forked

from data import open_dataset
from loaders import fetch
from loaders.folders import LeedsButterfly

LEEDS = LeedsButterfly.ARCHIVE.name
PLACE = Path("cache") / "data" / "LeedsButterfly"


def leeds_zip(pairs=832, **more):
    """The official archive's layout with so many pairs of 2x2 pixels."""
    images = {f"leedsbutterfly/images/001{i:04d}.png": dot("RGB", None) for i in range(pairs)}
    masks = {f"leedsbutterfly/segmentations/001{i:04d}_seg0.png": dot("L", 3) for i in range(pairs)}
    return zipped(images | masks | more)


@pytest.fixture(scope="module")
def butterflies():
    return leeds_zip()


@pytest.fixture
def leeds(server, butterflies):
    """A server with all of LeedsButterfly."""
    server.files[LEEDS] = butterflies
    return server


def opened(**options):
    """Whether LeedsButterfly is there, fetched if need be; eight of its files are looked at."""
    return len(open_dataset("LeedsButterfly", None, limit=8, **options)) == 8


def refused(kind=OSError, **options):
    """The one line that asking for LeedsButterfly ends in."""
    with pytest.raises(kind) as caught:
        opened(**options)
    if isinstance(caught.value.__cause__, HTTPError):
        caught.value.__cause__.close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files_in_place(tmp_path):
    """What lies in the data set's place."""
    return sorted(p.name for p in (tmp_path / PLACE).glob("*"))


# ---- fetched once ----------------------------------------------------------------------------------------------------


def test_a_data_set_that_is_not_there_is_fetched_once_and_said_so_before(leeds, tmp_path, capsys):
    """docs/data.md: to $SIIS_CACHE/data/NAME; one line says what, from where, how many GB, into which folder."""
    assert len(open_dataset("LeedsButterfly", None)) == 832
    first, second = capsys.readouterr().err.splitlines()  # no progress bar in a log
    assert first == f"LeedsButterfly: fetching {leeds.address}/{LEEDS}, about 0.2 GB, into {tmp_path / PLACE}"
    assert second == f"LeedsButterfly: unpacking {LEEDS}"
    assert files_in_place(tmp_path) == ["leedsbutterfly"]
    assert opened(offline=True)
    assert (leeds.asked, capsys.readouterr().err) == ([LEEDS], "")


def test_offline_nothing_is_asked_for_and_one_line_says_what_to_put_where(leeds, tmp_path):
    """--offline."""
    error = refused(ValueError, offline=True)
    assert error.startswith(
        f"--offline: LeedsButterfly is not in {tmp_path / PLACE}; fetch {LeedsButterfly.ARCHIVE.url}"
    )
    assert error.endswith(f"so that there is {tmp_path / PLACE / 'leedsbutterfly'}, or drop --offline")
    assert leeds.asked == []
    assert not (tmp_path / "cache").exists()


def test_of_several_processes_one_fetches_and_the_others_wait_for_it(leeds, tmp_path):
    """As under torchrun: every process opens the data set, and nothing travels twice."""
    pids = [forked(lambda: sys.exit(not opened()), tmp_path / f"{i}.log") for i in range(2)]
    assert [ended(pid) for pid in pids] == [0, 0]
    assert leeds.asked == [LEEDS]


# ---- never half-made -------------------------------------------------------------------------------------------------


def test_a_download_that_was_cut_off_or_killed_is_no_data_set_and_the_same_command_starts_again(leeds, tmp_path):
    """The server closes the connection in the middle of the archive, or SIGKILL comes there."""
    leeds.whole = False
    assert f"{LEEDS}: cannot be fetched (not a zip file, or cut short)" in refused()
    assert files_in_place(tmp_path) == []
    leeds.stall = True
    pid = forked(opened)
    assert leeds.halfway.wait(240)
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL
    leeds.free.set()
    leeds.whole, leeds.stall = True, False
    assert opened()
    assert files_in_place(tmp_path) == ["leedsbutterfly"]


def test_a_process_that_stops_while_it_unpacks_goes_on_with_the_archive_that_it_has(leeds, tmp_path, monkeypatch):
    """Ctrl-C, or a disk that is full: the archive is kept, what was unpacked is gone, nothing travels twice."""
    full = OSError(errno.ENOSPC, "No space left on device")
    for error in (KeyboardInterrupt(), full):

        def half(path, folder, error=error):
            (Path(folder) / "leedsbutterfly" / "images").mkdir(parents=True)
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(fetch, "extract_archive", half)
            with pytest.raises(type(error)) as told:
                opened()
        assert files_in_place(tmp_path) == [LEEDS]
    assert str(told.value).startswith(f"{tmp_path / PLACE}: cannot be written (No space left on device); free some")
    (tmp_path / PLACE / ".unpacking" / "leedsbutterfly").mkdir(parents=True)  # of a process that was killed
    assert opened()
    assert (leeds.asked, files_in_place(tmp_path)) == ([LEEDS], ["leedsbutterfly"])


def test_an_archive_with_a_damaged_file_or_without_its_832_pairs_is_refused(server, tmp_path, butterflies):
    """The zip's own CRCs; Sec. 4.1: 832 images."""
    damaged = bytearray(butterflies)
    damaged[damaged.index(b"IDAT") + 6] ^= 1
    for body, reason in (
        (bytes(damaged), "Bad CRC-32 for file 'leedsbutterfly/images/0010000.png'"),
        (leeds_zip(831), "it holds 831 files leedsbutterfly/images/[0-9]*, expected 832"),
    ):
        server.files[LEEDS] = body
        remedy = "remove it, and the same command fetches it again"
        assert refused() == f"{tmp_path / PLACE / LEEDS}: cannot be unpacked ({reason}); {remedy}"
        assert files_in_place(tmp_path) == [LEEDS]
        (tmp_path / PLACE / LEEDS).unlink()


def test_an_archive_cannot_write_outside_its_folder(server, tmp_path):
    """Unpacked by the standard library, which drops what leads out."""
    server.files[LEEDS] = leeds_zip(**{"../../../../outside.txt": "", "/absolute.txt": ""})
    assert opened()
    assert {p.name for p in tmp_path.iterdir()} == {"cache"}
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {"data", ".fetch.lock"}


# ---- what stands in the way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\n<!DOCTYPE html><html>Please log in", "not a zip file, or cut short"),
        (None, "HTTP Error 404: Not Found"),
        ("nobody", "<urlopen error [Errno 111] Connection refused>"),
        ("silence", "timed out"),
    ],
)
def test_what_is_not_the_archive_is_one_line_with_reason_and_remedy(server, tmp_path, monkeypatch, body, reason):
    """A proxy's page, no such file, nobody at the address, a server that falls silent."""
    monkeypatch.setattr(fetch, "PATIENCE", 0.2)
    if body == "nobody":
        monkeypatch.setenv("SIIS_MIRROR", "http://127.0.0.1:9")
    elif body:
        server.files[LEEDS] = body if isinstance(body, bytes) else b"PK" * 999
    server.whole, server.stall = body != "silence", body == "silence"
    error = refused()
    assert error.startswith(f"{os.environ['SIIS_MIRROR']}/{LEEDS}: cannot be fetched ({reason}); try again, set SIIS")
    assert f"unpack it there, so that there is {tmp_path / PLACE / 'leedsbutterfly'}" in error
    assert socket.getdefaulttimeout() is None
    assert files_in_place(tmp_path) == []


def test_a_disk_that_is_full_or_cannot_be_written_is_one_line_and_nothing_is_left(leeds, tmp_path, monkeypatch):
    """Here no file may grow beyond 1,000 bytes; then SIIS_CACHE leads through a file, and nothing is asked for."""
    remedy = "free some space, or set SIIS_CACHE to another folder"
    with disk_of(1000):
        error = refused()
    assert error == f"{tmp_path / PLACE}: cannot be written (File too large); {remedy}"
    assert files_in_place(tmp_path) == []
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIIS_CACHE", str(tmp_path / "file" / "cache"))
    assert refused().startswith(f"{tmp_path / 'file' / 'cache'}: cannot be written (Not a directory); ")
    assert leeds.asked == [LEEDS]
