"""Processes that prepare training inputs, and one line with the remedy for whatever ends them."""

import errno
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from training.recipe import Step

SILENCE = 300  # seconds without an input after which the workers are given up
NO_SHARED_MEMORY = ("shared memory", "Bus error")  # in what torch says where /dev/shm is full or missing
NO_SEMAPHORES = (errno.ENOSPC, errno.EROFS, errno.ENOSYS, errno.EACCES)  # the same, before the first input
NO_PROCESSES = (errno.EAGAIN, errno.ENOMEM)
ENDED = ("killed by signal", "exited unexpectedly", "Too many open files", "ancdata")


def loader(workers: int, pin: bool = False) -> Any:
    """A DataLoader that lacks only its data; each worker process has one thread."""
    options: dict[str, Any] = {"num_workers": workers, "pin_memory": pin}
    if workers:
        options |= {"worker_init_fn": _at_work, "prefetch_factor": 4, "timeout": SILENCE}
        if sys.platform == "linux":
            options["multiprocessing_context"] = "fork"  # anything else would import everything again in each
    return partial(DataLoader, **options)


def shared(step: Step) -> Step:
    """A step whose tensors a worker has moved to shared memory.

    The worker would do that anyway when it sends them, but in a thread whose errors reach nobody: the run would hang.
    """
    if get_worker_info():
        for tensor in (step.batch.x, step.batch.mask, step.batch.void):
            torch.as_tensor(tensor).share_memory_()
    return step


@contextmanager
def worker_errors(workers: int) -> Iterator[None]:
    """What goes wrong in the worker processes within the block, as one line.

    Raises:  ChildProcessError if they ended, fell silent or could not start; else what was raised in them.
    """
    try:
        yield
    except (ValueError, MemoryError, OSError, RuntimeError) as error:
        text = str(error).strip()
        if "Original Traceback" in text:  # torch puts the traceback into the message
            text = text.splitlines()[-1].partition(": ")[2]
        if line := _line(text, error, workers):
            raise ChildProcessError(line) from error
        if text == str(error).strip():
            raise
        raise type(error)(text) from error


def _line(text: str, error: Exception, workers: int) -> str | None:
    """What to tell the user of a failure of the workers; None for another error."""
    if not workers or isinstance(error, ValueError | MemoryError):
        return None
    number = error.errno if isinstance(error, OSError) and error.filename is None else None
    if number in NO_SEMAPHORES or any(sign in text for sign in NO_SHARED_MEMORY):
        remedy = "use --workers 0, or give it more (docker run --shm-size 8g)"
        return f"--workers {workers}: not enough shared memory in /dev/shm for their inputs; {remedy}"
    if "timed out" in text:
        for process in multiprocessing.active_children():  # stopped ones would not end by themselves
            with suppress(RuntimeError):  # torch's, at their death
                process.kill()
                process.join(1)
        what = f"no input from the worker processes for {SILENCE} seconds"
    elif number in NO_PROCESSES or any(sign in text for sign in ENDED):
        what = f"a worker process ended or could not start ({text.splitlines()[0].rstrip('. ')})"
    else:
        return None
    again = "run the same command again with fewer --workers, it continues from the last checkpoint"
    return f"--workers {workers}: {what}; {again}"


def _at_work(_: int) -> None:
    """Workers leave Ctrl-C to the program that they work for, and the other cores to each other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
