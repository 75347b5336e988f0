"""Small networks and sequences shared by the tests."""

import copy
import math
import os
import sys
import threading

import pytest
import torch
from hypothesis import settings
from layouts import write
from loopback import Server
from networks import thin, thin_net
from quick import command, quicken

import opo
import siis
from data import Synthetic
from support import command_line
from support.command_line import run_main
from training.checkpoints import save_checkpoint

settings.register_profile(
    "siis", deadline=None, max_examples=int(os.environ.get("SIIS_EXAMPLES", "40")), derandomize=True
)
settings.load_profile("siis")
os.environ["OMP_NUM_THREADS"] = "1"  # images this small gain nothing from a second thread, and lose on shared cores
torch.set_num_threads(1)  # the same in this process
command_line.LINE_SECONDS = math.inf  # no progress line among what a test reads, however long the tests take


@pytest.fixture(scope="session")
def pristine():
    """A thin random network in eval mode, to be copied: see `networks.py`."""
    return thin_net()


@pytest.fixture
def net(pristine):
    """A thin random network in eval mode, new for each test."""
    return copy.deepcopy(pristine)


@pytest.fixture(scope="module")
def thin_networks():
    """What a test builds, saves and loads is thin too, so that checkpoints are small."""
    with thin():
        yield


@pytest.fixture(scope="module")
def small_batches():
    """Online optimisation takes as many steps, each from two samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opo, "BATCH", 2)
        yield


@pytest.fixture(scope="module")
def short_runs():
    """Small batches, a robot user that gives up soon, and small pages: see `quick.py`."""
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch.setattr)
        yield


@pytest.fixture(scope="session")
def place(tmp_path_factory, sequence):
    """A data set of four 64 x 64 images of two categories on disk, and a checkpoint; not to be changed."""
    root = tmp_path_factory.mktemp("place")
    for s in sequence:
        write(root / "data" / "images" / s.category / f"{s.name}.png", s.image)
        write(root / "data" / "masks" / s.category / f"{s.name}.png", s.mask.astype(int))
    save_checkpoint(root / "net.pt", thin_net(), size=64)
    return root


@pytest.fixture(scope="session")
def whole(place, tmp_path_factory):
    """The results of the four rows on `place`, never interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("whole")
    with thin(), pytest.MonkeyPatch.context() as patch:
        quicken(patch.setattr)
        siis.main(command(place, out))
    return out


@pytest.fixture
def refused(monkeypatch, capsys):
    """CONTRIBUTING, 'How errors read': run a command line that must fail with one line and exit code 2; its message."""

    def run(arguments, main=siis.main, program="siis"):
        monkeypatch.setattr(sys, "argv", [f"{program}.py", *map(str, arguments)])
        monkeypatch.setattr("warnings.showwarning", None)  # run_main sets it; back to what it was afterwards
        with pytest.raises(SystemExit) as left:
            run_main(main, program)
        error = capsys.readouterr().err
        assert left.value.code == 2
        assert error.startswith(f"{program}: error: ")
        assert error.count("\n") == 1
        return error.removeprefix(f"{program}: error: ").removesuffix("\n")

    return run


@pytest.fixture(scope="session")
def sequence():
    """Four built-in samples of 64 x 64 pixels, two of each category."""
    return [Synthetic(4, size=64)[i] for i in range(4)]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """What a test fetches unasked comes from nowhere."""
    monkeypatch.setenv("SIIS_MIRROR", "http://127.0.0.1:9")


@pytest.fixture
def server(tmp_path, monkeypatch, nowhere):
    """A server that SIIS_MIRROR names, in a home with an empty cache."""
    with Server() as started:
        thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("SIIS_MIRROR", started.address)
        monkeypatch.setenv("SIIS_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        yield started
        started.free.set()
        started.shutdown()
        thread.join()
