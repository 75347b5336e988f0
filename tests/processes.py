"""Other processes, for the tests: forked children, a lock that is held; and a disk that is full."""

import os
import resource
import subprocess
import sys
import traceback
import warnings
from contextlib import contextmanager

HOLD = "import fcntl, os, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB); "
HOLD += "print(os.getpid(), file=f, flush=True); print(flush=True); sys.stdin.read()"


def forked(function, log=os.devnull, **environment):
    """The process id of a child that calls `function`, torch being imported already; its output goes to `log`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on threads: those of tests hold no locks
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(out, stream)
        sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, closefd=False) for stream in (1, 2))
        os.environ |= environment
        function()
        code = 0
    except SystemExit as left:
        code = left.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(pid):
    """The exit code of a child once it has ended, or minus the signal that it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


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


@contextmanager
def disk_of(size):
    """Within the block no file of this process can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
