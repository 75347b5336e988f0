"""On an accelerator nothing mixes devices and little waits for the device. Pretended: see `device.py`."""

from functools import partial

import pytest
import torch
from device import Accelerator
from networks import thin_net

import benchmark
import report
import session
import siis
from robot_user import next_click, next_clicks
from session import Session, Settings
from siis import annotate_sequence
from training.checkpoints import save_checkpoint
from training.recipe import RECIPES, Steps
from training.trainer import Trainer

EACH = 10  # waits for the device that a click and an iteration of optimisation may take
CLICKS = 2  # of the robot user on each instance


@pytest.fixture
def device(monkeypatch):
    """The pretended accelerator, whose clock needs no waiting."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    with Accelerator() as accelerator:
        yield accelerator


@pytest.fixture
def waits(device, monkeypatch):
    """How often an interaction, by click, and a round of optimisation, by iteration, waited for the device."""
    found = []

    def watch(module, name, steps, **changed):
        original = partial(getattr(module, name), **changed)

        def watched(*args, **kwargs):
            before = device.waits.total()
            result = original(*args, **kwargs)
            found.append((device.waits.total() - before) / steps(result))
            return result

        monkeypatch.setattr(module, name, watched)

    watch(siis, "interact", lambda run: len(run.obeyed), max_clicks=CLICKS)
    watch(session, "optimise", len, iterations=1)
    return found


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
def test_a_session_mixes_no_devices_and_waits_little(net, sequence, changed, waits, small_batches):
    """Secs. 3.2, 3.3 and 4.3 on an accelerator: at most 10 waits a click and 10 an iteration of optimisation."""
    there = Session(net.to("cuda"), Settings(size=64, **changed))
    records = list(annotate_sequence(there, [sequence[i] for i in (0, 0)], 1.0))
    assert len(records) == 2
    assert all(r.mask.device.type == "cuda" for r in records)
    assert len(waits) == 2 + (2 if changed.get("opo", True) else 0) - changed.get("stop_after", 0)
    assert 0 < max(waits) <= EACH


def test_an_accelerator_s_session_is_the_cpu_s(pristine, sequence, device, waits, small_batches):
    """Secs. 3.2, 3.3: a device changes no click and no mask."""
    runs = []
    for where in ("cpu", "cuda"):
        there = Session(pristine.to(where), Settings(size=64))
        runs.append(
            [(r.clicks, r.ious, r.obeyed, r.mask.tolist()) for r in annotate_sequence(there, sequence[:2], 1.0)]
        )
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", ["paper", "cuda"])
def test_a_step_of_training_mixes_no_devices_and_waits_little(net, sequence, name, device, tmp_path):
    """Sec. 4.1, Implementation Details; D28, D30: at most 10 waits a step, and the losses come together."""
    small = {"backbone": "resnet18", "size": 64, "window": 64, "batch": 2, "epochs": 1, "samples": 4, "amp": False}
    recipe = RECIPES[name]._replace(**small)
    run = Trainer(net.to("cuda"), sequence, recipe, tmp_path / "out.pt")
    steps = Steps(sequence, recipe, {})
    for i in range(2):
        device.reset()
        run.step(steps[i])
        assert device.waits.total() <= EACH, device.waits
    assert run.losses == []
    assert len(run.unread) == 2


def test_the_programs_mix_no_devices(folder, tmp_path, device, monkeypatch, thin_networks, short_runs, capsys):
    """Sec. 4 with --device cuda: `siis.py`, `report.py` with Tab. 7 and Figs. 5 and 6, and `benchmark.py`."""
    save_checkpoint(tmp_path / "net.pt", thin_net(), size=64)
    line = ["--data", folder, "--weights", tmp_path / "net.pt", "--device", "cuda", "--targets", "0.15", "--seeds", "1"]
    line += ["--limit", "2"]
    siis.main([*map(str, line), "--out", str(tmp_path / "siis")])
    report.main([*map(str, line), "--out", str(tmp_path / "report"), "--tables", "7", "--figures", "5", "6"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a pretended one")
    parts = ["--parts", "click", "tab7", "--quick", "--size", "64", "--backbone", "resnet18"]
    benchmark.main([*parts, "--device", "cuda", "--out", str(tmp_path / "benchmark.json")])
    assert "a pretended one" in (tmp_path / "benchmark.json").read_text()
    printed = capsys.readouterr().out
    assert all(title in printed for title in ("| (d) |", "Tab. 7: what is optimised", "**Tab. 7, batches of 8**"))
    assert (tmp_path / "report" / "data" / "figure-5-at-15.png").exists()
    assert device.launches


def test_the_clicks_of_a_batch_wait_once(device):
    """Sec. 4.1 Metrics; D11: one transfer for a batch, whatever it holds."""
    pred, gt = (torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(k)) < 0.5 for k in range(2))
    clicks = [[], [(3, 4, True)], [(5, 6, False), (7, 8, True)]]
    there = [x.to("cuda") for x in (pred, gt)]
    device.reset()
    assert next_clicks(*there, None, clicks) == [
        next_click(*each) for each in zip(pred, gt, [None] * 3, clicks, strict=True)
    ]
    assert device.waits.total() == 1


def test_the_pretended_accelerator_refuses_what_cuda_refuses(device):
    """Two devices in one operation, arrays of device memory, a CPU tensor indexed by the device's."""
    here, there = torch.arange(3), torch.arange(3, device="cuda")
    assert (there + torch.tensor(1)).device.type == "cuda"
    assert there.cpu().numpy().tolist() == [0, 1, 2]
    assert there[here].device.type == "cuda"
    for mixed in (lambda: here + there, lambda: here[there], lambda: torch.cat([here, there])):
        with pytest.raises(RuntimeError, match="same device, found cuda and cpu"):
            mixed()
    with pytest.raises(TypeError, match="cuda device type tensor to numpy"):
        there.numpy()
    device.reset()
    assert [bool(there.any()), there.tolist(), there[there > 1].tolist()] == [True, [0, 1, 2], [2]]
    assert device.waits == {"__bool__": 1, "tolist": 2, "__getitem__": 1}
