"""Sec. 3.1, Eq. 1: the modified DeepLab v3+, split in three so that the expensive part never sees a click.

    image --features--> F_1..F_4 --purify--> R_1..R_4 --segment(., E_0)--> logits z
          (backbone)             (1x1 convs)           (mini-encoder, Mini-ASPP, decoder)

Symbols: F_i backbone features, R_i purified features (channels / 8), E_0 click maps, E_i mini-encoder features,
z logits, P = sigmoid(z). Decisions owned here: D1-D7, D10. Shapes assume an input of H x W with H, W multiples of 16.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms.functional import resize

from clicks import click_map

BACKBONES = ("resnet101", "resnet50", "resnet34", "resnet18")  # the paper's first, D1
R_CHANNELS = (32, 64, 128, 256)  # Sec. 3.1: 1/8 of ResNet-101's 256, 512, 1024, 2048
ASPP_CHANNELS = 64  # Sec. 3.1
ASPP_DILATIONS = (6, 12, 18)  # D5
STRIDE = 16  # output stride of the backbone, D1
SIZE = 384  # short side of the network input, D10
MAX_SIDE = 1024  # D10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, D10


def conv_bn_relu(n_in: int, n_out: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm, ReLU; the size of the map is kept (D2, D4-D6)."""
    conv = nn.Conv2d(n_in, n_out, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


def scale_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """D(.) of Eq. 1: parameter-free bilinear resize of (B, C, h, w) to `size` (D3); x itself if it has it."""
    if x.shape[-2:] == tuple(size):
        return x
    return nnf.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class Backbone(nn.Module):
    """torchvision's ResNet without its classifier, output stride 16 (Sec. 3.1, D1)."""

    def __init__(self, name: str, trunk: Mapping[str, Tensor] | None = None):
        super().__init__()
        net = _resnet(name)
        if trunk is not None:
            classifier = {k: v for k, v in net.state_dict().items() if k.startswith("fc.")}
            net.load_state_dict({**trunk, **classifier})
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.layers = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.widths = [_width(layer) for layer in self.layers]  # channels of F_1..F_4

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> F_1..F_4 of strides 4, 8, 16, 16."""
        x, F = self.stem(image), []
        for layer in self.layers:
            x = layer(x)
            F.append(x)
        return F


class Purification(nn.ModuleList):
    """One 1x1 convolution + BatchNorm + ReLU per layer (Sec. 3.1, D2): the only parameters OPO trains (Sec. 3.3)."""

    def __init__(self, widths: Iterable[int]):
        super().__init__(conv_bn_relu(n, c, 1) for n, c in zip(widths, R_CHANNELS, strict=True))

    def forward(self, F: Sequence[Tensor]) -> list[Tensor]:
        """F_1..F_4 -> R_1..R_4 of 32, 64, 128, 256 channels, same sizes."""
        return [layer(f) for layer, f in zip(self, F, strict=True)]


class MiniEncoder(nn.ModuleList):
    """Eq. 1: E_i = C(R_i ⊕ D(E_{i-1})); ⊕ joins channels, C is two 3x3 convolutions (D3, D4)."""

    def __init__(self) -> None:
        previous = (2, *R_CHANNELS[:-1])  # channels of E_0 .. E_3
        super().__init__(
            nn.Sequential(conv_bn_relu(r + e, r, 3), conv_bn_relu(r, r, 3))
            for r, e in zip(R_CHANNELS, previous, strict=True)
        )

    def forward(self, R: Sequence[Tensor], E_0: Tensor) -> list[Tensor]:
        """R_1..R_4 and E_0 (B, 2, H, W) -> E_1..E_4, each of the shape of its R_i."""
        E = [E_0]
        for C, R_i in zip(self, R, strict=True):
            E.append(C(torch.cat([R_i, scale_to(E[-1], R_i.shape[-2:])], dim=1)))
        return E[1:]


class MiniASPP(nn.Module):
    """Atrous spatial pyramid pooling of E_4, 256 -> 64 channels (Sec. 3.1, D5)."""

    def __init__(self) -> None:
        super().__init__()
        n = R_CHANNELS[-1]
        self.branches = nn.ModuleList([conv_bn_relu(n, ASPP_CHANNELS, 1)])
        self.branches.extend(conv_bn_relu(n, ASPP_CHANNELS, 3, d) for d in ASPP_DILATIONS)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(n, ASPP_CHANNELS, 1))
        self.project = conv_bn_relu(5 * ASPP_CHANNELS, ASPP_CHANNELS, 1)

    def forward(self, E_4: Tensor) -> Tensor:
        """(B, 256, h, w) -> (B, 64, h, w)."""
        branches = [branch(E_4) for branch in self.branches]
        branches.append(self.pool(E_4).expand_as(branches[0]))
        return self.project(torch.cat(branches, dim=1))


class Decoder(nn.Module):
    """Joins the upsampled Mini-ASPP output with raw E_1 and predicts one logit per cell (Sec. 3.1, D6)."""

    def __init__(self) -> None:
        super().__init__()
        n = ASPP_CHANNELS
        self.refine = nn.Sequential(conv_bn_relu(n + R_CHANNELS[0], n, 3), conv_bn_relu(n, n, 3))
        self.predict = nn.Conv2d(n, 1, 1)

    def forward(self, x: Tensor, E_1: Tensor) -> Tensor:
        """Mini-ASPP's x (B, 64, h, w) and E_1 (B, 32, H/4, W/4) -> logits (B, 1, H/4, W/4)."""
        return self.predict(self.refine(torch.cat([scale_to(x, E_1.shape[-2:]), E_1], dim=1)))


class SIISNet(nn.Module):
    """The modified DeepLab v3+ of Fig. 2 in its three stages.

    Source:    Sec. 3.1, Eq. 1, D1-D7.
    backbone:  one of BACKBONES; the head is the same for each, only purification's input widths differ.
    trunk:     torchvision's state of the ResNet, see `training.checkpoints.pretrained`; None for random weights.
    Raises:    ValueError for an unknown backbone; RuntimeError for a state that does not fit it.
    """

    def __init__(self, backbone: str = "resnet101", trunk: Mapping[str, Tensor] | None = None):
        super().__init__()
        self.name = backbone
        self.backbone = Backbone(backbone, trunk)
        self.purification = Purification(self.backbone.widths)
        self.encoder = MiniEncoder()
        self.aspp = MiniASPP()
        self.decoder = Decoder()
        self.to(memory_format=torch.channels_last)  # the same sums, faster (twice in online optimisation on CPUs)

    def features(self, image: Tensor) -> list[Tensor]:
        """Backbone features F_1..F_4 of (B, 3, H, W) normalised RGB: (B, C_i, H/s, W/s), s = 4, 8, 16, 16."""
        return self.backbone(image)

    def purify(self, F: Sequence[Tensor]) -> list[Tensor]:
        """Channel-reduced features R_1..R_4 with 32, 64, 128, 256 channels (Sec. 3.1, D2)."""
        return self.purification(F)

    def segment(self, R: Sequence[Tensor], E_0: Tensor) -> Tensor:
        """Logits z (B, 1, H, W) from purified features and the click maps E_0 (B, 2, H, W) (Eq. 1, D3-D6)."""
        E = self.encoder(R, E_0)
        return scale_to(self.decoder(self.aspp(E[3]), E[0]), E_0.shape[-2:])

    def predict(self, R: Sequence[Tensor], clicks: Iterable[Sequence], image: Sequence[int]) -> Tensor:
        """Probability P of the object for every pixel of an image after some clicks.

        Source:   Sec. 3.1; D8-D10. The mask is P > 0.5.
        R:        purified features of the one image, (1, C_i, h_i, w_i).
        clicks:   (row, col, positive) in pixels of the image;  image: its size (H, W).
        Returns:  (H, W) float32 in [0, 1].
        """
        size = [4 * n for n in R[0].shape[-2:]]  # R_1 has stride 4
        E_0 = click_map(clicks, size, image, R[0].device)[None]
        return scale_to(self.segment(R, E_0).sigmoid(), image)[0, 0]

    def forward(self, image: Tensor, E_0: Tensor) -> Tensor:
        """The three stages in a row: (B, 3, H, W) and (B, 2, H, W) -> logits (B, 1, H, W)."""
        return self.segment(self.purify(self.features(image)), E_0)


def network_size(H: int, W: int, short: int = SIZE, longest: float = MAX_SIDE) -> tuple[int, int]:
    """Size (h, w) of the network input of an H x W image: aspect kept, sides multiples of 16 (D10).

    short, longest:  pixels; the short side becomes `short`, or less where the long one would exceed `longest`.
    """
    scale = min(short / min(H, W), max(longest, short) / max(H, W))
    h, w = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (H, W))
    return h, w


def network_image(image: np.ndarray, short: int = SIZE, longest: float = MAX_SIDE) -> Tensor:
    """Resize an (H, W, 3) uint8 RGB image to `network_size` (with its `short`, `longest`): (3, h, w) uint8 (D10)."""
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return resize(x, list(network_size(image.shape[0], image.shape[1], short, longest)), antialias=True)


def network_mask(mask: np.ndarray | Tensor, size: Sequence[int]) -> Tensor:
    """Resize an (H, W) bool mask to the network's size (h, w), each pixel taking its nearest (D10)."""
    x = (mask if isinstance(mask, Tensor) else torch.from_numpy(mask)).to(torch.uint8)[None, None]
    return nnf.interpolate(x, size=tuple(size), mode="nearest-exact")[0, 0].bool()


def normalise(image: Tensor) -> Tensor:
    """ImageNet mean and standard deviation: (..., 3, h, w) uint8 -> float32 (D10)."""
    values = torch.tensor((MEAN, STD), dtype=torch.float32, device="cpu").to(image.device, non_blocking=True)
    mean, std = values[..., None, None]
    return (image.float() / 255 - mean) / std


def parameter_count(module: nn.Module) -> int:
    """Number of scalars in a module's parameters, without BatchNorm statistics. Source: Tabs. 2 and 7, D7."""
    return sum(p.numel() for p in module.parameters())


def digest(module: nn.Module) -> str:
    """Twelve hexadecimal digits that stand for the values of a module's parameters and statistics."""
    values = hashlib.sha256()
    for tensor in module.state_dict().values():
        values.update(tensor.cpu().contiguous().numpy().tobytes())
    return values.hexdigest()[:12]


def _resnet(name: str) -> models.ResNet:
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r}: unknown; expected one of {', '.join(BACKBONES)}")
    build: Callable[..., models.ResNet] = getattr(models, name)
    options = {"zero_init_residual": True}  # without weights each block starts as the identity
    if name in ("resnet101", "resnet50"):
        return build(replace_stride_with_dilation=[False, False, True], **options)
    net = build(**options)  # torchvision dilates no BasicBlock: do to its layer 4 what it does to a Bottleneck's
    for i, block in enumerate(net.layer4):
        for conv in (block.conv1, block.conv2):
            conv.stride = (1, 1)
            if i > 0 or conv is block.conv2:  # everything after the removed stride
                conv.dilation = conv.padding = (2, 2)
    net.layer4[0].downsample[0].stride = (1, 1)
    return net


def _width(layer: nn.Module) -> int:
    return [m for m in layer.modules() if isinstance(m, nn.Conv2d)][-1].out_channels
