"""Sec. 4.1, Datasets: what is fetched from a server, here one of the loopback interface, by the real code."""

import errno
import io
import os
import signal
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from processes import ended, forked
from torchvision.datasets.utils import extract_archive

from data import open_dataset
from loaders import fetch
from loaders.fetch import Remote
from loaders.folders import LeedsButterfly

LEEDS = LeedsButterfly.ARCHIVE.name
PLACE = Path("cache") / "data" / "LeedsButterfly"


def png(value):
    content = io.BytesIO()
    Image.new("RGB" if value is None else "L", (2, 2), value).save(content, "png")
    return content.getvalue()


def zipped(pairs=832, **more):
    """The official archive's layout with so many pairs of 2x2 pixels."""
    content, image, mask = io.BytesIO(), png(None), png(3)
    with zipfile.ZipFile(content, "w") as archive:
        for i in range(pairs):
            archive.writestr(f"leedsbutterfly/images/001{i:04d}.png", image)
            archive.writestr(f"leedsbutterfly/segmentations/001{i:04d}_seg0.png", mask)
        for name, text in more.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.fixture(scope="module")
def butterflies():
    return zipped()


@pytest.fixture
def leeds(server, butterflies):
    """A server with all of LeedsButterfly."""
    server.files[LEEDS] = butterflies
    return server


def refused(error=OSError):
    """The one line that asking for LeedsButterfly ends in."""
    with pytest.raises(error) as caught:
        open_dataset("LeedsButterfly", None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def opened():
    """Whether LeedsButterfly is there, fetched if need be; eight of its files are looked at."""
    return len(open_dataset("LeedsButterfly", None, limit=8)) == 8


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
    asked = len(leeds.asked)
    assert len(open_dataset("LeedsButterfly", None, offline=True)) == 832
    assert (len(leeds.asked), capsys.readouterr().err) == (asked, "")


def test_offline_nothing_is_asked_for_and_one_line_says_what_to_put_where(leeds, tmp_path):
    """--offline."""
    with pytest.raises(ValueError, match=r"^--offline: LeedsButterfly is not in") as error:
        open_dataset("LeedsButterfly", None, offline=True)
    assert f"{tmp_path / PLACE / 'leedsbutterfly'}, or drop --offline" in str(error.value)
    assert LeedsButterfly.ARCHIVE.url in str(error.value)
    assert leeds.asked == []
    assert not (tmp_path / "cache").exists()


# ---- never half-made -------------------------------------------------------------------------------------------------


def test_a_download_that_was_cut_off_is_no_data_set_and_the_same_command_takes_it_up_again(leeds, tmp_path):
    """The server closes the connection in the middle."""
    leeds.whole = False
    assert f"{LEEDS}: cannot be fetched (not a zip file, or cut short)" in refused()
    assert files_in_place(tmp_path) == []
    leeds.whole = True
    assert opened()


def test_a_process_that_is_killed_while_it_fetches_leaves_nothing_that_is_believed(leeds, tmp_path):
    """SIGKILL in the middle of the archive."""
    leeds.whole, leeds.stall = False, True
    log = tmp_path / "log"
    pid = forked(opened, log)
    assert leeds.halfway.wait(240)
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL
    assert "fetching" in log.read_text()
    leeds.free.set()
    leeds.whole, leeds.stall = True, False
    assert opened()
    assert files_in_place(tmp_path) == ["leedsbutterfly"]


def test_a_process_that_stops_while_it_unpacks_goes_on_with_the_archive_that_it_has(leeds, tmp_path, monkeypatch):
    """Ctrl-C, or a disk that is full: the archive is kept, what was unpacked is gone, nothing travels twice."""

    def half(path, folder, error=None):
        (Path(folder) / "leedsbutterfly" / "images").mkdir(parents=True)
        raise error or KeyboardInterrupt

    full = OSError(errno.ENOSPC, "No space left on device")
    for error, caught in ((None, KeyboardInterrupt), (full, OSError)):
        monkeypatch.setattr(fetch, "extract_archive", lambda path, folder, error=error: half(path, folder, error))
        with pytest.raises(caught) as told:
            open_dataset("LeedsButterfly", None)
        assert files_in_place(tmp_path) == [LEEDS]
    assert str(told.value).startswith(f"{tmp_path / PLACE}: cannot be written (No space left on device); free some")
    monkeypatch.setattr(fetch, "extract_archive", extract_archive)
    (tmp_path / PLACE / ".unpacking" / "leedsbutterfly").mkdir(parents=True)  # of a process that was killed
    asked = len(leeds.asked)
    assert opened()
    assert (len(leeds.asked), files_in_place(tmp_path)) == (asked, ["leedsbutterfly"])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\n<!DOCTYPE html><html>Please log in", "not a zip file, or cut short"),
        (None, "HTTP Error 404: Not Found"),
    ],
)
def test_what_is_not_the_archive_is_one_line_with_reason_and_remedy(server, tmp_path, body, reason):
    """A proxy's page, nothing, no such file."""
    if body is not None:
        server.files[LEEDS] = body
    error = refused()
    assert error.startswith(f"{server.address}/{LEEDS}: cannot be fetched ({reason}); try again, set SIIS")
    assert f"unpack it there, so that there is {tmp_path / PLACE / 'leedsbutterfly'}" in error
    assert files_in_place(tmp_path) == []


def test_an_archive_with_a_damaged_file_or_without_its_832_pairs_is_refused_and_removed(server, tmp_path, butterflies):
    """The zip's own CRCs; Sec. 4.1: 832 images."""
    damaged = bytearray(butterflies)
    damaged[damaged.index(b"IDAT") + 6] ^= 1
    for body, reason in (
        (bytes(damaged), "Bad CRC-32 for file 'leedsbutterfly/images/0010000.png'"),
        (zipped(831), "holds 831 files leedsbutterfly/images/[0-9]*, expected 832"),
    ):
        server.files[LEEDS] = body
        assert reason in refused()
        assert files_in_place(tmp_path) == []


def test_an_archive_cannot_write_outside_its_folder(server, tmp_path):
    """Unpacked by the standard library, which drops what leads out."""
    server.files[LEEDS] = zipped(832, **{"../../../../outside.txt": "", "/absolute.txt": ""})
    assert opened()
    assert {p.name for p in tmp_path.iterdir()} == {"cache"}
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {"data", ".fetch.lock"}


# ---- what stands in the way ------------------------------------------------------------------------------------------


def test_without_a_network_one_line_says_so(server, monkeypatch):
    """Nobody listens at the address."""
    monkeypatch.setenv("SIIS_MIRROR", "http://127.0.0.1:9")
    assert (
        f"http://127.0.0.1:9/{LEEDS}: cannot be fetched (<urlopen error [Errno 111] Connection refused>)" in refused()
    )


def test_a_server_that_falls_silent_is_given_up(leeds, monkeypatch, tmp_path):
    """After a minute; here sooner."""
    monkeypatch.setattr(fetch, "PATIENCE", 0.2)
    leeds.whole, leeds.stall = False, True
    assert f"{LEEDS}: cannot be fetched (timed out)" in refused()
    assert files_in_place(tmp_path) == []


def test_a_full_disk_is_one_line_and_frees_what_it_took(leeds, tmp_path, monkeypatch):
    """ENOSPC while the archive is written."""

    def full(url, path, progress):
        Path(path).write_bytes(b"PK")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "download_url_to_file", full)
    reason = "cannot be written (No space left on device); free some space, or set SIIS_CACHE to another folder"
    assert refused() == f"{tmp_path / PLACE}: {reason}"
    assert files_in_place(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_one_line_before_anything_travels(leeds, tmp_path, monkeypatch):
    """SIIS_CACHE leads through a file."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIIS_CACHE", str(tmp_path / "file" / "cache"))
    assert refused().startswith(f"{tmp_path / 'file' / 'cache'}: cannot be written (Not a directory); ")
    assert leeds.asked == []


def test_of_several_processes_one_fetches_and_the_others_wait_for_it(leeds, tmp_path):
    """As under torchrun: every process opens the data set, and nothing travels twice."""
    logs = [tmp_path / f"{i}.log" for i in range(2)]
    pids = [forked(lambda: sys.exit(not opened()), log) for log in logs]
    assert [ended(pid) for pid in pids] == [0, 0]
    assert sum("fetching" in log.read_text() for log in logs) == 1
    assert leeds.asked == [LEEDS]


def test_a_single_file_is_fetched_and_checked_alike(server, tmp_path):
    """SHA-256 by its first digits, as torchvision names its weights."""
    server.files["w-9f86d081.pth"] = b"test"
    remote = Remote("weights", "https://example.org/w-9f86d081.pth", 0.1, "9f86d081")
    assert fetch.fetch(remote, tmp_path / "hub").read_bytes() == b"test"
    (tmp_path / "hub" / remote.name).write_bytes(b"tes")
    with pytest.raises(OSError, match=r"w-9f86d081\.pth: cut short or changed: .*expected 9f86d081; remove it, and"):
        fetch.fetch(remote, tmp_path / "hub")
    with pytest.raises(ValueError, match=r"^--offline: weights is not in .*new; fetch https://example\.org/w-9f8"):
        fetch.fetch(remote, tmp_path / "new", offline=True)
