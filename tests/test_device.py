"""On an accelerator: nothing mixes devices, and little waits for the device. Pretended here, see device.py."""

import copy

import pytest
import torch
from device import Accelerator

import siis
from robot_user import interact, next_click, next_clicks
from session import Session, Settings
from siis import annotate_sequence

EACH = 10  # waits for the device that a click and an iteration of optimisation may take


@pytest.fixture
def device(monkeypatch):
    """The pretended accelerator, whose clock needs no waiting."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    with Accelerator() as accelerator:
        yield accelerator


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"icp": False, "opo": False},
        {"layer": "ms", "delta": 2},
        {"augment": True},
        {"scope": "global"},
        {"proposal": "random"},
        {"proposal": "object", "stop_after": 1},
    ],
    ids=str,
)
def test_a_session_runs_on_an_accelerator_as_on_the_cpu(net, sequence, changed, device, small_batches):
    """Secs. 3.2, 3.3 and 4.3 on another device: the same clicks and masks, and at most 10 waits a click and 10 an iteration of
    optimisation."""
    settings = Settings(size=64, **changed)
    expected = list(annotate_sequence(Session(copy.deepcopy(net), settings), sequence, 0.85))
    there = Session(net.to("cuda"), settings)
    device.reset()
    records = list(annotate_sequence(there, sequence, 0.85))
    print(changed, sum(device.waits.values()), device.waits, sum(device.launches.values()), [len(r["ious"])-1 for r in records])
    assert [r["clicks"] for r in records] == [r["clicks"] for r in expected]
    assert [r["mask_digest"] for r in records] == [r["mask_digest"] for r in expected]
