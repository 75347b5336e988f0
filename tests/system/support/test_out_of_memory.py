"""CONTRIBUTING, 'How errors read': running out of memory is one line that says what needed it, and exit code 2."""

import errno
import re
import resource
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from processes import ended, forked

from support.command_line import OutOfMemoryError, is_out_of_memory, needing_memory, progress, run_main
from support.files import read_tensors, write_tensors

CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
CPU += "1296000000 bytes. Error code 12 (Cannot allocate memory)"
CUDA = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which ..."
ERRORS = [
    MemoryError(),
    MemoryError("Unable to allocate 309. MiB for an array with shape (9000, 12000, 3) and data type uint8"),
    RuntimeError(CPU),
    RuntimeError(CPU.replace("can't allocate", "not enough")),
    torch.OutOfMemoryError(CUDA),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("std::bad_alloc"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_every_form_of_running_out_of_memory_is_known(error):
    """Python's, NumPy's, torch's on CPU and GPU, CUDA's libraries', the operating system's."""
    assert is_out_of_memory(error)
    inner = needing_memory("big.jpg, 9000x12000 pixels", "make it smaller")
    with pytest.raises(OutOfMemoryError) as found, needing_memory("training"), inner:
        raise error
    assert re.match(
        "big.jpg, 9000x12000 pixels: the (GPU|machine) is out of memory.*; make it smaller$", str(found.value)
    )
    assert ("the GPU" in str(found.value)) == (error in ERRORS[4:7])


@pytest.mark.parametrize("error", [RuntimeError("shape"), ValueError("out of memory.png"), OSError(errno.ENOSPC, "")])
def test_no_other_error_is_taken_for_it(error):
    """Errors of our own keep their traceback, and bad input its line."""
    with pytest.raises(type(error)) as found, needing_memory("big.jpg"):
        raise error
    assert found.value is error


def test_a_program_says_what_it_was_doing_and_leaves_with_exit_code_2(refused):
    """`run_main`, where nothing nearer has said what needed the memory: the progress that was shown last."""
    failing = Mock(side_effect=ERRORS[0])
    line = refused([], lambda _: list(map(failing, progress([1], "reading samples", 1))), "train")
    assert line == "reading samples: the machine is out of memory; free some memory"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
@pytest.mark.parametrize("action", [lambda: np.ones(2**32), lambda: torch.ones(2**32), lambda: bytearray(2**34)])
def test_a_limit_of_the_operating_system_is_one_line_with_the_amount(tmp_path, action):
    """As `ulimit -v` sets it: the real errors of NumPy, torch and Python."""

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
        with needing_memory("big.jpg, 9000x12000 pixels"):
            action()

    assert ended(forked(lambda: run_main(lambda _: limited(), "siis"), tmp_path / "log")) == 2
    line = (tmp_path / "log").read_text()
    assert line.startswith("siis: error: big.jpg, 9000x12000 pixels: the machine is out of memory")
    assert line.count("\n") == 1


def test_a_checkpoint_is_not_called_damaged_where_memory_is_short(tmp_path, monkeypatch):
    """`read_tensors`, `write_tensors`: the remedy is not another file or disk."""
    torch.save({}, tmp_path / "net.pt")
    monkeypatch.setattr(torch, "load", Mock(side_effect=RuntimeError(CPU)))
    monkeypatch.setattr(torch, "save", Mock(side_effect=RuntimeError(CPU)))
    for action in (lambda: read_tensors(tmp_path / "net.pt"), lambda: write_tensors(tmp_path / "new.pt", {})):
        with pytest.raises(RuntimeError, match="can't allocate memory"):
            action()
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]
