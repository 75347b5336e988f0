"""Random networks and inputs shared by the tests."""

import torch
from torch import nn


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
