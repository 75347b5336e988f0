"""docs/guarantees.md, 'Training ends in one line': worker processes that fail, and running out of memory."""

import errno
import multiprocessing
import os
import signal
import time
import traceback
from unittest.mock import Mock

import pytest
import torch
from processes import ended, forked
from toys import command, small

import train
from data import Synthetic
from support.command_line import OutOfMemoryError, run_main
from training import trainer, workers
from training.checkpoints import load_checkpoint
from training.recipe import CUDA, PAPER

pytestmark = pytest.mark.usefixtures("thin_networks")
SHM = "--workers 1: not enough shared memory in /dev/shm for their inputs; use --workers 0, or give it more"
AGAIN = "run the same command again with fewer --workers, it continues from the last checkpoint"


def failure(kind, run, *arguments, **options):
    """The message of the error that a run ends in."""
    with pytest.raises(kind) as caught:
        run(*arguments, **options)
    error = caught.value
    while error:
        traceback.clear_frames(error.__traceback__)  # else the workers are waited for five seconds
        error = error.__context__
    return str(caught.value)


@pytest.fixture
def run(net, tmp_path):
    """Train on four scenes with one worker process, which does something else if there is an `action`."""

    def start(action=None, recipe=PAPER):
        samples, recipe = Scenes(action), small(recipe, 4, epochs=2, batch=2)
        return trainer.Trainer(net, samples, recipe, tmp_path / "out.pt", workers=1).fit(())

    return start


class Scenes(Synthetic):
    def __init__(self, action):
        super().__init__(4, size=64)
        self.action = action

    def __getitem__(self, i):
        if self.action and torch.utils.data.get_worker_info():
            self.action()
        return super().__getitem__(i)


@pytest.mark.parametrize("recipe", [PAPER, CUDA], ids=lambda r: r.name)
def test_shared_memory_that_is_full_is_one_line_and_not_a_run_that_stands_still(run, monkeypatch, recipe):
    """Docker's 64 MB of /dev/shm: torch says so in the worker, before the inputs are sent."""
    full = RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)")
    monkeypatch.setattr(torch.Tensor, "share_memory_", Mock(side_effect=full))
    assert failure(ChildProcessError, run, recipe=recipe).startswith(SHM)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOSYS, errno.EAGAIN, errno.ENOMEM])
def test_workers_that_cannot_start_are_one_line(run, monkeypatch, number):
    """No place for semaphores in /dev/shm; no process or no memory left for a fork."""
    failing = Mock(side_effect=OSError(number, os.strerror(number)))
    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", failing)
    started = number in (errno.EAGAIN, errno.ENOMEM)
    line = f"--workers 1: a worker process ended or could not start ([Errno {number}] {os.strerror(number)}); {AGAIN}"
    assert failure(ChildProcessError, run).startswith(line if started else SHM)


@pytest.mark.parametrize("killed", [signal.SIGKILL, signal.SIGBUS], ids=lambda s: s.name)
def test_a_killed_worker_is_one_line_exit_code_2_and_the_same_command_continues(tmp_path, monkeypatch, killed):
    """As the kernel does where memory is short; SIGBUS is an older torch's on a /dev/shm that is full."""
    monkeypatch.setattr(train, "Synthetic", lambda n, **_: Synthetic(n, size=64))
    line, log = command(tmp_path, "--workers", "1", "--epochs", "500", "--val", "1"), tmp_path / "log"

    def kill_worker():
        def killing(recipe, step):  # in the middle of a step
            if step == 2:
                os.kill(multiprocessing.active_children()[0].pid, killed)
                time.sleep(0.1)
            return 0

        monkeypatch.setattr(trainer, "corrections", killing)
        monkeypatch.setattr(trainer, "SAVE_SECONDS", -1)
        run_main(lambda _: train.main(line), "train")

    assert ended(forked(kill_worker, log)) == 2
    text = log.read_text().replace("\0", "")  # which torch writes after its line about SIGBUS
    (error,) = [line for line in text.splitlines() if line.startswith("train: error: ")]
    ended_so = "--workers 1: a worker process ended or could not start (DataLoader worker (pid "
    assert error.removeprefix("train: error: ").startswith(ended_so if killed is signal.SIGKILL else SHM)
    assert error.endswith(AGAIN if killed is signal.SIGKILL else "--shm-size 8g)")
    assert "Traceback" not in text
    assert load_checkpoint(tmp_path / "out.pt")[1]["training"]["done"] == 2  # the steps before it


def test_a_silent_worker_is_given_up_and_ended_even_if_it_is_stopped(run, monkeypatch):
    """Minutes without an input; a stopped process would not end by itself."""
    monkeypatch.setattr(workers, "SILENCE", 1)
    found = failure(ChildProcessError, run, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    assert found == f"--workers 1: no input from the worker processes for 1 seconds; {AGAIN}"
    for child in multiprocessing.active_children():
        child.join(10)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    "error",
    [ValueError("a.png: bad: worse"), OSError("a.png: no such file"), OutOfMemoryError("a.png, 9x9 pixels: ...")],
)
def test_an_error_in_a_worker_is_the_line_that_it_was_there(run, error):
    """CONTRIBUTING, 'How errors read': torch sends the traceback as the message."""
    assert failure(type(error), run, Mock(side_effect=error)) == str(error)
