"""Sec. 4.1 and D30: the losses of baseline training, and the robot clicks that are added before them."""

from functools import partial

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from clicks import click_maps
from model import SIISNet, normalise
from opo import Batch, click_loss
from robot_user import next_clicks
from training.recipe import Recipe

ALPHA, GAMMA = 0.5, 2.0  # of the normalised focal loss, D30


def on_device(batch: Batch, device: torch.device | str) -> Batch:
    """A batch of uint8 images as the network takes it: on a device and normalised (D10)."""
    x, mask, void = (torch.as_tensor(t).to(device, non_blocking=True) for t in (batch.x, batch.mask, batch.void))
    return Batch(normalise(x), mask, void, batch.clicks)


def training_loss(net: SIISNet, recipe: Recipe, batch: Batch, more: int = 0) -> tuple[Tensor, Tensor]:
    """Loss and logits (B, h, w) of a batch after `more` robot clicks on the predictions so far (D28, D30).

    The backbone runs once: the clicks are found on its features. Mixed precision, if the recipe has it, for all but the
    loss itself. Each part has a block of its own: within one block autocast would use the weights that it cast without
    gradients again where they need them.
    """
    precision = partial(torch.autocast, batch.mask.device.type, torch.bfloat16, recipe.amp)
    if recipe.paper:
        with precision():
            return click_loss(net, batch)
    with precision():
        F = net.features(torch.as_tensor(batch.x))
    if more:
        with precision(), torch.no_grad():
            batch = corrected(net, [f.detach() for f in F], batch, more)
    with precision():
        E_0 = click_maps(batch.clicks, batch.mask.shape[-2:], device=batch.mask.device)
        z = net.segment(net.purify(F), E_0)[:, 0].float()
    return focal_loss(z, batch.mask, batch.void), z


def focal_loss(z: Tensor, mask: Tensor, void: Tensor) -> Tensor:
    """The normalised focal loss (Sofiiuk et al. 2019, as in RITM), the mean over the images of a batch.

    Of an image: ALPHA * sum(w * ce) / sum(w) over the pixels that are not void, where p is the probability of the
    pixel's label, ce = -log(p) and w = (1 - p)^GAMMA; the denominator takes no gradient.
    z:           (B, h, w) logits, float32;  mask, void: (B, h, w) bool.
    """
    z = torch.where(mask, z, -z)  # logit of the label
    weight = z.neg().sigmoid() ** GAMMA * ~void
    total = weight.detach().sum(dim=(1, 2)).clamp_min(1e-12)
    return ALPHA * ((weight * nnf.softplus(-z)).sum(dim=(1, 2)) / total).mean()


def corrected(net: SIISNet, F: list[Tensor], batch: Batch, more: int = 1) -> Batch:
    """The batch with `more` robot clicks each, one after another on the prediction so far (after [36]; D30).

    F:  features of the batch, without gradient. The head predicts in eval mode and gets its modes back.
    """
    head: tuple[nn.Module, ...] = (net.purification, net.encoder, net.aspp, net.decoder)
    modes = [part.training for part in head]
    for part in head:
        part.eval()
    R, clicks = net.purify(F), batch.clicks
    for _ in range(more):
        pred = net.segment(R, click_maps(clicks, batch.mask.shape[-2:], device=batch.mask.device))[:, 0] > 0
        found = next_clicks(pred, batch.mask, batch.void, clicks)
        clicks = [[*c, click] if click else c for c, click in zip(clicks, found, strict=True)]
    for part, mode in zip(head, modes, strict=True):
        part.train(mode)
    return batch._replace(clicks=clicks)
