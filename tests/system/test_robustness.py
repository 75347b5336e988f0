"""Nothing lost, nothing silent: kills, locks, full disks, odd and untrusted files, determinism, by the commands."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from layouts import write
from PIL import Image
from processes import HOLD, disk_of, ended, forked, locked_by_another
from quick import TARGET, command, records

import report
import siis
import train
from experiments import drawing, figures, ledger, runs, sessions, work
from session import Session, Settings
from support.command_line import exclusive
from training.checkpoints import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

KILLS = int(os.environ.get("SIIS_KILLS", "4"))  # at random moments


# ---- kills and Ctrl-C ------------------------------------------------------------------------------------------------


@pytest.fixture
def started(place, tmp_path, monkeypatch):
    """A function: start siis.py, row (d), in a forked child, which may be armed to kill itself; its process id."""
    loaded = runs.open_network(place / "net.pt")  # once, for all children
    monkeypatch.setattr(runs, "open_network", lambda *_: loaded)
    monkeypatch.setattr(work, "SAVE_SECONDS", -1)

    def start(out, death=None):
        def run():
            if death:
                arm(*death)
            sys.argv = ["siis.py", *command(place, out, "--rows", "d")]
            siis.run_main(siis.main, "siis")

        return forked(run, tmp_path / "log")

    return start


EVENTS = {"append": (ledger.Ledger, "append"), "save": (sessions.Measured, "save"), "rename": (os, "replace")}


def arm(event, when):
    """Kill this process before or after the second event of a kind."""
    owner, name = EVENTS[event]
    real, calls = getattr(owner, name), []

    def deadly(*arguments, **named):
        calls.append(1)
        if len(calls) == 1 or when == "after":
            result = real(*arguments, **named)
        if len(calls) == 1:
            return result
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, deadly)


DEATHS = [*range(KILLS), *((event, when) for event in EVENTS for when in ("before", "after"))]


@pytest.mark.parametrize("death", DEATHS, ids=str)
def test_a_run_killed_at_any_moment_ends_in_the_ledger_of_one_never_killed(started, whole, tmp_path, death):
    """SIGKILL at any time, and before and after every write: the same records and final masks, no litter."""
    out, armed = tmp_path / "out", isinstance(death, tuple)
    pid = started(out, death if armed else None)
    if not armed:
        time.sleep(random.Random(death).uniform(0, 2))
        os.kill(pid, signal.SIGKILL)
    assert ended(pid) in ((-signal.SIGKILL,) if armed else (-signal.SIGKILL, 0))
    assert ended(started(out)) == 0
    found, expected = (sorted(p.relative_to(where) for p in where.rglob(f"*d-{TARGET}-0*")) for where in (out, whole))
    assert found == expected
    assert records(out)[f"d-{TARGET}-0"] == records(whole)[f"d-{TARGET}-0"]


@pytest.mark.parametrize("apart", [0.0, 0.002, 0.05, None])
def test_ctrl_c_given_twice_is_one_line_and_exit_code_130(started, tmp_path, apart):
    """The second may come at any distance: no traceback, and the run can be taken up."""
    pid = started(tmp_path / "out")
    while not any(file.read_bytes() for file in tmp_path.glob("out/runs/*.jsonl")):
        time.sleep(0.01)
    os.kill(pid, signal.SIGINT)
    if apart is not None:
        time.sleep(apart)
        os.kill(pid, signal.SIGINT)
    assert ended(pid) == 130
    line = "\nsiis: interrupted; run the same command again to continue\n"
    assert (tmp_path / "log").read_text() == line


def test_a_run_whose_ledger_lost_lines_does_not_go_on_from_a_session_that_did_them(place, whole, tmp_path):
    """The ledger of the run is what counts, also beside longer ones: a saved session that knows more is dropped."""
    net, _ = load_checkpoint(place / "net.pt")
    for lines in (0, 1):
        out = shutil.copytree(whole, tmp_path / str(lines))
        file = out / "runs" / f"d-{TARGET}-0.jsonl"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:lines]))
        session = Session(net, Settings(size=64, layer="1"))
        session.done = 2
        session.save(file.with_suffix(".pt"))
        siis.main(command(place, out))
        assert records(out) == records(whole)
        assert not list(out.rglob("*.pt"))


# ---- locks and disks -------------------------------------------------------------------------------------------------


def test_a_second_training_of_the_same_checkpoint_is_refused_in_one_line(place, tmp_path, refused):
    """The first one's process id is named; once it is gone, killed or not, nothing stands in the way."""
    out, lock = tmp_path / "net.pt", tmp_path / ".net.pt.lock"
    with locked_by_another(lock) as first:
        error = refused(["--data", place / "data", "--out", out], train.main)
    assert error == f"--out {out}: in use by another process (PID {first.pid}); wait for it or choose another"
    line = [sys.executable, "-c", HOLD, str(lock)]
    with exclusive(out, lock):
        ran = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert "BlockingIOError" in ran.stderr
    assert lock.read_text() == f"{os.getpid()}\n"
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL)


def test_a_file_system_without_locks_is_not_said_to_be_in_use(tmp_path, monkeypatch):
    """Waiting would never help."""
    monkeypatch.setattr("fcntl.lockf", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    error = rf"^--out {tmp_path}: cannot be locked \(No locks available\); choose a folder on another file system$"
    with pytest.raises(OSError, match=error), exclusive(tmp_path, tmp_path / ".lock"):
        pass


def test_a_full_disk_keeps_every_record_and_the_run_goes_on_when_there_is_space(
    place, whole, tmp_path, refused, monkeypatch
):
    """A line that the disk cut short is done again."""
    monkeypatch.setattr(figures, "drawn", lambda _: set())  # pictures are larger than the disk
    out, name = tmp_path / "out", f"runs/a-{TARGET}-0.jsonl"
    lines = (whole / name).read_bytes().splitlines(keepends=True)
    with disk_of(len(lines[0]) + len(lines[1]) * 3 // 2):
        error = refused(command(place, out))
    left = (out / name).read_bytes()
    assert left.count(b"\n") >= 1
    assert not left.endswith(b"\n")
    remedy = "free some space and run the same command again, which goes on from there"
    assert error == f"{out / name}: cannot be written (File too large); {remedy}"
    siis.main(command(place, out))
    assert records(out) == records(whole)


@pytest.mark.parametrize("program", ["siis", "train", "report"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(place, tmp_path, refused, program):
    """Not after the first epoch. Here a file is in the way; permissions do not hold back root."""
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    written, main, arguments = {
        "siis": (out, siis.main, command(place, out)),
        "train": (out / "net.pt", train.main, ["--data", place / "data", "--out", out / "net.pt"]),
        "report": (out / "data" / "paper", report.main, command(place, out, "--tables", "1")),
    }[program]
    assert refused(arguments, main) == f"--out {written}: cannot be written (Not a directory); choose another"


# ---- checkpoints and ledgers -----------------------------------------------------------------------------------------


def test_a_checkpoint_with_nan_is_refused(place, tmp_path, refused):
    """In one line that names the file."""
    net, meta = load_checkpoint(place / "net.pt")
    with torch.no_grad():
        next(net.decoder.parameters())[0] = torch.nan
    save_checkpoint(tmp_path / "nan.pt", net, **meta)
    broken = refused(command(place, tmp_path / "out", "--weights", tmp_path / "nan.pt"))
    assert broken == f"{tmp_path / 'nan.pt'}: holds NaN or infinite weights; train again"
    assert not (tmp_path / "out").exists()


def test_a_ledger_of_an_earlier_version_or_with_lines_that_do_not_belong_is_refused(place, whole, tmp_path, refused):
    """Nothing is mixed and nothing is overwritten."""
    out = shutil.copytree(whole, tmp_path / "out")
    own, other = (out / "runs" / f"{row}-{TARGET}-0.jsonl" for row in "dc")
    first, second, *_ = own.read_bytes().splitlines(keepends=True)
    incomplete = "not an object with " + ", ".join(sorted(ledger.NEEDED))
    incomplete += "; a ledger of an earlier version cannot be continued"
    for content, number, reason in (
        *((text, 1, incomplete) for text in (b"null\n", b'{"name": "x"}\n', b'"\xff"\n')),
        (second, 1, "it is that of row (d) @15%, seed 0, instance 2"),
        (first + first, 2, "it is that of row (d) @15%, seed 0, instance 1"),
        (other.read_bytes(), 1, "it is that of row (c) @15%, seed 0, instance 1"),
    ):
        own.write_bytes(content)
        misplaced = f"{own}: line {number} is not the record of its place ({reason})"
        assert refused(command(place, out)) == f"{misplaced}; remove the file to do its run again"
        assert own.read_bytes() == content
    (out / "configuration.json").unlink()
    earlier = f"--out {out}: holds results of an earlier version; choose another folder"
    assert refused(command(place, out)) == earlier


# ---- what data sets may do -------------------------------------------------------------------------------------------


def test_strips_full_masks_single_pixels_and_names_of_any_letters_are_annotated(place, tmp_path):
    """1 x N and N x 1 pixels, an object that fills the image, one of one pixel, categories of other alphabets."""
    shapes = {"row": np.eye(1, 700, 3), "column": np.eye(700, 1), "full": np.ones((48, 64)), "dot": np.zeros((48, 64))}
    shapes["dot"][47, 63] = 1
    for category in ("🦋 '\"%", "été"):
        for name, mask in shapes.items():
            write(tmp_path / "images" / category / f"{name}.png", np.indices((*mask.shape, 3)).sum(axis=0) % 256)
            write(tmp_path / "masks" / category / f"{name}.png", mask.astype(int))
    siis.main(command(place, tmp_path / "out", "--data", str(tmp_path), "--rows", "d"))
    found = records(tmp_path / "out")[f"d-{TARGET}-0"]
    expected = [(category, name) for category in sorted(("🦋 '\"%", "été")) for name in sorted(shapes)]
    assert [(r["category"], Path(r["name"]).name) for r in found] == expected
    for r in found:
        h, w = shapes[Path(r["name"]).name].shape
        assert all(0 <= row < h and 0 <= col < w for row, col, _ in r["clicks"])
        assert all(0 <= v <= 1 for v in r["ious"])
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width <= 2 * drawing.MARGIN + 4 * (drawing.WIDEST + drawing.GAP)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"configuration.json", "runs", "sheet", "sheet.png"}
