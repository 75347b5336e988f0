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


def narrow(patch=setattr) -> None:
    """Every resnet18 that this process builds has an eighth of its channels, for what is true of any width."""
    patch(models, "resnet18", ThinResNet)
    patch(model, "R_CHANNELS", (4, 8, 16, 32))
    patch(model, "ASPP_CHANNELS", 8)


@contextmanager
def thin() -> Iterator[None]:
    """The same within the block."""
    with pytest.MonkeyPatch.context() as patch:
        narrow(patch.setattr)
        yield


def thin_net():
    """A thin random network in eval mode: about half of the pixels are object, so that masks show every change."""
    torch.manual_seed(0)
    with thin(), torch.no_grad():
        net = model.SIISNet("resnet18").eval()
        z = net(torch.randn(1, 3, 64, 64), model.click_map([(32, 32, True)], (64, 64))[None])
        net.decoder.predict.bias -= z.median()
    return net


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
