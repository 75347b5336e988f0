"""Sec. 4.1, Implementation Details: baseline training, with checkpoints from which it resumes exactly.

Decisions owned here: D28 (training), D30 (training).
"""

import copy
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clicks import Click
from loaders.samples import Sample
from model import SIISNet, network_image, normalise
from robot_user import interact, noc
from support.command_line import needing_memory, progress
from training.checkpoints import save_checkpoint
from training.crops import Crop, pack, remember, unpack
from training.losses import on_device, training_loss
from training.recipe import MAX_GRAD_NORM, Recipe, Step, Steps, average, corrections, learning_rate, optimiser_of
from training.workers import loader, shared, worker_errors

TARGET = 0.85  # of validation
SAVE_SECONDS = 60  # between two checkpoints: the most that Ctrl-C or a kill can cost
READ_STEPS = 50  # between two readings of the losses, each of which waits for the device


class Trainer:
    """A training run: network, averaged network, optimiser, and what iterative training remembers (D28, D30).

    net:      on its device; trained in place.
    out:      the checkpoint.
    state:    the 'training' part of a checkpoint; the run continues as if it had never stopped.
    workers:  processes that prepare batches.
    command:  the command line, kept in the checkpoint; a resumed run keeps the one it began with.
    """

    def __init__(
        self,
        net: SIISNet,
        samples: Sequence[Sample],
        recipe: Recipe,
        out: Path,
        state: dict | None = None,
        workers: int = 0,
        command: str | None = None,
    ):
        if not recipe.steps:
            raise ValueError(f"{recipe.samples} instances to train on: fewer than a batch of {recipe.batch}")
        self.samples, self.recipe, self.out, self.workers = samples, recipe, out, workers
        self.command = (state or {}).get("command") or command
        self.device = next(net.parameters()).device
        self.mean = net if recipe.paper else copy.deepcopy(net).requires_grad_(False)  # what is validated and saved
        if state and state["net"]:
            net.load_state_dict(state["net"])
        self.net, self.optimiser = net, optimiser_of(net, recipe)
        self.done, self.seconds, self.since = 0, 0.0, time.monotonic()  # steps, their time, counted up to here
        self.losses, self.unread = list[float](), list[Tensor]()  # since the last entry of the history
        self.last, self.shown = dict[int, Crop](), dict[int, Crop]()  # crops of the last epoch and of this one
        self.history: list[dict[str, float]] = []  # an entry for each stretch between two validations
        if state:
            self.done, self.seconds = state["done"], state["seconds"]
            self.losses, self.history = state["losses"], state["history"]
            self.last, self.shown = unpack(state["last"]), unpack(state["shown"])
            self.optimiser.load_state_dict(state["optimiser"])

    def fit(self, validation: Sequence[Sample]) -> list[dict[str, float]]:
        """Train, validate and save after each stretch; save now and then within one.

        Source:   Sec. 4.1 Implementation Details, D28, D30.
        Returns:  the history, one entry per stretch.
        Raises:   ValueError for a loss that is not finite or an instance that vanishes at the recipe's size;
                  ChildProcessError for workers that fail; OutOfMemoryError.
        """
        batches = f"training with batches of {self.recipe.batch} at {self.recipe.size}x{self.recipe.size}"
        remedy = "free some memory and run the same command again, or choose a smaller --batch, --size or --workers"
        while not self.finished:
            with needing_memory(batches, remedy), worker_errors(self.workers):
                entry = self.run_stretch(validation)
            print(", ".join(f"{k} {v:.4g}" for k, v in entry.items()), file=sys.stderr, flush=True)
        return self.history

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.done // self.recipe.epoch_steps

    @property
    def finished(self) -> bool:
        """Whether the last stretch is validated and in the history."""
        return bool(self.history) and self.history[-1]["step"] == self.recipe.steps

    def run_stretch(self, validation: Sequence[Sample]) -> dict[str, float]:
        """Train up to the next validation, validate, save; returns the entry in the history (Sec. 4.1).

        A stretch is one epoch of the paper's recipe, which replays the crops of the last epoch (D28).
        """
        r, first = self.recipe, self.done
        self.since = time.monotonic()
        last = min(r.steps, (len(self.history) + 1) * r.validation_interval * r.epoch_steps)
        batches = loader(self.workers, self.device.type == "cuda")
        steps = Steps(self.samples, r, self.last)
        steps = batches(steps, batch_size=None, collate_fn=shared, sampler=range(first, last))
        torch.backends.cudnn.benchmark = True  # all batches have one shape
        for step in progress(steps, self._label, last * r.batch, first * r.batch, r.batch):
            self.step(step)
            if self.done == last or time.monotonic() - self.since > SAVE_SECONDS:
                self.save()  # also before validation, which needs memory of its own
        torch.backends.cudnn.benchmark = False
        self._count_time()
        seconds = self.seconds - sum(e["seconds"] for e in self.history)
        entry = {"epoch": self.epoch, "step": self.done, "loss": float(np.mean(self.losses))}
        entry |= {"lr": learning_rate(r, self.done - 1), "seconds": round(seconds)}
        if len(validation):
            entry |= validate(self.mean, validation, r.size, self.device)
        self.losses, self.last, self.shown = [], self.shown, {}
        self.history.append(entry)
        self.save()
        return entry

    def step(self, step: Step) -> None:
        """One step of the optimiser (Sec. 4.1), whose predictions are kept for the next epoch (D28)."""
        r, rate = self.recipe, learning_rate(self.recipe, self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        self.net.train()
        loss, z = training_loss(self.net, r, on_device(step.batch, self.device), corrections(r, self.done))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if not r.paper:
            nn.utils.clip_grad_norm_(self.net.parameters(), MAX_GRAD_NORM)
        self.optimiser.step()
        if step.crops:
            preds = (z.detach() > 0).cpu().numpy()
            self.shown |= {i: remember(c, p) for i, c, p in zip(step.indices, step.crops, preds, strict=True)}
        self.unread.append(loss.detach())
        self.done += 1
        if self.mean is not self.net:
            average(self.mean, self.net, self.done)
        if len(self.unread) == READ_STEPS:
            self._read()

    def save(self) -> None:
        """Write the checkpoint; that of an unfinished run holds what resuming needs."""
        self._read()
        self._count_time()
        r, training = self.recipe, None
        if not self.finished:
            training = {"done": self.done, "losses": self.losses, "history": self.history}
            training |= {"net": None if self.mean is self.net else self.net.state_dict(), "seconds": self.seconds}
            training |= {"optimiser": self.optimiser.state_dict(), "last": pack(self.last), "shown": pack(self.shown)}
        meta = {"recipe": r._asdict(), "size": r.size, "history": self.history, "steps": self.done}
        gpu = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None
        device = gpu or f"{self.device.type}, {torch.get_num_threads()} threads"
        meta |= {"seconds": round(self.seconds), "device": device, "command": self.command}
        meta |= {k: v for k, v in (self.history or [{}])[-1].items() if k == "noc85"}
        save_checkpoint(self.out, self.mean, training=training, **meta)

    def _read(self) -> None:
        """Fetch the losses from the device; ValueError if one is not finite."""
        if not self.unread:
            return
        losses = torch.stack(self.unread).tolist()
        for step, loss in enumerate(losses, start=self.done - len(losses) + 1):
            if not math.isfinite(loss):
                raise ValueError(f"--lr {self.recipe.lr}: the loss is {loss} at step {step}; train with a smaller one")
        self.losses, self.unread = self.losses + losses, []

    def _count_time(self) -> None:
        """Add the time since the last call, or since this stretch began, to `seconds`."""
        now = time.monotonic()
        self.seconds, self.since = self.seconds + now - self.since, now

    def _label(self) -> str:
        loss = f", loss {np.mean(self.losses[-100:]):.4f}" if self.losses else ""
        return f"epoch {self.epoch + 1}/{self.recipe.epochs}{loss}, images"


def validate(net: SIISNet, samples: Sequence[Sample], size: int, device) -> dict[str, float]:
    """How good a baseline is without proposals and optimisation: row (a) of Tab. 1.

    Source:   Sec. 4.1 Metrics, D13.
    size:     short side of the network input in pixels;  device: of the network.
    Returns:  `noc85`, mean clicks to an IoU of 85 %, and `consistent`, the click consistency: the share of clicks
              after which the clicked pixel has the label that the click gave it.
    """
    net.eval()
    clicks, consistent = list[int](), list[bool]()
    for sample in samples:
        with needing_memory(f"validating on {sample.name}, {sample.mask.shape[0]}x{sample.mask.shape[1]} pixels"):
            gt, void = (torch.from_numpy(m).to(device) for m in (sample.mask, sample.void))
            with torch.inference_mode():
                R = net.purify(net.features(normalise(network_image(sample.image, size)[None].to(device))))

                def predict(clicks: list[Click], R: list[Tensor] = R, size: torch.Size = gt.shape) -> Tensor:
                    return net.predict(R, clicks, size) > 0.5

                result = interact(predict, gt, void, target=TARGET)
        clicks.append(noc(result.ious, TARGET))
        consistent += result.consistent
    return {"noc85": float(np.mean(clicks)), "consistent": float(np.mean(consistent))}
