"""Files of networks: checkpoints, and the ImageNet weights that training starts from (Sec. 4.1)."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import models

from model import SIISNet
from support.files import read_tensors, write_tensors

CHECKPOINT_FORMAT = "siis-checkpoint-1"


def pretrained(backbone: str, source: str | os.PathLike[str] | None) -> SIISNet:
    """A new network whose backbone starts from ImageNet weights (Sec. 4.1).

    source:  None (random), "imagenet" (torchvision's download) or a file of torchvision ResNet weights.
    Raises:  ValueError for an unknown backbone or a file that does not fit it; OSError if it cannot be had.
    """
    if source is None:
        return SIISNet(backbone)
    state = imagenet_weights(backbone) if source == "imagenet" else _torchvision_file(source)
    try:
        return SIISNet(backbone, state)
    except RuntimeError as error:
        what = "ImageNet weights" if source == "imagenet" else source
        raise ValueError(f"{what}: does not fit {backbone} ({str(error).splitlines()[1].strip()})") from error


def save_checkpoint(path: str | os.PathLike[str], net: SIISNet, **meta: Any) -> None:
    """Write a network and plain metadata (input size, training data, epochs, recipe ...) to one file, atomically."""
    content = {"format": CHECKPOINT_FORMAT, "backbone": net.name, "meta": meta, "state": net.state_dict()}
    write_tensors(path, content)


def load_checkpoint(path: str | os.PathLike[str], backbone: str | None = None) -> tuple[SIISNet, dict[str, Any]]:
    """Read what `save_checkpoint` wrote: (network in eval mode on the CPU, metadata).

    backbone:  the backbone it must be of, if that matters.
    Raises:    OSError if it cannot be opened; ValueError if it is foreign, cut short or of another backbone.
    """
    content = read_tensors(path)
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise ValueError(f"{path}: not a SIIS checkpoint; expected a file written by train.py")
    if backbone not in (None, content["backbone"]):
        raise ValueError(f"{path}: holds a {content['backbone']}, not a {backbone}")
    net = SIISNet(content["backbone"])
    try:
        net.load_state_dict(content["state"])
    except RuntimeError as error:
        raise ValueError(
            f"{path}: does not fit {content['backbone']} ({str(error).splitlines()[1].strip()})"
        ) from error
    if not all(torch.isfinite(v).all() for v in content["state"].values() if v.is_floating_point()):
        raise ValueError(f"{path}: holds NaN or infinite weights; train again")
    return net.eval(), content["meta"]


def imagenet_weights(name: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights of a ResNet, downloaded once into torch's hub folder (Sec. 4.1)."""
    weights = models.get_model_weights(name).IMAGENET1K_V1  # type: ignore[attr-defined]
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except Exception as error:  # no network, a wrong hash, or what the unpickler raises on a damaged file
        target = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[1]
        raise OSError(f"{weights.url}: cannot be downloaded ({error}); put the file at {target}") from error


def _torchvision_file(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    state = read_tensors(path)
    if (
        not isinstance(state, dict)
        or not all(isinstance(v, Tensor) for v in state.values())
        or "conv1.weight" not in state
    ):
        raise ValueError(f"{path}: no torchvision ResNet weights (a dict of tensors, conv1.weight among them)")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
