"""Other processes, for the tests: forked children, programs that work while other tests run, a lock that is held."""

import os
import subprocess
import sys
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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


def torchrun(program, *arguments):
    """The command line and the environment that start a Python program, given as text, in two processes by torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    return [*launcher, sys.executable, "-c", program, *arguments], environment


@contextmanager
def beside(request, fixture, *lines):
    """Start a process for each (command line, environment) if a selected test wants `fixture`; end what is left of it.

    With two cores it costs the tests that run meanwhile little time.
    fixture:  one that only tests which need the processes ask for.
    Yields the processes; `communicate` waits for one and gives what it wrote, as text.
    """
    wanted = any(fixture in item.fixturenames for item in request.session.items)
    started = [
        subprocess.Popen(
            [str(part) for part in line], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for line, env in (lines if wanted else ())
    ]
    try:
        yield started
    finally:
        for process in started:
            process.terminate()  # torchrun ends its own processes then
            process.communicate()


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
