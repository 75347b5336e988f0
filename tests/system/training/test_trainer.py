"""Sec. 4.1, Implementation Details: training, stopped and taken up again. Rows: D5, D12, D28, D30."""

import itertools
import json
import os
import resource
import shlex
import signal
import time
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from processes import ended, forked
from toys import command, small

import train
from data import Sample, Synthetic
from support.command_line import run_main
from training import trainer
from training.checkpoints import load_checkpoint, save_checkpoint
from training.crops import remember
from training.recipe import PAPER, RECIPES, Steps, learning_rate

pytestmark = pytest.mark.usefixtures("thin_networks", "small_scenes")
KILLS = int(os.environ.get("SIIS_KILLS", "4"))


@pytest.fixture(scope="module")
def small_scenes():
    """Built-in scenes are drawn as small as the network sees them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "Synthetic", partial(Synthetic, size=64))
        yield


def state_of(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


# ---- the paper's claims ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_a_step_is_taken_at_the_learning_rate_of_the_schedule(net, tmp_path, recipe):
    """Sec. 4.1, D28: the rate falls by the epoch; D30: by the step, and the backbone's is a tenth."""
    recipe = small(recipe, 2, epochs=30, batch=2)
    run = trainer.Trainer(net, Synthetic(2, size=64), recipe, tmp_path / "out.pt")
    run.done = 7
    run.step(Steps(run.samples, recipe, {})[7])
    rates = [group["lr"] for group in run.optimiser.param_groups]
    rate = 7e-3 * 0.95**7 if recipe.paper else learning_rate(recipe, 7)
    assert rates == pytest.approx([rate, rate / 10][: len(rates)])
    assert len(rates) == (1 if recipe.paper else 2)


def test_what_an_epoch_remembers_of_a_prediction_is_its_foreground(net, tmp_path, monkeypatch):
    """D28: "plus one robot click on its prediction": where the logit of the step is positive."""
    recipe, found = small(PAPER, 4, epochs=2, batch=4), []
    run = trainer.Trainer(net, Synthetic(4, size=64), recipe, tmp_path / "out.pt")
    step = Steps(run.samples, recipe, {})[0]
    training_loss = trainer.training_loss

    def watched(*given):
        loss, z = training_loss(*given)
        found.append(z.detach() > 0)
        return loss, z

    monkeypatch.setattr(trainer, "training_loss", watched)
    run.step(step)
    for i, crop, pred in zip(step.indices, step.crops, found[0], strict=True):
        assert run.shown[i] == remember(crop, pred.numpy())
        assert run.shown[i] != remember(crop, ~pred.numpy())


def predicting(mask):
    """A network that predicts a mask, whatever it sees."""
    return SimpleNamespace(
        eval=lambda: None, features=lambda x: [], purify=lambda F: F, predict=lambda R, clicks, size: mask.float()
    )


def validated(gt, void, pred):
    sample = Sample(np.zeros((*gt.shape, 3), np.uint8), gt, void, "", "")
    return trainer.validate(predicting(torch.from_numpy(pred)), [sample], 64, torch.device("cpu"))


def test_validation_stops_at_85_percent_and_leaves_void_out():
    """Sec. 4.1: NoC@85 of row (a), 20 clicks at most (D13); D12: void counts neither for nor against."""
    gt = np.zeros((64, 64), bool)
    gt[10:50, 10:60] = True  # 40 x 50
    none, pred = np.zeros_like(gt), gt.copy()
    for columns, clicks in ((6, 1), (7, 1), (8, 20)):  # IoU 0.88, 0.86, 0.84
        pred[:, 10:60] = gt[:, 10:60]
        pred[:, 10 : 10 + columns] = False
        assert validated(gt, none, pred)["noc85"] == clicks
    rest = ~gt
    assert validated(gt, none, gt | rest)["noc85"] == 20
    assert validated(gt, rest, gt | rest) == {"noc85": 1, "consistent": 1}
    assert validated(gt, none, none) == {"noc85": 20, "consistent": 0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What `load_checkpoint` reads of a run of a recipe that was never stopped."""
    folders = {}

    def run(recipe):
        if recipe not in folders:
            folders[recipe] = tmp_path_factory.mktemp(recipe)
            train.main(command(folders[recipe], recipe=recipe))
        return load_checkpoint(folders[recipe] / "out.pt")

    run.folders = folders
    return run


def untimed(history):
    """The log without what a clock says."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_stopped_within_an_epoch_and_taken_up_again_ends_to_the_bit_like_one_never_stopped(
    tmp_path, monkeypatch, recipe, whole
):
    """D28: optimiser, learning rate, order, crops, replayed clicks, step and log are part of a checkpoint."""
    expected, meta = whole(recipe)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1)
    save, stops = trainer.save_checkpoint, [1, 3]  # steps, both in the middle of an epoch

    def save_and_die(*args, **meta):
        save(*args, **meta)
        if stops and meta["steps"] == stops[0]:
            del stops[0]
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "save_checkpoint", save_and_die)
    out = tmp_path / "stopped" / "out.pt"
    while stops:
        stop = stops[0]
        with pytest.raises(KeyboardInterrupt):
            train.main(command(tmp_path / "stopped", recipe=recipe))
        assert load_checkpoint(out)[1]["training"]["done"] == stop
    train.main([*command(tmp_path / "stopped", recipe=recipe), "--offline"])  # the command that began it is kept
    resumed, meta_resumed = load_checkpoint(out)
    assert same(state_of(expected), state_of(resumed))
    assert untimed(meta.pop("history")) == untimed(meta_resumed.pop("history"))
    for folder, written in ((whole.folders[recipe], meta), (tmp_path / "stopped", meta_resumed)):
        assert shlex.split(written.pop("command")) == ["python", "train.py", *command(folder, recipe=recipe)]
    assert untimed([meta]) == untimed([meta_resumed])
    assert meta["training"] is None
    assert meta["recipe"]["name"] == recipe
    with pytest.raises(ValueError, match=r"out\.pt.*already trained"):
        train.main(command(tmp_path / "stopped", recipe=recipe))
    with pytest.raises(ValueError, match=r"out\.pt.*another recipe \(seed 0 not 1\)"):
        train.main(command(tmp_path / "stopped", "--seed", "1", recipe=recipe))


def test_the_time_that_training_took_is_that_of_all_its_parts(net, tmp_path, monkeypatch):
    """weights/README.md, 'cost': a step takes 10 s here; stops after the first and third lose none of it."""
    recipe, samples, out, clock = small(PAPER, 4, epochs=2, batch=2), Synthetic(4, size=64), tmp_path / "out.pt", [0]
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def step(run, batch):
        run.done, run.losses, clock[0] = run.done + 1, [*run.losses, 1.0], clock[0] + 10
        if run.done == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "step", step)
    for stop in (1, 3, None):
        state = load_checkpoint(out)[1]["training"] if out.exists() else None
        with pytest.raises(KeyboardInterrupt) if stop else nullcontext():
            history = trainer.Trainer(net, samples, recipe, out, state).fit([])
    assert [entry["seconds"] for entry in history] == [20, 20]
    assert load_checkpoint(out)[1]["seconds"] == 40


def test_the_command_of_a_checkpoint_is_what_was_typed_without_the_folders_of_this_machine(monkeypatch):
    """weights/README.md, 'The chain of commands'."""
    monkeypatch.setattr("sys.argv", ["/somewhere/siis/train.py", "--data", "my photos"])
    assert train.typed(None) == "python train.py --data 'my photos'"
    assert train.typed(["--lr", "1e-4"]) == "python train.py --lr 1e-4"


@pytest.fixture
def listening():
    """Ctrl-C is heard, also where the tests run in the background and inherited that it is not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_ctrl_c_ends_a_step_or_a_validation_and_the_same_command_goes_on_from_there(tmp_path, monkeypatch, whole):
    """`run_main`'s message, also before SAVE_STEPS: what was done is saved, and the end is the same to the bit, D28."""
    out, plain = tmp_path / "out.pt", {name: getattr(trainer, name) for name in ("corrections", "validate")}

    def ctrl_c(*args):
        if next(left) == 1:
            signal.raise_signal(signal.SIGINT)
        return stopped(*args)

    # at which call of what, and what is saved; corrections are asked for within a step
    for name, nth, done, entries in (("corrections", 1, 1, 0), ("validate", 1, 2, 0), ("validate", 2, 4, 1)):
        stopped, left = plain[name], itertools.count(nth, -1)
        monkeypatch.setattr(trainer, name, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train.main(command(tmp_path))
        monkeypatch.setattr(trainer, name, stopped)
        state = load_checkpoint(out)[1]["training"]
        assert (state["done"], len(state["history"])) == (done, entries)
    train.main(command(tmp_path))
    (expected, meta), (resumed, meta_resumed) = whole("paper"), load_checkpoint(out)
    assert same(state_of(expected), state_of(resumed))
    assert untimed(meta["history"]) == untimed(meta_resumed["history"])
    assert meta_resumed["training"] is None


def test_a_run_killed_at_any_moment_ends_like_one_never_killed(tmp_path, monkeypatch, whole):
    """D28: SIGKILL leaves the last checkpoint whole; worker processes change nothing."""
    expected, meta = whole("paper")
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1)
    out, log, kills = tmp_path / "out.pt", tmp_path / "log", 0
    while not out.exists() or load_checkpoint(out)[1]["training"]:  # a kill can also come after the last checkpoint
        stamp = out.stat().st_mtime_ns if out.exists() else 0
        pid = forked(lambda: train.main(command(tmp_path, "--workers", "1")), log)
        while kills < KILLS and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if out.exists() and out.stat().st_mtime_ns != stamp:
                time.sleep(0.01 * kills)  # at the checkpoint, and ever later after it
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.001)
        code = ended(pid)
        assert code in (0, -signal.SIGKILL), log.read_text()
        kills += code != 0
    assert kills > 1
    killed, meta_killed = load_checkpoint(out)
    assert same(state_of(expected), state_of(killed))
    assert untimed(meta["history"]) == untimed(meta_killed["history"])


def test_the_log_has_a_line_per_epoch_and_is_the_checkpoint_s(whole):
    """Sec. 4.1: loss, learning rate and NoC@85 of row (a) after each epoch."""
    _, meta = whole("paper")
    lines = [json.loads(line) for line in (whole.folders["paper"] / "out.jsonl").read_text().splitlines()]
    assert lines == meta["history"]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 2), (2, 4)]
    assert {"loss", "lr", "noc85", "consistent", "seconds"} < set(lines[0])


# ---- edge cases ------------------------------------------------------------------------------------------------------


def test_training_on_less_than_a_batch_is_refused(tmp_path):
    """Training on nothing must not end with a checkpoint of a random network."""
    with pytest.raises(ValueError, match="batch of 4"):
        train.main(command(tmp_path, "--limit", "3"))
    assert not (tmp_path / "out.pt").exists()


def test_a_batch_too_small_for_batchnorm_is_refused(tmp_path):
    """D5: the pooled branch normalises one value an instance, so a batch of one has no spread."""
    with pytest.raises(ValueError, match=r"--batch 1.*at least 2"):
        train.main(command(tmp_path, "--batch", "1"))


def test_a_full_disk_costs_no_checkpoint(net, tmp_path):
    """`save_checkpoint`: what was there before survives whole, nothing half-written is left, and one line says so."""
    out, log = tmp_path / "checkpoint" / "out.pt", tmp_path / "log"
    save_checkpoint(out, net)
    before = out.read_bytes()

    def save():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
        run_main(lambda _: save_checkpoint(out, net), "train")

    assert len(before) > 2**17
    assert ended(forked(save, log)) == 2
    error = log.read_text()
    assert error.startswith(f"train: error: {out}: cannot be written (")
    assert error.count("\n") == 1
    assert out.read_bytes() == before
    assert list(out.parent.iterdir()) == [out]


def test_a_loss_that_is_no_number_ends_the_run_and_spares_the_checkpoint(tmp_path):
    """CONTRIBUTING, 'How errors read': thing, value and remedy; a checkpoint of NaN could never be used."""
    with pytest.raises(ValueError, match=r"--lr 1e\+30: the loss is (nan|inf) at step \d+; .*smaller"):
        train.main(command(tmp_path, "--lr", "1e30", "--limit", "16"))
    assert not (tmp_path / "out.pt").exists()
