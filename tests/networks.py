"""Random networks and inputs shared by the tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock

import model

THIN = 8  # times fewer channels


class ThinResNet(models.ResNet):
    """ResNet-18 with one block a layer and an eighth of its channels."""

    def __init__(self, **options):
        super().__init__(BasicBlock, [1, 1, 1, 1], num_classes=1, **options)

    def _make_layer(self, block, planes, *more, **named):
        return super()._make_layer(block, planes // THIN, *more, **named)


@contextmanager
def thin() -> Iterator[None]:
    """Every resnet18 that is built here has an eighth of its channels, for what is true of any width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "resnet18", ThinResNet)
        patch.setattr(model, "R_CHANNELS", (4, 8, 16, 32))
        patch.setattr(model, "ASPP_CHANNELS", 8)
        yield


def thin_net():
    """A thin random network in eval mode."""
    torch.manual_seed(0)
    with thin():
        return model.SIISNet("resnet18").eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shake(module, seed=0):
    """Give every BatchNorm statistics and weights of its own, so that none of them is the identity."""
    generator = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            for tensor, low in ((m.weight, 0.5), (m.bias, -0.5), (m.running_mean, -0.5), (m.running_var, 0.5)):
                tensor.data = low + torch.rand(tensor.shape, generator=generator)
    return module.eval()
