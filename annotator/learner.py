"""Sec. 3.3 in the background: a round of optimisation while the user works with the session.

A round starts when an instance is finished, works on a copy, and takes effect when the next instance of the category is
finished: instance n is segmented with what was learned from the first n - 2 (D25, delta = 2). A finish during a round
does not wait for it and starts no other; its instance is learned from in the next round.
"""

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import torch

from session import Session, Snapshot

Parameters = dict[str, torch.Tensor]
NICENESS = 10  # of the threads that no click waits for, where the system supports it


class Learner:
    """One thread that trains; the session it trains for is only read when a round starts.

    twin:  a session of the same settings that is used for nothing else.
    """

    def __init__(self, twin: Session):
        self.twin = twin
        self.thread = ThreadPoolExecutor(1, "learner", in_the_background)

    def start(self, session: Session, category: str) -> "Future[Parameters]":
        """Start a round on what the session remembers of a category now; the result is the new parameters."""
        now = session.snapshot(category)
        last = deque(list(now.state.pending)[-1:])  # one round, also for those finished while the last one ran
        now.state.pending = last
        return self.thread.submit(self._round, now, category)

    def _round(self, now: Snapshot, category: str) -> Parameters:
        self.twin.memory.samples.clear()  # `restore` keeps other categories' samples, also those pushed out since
        self.twin.restore(now)
        self.twin.learn(category)
        return self.twin.snapshot(category).state.history[-1]


def put_in_force(session: Session, category: str, parameters: Parameters) -> None:
    """Segment the category with these parameters from the next `open` on."""
    now = session.snapshot(category)
    now.state.history.append(parameters)
    now.state.pending.clear()
    session.restore(now)


def in_the_background() -> None:
    """Let this thread use one core, and only when nothing else needs it."""
    torch.set_num_threads(1)
    if hasattr(os, "setpriority"):
        with suppress(OSError):  # without it clicks are only a little slower
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
