"""Tab. 2, D7: DeepLab v3+ with five input channels, to compare with, and how parameters and operations are counted.

Decision owned here: D7.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from model import ASPP_DILATIONS, BACKBONES, Backbone, SIISNet, conv_bn_relu, parameter_count, scale_to


class DeepLabV3Plus(nn.Module):
    """DeepLab v3+ with the two click maps joined to the image, the usual network of the field (Tab. 2, D7)."""

    def __init__(self, backbone: str = BACKBONES[0]):
        super().__init__()
        self.backbone = Backbone(backbone)
        self.backbone.stem[0] = nn.Conv2d(5, 64, 7, stride=2, padding=3, bias=False)
        low, high = (self.backbone.widths[i] for i in (0, 3))
        self.branches = nn.ModuleList([conv_bn_relu(high, 256, 1)])
        self.branches.extend(conv_bn_relu(high, 256, 3, d) for d in ASPP_DILATIONS)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn_relu(high, 256, 1))
        self.project = conv_bn_relu(5 * 256, 256, 1)
        self.low = conv_bn_relu(low, 48, 1)
        self.refine = nn.Sequential(conv_bn_relu(256 + 48, 256, 3), conv_bn_relu(256, 256, 3))
        self.predict = nn.Conv2d(256, 1, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, E_0: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 2, H, W) -> logits (B, 1, H, W)."""
        F = self.backbone(torch.cat([image, E_0], dim=1))
        branches = [branch(F[3]) for branch in self.branches]
        x = self.project(torch.cat([*branches, self.pool(F[3]).expand_as(branches[0])], dim=1))
        x = torch.cat([scale_to(x, F[0].shape[-2:]), self.low(F[0])], dim=1)
        return scale_to(self.predict(self.refine(x)), E_0.shape[-2:])


def operations(run: Callable[[], Any]) -> tuple[int, Any]:
    """Count as Tab. 2 does: convolution MACs (+ bias), 2 a BatchNorm element, adaptive pooling its input (D7).

    run:      runs modules whose parameters take gradients (else BatchNorm is folded away and not seen).
    Returns:  the count and what `run` returned.
    """
    count = 0

    def hook(m, inputs, output):
        nonlocal count
        if isinstance(m, nn.Conv2d):
            count += output.numel() * (m.weight[0].numel() + (m.bias is not None))
        elif isinstance(m, nn.BatchNorm2d):
            count += 2 * output.numel()
        elif isinstance(m, nn.AdaptiveAvgPool2d):
            count += inputs[0].numel()

    handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        result = run()
    finally:
        handle.remove()
    return count, result


def counts(backbone: str, size: int) -> dict[str, tuple[int, int]]:
    """Parameters and operations of a click, for each row of Tab. 2."""
    with torch.device("meta"):
        image, E_0 = torch.empty(1, 3, size, size), torch.empty(1, 2, size, size)
        other, net = DeepLabV3Plus(backbone).eval(), SIISNet(backbone).eval()
        whole = operations(lambda: net(image, E_0))[0]
        features, F = operations(lambda: net.features(image))
        purify = operations(lambda: net.purify(F))[0]
        deeplab = parameter_count(other), operations(lambda: other(image, E_0))[0]
    total, trunk, purification = map(parameter_count, (net, net.backbone, net.purification))
    return {
        "DeepLab v3+": deeplab,
        "ours": (total, whole),
        "ours, F cached": (total - trunk, whole - features),
        "ours, R cached": (total - trunk - purification, whole - features - purify),
    }
