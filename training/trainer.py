"""Sec. 4.1, Implementation Details: baseline training, with checkpoints from which it goes on as if it never stopped.

Decisions owned here: D28 (training), D30 (corrections).
"""

import json
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader

from loaders.samples import Sample
from model import SIISNet, network_image, normalise
from opo import Batch, click_loss_and_logits
from robot_user import Click, interact, next_click, noc
from support.command_line import progress
from support.files import atomic
from training.checkpoints import save_checkpoint
from training.crops import Crop, pack, remember, unpack
from training.recipe import EMPHASIS, MOMENTUM, WEIGHT_DECAY, Epoch, Recipe, Step, corrects, learning_rate

TARGET = 0.85  # of validation
SAVE_STEPS = 250  # between two checkpoints: what a kill can cost


class Judge(nn.Module):
    """The click loss of a batch and its logits as one module, so that DistributedDataParallel can wrap it."""

    def __init__(self, net: SIISNet, recipe: Recipe):
        super().__init__()
        self.net, self.recipe = net, recipe

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mixed precision, if the recipe says so, for all but the loss itself."""
        with torch.autocast(batch.mask.device.type, torch.bfloat16, enabled=self.recipe.amp):
            return click_loss_and_logits(self.net, batch, EMPHASIS if self.recipe.quick else 0)


class Trainer:
    """A training run: network, optimiser, and what iterative training remembers (Sec. 4.1, D28, D30).

    net:     on its device; trained in place: all of it or, if the recipe freezes the backbone, the rest.
    source:  samples, or the quick baseline's cached features;  workers: processes that make batches ahead.
    state:   the 'training' part of a checkpoint; what follows it is what would have followed without a stop.
    """

    def __init__(
        self, net: SIISNet, source: Any, recipe: Recipe, out: Path, state: dict | None = None, workers: int = 0
    ):
        if len(source) < recipe.batch:
            raise ValueError(f"{len(source)} instances to train on: fewer than a batch of {recipe.batch}")
        self.source, self.recipe, self.out, self.workers = source, recipe, out, workers
        self.device = next(net.parameters()).device
        self.rank, self.world = (distributed.get_rank(), distributed.get_world_size()) if several() else (0, 1)
        if self.world > 1 and self.device.type == "cuda":
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # statistics of the whole batch
        self.net = net
        self.net.backbone.requires_grad_(not recipe.freeze_backbone)
        trained = [p for p in self.net.parameters() if p.requires_grad]
        self.optimiser = torch.optim.SGD(trained, recipe.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        judge = Judge(self.net, recipe)
        self.judge: nn.Module = nn.parallel.DistributedDataParallel(judge) if self.world > 1 else judge
        self.epoch, self.losses = 0, list[float]()  # finished epochs; losses of the steps since
        self.last, self.shown = dict[int, Crop](), dict[int, Crop]()  # how instances were shown: last epoch, this one
        self.history: list[dict[str, float]] = []  # an entry an epoch
        if state:
            self.epoch, self.losses, self.history = state["epoch"], state["losses"], state["history"]
            self.last, self.shown = unpack(state["last"]), unpack(state["shown"])
            self.optimiser.load_state_dict(state["optimiser"])

    def run_epoch(self, validation: Sequence[Sample]) -> dict[str, float]:
        """The rest of the present epoch, its validation and its checkpoint: the entry in the log (Sec. 4.1)."""
        r, start, before = self.recipe, time.monotonic(), len(self.losses)
        lr = learning_rate(r, self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        epoch = Epoch(self.source, r, self.epoch, self.last, self.rank, self.world)
        steps = progress(
            self._steps(epoch), self._label, len(epoch) * r.batch, before * r.batch, r.batch, self.rank == 0
        )
        for step in steps:
            self.step(step)
            if len(self.losses) % SAVE_STEPS == 0 and len(self.losses) < len(epoch):
                self.save()
        seconds = time.monotonic() - start
        rate = (len(self.losses) - before) * r.batch / seconds
        entry = {"epoch": self.epoch + 1, "loss": float(np.mean(self.losses)), "lr": lr}
        entry |= {"images_per_second": round(rate, 2), "seconds": round(seconds)}
        self.epoch, self.losses, self.last, self.shown = self.epoch + 1, [], self._gathered(self.shown), {}
        if self.rank == 0 and len(validation):
            entry |= validate(self.net, validation, r.size, self.device)
        self.history.append(entry)
        self.save()
        return entry

    def step(self, step: Step) -> None:
        """One step of SGD on the click loss (Sec. 4.1); what was predicted is kept for the next epoch (D28)."""
        batch = step.batch.to(self.device)
        if corrects(self.recipe, self.epoch, len(self.losses)):
            batch = add_robot_clicks(self.net.eval(), batch)
        self.net.train()
        if self.recipe.freeze_backbone:
            self.net.backbone.eval()
        loss, z = self.judge(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        if step.crops and not self.recipe.quick:
            preds = (z.detach() > 0).cpu().numpy()
            self.shown |= {i: remember(c, p) for i, c, p in zip(step.indices, step.crops, preds, strict=True)}
        self.losses.append(loss.item())
        if not math.isfinite(self.losses[-1]):
            where = f"epoch {self.epoch + 1}, step {len(self.losses)}"
            raise ValueError(
                f"--lr {self.recipe.lr}: the loss is {self.losses[-1]} at {where}; train with a smaller one"
            )

    def save(self) -> None:
        """Write checkpoint and log, each to a temporary name first; an unfinished run's holds what resuming needs."""
        shown = self._gathered(self.shown)
        if self.rank:
            return
        training = None
        if self.epoch < self.recipe.epochs:
            training = {"epoch": self.epoch, "losses": self.losses, "history": self.history}
            training |= {"optimiser": self.optimiser.state_dict(), "last": pack(self.last), "shown": pack(shown)}
        meta = {"recipe": self.recipe._asdict(), "size": self.recipe.size, "history": self.history}
        save_checkpoint(self.out, self.net, training=training, **meta)
        with atomic(self.out.with_suffix(".jsonl")) as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in self.history))

    def _steps(self, epoch: Epoch) -> Iterator[Step]:
        """The epoch's remaining steps, made by the worker processes; their errors are raised as they were there."""
        rest = range(len(self.losses), len(epoch))
        pin = self.device.type == "cuda"
        try:
            yield from DataLoader(
                epoch, None, sampler=rest, num_workers=self.workers, pin_memory=pin, worker_init_fn=_leave_ctrl_c
            )
        except ValueError as error:
            raise ValueError(str(error).strip().splitlines()[-1].removeprefix("ValueError: ")) from error

    def _label(self) -> str:
        loss = f", loss {np.mean(self.losses[-100:]):.4f}" if self.losses else ""
        return f"epoch {self.epoch + 1}/{self.recipe.epochs}{loss}, images"

    def _gathered(self, crops: Mapping[int, Crop]) -> dict[int, Crop]:
        """The crops of all processes."""
        parts: list[Any] = [crops] * self.world
        if self.world > 1:
            distributed.all_gather_object(parts, crops)
        return {i: crop for part in parts for i, crop in part.items()}


def add_robot_clicks(net: SIISNet, batch: Batch) -> Batch:
    """One more click each, where the robot user would correct the prediction in force (after [36]; D28, D30)."""
    with torch.no_grad():
        F = batch.x if isinstance(batch.x, list) else net.features(batch.x)
        pred = net.segment(net.purify(F), batch.click_maps())[:, 0] > 0
    more = []
    for p, mask, void, clicks in zip(pred, batch.mask, batch.void, batch.clicks, strict=True):
        click = next_click(p, mask, void, clicks)
        more.append([*clicks, click] if click else clicks)
    return batch._replace(clicks=more)


def validate(net: SIISNet, samples: Sequence[Sample], size: int, device) -> dict[str, float]:
    """NoC@85 without proposal or optimisation (row (a)) and the share of clicks that got their own pixel right."""
    net.eval()
    clicks, obeyed = [], []
    for sample in samples:
        gt, void = (torch.from_numpy(m).to(device) for m in (sample.mask, sample.void))
        with torch.inference_mode():
            R = net.purify(net.features(normalise(network_image(sample.image, size)[None].to(device))))

            def predict(clicks: list[Click], R: list[Tensor] = R, size: torch.Size = gt.shape) -> Tensor:
                return net.predict(R, clicks, size) > 0.5

            result = interact(predict, gt, void, target=TARGET)
        clicks.append(noc(result.ious, TARGET))
        obeyed += result.obeyed
    return {"noc85": float(np.mean(clicks)), "obeyed": float(np.mean(obeyed))}


def fit(
    net: SIISNet,
    source: Any,
    validation: Sequence[Sample],
    recipe: Recipe,
    out: Path,
    state: dict | None = None,
    workers: int = 0,
) -> list[dict[str, float]]:
    """Train, validate and save after each epoch, and now and then within: the log, an entry an epoch."""
    trainer = Trainer(net, source, recipe, out, state, workers)
    while trainer.epoch < recipe.epochs:
        entry = trainer.run_epoch(validation)
        if trainer.rank == 0:
            print(", ".join(f"{k} {v:.4g}" for k, v in entry.items()), file=sys.stderr, flush=True)
    return trainer.history


def several() -> bool:
    """Whether this is one of several processes that torchrun started."""
    return distributed.is_available() and distributed.is_initialized()


def _leave_ctrl_c(_: int) -> None:
    """Workers leave Ctrl-C to the program that they work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
