"""Sec. 4.1, Implementation Details: training, stopped and taken up again. Rows: D5, D12, D28, D30."""

import copy
import os
import shlex
import signal
import time
from functools import cache, partial
from types import SimpleNamespace
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest
import torch
from processes import ended, forked
from toys import command, small

import train
from data import Sample, Synthetic
from training import trainer
from training.checkpoints import load_checkpoint
from training.crops import remember
from training.losses import on_device
from training.recipe import RECIPES, Steps, learning_rate

pytestmark = pytest.mark.usefixtures("thin_networks", "small_scenes")
KILLS = int(os.environ.get("SIIS_KILLS", "4"))


@pytest.fixture(scope="module")
def small_scenes():
    """Built-in scenes are drawn as small as the network sees them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "Synthetic", partial(Synthetic, size=64))
        yield


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_a_step_is_taken_at_the_rate_of_the_schedule_and_remembers_the_foreground_of_its_prediction(
    net, tmp_path, recipe
):
    """Sec. 4.1, D28: by the epoch; "plus one robot click on its prediction"; D30: by the step, a tenth below."""
    recipe = small(recipe, 2, epochs=30, batch=2)
    run = trainer.Trainer(net, Synthetic(2, size=64), recipe, tmp_path / "out.pt")
    run.done, step = 7, Steps(run.samples, recipe, {})[7]
    with torch.no_grad():
        _, z = trainer.training_loss(copy.deepcopy(net).train(), recipe, on_device(step.batch, "cpu"))
    run.step(step)
    rate = 7e-3 * 0.95**7 if recipe.paper else learning_rate(recipe, 7)
    rates = [rate] if recipe.paper else [rate, rate / 10]
    assert [group["lr"] for group in run.optimiser.param_groups] == pytest.approx(rates)
    crops = zip(step.indices, step.crops, z.numpy() > 0, strict=True) if recipe.paper else ()
    assert run.shown == {i: remember(crop, pred) for i, crop, pred in crops}


def validated(gt, void, pred):
    """What `validate` finds of a network that predicts `pred`."""
    sample, z = Sample(np.zeros((*gt.shape, 3), np.uint8), gt, void, "", ""), torch.from_numpy(pred).float()
    net = SimpleNamespace(eval=lambda: None, features=lambda x: [], purify=lambda F: F, predict=lambda *_: z)
    return trainer.validate(net, [sample], 64, torch.device("cpu"))


def test_validation_stops_at_85_percent_and_leaves_void_out():
    """Sec. 4.1: NoC@85 of row (a), 20 clicks at most (D13); D12: void counts neither for nor against."""
    gt = np.zeros((64, 64), bool)
    gt[10:50, 10:60] = True  # 40 x 50
    none, pred = np.zeros_like(gt), gt.copy()
    for columns, clicks in ((6, 1), (7, 1), (8, 20)):  # IoU 0.88, 0.86, 0.84
        pred[:, 10:60] = gt[:, 10:60]
        pred[:, 10 : 10 + columns] = False
        assert validated(gt, none, pred)["noc85"] == clicks
    assert validated(gt, none, gt | True)["noc85"] == 20
    assert validated(gt, ~gt, gt | True) == {"noc85": 1, "consistent": 1}
    assert validated(gt, none, none) == {"noc85": 20, "consistent": 0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A function: the checkpoint of a run of a recipe that was never stopped."""

    @cache
    def checkpoint(recipe):
        folder = tmp_path_factory.mktemp(recipe)
        train.main(command(folder, recipe=recipe))
        return folder / "out.pt"

    return checkpoint


def untimed(history):
    """The log without what a clock says."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


def assert_ends_like(whole, out):
    """The checkpoint `out` is that of a run that was never stopped, to the bit."""
    (net, meta), (found, found_meta) = map(load_checkpoint, (whole, out))
    assert all(torch.equal(v, found.state_dict()[k]) for k, v in net.state_dict().items())
    assert untimed(meta.pop("history")) == untimed(found_meta.pop("history"))
    assert untimed([meta | {"command": ""}]) == untimed([found_meta | {"command": ""}])
    assert found_meta["training"] is None


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_stopped_by_ctrl_c_and_taken_up_again_ends_to_the_bit_like_one_never_stopped(
    tmp_path, monkeypatch, recipe, whole
):
    """D28: optimiser, learning rate, order, crops, replayed clicks, step and history are part of a checkpoint.

    Within a step or a validation.
    """
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1)
    out = tmp_path / "out.pt"
    # at which call of what, and what is saved; corrections are asked for within a step
    stops = [("corrections", 2, 1, 0), ("validate", 1, 2, 0), ("validate", 2, 4, 1)]
    if recipe != "paper":  # ours validates every 15 epochs, and at the end
        stops = [("corrections", 2, 1, 0), ("corrections", 3, 3, 0), ("validate", 1, 4, 0)]
    for name, nth, done, entries in stops:
        ctrl_c = Mock(side_effect=[*[DEFAULT] * (nth - 1), KeyboardInterrupt], wraps=getattr(trainer, name))
        with monkeypatch.context() as patch:
            patch.setattr(trainer, name, ctrl_c)
            with pytest.raises(KeyboardInterrupt):
                train.main(command(tmp_path, recipe=recipe))
        state = load_checkpoint(out)[1]["training"]
        assert (state["done"], len(state["history"])) == (done, entries)
    train.main([*command(tmp_path, recipe=recipe), "--offline"])  # the command that began it is kept
    assert_ends_like(whole(recipe), out)
    written = load_checkpoint(out)[1]["command"]
    assert shlex.split(written) == ["python", "train.py", *command(tmp_path, recipe=recipe)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_checkpoint_holds_the_history_of_its_training_and_no_other_training_continues_it(recipe, whole):
    """Sec. 4.1: loss, learning rate and NoC@85 of row (a) after each epoch; ours validates at the end."""
    out = whole(recipe)
    meta = load_checkpoint(out)[1]
    ends = [(1, 2), (2, 4)] if recipe == "paper" else [(2, 4)]
    assert meta["recipe"]["name"] == recipe
    assert [(entry["epoch"], entry["step"]) for entry in meta["history"]] == ends
    assert {"loss", "lr", "noc85", "consistent", "seconds"} < set(meta["history"][0])
    for more, error in (((), "already trained"), (("--seed", "1"), r"another recipe \(seed 0 not 1\)")):
        with pytest.raises(ValueError, match=rf"out\.pt.*{error}"):
            train.main(command(out.parent, *more, recipe=recipe))


def test_a_run_killed_at_any_moment_ends_like_one_never_killed(tmp_path, monkeypatch, whole):
    """D28: SIGKILL leaves the last checkpoint whole; worker processes change nothing."""
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
    assert_ends_like(whole("paper"), out)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--limit", "3"], "3 instances to train on: fewer than a batch of 4"),
        (["--batch", "1"], r"--batch 1: expected at least 2, since BatchNorm needs a spread \(D5\)"),
        (
            ["--lr", "1e30", "--limit", "16"],
            r"--lr 1e\+30: the loss is (nan|inf) at step \d+; train with a smaller one",
        ),
    ],
)
def test_training_that_cannot_end_well_is_one_line_and_leaves_no_checkpoint(tmp_path, more, named):
    """CONTRIBUTING, 'How errors read'; a checkpoint of NaN or of a random network could never be used."""
    with pytest.raises(ValueError, match=f"^{named}$"):
        train.main(command(tmp_path, *more))
    assert not (tmp_path / "out.pt").exists()
