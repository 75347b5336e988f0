"""On an accelerator nothing mixes devices and little waits for the device. Pretended: see `device.py`."""

import itertools
import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
from device import Accelerator, Labelled, placed
from layouts import write
from networks import thin_net
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map
from toys import command, small

import benchmark
import report
import session
import siis
import train
from annotator.course import Course
from annotator.store import Store
from annotator.work import Work
from data import Synthetic
from experiments.sessions import Measured
from model import digest
from robot_user import interact, next_click, next_clicks
from session import Session, Settings
from siis import annotate_sequence
from support.files import read_tensors
from training import trainer
from training.checkpoints import save_checkpoint
from training.recipe import RECIPES, Steps, corrections
from training.trainer import Trainer

CLICKS = 2  # of the robot user on each instance
EACH = 10  # waits for the device that a click, an iteration of optimisation and a step of training may take
# and those of the rest of an instance: the image goes to the device, the proposal and the accepted mask come back
ONCE = {"open": 1, "confidence": 0, "propose": 5, "finish": 1}


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
    with accelerator:
        yield accelerator


@pytest.fixture
def waits(device, monkeypatch):
    """How often each part of an instance waited for the device, clicks and iterations by their number.

    A part within a part counts for itself alone.
    """
    found = defaultdict(list)

    def watch(owner, name, steps=lambda _: 1, **changed):
        original = partial(getattr(owner, name), **changed)

        def watched(*args, **kwargs):
            before = Counter(device.waits)
            result = original(*args, **kwargs)
            found[name].append((device.waits - before).total() / steps(result))
            device.waits = before
            return result

        monkeypatch.setattr(owner, name, watched)

    watch(siis, "interact", lambda run: len(run.obeyed), max_clicks=CLICKS)
    watch(session, "optimise", len, iterations=1)
    for name in ONCE:
        watch(Session, name)
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
    """Secs. 3.2, 3.3 and 4.3 on an accelerator: at most 10 waits a click and 10 an iteration, and few beside them."""
    samples = [sequence[i] for i in (0, 0)]
    there = Measured(net.to("cuda"), Settings(size=64, **changed), samples)
    records = list(annotate_sequence(there, samples, 1.0))
    assert len(records) == 2
    assert all(r.mask.device.type == "cuda" for r in records)
    assert len(waits["optimise"]) == (2 if changed.get("opo", True) else 0) - changed.get("stop_after", 0)
    assert 0 < max(waits["interact"]) <= EACH
    assert max(waits["optimise"], default=1) <= EACH
    assert len(waits["open"]) == len(waits["finish"]) == 2
    assert all(max(waits[name]) <= most for name, most in ONCE.items()), waits


def test_an_accelerator_s_session_is_the_cpu_s(pristine, sequence, device, waits, small_batches):
    """Secs. 3.2, 3.3: a device changes no click and no mask."""
    runs = []
    for where in ("cpu", "cuda"):
        there = Session(pristine.to(where), Settings(size=64))
        runs.append(
            [(r.clicks, r.ious, r.obeyed, r.mask.tolist()) for r in annotate_sequence(there, sequence[:2], 1.0)]
        )
    assert runs[0] == runs[1]


def next_of(there, samples):
    """What the next instance of a session is annotated with."""
    record = next(annotate_sequence(there, samples, 1.0))
    return record.proposal, record.clicks, record.ious, record.mask.tolist()


def test_a_session_on_an_accelerator_is_saved_loaded_and_undone(net, sequence, device, tmp_path, short_runs):
    """Sec. 4.3, D27, D32: what was loaded goes on as what was saved, and what was undone is done again as it was."""
    samples = [sequence[i] for i in (0, 0)]
    there = Session(net.to("cuda"), Settings(size=64))
    next_of(there, samples)
    there.save(tmp_path / "session.pt")
    before = there.snapshot(sequence[0].category)
    ends = [next_of(there, samples)]
    there.restore(before)
    for again in (there, Session.load(tmp_path / "session.pt", net)):
        state, (sample,) = again.category(sequence[0].category), again.memory.samples
        tensors = tree_leaves([*state.history, state.bank.sums, sample.image, sample.features])
        assert all(isinstance(x, Labelled) for x in tensors)
        assert not isinstance(sample.mask, Labelled)
        ends.append(next_of(again, samples))
    assert ends[0] == ends[1] == ends[2]


def test_a_round_in_a_thread_beside_a_click_mixes_no_devices(net, sequence, device, short_runs):
    """`Session`: `learn` may run in a thread of its own, beside any other method."""
    image, name, category, clicks = sequence[0].image, sequence[0].name, sequence[0].category, [(32, 32, True)]
    masks, learnt = [], []
    for threaded in (False, True):
        there = Session(net.to("cuda"), Settings(size=64))
        view = there.open(image, name, category)
        there.accept(view, clicks, sequence[0].mask)
        with ThreadPoolExecutor(1) as pool:
            learn = pool.submit(there.learn, category).result if threaded else partial(there.learn, category)
            masks.append(there.segment(view, clicks))
            learn()
        learnt.append([v.tolist() for v in there.category(category).history[-1].values()])
    assert torch.equal(*masks)
    assert learnt[0] == learnt[1]
    assert learnt[0] != [v.tolist() for v in there.baseline.values()]


def test_the_annotator_mixes_no_devices(net, sequence, device, tmp_path, short_runs):
    """D31, D32 with --device cuda: proposals, clicks, rounds behind the user's back, undo, starting again."""
    for i, sample in enumerate(sequence[:2]):
        write(tmp_path / "photos" / f"{i}.png", sample.image)
    make = partial(Session, net.to("cuda"), known=digest(net))
    seconds = {"first": 1.0, "after": None, "total": 2.0, "kind": "click", "valid": True}

    def started():
        store = Store(tmp_path / "photos", tmp_path / "out")
        work = Work(Course(make, partial(Session.load, net=net), Settings(size=64), store), ["thing"])
        work.course.replay()
        return work

    work, found = started(), []
    answer = work.open(0, "thing")
    for proposal in ("none", "accepted", None, "accepted"):
        clicks = [[*(answer["proposal"] or (32, 32)), True]]
        work.segment(answer["view"], 1, clicks)
        finish = (answer["view"], 1, clicks, proposal, seconds, proposal == "accepted")  # then the same image again
        answer = work.finish(*finish) if proposal else work.undo(answer["view"])
        found.append(answer["proposal"])
    again = started()
    found.append(again.open(1, "thing")["proposal"])
    assert found[0] == found[2]
    assert found[1] == found[3] == found[4]
    assert None not in found
    for course in (work.course, again.course):
        (learnt,) = course.rounds.values()
        assert all(isinstance(v, Labelled) for v in learnt.result().values())
        course.learner.thread.shutdown()
        course.ahead.thread.shutdown()


@pytest.mark.parametrize(("name", "amp"), [("paper", False), ("cuda", False), ("cuda", True)])
def test_a_step_of_training_mixes_no_devices_and_waits_little(net, sequence, name, amp, device, tmp_path):
    """Sec. 4.1, Implementation Details; D28, D30: at most 10 waits a step, and the losses come together; --amp."""
    recipe, seen = small(RECIPES[name], 4, batch=2, epochs=1, amp=amp), set()
    run = Trainer(net.to("cuda"), sequence, recipe, tmp_path / "out.pt")
    for part in (run.net.backbone.stem[0], run.net.decoder.predict):
        part.register_forward_hook(lambda module, given, result: seen.add(result.dtype))
    steps = Steps(sequence, recipe, {})
    for i in range(2):
        device.waits.clear()
        run.step(steps[i])
        assert device.waits.total() <= EACH, device.waits
    assert run.losses == []
    assert len(run.unread) == 2
    assert seen == {torch.bfloat16 if amp else torch.float32}


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set:UserWarning")
@pytest.mark.parametrize("name", ["paper", "cuda"])
def test_train_mixes_no_devices_and_goes_on_where_it_was_stopped(name, device, tmp_path, monkeypatch, thin_networks):
    """`train.py --device cuda`: D28, D30, validation and checkpoints, mixed precision where the GPU has it."""
    monkeypatch.setattr(train, "Synthetic", partial(Synthetic, size=64))
    monkeypatch.setattr(trainer, "interact", partial(trainer.interact, max_clicks=CLICKS))

    def stopped(recipe, step):
        if step:
            raise KeyboardInterrupt
        return corrections(recipe, step)

    ends = []
    for folder, stops in (("stopped", True), ("whole", False)):
        line, out = [*command(tmp_path / folder, recipe=name), "--epochs", "1", "--device", "cuda"], tmp_path / folder
        if stops:
            with monkeypatch.context() as patch:
                patch.setattr(trainer, "corrections", stopped)
                with pytest.raises(KeyboardInterrupt):
                    train.main(line)
            state = read_tensors(out / "out.pt")["meta"]["training"]
            assert (state["done"], len(state["shown"]["views"])) == (1, 4 if name == "paper" else 0)
        train.main(line)
        ends.append(read_tensors(out / "out.pt"))
    assert all(torch.equal(v, ends[0]["state"][k]) for k, v in ends[1]["state"].items())
    meta, again = (end["meta"] for end in ends)
    for entry, other in zip(meta["history"], again["history"], strict=True):
        assert [entry[k] for k in ("step", "loss", "noc85")] == [other[k] for k in ("step", "loss", "noc85")]
    assert meta["recipe"]["amp"]
    assert meta["device"] == "a pretended one"


def test_the_programs_mix_no_devices(folder, tmp_path, device, monkeypatch, thin_networks, short_runs, capsys):
    """Sec. 4 with --device cuda: `siis.py`, and `report.py` with Tab. 7 and Figs. 5 and 6."""
    save_checkpoint(tmp_path / "net.pt", thin_net(), size=64)
    line = ["--data", folder, "--weights", tmp_path / "net.pt", "--device", "cuda", "--targets", "0.15", "--seeds", "1"]
    line += ["--limit", "2"]
    monkeypatch.setattr(siis, "interact", partial(interact, max_clicks=CLICKS))
    monkeypatch.setattr(session, "optimise", partial(session.optimise, iterations=1))
    siis.main([*map(str, line), "--rows", "d", "--out", str(tmp_path / "siis")])
    report.main([*map(str, line), "--out", str(tmp_path / "report"), "--tables", "7", "--figures", "5", "6"])
    printed = capsys.readouterr().out
    assert all(title in printed for title in ("| (d) |", "Tab. 7: what is optimised"))
    assert (tmp_path / "report" / "data" / "figure-5-at-15.png").exists()
    assert device.launches


@pytest.mark.filterwarnings("ignore:CUDA is not available, disabling CUDA profiling:UserWarning")
def test_the_benchmark_mixes_no_devices(tmp_path, device, monkeypatch, thin_networks, short_runs, capsys):
    """Tabs. 2 and 7 with --device cuda: all parts of `benchmark.py`."""
    monkeypatch.setattr(benchmark, "Synthetic", lambda n, size: Synthetic(n, size=64))
    monkeypatch.setattr(benchmark, "progress", lambda work, *_: itertools.islice(work, 2))
    monkeypatch.setattr(benchmark, "IMAGE", (301, 421))  # as small as the part's clicks allow
    monkeypatch.setattr(session, "optimise", partial(session.optimise, iterations=1))
    line = ["--quick", "--size", "64", "--backbone", "resnet18", "--device", "cuda"]
    benchmark.main([*line, "--out", str(tmp_path / "benchmark.json")])
    assert "a pretended one" in (tmp_path / "benchmark.json").read_text()
    printed = capsys.readouterr().out
    for title in ("Tab. 2, one image", "A click on an image", "Tab. 7, batches of 8", "Row (d), 3 instances"):
        assert f"**{title}" in printed
    assert "Targets" not in printed


def test_the_clicks_of_a_batch_wait_once(device):
    """Sec. 4.1 Metrics; D11: one transfer for a batch, whatever it holds."""
    pred, gt = (torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(k)) < 0.5 for k in range(2))
    clicks = [[], [(3, 4, True)], [(5, 6, False), (7, 8, True)]]
    there = [x.to("cuda") for x in (pred, gt)]
    device.waits.clear()
    assert next_clicks(*there, None, clicks) == [
        next_click(*each) for each in zip(pred, gt, [None] * 3, clicks, strict=True)
    ]
    assert device.waits.total() == 1


# ---- the pretence ----------------------------------------------------------------------------------------------------


def test_the_pretended_accelerator_refuses_what_cuda_refuses(device):
    """Two devices in one operation, arrays of device memory, a CPU tensor indexed by the device's."""
    here, there = torch.arange(3), torch.arange(3, device="cuda")
    assert (there + torch.tensor(1)).device.type == "cuda"
    assert there.cpu().numpy().tolist() == [0, 1, 2]
    assert there[here].device.type == "cuda"
    mixed = (
        lambda: here + there,
        lambda: here[there],
        lambda: here.__setitem__(there, 0),
        lambda: torch.cat([here, there]),
    )
    for each in mixed:
        with pytest.raises(RuntimeError, match="same device, found cuda and cpu"):
            each()
    with pytest.raises(TypeError, match="cuda device type tensor to numpy"):
        there.numpy()
    device.waits.clear()
    assert [bool(there.any()), there.tolist(), there[there > 1].tolist()] == [True, [0, 1, 2], [2]]
    assert device.waits == {"__bool__": 1, "tolist": 2, "__getitem__": 1}


def assignable(shape):
    """By which index, and from which device to which, a tensor of a shape can be assigned."""
    found = set()
    for to, of in itertools.product(("cpu", "cuda"), repeat=2):
        indices = {"number": 1, "slice": slice(1, None), "list": [0, 1], "array": np.arange(2)}
        indices |= {
            "its own": torch.arange(2, device=to),
            "two": (slice(None), torch.arange(2)),
            "the CPU's": torch.arange(2),
        }
        for kind, index in indices.items():
            with suppress(RuntimeError):
                torch.zeros(3, 2, device=to)[index] = torch.ones(shape, device=of)
                found.add((kind, to, of))
    return found


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (2,)], ids=str)
def test_what_can_be_assigned_is_what_torch_s_own_pretence_lets_pass(device, shape):
    """torch's FakeTensor, which holds no values, knows CUDA's rules: not through indices, one number left out."""
    possible = assignable(shape)
    with torch._C.DisableTorchFunction(), FakeTensorMode():
        assert assignable(shape) == possible
    assert ("slice", "cuda", "cpu") in possible
    assert (("its own", "cuda", "cpu") in possible) is (shape != (2,))


def test_a_mask_takes_a_number_of_the_cpu_and_no_vector(device):
    """What FakeTensor does not know, since it holds no values: CUDA's index_put_ with a mask."""
    there = torch.arange(3, device="cuda")
    there[there > 0] = torch.tensor(5)
    assert there.tolist() == [0, 5, 5]
    with pytest.raises(RuntimeError, match="same device, found cuda and cpu"):
        there[there > 0] = torch.tensor([1, 2])


def test_the_pretended_accelerator_is_there_in_every_thread(device):
    """Each thread has torch function modes of its own."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: torch.zeros(1, device="cuda").device).result().type == "cuda"


def test_every_number_and_every_copy_that_the_cpu_hands_over_is_a_wait(device):
    """A blocking copy to the device waits for what the device does; one that need not block does not."""
    there = torch.zeros(3, device="cuda")
    device.waits.clear()
    there.new_tensor([1.0])
    torch.as_tensor([1.0], device="cuda")
    torch.as_tensor(there)
    torch.tensor([1.0]).to("cuda")
    torch.tensor([1.0]).to("cuda", non_blocking=True)
    there[1:] = torch.ones(2)
    assert device.waits == {"new_tensor": 1, "as_tensor": 1, "to": 1, "__setitem__": 1}
