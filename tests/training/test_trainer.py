"""Sec. 4.1, Implementation Details: simulated clicks, windows, loss and training. Rows: D12, D21, D24, D28, D30."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import seeds
from torch import nn

import train
from data import Sample, Synthetic
from model import SIISNet, click_map
from opo import Batch, click_loss, crop_features, random_window
from robot_user import Click, simulate_clicks
from training import trainer
from training.checkpoints import load_checkpoint, save_checkpoint
from training.crops import crop_batch
from training.losses import corrected
from training.recipe import PAPER, RECIPES, Steps

ROUNDING = 0.01  # pixels by which a distance in single precision may be off


@st.composite
def scenes(draw):
    """(mask, void): one to three rectangles or ellipses on 64..96 pixels, and a void rectangle beside them."""
    h, w = draw(st.sampled_from([64, 80, 96])), draw(st.sampled_from([64, 80, 96]))
    rows, cols = torch.arange(h)[:, None], torch.arange(w)[None]
    shapes = []
    for _ in range(draw(st.integers(1, 3)) + 1):
        r, c = draw(st.integers(0, h - 1)), draw(st.integers(0, w - 1))
        a, b = draw(st.integers(0, h // 2)), draw(st.integers(0, w // 2))
        dr, dc = (rows - r).abs() / (a + 0.5), (cols - c).abs() / (b + 0.5)
        shapes.append((dr**2 + dc**2 <= 1) if draw(st.booleans()) else (dr <= 1) & (dc <= 1))
    mask = torch.stack(shapes[1:]).any(dim=0)
    return mask, shapes[0] & ~mask


def brute_distances(points, others):
    """(n,) distances of (n, 2) pixels to the nearest of (m, 2) others, by looking at every pair."""
    return torch.cdist(points.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)


def brute_depth(mask):
    """(h, w) distances of the object's pixels to the nearest pixel off it; beyond the image is off it."""
    outside = nn.functional.pad(~mask, (1, 1, 1, 1), value=True).nonzero() - 1
    depth = torch.zeros(mask.shape, dtype=torch.float64)
    depth[mask] = brute_distances(mask.nonzero(), outside)
    return depth


def signed(clicks, positive):
    return torch.tensor([c[:2] for c in clicks if c.positive is positive]).reshape(-1, 2)


def disc(size=96, radius=24):
    d = torch.arange(size) - size // 2
    return (d[:, None] ** 2 + d[None] ** 2) < radius**2


def answering(z):
    """A network with the logits (B, h, w) it was given, whatever it sees."""
    return SimpleNamespace(purify=lambda F: F, segment=lambda R, E_0: z[:, None])


def rngs(n, seed=0):
    """n generators, one an instance."""
    return [np.random.default_rng([seed, i]) for i in range(n)]


def small(recipe, samples, **more):
    """A recipe at toy size on built-in scenes."""
    few = {"data": "Synthetic", "samples": samples, "backbone": "resnet18", "size": 64, "window": 64, "amp": False}
    return recipe._replace(**few)._replace(**more)


def state_of(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_every_number_of_clicks_from_1_to_10_and_0_to_10_is_drawn_and_no_other():
    """Sec. 3.3: "within [1, 10] and [0, 10], respectively"; D28."""
    drawn = [simulate_clicks(disc(), np.random.default_rng(seed)) for seed in range(200)]
    assert {len(signed(clicks, True)) for clicks in drawn} == set(range(1, 11))
    assert {len(signed(clicks, False)) for clicks in drawn} == set(range(11))


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_the_learning_rate_decays_by_gamma_each_epoch(net, tmp_path, epoch):
    """Sec. 4.1: "initial learning rate of 7e-3 and gamma of 0.95 for each epoch", SGD (D28)."""
    run = trainer.Trainer(net, Synthetic(2, size=64), small(PAPER, 2, epochs=30, batch=2), tmp_path / "out.pt")
    run.done = epoch
    assert run.run_stretch(())["lr"] == run.optimiser.param_groups[0]["lr"] == pytest.approx(7e-3 * 0.95**epoch)


def test_the_paper_s_recipe_has_its_numbers():
    """Sec. 4.1: batch 8, 30 epochs, 384 x 384, 7e-3 x 0.95, ResNet-101 (D28)."""
    recipe = train.recipe_of(train.parse(["--data", "Synthetic", "--recipe", "paper", "--device", "cpu"]), 25_832)
    assert (recipe.batch, recipe.epochs, recipe.size, recipe.window, recipe.lr) == (8, 30, 384, 384, 7e-3)
    assert recipe.backbone == "resnet101"


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(scenes(), seeds(), st.integers(1, 10), st.integers(0, 10))
def test_clicks_follow_from_the_seed_stay_in_their_ranges_and_are_never_on_void(scene, seed, n, m):
    """D21, D28; D12: void is never clicked. Fewer than asked for only where no place is left."""
    mask, void = scene
    clicks, again = (simulate_clicks(mask, np.random.default_rng(seed), (n, n), (m, m), void) for _ in range(2))
    assert clicks == again
    assert 1 <= len(signed(clicks, True)) <= n
    assert len(signed(clicks, False)) <= m
    assert all(isinstance(c, Click) and bool(mask[c.row, c.col]) is c.positive for c in clicks)
    assert not any(void[c.row, c.col] for c in clicks)


@given(scenes(), seeds())
def test_clicks_of_one_sign_keep_their_distance(scene, seed):
    """D21, D28: minimum spacing, at least 7 pixels at 384 on the object and 10 off it."""
    mask, void = scene
    clicks = simulate_clicks(mask, np.random.default_rng(seed), (5, 10), (5, 10), void)
    for positive, spacing in ((True, 7), (False, 10)):
        points = signed(clicks, positive)
        apart = [float((p - q).double().norm()) for i, p in enumerate(points) for q in points[:i]]
        assert min(apart, default=math.inf) > spacing * min(mask.shape) / 384


@given(st.data(), seeds(), st.sampled_from([1, 16]))
def test_a_window_holds_foreground_and_lies_inside_and_on_the_grid(data, seed, step):
    """D24: "random windows on the 16-px grid, each containing foreground"."""
    (H, h), (W, w) = (sorted(data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=2)))[::-1] for _ in range(2))
    mask = torch.zeros(16 * H, 16 * W, dtype=torch.bool)
    pixels = st.tuples(st.integers(0, 16 * H - 1), st.integers(0, 16 * W - 1))
    for row, col in data.draw(st.lists(pixels, min_size=1, max_size=4)):
        mask[row, col] = True
    top, left = random_window(mask, (16 * h, 16 * w), np.random.default_rng(seed), step)
    assert 0 <= top <= 16 * (H - h)
    assert 0 <= left <= 16 * (W - w)
    assert top % step == left % step == 0
    assert mask[top : top + 16 * h, left : left + 16 * w].any()


@given(st.data())
def test_a_window_of_features_lies_under_the_window_of_the_image(data):
    """D24: F_i has stride 4, 8, 16, 16; the windows are taken at the same place."""
    (H, h), (W, w) = (sorted(data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=2)))[::-1] for _ in range(2))
    top, left = data.draw(st.integers(0, H - h)), data.draw(st.integers(0, W - w))
    place = torch.stack(torch.meshgrid(torch.arange(16 * H), torch.arange(16 * W), indexing="ij"))  # (2, 16 H, 16 W)
    F = [place[:, ::s, ::s] for s in (4, 8, 16, 16)]
    windows = crop_features(F, (16 * H, 16 * W), (16 * top, 16 * left), (16 * h, 16 * w))
    window = place[:, 16 * top : 16 * (top + h), 16 * left : 16 * (left + w)]
    assert all(torch.equal(x, window[:, ::s, ::s]) for x, s in zip(windows, (4, 8, 16, 16), strict=True))
    assert all(map(torch.equal, crop_features(F, (16 * H, 16 * W), (0, 0), (16 * H, 16 * W)), F))


labelled = st.tuples(
    hnp.arrays(np.float64, (2, 8, 12), elements=st.floats(-30, 30)),  # logits
    *[hnp.arrays(np.bool_, (2, 8, 12))] * 2,  # mask, void
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 11), st.booleans()), max_size=4),  # clicks
)


def loss_of(z, mask, void, clicks, emphasis):
    batch = Batch([], torch.from_numpy(mask), torch.from_numpy(void), [[Click(*c) for c in clicks], []])
    return float(click_loss(answering(torch.from_numpy(z)), batch, emphasis))


@given(labelled, st.sampled_from([0.0, 1.0, 10.0]))
def test_the_loss_is_the_weighted_mean_of_binary_cross_entropies(case, emphasis):
    """Sec. 4.1: "binary cross entropy"; D12: without void; D30: a pixel weighs 1 + emphasis * its click map value."""
    z, mask, void, clicks = case
    weights = np.stack([click_map(c, (8, 12)).amax(dim=0).double().numpy() for c in (clicks, [])]) * emphasis + 1
    total = count = 0.0
    for b, r, c in np.ndindex(z.shape):
        if not void[b, r, c]:
            right = z[b, r, c] if mask[b, r, c] else -z[b, r, c]  # the logit of the right answer
            total += weights[b, r, c] * math.log1p(math.exp(-right))  # -log of its probability
            count += weights[b, r, c]
    # single precision loses digits of logits up to 30: abs
    assert loss_of(z, mask, void, clicks, emphasis) == pytest.approx(total / count if count else 0, rel=1e-5, abs=1e-5)


@given(labelled, hnp.arrays(np.float64, (2, 8, 12), elements=st.floats(-30, 30)), st.sampled_from([0.0, 10.0]))
def test_predictions_and_labels_under_void_do_not_matter(case, other, emphasis):
    """D12: void pixels count nowhere."""
    z, mask, void, clicks = case
    changed = np.where(void, other, z), np.where(void, ~mask, mask)
    assert loss_of(*changed, void, clicks, emphasis) == loss_of(z, mask, void, clicks, emphasis)


# ---- oracles ---------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(scenes(), seeds())
def test_the_first_click_is_the_centre_and_the_others_keep_a_margin_to_the_border(scene, seed):
    """D21: "first foreground click at the object's centre, others random with margins", at least 5 pixels at 384."""
    mask, _ = scene
    depth = brute_depth(mask)
    (row, col), *others = signed(simulate_clicks(mask, np.random.default_rng(seed), (5, 10)), True).tolist()
    assert depth[row, col] == pytest.approx(float(depth.max()), rel=1e-6)
    assert all(depth[r, c] > 5 * min(mask.shape) / 384 - ROUNDING for r, c in others)


@settings(max_examples=15)
@given(scenes(), seeds())
def test_background_clicks_lie_in_a_band_around_the_object(scene, seed):
    """D21, D28: 15 to 80 pixels at 384 away from the object."""
    mask, void = scene
    points = signed(simulate_clicks(mask, np.random.default_rng(seed), negative=(5, 10), void=void), False)
    assume(len(points))
    away, scale = brute_distances(points, mask.nonzero()), min(mask.shape) / 384
    assert away.min() > 15 * scale - ROUNDING
    assert away.max() < 80 * scale + ROUNDING


@pytest.mark.parametrize("step", [1, 16])
def test_every_window_with_foreground_can_be_drawn(step):
    """D24: random windows, by listing all of them that hold the one pixel of the object."""
    mask = torch.zeros(48, 64, dtype=torch.bool)
    mask[20, 3] = True
    corners = ((r, c) for r in range(0, 17, step) for c in range(0, 33, step))
    expected = {(r, c) for r, c in corners if mask[r : r + 32, c : c + 32].any()}
    rng = np.random.default_rng(0)
    assert {random_window(mask, (32, 32), rng, step) for _ in range(60 * len(expected))} == expected


def chart(seed=0):
    """A 64 x 96 sample whose image tells the mask, the row and the column of each of its pixels."""
    rng = np.random.default_rng(seed)
    mask = rng.random((64, 96)) < 0.3
    image = np.stack([mask * 255, *np.mgrid[:64, :96]], axis=-1).astype(np.uint8)
    return Sample(image, mask, (rng.random((64, 96)) < 0.3) & ~mask, "chart", f"chart-{seed}")


def test_crops_and_flips_keep_image_mask_and_void_together():
    """Sec. 4.1: "random flip and random clip augmentation" (D28)."""
    samples = [chart(i) for i in range(12)]
    batch, _ = crop_batch(samples, [None] * 12, rngs(12), 64, 48)
    pixels = batch.x.long()  # (12, 3, 48, 48): mask, row, column
    for sample, (shown, row, col), mask, void in zip(samples, pixels, batch.mask, batch.void, strict=True):
        assert torch.equal(shown == 255, mask)
        assert torch.equal(void, torch.from_numpy(sample.void)[row, col])
        assert mask.any()
        assert len(row.unique()) == len(col.unique()) == 48
    assert {bool(col[0, 0] > col[0, -1]) for _, _, col in pixels} == {False, True}  # flipped or not
    assert len({(int(p[1].min()), int(p[2].min())) for p in pixels}) > 1


def test_every_instance_is_the_target_once_an_epoch_in_an_order_of_its_own():
    """Sec. 4.1, epochs; D28: the order is drawn from (seed, epoch), so that a resumed run goes on as it would have."""
    colours = [Sample(np.full((64, 64, 3), i, np.uint8), disc(64).numpy(), ~disc(64).numpy(), "", "") for i in range(8)]
    steps = Steps(colours, small(PAPER, 8, epochs=2, batch=4), {})

    def shown(epoch):
        return [int(i) for k in (2 * epoch, 2 * epoch + 1) for i in steps[k].batch.x[:, 0, 0, 0]]

    assert shown(0) == shown(0) != shown(1)
    assert sorted(shown(0)) == sorted(shown(1)) == list(range(8))


def test_the_robot_adds_one_click_on_an_error_and_none_where_nothing_is_wrong(net):
    """Sec. 4.1: "the same iterative training strategy in [36]"; D28, D30."""
    batch = crop_batch([chart(i) for i in range(4)], [None] * 4, rngs(4), 64, 64)[0].to("cpu")
    with torch.no_grad():
        pred = net.segment(net.purify(net.features(batch.x)), batch.click_maps())[:, 0] > 0
    with torch.no_grad():
        more = corrected(net, net.features(batch.x), batch)
    for i, (before, after) in enumerate(zip(batch.clicks, more.clicks, strict=True)):
        assert after[:-1] == before
        row, col, positive = after[-1]
        assert bool(batch.mask[i, row, col]) is positive is not bool(pred[i, row, col])
        assert not batch.void[i, row, col]
    perfect = nn.Module()
    perfect.purification = perfect.encoder = perfect.aspp = perfect.decoder = nn.Identity()
    perfect.purify, perfect.segment = lambda F: F, lambda R, E_0: torch.where(batch.mask, 5.0, -5.0)[:, None]
    assert corrected(perfect, [], batch).clicks == batch.clicks


def command(folder, *more, recipe="paper"):
    fixed = ["--data", "Synthetic", "--recipe", recipe, "--backbone", "resnet18", "--limit", "8", "--batch", "4"]
    fixed += ["--val", "1", "--size", "64", "--epochs", "2", "--device", "cpu", "--workers", "0", "--init", "none"]
    return [*fixed, "--out", str(folder / "out.pt"), *more]


def untimed(history):
    """The log without what a clock says."""
    return [{k: v for k, v in entry.items() if k not in ("seconds", "images_per_second")} for entry in history]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_stopped_within_an_epoch_and_taken_up_again_ends_to_the_bit_like_one_never_stopped(
    tmp_path, monkeypatch, recipe
):
    """D28: optimiser, learning rate, order, crops, replayed clicks, step and log are part of a checkpoint."""
    train.main(command(tmp_path / "whole", recipe=recipe))
    monkeypatch.setattr(trainer, "SAVE_STEPS", 1)
    save, left = trainer.save_checkpoint, [1, 2, 3]  # checkpoints before each of three stops, the second mid-epoch

    def save_and_die(*args, **meta):
        save(*args, **meta)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "save_checkpoint", save_and_die)
    out = tmp_path / "stopped" / "out.pt"
    at = []
    while len(left) > 1:
        with pytest.raises(KeyboardInterrupt):
            train.main(command(tmp_path / "stopped", recipe=recipe))
        state = load_checkpoint(out)[1]["training"]
        at.append(state["done"])
        del left[0]
    assert at == [1, 3]
    train.main(command(tmp_path / "stopped", recipe=recipe))
    (whole, meta), (resumed, meta_resumed) = (load_checkpoint(tmp_path / n / "out.pt") for n in ("whole", "stopped"))
    assert same(state_of(whole), state_of(resumed))
    assert untimed(meta.pop("history")) == untimed(meta_resumed.pop("history"))
    assert untimed([meta]) == untimed([meta_resumed])
    assert meta["training"] is None
    assert meta["recipe"]["name"] == recipe
    with pytest.raises(ValueError, match=r"out\.pt.*already trained"):
        train.main(command(tmp_path / "stopped", recipe=recipe))
    with pytest.raises(ValueError, match=r"out\.pt.*another recipe \(seed 0 not 1\)"):
        train.main(command(tmp_path / "stopped", "--seed", "1", recipe=recipe))


def test_a_run_killed_at_any_moment_ends_like_one_never_killed(tmp_path):
    """D28: SIGKILL leaves the last checkpoint whole; worker processes change nothing."""
    train.main(command(tmp_path / "whole", "--epochs", "1"))
    code = "import sys, train; from training import trainer; trainer.SAVE_STEPS = 1; train.main(sys.argv[1:])"
    line = [sys.executable, "-c", code, *command(tmp_path / "killed", "--epochs", "1", "--workers", "1")]
    out, kills = tmp_path / "killed" / "out.pt", 0
    while not out.exists() or load_checkpoint(out)[1]["training"]:
        stamp = out.stat().st_mtime_ns if out.exists() else 0
        with subprocess.Popen(line, cwd=Path(train.__file__).parent, stderr=subprocess.DEVNULL) as run:
            while run.poll() is None and (not out.exists() or out.stat().st_mtime_ns == stamp):
                time.sleep(0.01)
            time.sleep(0.05 * kills)  # at the checkpoint, and ever later after it
            os.kill(run.pid, signal.SIGKILL)
        kills += 1
    assert kills > 1
    (whole, meta), (killed, meta_killed) = (load_checkpoint(tmp_path / n / "out.pt") for n in ("whole", "killed"))
    assert same(state_of(whole), state_of(killed))
    assert untimed(meta["history"]) == untimed(meta_killed["history"])


def test_the_log_has_a_line_an_epoch_and_is_the_checkpoint_s(tmp_path):
    """Sec. 4.1: loss, learning rate and NoC@85 of row (a) after each epoch."""
    train.main(command(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == load_checkpoint(tmp_path / "out.pt")[1]["history"]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 2), (2, 4)]
    assert {"loss", "lr", "noc85", "obeyed", "images_per_second"} < set(lines[0])


def test_two_processes_train_on_the_batches_of_one(tmp_path):
    """D28 under torchrun: every instance once an epoch, in half batches; mixed precision trains too."""
    more = ["--workers", "0", "--epochs", "1", "--amp"]
    ran = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "train.py", *command(tmp_path, *more)],
        cwd=Path(train.__file__).parent,
        capture_output=True,
        text=True,
        env=os.environ | {"MASTER_PORT": "0"},
    )
    assert ran.returncode == 0, ran.stderr
    _, meta = load_checkpoint(tmp_path / "out.pt")
    assert ran.stdout.split() == [str(tmp_path / "out.pt")]  # one of them speaks
    assert meta["recipe"]["amp"]
    assert meta["history"][0]["loss"] > 0
    recipe = small(PAPER, 8, epochs=1, batch=4)
    halves = [Steps(Synthetic(8, size=64), recipe, {}, rank, 2) for rank in range(2)]
    assert sorted(i for half in halves for k in range(2) for i in half[k].indices) == list(range(8))


# ---- edge cases ------------------------------------------------------------------------------------------------------


def test_an_instance_without_a_pixel_at_network_resolution_is_an_error():
    """D10, D28; `simulate_clicks`, `crop_batch`: never skip a sample without having been asked to."""
    rng, mask = np.random.default_rng(0), np.zeros((512, 512), bool)
    with pytest.raises(ValueError, match="no foreground"):
        simulate_clicks(torch.from_numpy(mask), rng)
    mask[0, 0] = True
    with pytest.raises(ValueError, match=r"a speck.*64"):
        crop_batch([Sample(np.zeros((512, 512, 3), np.uint8), mask, ~mask, "", "a speck")], [None], [rng], 64, 64)


def test_data_that_is_not_there_is_refused(tmp_path):
    """STYLE: bad input raises ValueError with what was got and what was expected."""
    with pytest.raises(ValueError, match=r"nowhere.*Synthetic"):
        train.main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out.pt")])
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize(("more", "message"), [(("--limit", "3"), "batch of 4"), (("--window", "128"), "--size 64")])
def test_training_on_less_than_a_batch_or_on_windows_larger_than_images_is_refused(tmp_path, more, message):
    """Training on nothing must not end with a checkpoint of a random network."""
    with pytest.raises(ValueError, match=message):
        train.main(command(tmp_path, *more))
    assert not (tmp_path / "out.pt").exists()


def test_a_batch_too_small_for_batchnorm_is_refused(tmp_path):
    """D5: the pooled branch normalises one value an instance, so a batch of one has no spread."""
    with pytest.raises(ValueError, match=r"--batch 1.*at least 2"):
        train.main(command(tmp_path, "--batch", "1"))


def test_other_initial_weights_are_another_recipe(tmp_path, monkeypatch):
    """A flag that was given is never silently overridden: the checkpoint knows what its backbone started from."""
    monkeypatch.setattr(trainer.Trainer, "run_stretch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    recipe = train.recipe_of(train.parse(command(tmp_path)), 8)._asdict()
    trainer.save_checkpoint(tmp_path / "out.pt", SIISNet("resnet18"), recipe=recipe, training={})
    with pytest.raises(ValueError, match="init None not other"):
        train.main(command(tmp_path, "--init", "other"))


def test_an_error_in_a_worker_process_is_one_line(net, tmp_path):
    """STYLE: one line that names the thing; D28."""
    speck = np.zeros((512, 512), bool)
    speck[0, 0] = True
    samples = [Sample(np.zeros((512, 512, 3), np.uint8), speck, ~speck, "", "a speck")] * 4
    recipe = small(PAPER, 4, epochs=1, batch=4)
    with pytest.raises(
        ValueError, match=r"^a speck: the instance vanishes at a short side of 64; use a larger --size or --min-area$"
    ):
        trainer.fit(net, samples, (), recipe, tmp_path / "out.pt", workers=1)


def test_a_full_disk_costs_no_checkpoint(net, tmp_path):
    """`save_checkpoint`: what was there before survives whole, nothing half-written is left, and one line says so."""
    out = tmp_path / "out.pt"
    save_checkpoint(out, net)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "from model import SIISNet\n"
        "from support.command_line import run_main\n"
        "from training.checkpoints import save_checkpoint\n"
        "run_main(lambda _: save_checkpoint(sys.argv[1], SIISNet('resnet18')), 'train')"
    )
    before = out.read_bytes()
    line = [sys.executable, "-c", code, str(out)]
    ran = subprocess.run(line, cwd=Path(train.__file__).parent, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"train: error: {out}: cannot be written (")
    assert ran.stderr.count("\n") == 1
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_loss_that_is_no_number_ends_the_run_and_spares_the_checkpoint(tmp_path):
    """STYLE: one line that names the thing, the value and the remedy; a checkpoint of NaN could never be used."""
    with pytest.raises(ValueError, match=r"--lr 1e\+30: the loss is (nan|inf) at step \d+; .*smaller"):
        train.main(command(tmp_path, "--lr", "1e30", "--limit", "16"))
    assert not (tmp_path / "out.pt").exists()
