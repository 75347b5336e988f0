"""On an accelerator nothing mixes devices and little waits for the device. Pretended: see `device.py`."""

import threading
from collections import Counter, defaultdict
from functools import partial

import pytest
import torch
import toys
from device import Accelerator, Labelled, placed
from layouts import write
from quick import command
from torch.utils._pytree import tree_map

import benchmark
import opo
import report
import session
import siis
import train
from annotator.annotator import Annotator
from annotator.folder_session import FolderSession
from annotator.store import Store
from data import Synthetic
from robot_user import interact
from session import Session, Settings
from support.files import read_tensors
from training import trainer
from training.trainer import Trainer

EACH = 10  # waits for the device that a click, an iteration of optimisation and a step of training may take
# and those of the rest of an instance: the image goes to the device, the proposal and the accepted mask come back
ONCE = {"open": 1, "propose": 5, "finish": 2}

pytestmark = pytest.mark.usefixtures("thin_networks")


class Autocast(torch.autocast):
    """Mixed precision on the device: the CPU's own, whose list of operations is nearly CUDA's; none for the CPU."""

    def __init__(self, device_type, dtype=None, enabled=True):
        super().__init__("cpu", dtype, enabled and device_type == "cuda")


@pytest.fixture
def device(monkeypatch):
    """The pretended accelerator, in all threads; its files, its mixed precision, and a clock that needs no waiting."""
    accelerator, run, load = Accelerator(), threading.Thread.run, torch.load

    def run_there(thread):
        with accelerator:
            run(thread)

    def load_there(*args, map_location, **options):
        here = torch.device(map_location).type == "cuda"
        return tree_map(partial(placed, here=here), load(*args, map_location="cpu", **options))

    monkeypatch.setattr(threading.Thread, "run", run_there)
    monkeypatch.setattr(torch, "load", load_there)
    monkeypatch.setattr(torch, "autocast", Autocast)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a pretended one")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: train.BFLOAT16)
    for owner in (siis, trainer):
        monkeypatch.setattr(owner, "interact", partial(interact, max_clicks=2))
    monkeypatch.setattr(opo, "ITERATIONS", 1)
    monkeypatch.setattr(opo, "BATCH", 2)
    with accelerator:
        yield accelerator


@pytest.fixture
def watch(device, monkeypatch):
    """A function that books how often each call of `owner.name` waits for the device, divided by its `steps`.

    A part within a part counts for itself alone.
    """
    found = defaultdict(list)

    def watched(owner, name, steps=lambda _: 1):
        original = getattr(owner, name)

        def counted(*args, **kwargs):
            before = Counter(device.waits)
            result = original(*args, **kwargs)
            found[name].append((device.waits - before).total() / steps(result))
            device.waits = before
            return result

        monkeypatch.setattr(owner, name, counted)
        return found

    return watched


def test_siis_mixes_no_devices_and_waits_little(place, tmp_path, watch):
    """Secs. 3.2, 3.3 and 4.3 with --device cuda: at most 10 waits a click and 10 an iteration, and few beside them."""
    waits = watch(siis, "interact", lambda run: len(run.consistent) or 1)
    watch(session, "optimise", len)
    for name in ONCE:
        watch(Session, name)
    siis.main([*command(place, tmp_path, "--device", "cuda", "--rows", "d", "--targets", "1", "--delta", "2")])
    assert {len(waits[name]) for name in ("interact", "optimise", "propose", "finish")} == {4}
    assert 0 < max(waits["interact"]) <= EACH
    assert 0 < max(waits["optimise"]) <= EACH
    assert all(max(waits[name]) <= most for name, most in ONCE.items()), waits


def test_report_mixes_no_devices(place, tmp_path, device, short_runs, capsys):
    """Sec. 4 with --device cuda: Tabs. 3, 5 and 7 and Figs. 5 and 6."""
    asked = ["--tables", "3", "5", "7", "--figures", "5", "6", "--limit", "2"]
    report.main(command(place, tmp_path, *asked, "--device", "cuda"))
    printed = capsys.readouterr().out
    assert all(title in printed for title in ("R-MS", "Foreground", "Global", "Fig. 6"))
    assert device.waits


def test_the_annotator_mixes_no_devices(net, sequence, device, tmp_path):
    """D31, D32 with --device cuda: proposals, clicks, rounds behind the user's back, undo, starting again."""
    for i, sample in enumerate(sequence[:2]):
        write(tmp_path / "photos" / f"{i}.png", sample.image)
    seconds = {"first": 1.0, "after": None, "total": 2.0, "kind": "click", "valid": True}
    draft = {"image": "0", "category": "thing", "box": None, "plain": False, "instance": None, "strokes": []}
    draft["clicks"] = [[32, 32, True]]

    def proposal(there):
        there.session.learner.submit(int).result()  # the rounds so far are done
        learnt = there.session.session.category("thing").history[-1]
        assert all(isinstance(v, Labelled) for v in learnt.parameters.values())
        return there.open("1", "thing", True)["proposal"]

    found = []
    for act in ("finish", "undo", "finish", "look"):
        store = Store(tmp_path / "photos", tmp_path / "out")
        there = Annotator(FolderSession(Session(net.to("cuda"), Settings(size=64)), store), ["thing"])
        there.segment(1, draft)
        if act == "finish":
            there.finish(f"key {len(found):06d}", draft, None, seconds)
        if act == "undo":
            there.undo(f"key {len(found):06d}", "0", "thing")
        found.append(proposal(there))
        there.session.end(wait=True)
    assert found[0] is not None
    assert found == [found[0], None, found[0], found[0]]


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set:UserWarning")
@pytest.mark.parametrize("name", ["paper", "cuda"])
def test_train_mixes_no_devices_and_waits_little_also_where_it_goes_on(name, watch, tmp_path, monkeypatch):
    """Sec. 4.1, D28, D30: at most 10 waits a step; validation, checkpoints, bfloat16 where the recipe has it."""
    monkeypatch.setattr(train, "Synthetic", partial(Synthetic, size=64))
    line, seen = [*toys.command(tmp_path, recipe=name), "--epochs", "1", "--device", "cuda"], set()
    waits, begin = watch(Trainer, "step"), Trainer.__init__

    def started(run, *args, **options):
        begin(run, *args, **options)
        run.net.decoder.predict.register_forward_hook(lambda module, given, result: seen.add(result.dtype))

    monkeypatch.setattr(Trainer, "__init__", started)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "validate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.main(line)
    assert read_tensors(tmp_path / "out.pt")["meta"]["training"]["done"] == len(waits["step"]) == 2
    assert max(waits["step"]) <= EACH
    assert seen == {torch.bfloat16 if name == "cuda" else torch.float32}
    train.main(line)
    meta = read_tensors(tmp_path / "out.pt")["meta"]
    assert (meta["training"], meta["recipe"]["amp"], meta["device"]) == (None, name == "cuda", "a pretended one")


def test_the_benchmark_mixes_no_devices(device, monkeypatch, capsys):
    """Tabs. 2 and 7 with --device cuda: all parts of `benchmark.py`."""
    monkeypatch.setattr(benchmark, "IMAGE", (301, 421))  # as small as the part's clicks allow
    benchmark.main(["--quick", "--size", "64", "--backbone", "resnet18", "--device", "cuda"])
    assert capsys.readouterr().out.startswith("a pretended one, ")


def test_the_pretended_accelerator_refuses_what_cuda_refuses(device):
    """Tensors of two devices, also through indices and masks, and arrays; a number of the CPU is taken."""
    there, here = torch.arange(3, device="cuda"), torch.arange(3)
    there[there > 0] = torch.tensor(5)
    there[1:] = torch.ones(2, dtype=torch.long)
    assert there[here].tolist() == [0, 1, 1]
    for action in (
        lambda: there + here,
        lambda: here[there],
        lambda: there.__setitem__(there > 0, torch.tensor([1, 2])),
        lambda: torch.stack([there, here]),
    ):
        with pytest.raises(RuntimeError, match="same device, found cuda and cpu"):
            action()
    with pytest.raises(TypeError, match="can't convert cuda"):
        there.numpy()
