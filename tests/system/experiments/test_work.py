"""Sec. 4, D29: runs shared among processes. Nobody waits for anybody, and nothing depends on who did what."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import locked_by_another
from quick import TARGET, command, records

import siis
from data import Synthetic
from experiments import ledger, work
from experiments.ledger import Run
from experiments.runs import OpenDataset, own_device
from experiments.sessions import Full, Global, Measured
from loaders.samples import categories
from robot_user import iou
from session import Settings
from support.command_line import OutOfMemoryError

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

# siis.py as here
SHORT = "import networks, quick, siis; networks.narrow(); quick.quicken(); siis.run_main(siis.main, 'siis')"
ROOT = Path(siis.__file__).parent


def test_process_0_waits_for_the_runs_of_others_and_takes_over_what_one_that_died_has_left(
    place, whole, tmp_path, monkeypatch, capsys
):
    """A process that dies takes only its run with it, half a line of its ledger included."""
    with locked_by_another(tmp_path / "runs" / f".c-{TARGET}-0.lock") as other:

        def died(_):
            (tmp_path / "runs" / f"c-{TARGET}-0.jsonl").write_text('{"config": "cut sho')
            other.kill()
            other.wait()

        monkeypatch.setattr(work.time, "sleep", died)
        siis.main(command(place, tmp_path))
    shown = capsys.readouterr()
    assert shown.err == "1 runs are at work in other processes; waiting for them\n"
    assert "| (c) |" in shown.out
    assert records(tmp_path) == records(whole)


def test_every_process_on_a_machine_has_a_gpu_of_its_own(monkeypatch):
    """torchrun's LOCAL_RANK, or one that it shares; a device that was named in full, or the CPU, stays."""
    assert own_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "3")
    for count, device in ((8, "cuda:3"), (2, "cuda:1"), (1, "cuda:0")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert [own_device(d) for d in ("cuda", "cuda:1", "cpu")] == [device, "cuda:1", "cpu"]


def test_the_processes_of_torchrun_share_runs_and_end_in_the_results_of_one(place, whole, tmp_path):
    """D29: the launcher itself, on a data set of two categories; the first process prints the table."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    line = [*launcher, sys.executable, "-c", SHORT, *command(place, tmp_path)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    ran = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert [ran.stdout.count(f"| ({row}) |") for row in "abcd"] == [1] * 4
    assert ran.stdout.count("16 annotated instances") == 1
    assert records(tmp_path) == records(whole)
    assert (tmp_path / "sheet.png").read_bytes() == (whole / "sheet.png").read_bytes()


RUN = Run("d", 0.3, 1, 2)


@pytest.fixture(scope="module")
def samples():
    """Seven images of three categories, as they follow each other in a data set."""
    drawn = Synthetic(7, size=64)
    return [drawn[i]._replace(category=category) for i, category in enumerate("aaabbbc")]


def task(folder, net, samples, run=RUN, session=Measured, **settings):
    held, opened = ledger.Ledger(folder, {}, categories(samples)), OpenDataset(samples, "", net, 64)
    return work.Task(held, run, opened, Settings(size=64, **settings), session=session)


def carried_out(task):
    """The records of a run as this process does it."""
    work.carry_out([task])
    return records(task.ledger.folder)[task.run.name]


@pytest.mark.parametrize(
    ("session", "settings", "seconds", "since"),
    [
        (Measured, {"memory": 2, "delta": 2}, -1, 4),
        (Measured, {"stop_after": 1, "delta": 2}, -1, 4),
        (Measured, {"augment": True}, -1, 4),
        (Measured, {}, math.inf, 0),
        (Full, {}, -1, 4),
        (Global, {}, -1, 4),
    ],
    ids=str,
)
def test_an_interrupted_run_goes_on_from_its_saved_session_to_the_same_records(
    net, samples, tmp_path, monkeypatch, session, settings, seconds, since
):
    """With or without a saved session, in any order: bank, momentum, random numbers and counters are all saved."""
    whole = carried_out(task(tmp_path / "whole", net, samples, RUN, session, **settings))
    append = ledger.Ledger.append

    def interrupted(self, run, record):
        if record["index"] == 4:
            raise KeyboardInterrupt
        append(self, run, record)

    with monkeypatch.context() as patch:
        patch.setattr(ledger.Ledger, "append", interrupted)
        patch.setattr(work, "SAVE_SECONDS", seconds)
        with pytest.raises(KeyboardInterrupt):
            carried_out(task(tmp_path / "out", net, samples, RUN, session, **settings))
    again = task(tmp_path / "out", net, samples, RUN, session, **settings)
    assert work.resume(again).done == since
    assert carried_out(again) == whole
    assert not list(tmp_path.rglob("*.pt"))


def test_a_run_that_another_process_has_finished_meanwhile_is_not_done_again(net, samples, tmp_path, monkeypatch):
    """D29: what others have done is read once the run's lock is held."""
    late = task(tmp_path, net, samples, Run("a", 0.3, 0))
    found = carried_out(task(tmp_path, net, samples, Run("a", 0.3, 0)))
    monkeypatch.setattr(work, "perform", None)
    assert carried_out(late) == found


def test_pictures_after_1_2_and_3_clicks_are_of_the_masks_that_the_user_saw(net, samples, tmp_path, monkeypatch):
    """Figs. 5 and 6: also after the round of optimisation that followed; of the first run of a row alone."""
    kept = []
    monkeypatch.setattr(work.figures, "save_tile", lambda done, masks, *_: kept.append((done, masks)))
    carried_out(task(tmp_path, net, samples, Run("d", 0.3, 0)))
    assert [done.index for done, _ in kept] == [0, 1, 2, 3, 4, 5]
    for done, masks in kept:
        seen = done.ious[not done.correct :]  # after the first click on, a proposal among them
        expected = [seen[min(k, len(seen) - 1)] for k in range(3)]
        assert [iou(mask, done.sample.mask, done.sample.void) for mask in masks] == expected
    carried_out(task(tmp_path, net, samples, Run("d", 0.3, 1)))
    assert len(kept) == 6


@pytest.mark.parametrize("part", ["open", "segment", "finish"])
def test_running_out_of_memory_names_the_image_that_is_annotated_and_keeps_the_others(
    net, samples, tmp_path, monkeypatch, part
):
    """CONTRIBUTING, 'How errors read': what needed the memory, and the remedy; the ledger holds what was done."""
    original = getattr(Measured, part)

    def short(session, *given):
        if session.done == 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...")
        return original(session, *given)

    monkeypatch.setattr(Measured, part, short)
    line = r"^synthetic-0002, 64x64 pixels: the GPU is out of memory \(tried to allocate 20.00 MiB\); make it smaller"
    with pytest.raises(OutOfMemoryError, match=line):
        carried_out(task(tmp_path, net, samples, Run("a", 0.3, 1)))
    assert len(records(tmp_path)["a-0.3-1"]) == 2
