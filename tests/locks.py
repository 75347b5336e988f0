"""A lock that another process holds, for the tests of programs that share a folder."""

import subprocess
import sys
from contextlib import contextmanager

HOLD = "import fcntl, os, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB); "
HOLD += "print(os.getpid(), file=f, flush=True); print(flush=True); sys.stdin.read()"


@contextmanager
def locked_by_another(lock):
    """Another process holds a lock within the block; it is killed at its end."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    line = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        try:
            yield other
        finally:
            other.kill()
