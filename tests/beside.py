"""A process that works while a module's other tests run: with two cores it costs them little time."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def torchrun(program, *arguments):
    """The command line and the environment that start a text of Python in two processes, by torchrun itself."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    return [*launcher, sys.executable, "-c", program, *arguments], environment


@contextmanager
def beside(request, fixture, *lines):
    """Start a process for each (command line, environment) if a selected test wants `fixture`; end what is left of it.

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
