"""Sec. 3.3 in the background: a thread of low priority that leaves half of the cores to the person's clicks."""

import os
import threading
from contextlib import suppress

import torch

NICENESS = 10  # of the threads that no click waits for, where the system supports it
CORES = max(1, torch.get_num_threads() // 2)


def in_the_background() -> None:
    """Let this thread use half of the cores, at least one, and only when nothing else needs them."""
    torch.set_num_threads(CORES)
    if hasattr(os, "setpriority"):
        with suppress(OSError):  # without it clicks are only a little slower
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
