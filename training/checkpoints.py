"""Files of networks: checkpoints, the one that ships, and the ImageNet weights that training starts from (Sec. 4.1).

Decisions owned here: D33.
"""

import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import models

from loaders.fetch import Remote, fetch
from model import BACKBONES, SIISNet
from support.files import read_tensors, write_tensors

CHECKPOINT_FORMAT = "siis-checkpoint-1"
HELD_OUT = ("PascalVOC", "Synthetic")  # data sets with other instances for validation
SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "resnet50-voc.pt"  # D33


def pretrained(backbone: str, source: str | os.PathLike[str] | None, offline: bool = False) -> SIISNet:
    """A new network whose backbone starts from ImageNet weights (Sec. 4.1).

    source:  None (random), "imagenet" (fetched unless `offline`), or a file of torchvision ResNet weights.
    Raises:  ValueError for an unknown backbone or a file that does not fit it; OSError if it cannot be fetched.
    """
    if source is None:
        return SIISNet(backbone)
    path = imagenet_weights(backbone, offline) if source == "imagenet" else source
    state = read_tensors(path)
    tensors = isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())
    if not tensors or "conv1.weight" not in state:
        raise ValueError(f"{path}: no torchvision ResNet weights (a dict of tensors, conv1.weight among them)")
    try:
        return SIISNet(backbone, {k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except RuntimeError as error:
        raise _unfit(path, backbone, error) from error


def imagenet_weights(name: str, offline: bool = False) -> Path:
    """The file of torchvision's ImageNet weights of a ResNet, fetched once into torch's hub folder (Sec. 4.1)."""
    weights = models.get_model_weights(name).IMAGENET1K_V1  # type: ignore[attr-defined]
    digest = Path(weights.url).stem.rsplit("-", 1)[1]
    remote = Remote(f"ImageNet weights of {name}", weights.url, weights.meta["_file_size"] / 1000, digest)
    return fetch(remote, Path(torch.hub.get_dir()) / "checkpoints", offline)  # where torchvision looks for them too


def save_checkpoint(path: str | os.PathLike[str], net: SIISNet, **meta: Any) -> None:
    """Write a network and plain metadata (input size, training data, epochs, recipe ...) to one file, atomically."""
    content = {"format": CHECKPOINT_FORMAT, "backbone": net.name, "meta": meta, "state": net.state_dict()}
    write_tensors(path, content)


def export(checkpoint: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write the network of a finished training run as it ships (D33).

    Weights of convolutions are rounded to half precision; BatchNorm and the one bias stay as they are.
    Raises:  ValueError if the training is not finished, or for what `load_checkpoint` finds.
    """
    load_checkpoint(checkpoint)
    content = read_tensors(checkpoint)
    if content["meta"].get("training"):
        raise ValueError(
            f"{checkpoint}: training is not finished; run the same command without --export to continue it"
        )
    state = {k: v.half() if v.ndim == 4 else v for k, v in content["state"].items()}
    write_tensors(path, content | {"state": state})


def open_network(weights: Path | None = None) -> tuple[SIISNet, dict[str, Any]]:
    """The network that --weights names or, without it, the one that ships (D33), and its metadata.

    Raises:  ValueError in one line with the remedy, also if the file that ships is missing or damaged.
    """
    path = weights or SHIPPED
    try:
        if not path.exists():
            raise ValueError(f"{'--weights ' if weights else ''}{path}: no such file")
        net, meta = load_checkpoint(path)
    except ValueError as error:
        if weights:
            raise
        remedy = "get it again with 'git checkout -- weights', or name a checkpoint of train.py with --weights"
        raise ValueError(f"{error}; {remedy}") from error
    if meta.get("training"):
        warnings.warn(f"{path}: training is not finished; train.py can continue it", stacklevel=2)
    return net, meta


def description(weights: Path | None = None, data: Collection[str] = ()) -> str:
    """One line about the network that `open_network` reads: its backbone and what it was trained on (D33).

    data:  names of the data sets that it is used on; the line warns if it was trained on one of them.
    """
    path = weights or SHIPPED
    content = read_tensors(path, mmap=True)
    backbone, meta = content["backbone"], content["meta"]
    text = f"{path.name}, a {backbone}" + ("" if backbone == BACKBONES[0] else f" (the paper has a {BACKBONES[0]})")
    if not (recipe := meta.get("recipe")):
        return f"{text}, trained on unknown data"
    name = f"recipe {recipe['name']}, " if "name" in recipe else ""
    text += f", trained on {recipe['data']}: {name}{recipe['samples']:,} instances, {recipe['epochs']} epochs"
    nocs = [entry["noc85"] for entry in meta.get("history", ()) if "noc85" in entry]
    where = "in its validation" if recipe["data"] in HELD_OUT else "on images that it was trained on"
    text += f", NoC@85 {nocs[-1]:.2f} {where}" if nocs else ""
    return text + (f"; it has seen images of {recipe['data']}, see weights/README.md" if recipe["data"] in data else "")


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[SIISNet, dict[str, Any]]:
    """Read what `save_checkpoint` wrote: (network in eval mode on the CPU, metadata).

    Raises:  OSError if it cannot be opened; ValueError if it is foreign, cut short or damaged.
    """
    content = read_tensors(path)
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise ValueError(f"{path}: not a SIIS checkpoint; expected a file written by train.py")
    with torch.device("meta"):  # spares the random weights, which are replaced at once
        net = SIISNet(content["backbone"])
    try:
        net.load_state_dict(content["state"], assign=True)
    except RuntimeError as error:
        raise _unfit(path, content["backbone"], error) from error
    if not all(torch.isfinite(v).all() for v in content["state"].values() if v.is_floating_point()):
        raise ValueError(f"{path}: holds NaN or infinite weights; train again")
    return net.float().to(memory_format=torch.channels_last).eval(), content["meta"]


def _unfit(path: str | os.PathLike[str], backbone: str, error: RuntimeError) -> ValueError:
    return ValueError(f"{path}: does not fit {backbone} ({str(error).splitlines()[1].strip()})")
