"""Training at toy size, shared by the tests of training."""

import os
import sys
import traceback
import warnings

import numpy as np

from data import Sample


def rngs(n, seed=0):
    """n generators, one an instance."""
    return [np.random.default_rng([seed, i]) for i in range(n)]


def small(recipe, samples, **more):
    """A recipe at toy size on built-in scenes."""
    few = {"data": "Synthetic", "samples": samples, "backbone": "resnet18", "size": 64, "window": 64, "amp": False}
    return recipe._replace(**few)._replace(**more)


def chart(seed=0):
    """A 64 x 96 sample whose image tells the mask, the row and the column of each of its pixels."""
    rng = np.random.default_rng(seed)
    mask = rng.random((64, 96)) < 0.3
    image = np.stack([mask * 255, *np.mgrid[:64, :96]], axis=-1).astype(np.uint8)
    return Sample(image, mask, (rng.random((64, 96)) < 0.3) & ~mask, "chart", f"chart-{seed}")


def command(folder, *more, recipe="paper"):
    fixed = ["--data", "Synthetic", "--recipe", recipe, "--backbone", "resnet18", "--limit", "8", "--batch", "4"]
    fixed += ["--val", "1", "--size", "64", "--epochs", "2", "--device", "cpu", "--workers", "0", "--init", "none"]
    return [*fixed, "--out", str(folder / "out.pt"), *more]


def forked(function, log=os.devnull, **environment):
    """The process id of a child that calls `function`, torch being imported already; what it says goes to `log`."""
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
