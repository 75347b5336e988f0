"""Sec. 4.1 and D30: what a prediction is judged by in training, and the robot user's corrections before that."""

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from model import SIISNet
from opo import Batch, click_loss_and_logits
from robot_user import next_clicks
from training.recipe import Recipe

ALPHA, FOCUS = 0.5, 2.0  # of the normalised focal loss, D30


class LossModule(nn.Module):
    """The loss of a batch and its logits as one module, so that DistributedDataParallel can wrap it."""

    def __init__(self, net: SIISNet, recipe: Recipe):
        super().__init__()
        self.net, self.recipe = net, recipe

    def forward(self, batch: Batch, more: int = 0) -> tuple[Tensor, Tensor]:
        """(loss, logits (B, h, w)) after `more` clicks of the robot user on the predictions in force (D28, D30).

        The backbone runs once: corrections are made on its features. Mixed precision, if the recipe says so, for all
        but the loss itself; in blocks of their own, since a cast weight of one that takes no gradient would be used
        again by one that does.
        """
        if self.recipe.paper:
            with self._precision(batch):
                return click_loss_and_logits(self.net, batch)
        with self._precision(batch):
            F = self.net.features(torch.as_tensor(batch.x))
        if more:
            with self._precision(batch), torch.no_grad():
                batch = corrected(self.net, [f.detach() for f in F], batch, more)
        with self._precision(batch):
            z = self.net.segment(self.net.purify(F), batch.click_maps())[:, 0].float()
        return focal_loss(z, batch.mask, batch.void), z

    def _precision(self, batch: Batch) -> torch.autocast:
        return torch.autocast(batch.mask.device.type, torch.bfloat16, enabled=self.recipe.amp)


def focal_loss(z: Tensor, mask: Tensor, void: Tensor) -> Tensor:
    """The normalised focal loss (Sofiiuk et al. 2019, as in RITM), the mean over the images of a batch.

    Of an image: ALPHA * sum(w * ce) / sum(w) over the pixels that are not void, where p is the probability given to the
    right answer, ce = -log(p) and w = (1 - p)^FOCUS; the denominator takes no gradient.
    z:           (B, h, w) logits, float32;  mask, void: (B, h, w) bool.
    """
    right = torch.where(mask, z, -z)  # the logit of the right answer
    weight = right.neg().sigmoid() ** FOCUS * ~void
    total = weight.detach().sum(dim=(1, 2)).clamp_min(1e-12)
    return ALPHA * ((weight * nnf.softplus(-right)).sum(dim=(1, 2)) / total).mean()


def corrected(net: SIISNet, F: list[Tensor], batch: Batch, more: int = 1) -> Batch:
    """The batch with `more` clicks each, where the robot user corrects the prediction in force (after [36]; D30).

    F:  features of the batch, which take no gradient;  the head predicts in eval mode, and is left as it was.
    """
    head: tuple[nn.Module, ...] = (net.purification, net.encoder, net.aspp, net.decoder)
    modes = [part.training for part in head]
    for part in head:
        part.eval()
    R, clicks = net.purify(F), batch.clicks
    for _ in range(more):
        pred = net.segment(R, batch._replace(clicks=clicks).click_maps())[:, 0] > 0
        found = next_clicks(pred, batch.mask, batch.void, clicks)
        clicks = [[*c, click] if click else c for c, click in zip(clicks, found, strict=True)]
    for part, mode in zip(head, modes, strict=True):
        part.train(mode)
    return batch._replace(clicks=clicks)
