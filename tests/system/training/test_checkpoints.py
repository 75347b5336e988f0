"""Sec. 4.1, D1: D33: files of networks, and the weights that training starts from."""

import dataclasses
import hashlib
import re

import pytest
import torch
from networks import shake
from torchvision import models

import model
import train
from model import SIISNet
from support.files import read_tensors
from training import checkpoints
from training.checkpoints import SHIPPED, description, load_checkpoint, open_network, pretrained, save_checkpoint
from training.recipe import RECIPES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint net.pt of a small network, torchvision's half.pth of a ResNet-18, and two foreign files."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    save_checkpoint(folder / "net.pt", shake(SIISNet("resnet18")), size=64, note="kept")
    state = shake(models.resnet18()).state_dict()
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, folder / "half.pth")
    (folder / "cut.pt").write_bytes((folder / "net.pt").read_bytes()[:100_000])
    (folder / "text.pt").write_text("no checkpoint, but a letter\n")
    return folder


def test_a_checkpoint_comes_back_exact_to_the_bit(folder, tmp_path):
    """Sec. 4.2: parameters are saved; a network read back is the network written, in eval mode, with its notes."""
    net, meta = load_checkpoint(folder / "net.pt")
    assert (meta, net.training) == ({"size": 64, "note": "kept"}, False)
    save_checkpoint(tmp_path / "new" / "again.pt", net)
    again, _ = load_checkpoint(tmp_path / "new" / "again.pt")
    assert model.digest(again) == model.digest(net)
    again.decoder.predict.bias.data += 1e-6
    assert model.digest(again) != model.digest(net)


def test_a_file_that_is_no_checkpoint_of_this_network_is_one_error_that_names_it(folder, tmp_path):
    """D1: a torchvision file, a text file, a file cut short, one of other shapes, none at all."""
    with pytest.raises(ValueError, match=r"half\.pth: not a SIIS checkpoint"):
        load_checkpoint(folder / "half.pth")
    for name in ("text.pt", "cut.pt"):
        with pytest.raises(ValueError, match=rf"{name}: not a readable checkpoint, or cut short"):
            load_checkpoint(folder / name)
    content = read_tensors(folder / "net.pt")
    del content["state"]["aspp.project.0.weight"]
    torch.save(content, tmp_path / "less.pt")
    with pytest.raises(ValueError, match=r"less\.pt: does not fit resnet18 \(Missing key.*aspp\.project"):
        load_checkpoint(tmp_path / "less.pt")
    for missing in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(OSError, match=str(tmp_path)):
            load_checkpoint(missing)


def test_imagenet_weights_of_another_network_are_an_error_that_names_file_and_network(folder):
    """D1; Sec. 4.1: "ResNet-101 pre-trained on ImageNet"."""
    with pytest.raises(ValueError, match=r"half\.pth: does not fit resnet34 \(Missing key"):
        pretrained("resnet34", folder / "half.pth")
    with pytest.raises(ValueError, match=r"net\.pt: no torchvision ResNet weights \(a dict of tensors, conv1\.weight"):
        pretrained("resnet18", folder / "net.pt")
    with pytest.raises(ValueError, match="backbone 'vgg16': unknown; expected one of resnet101, resnet50"):
        pretrained("vgg16", None)


def test_imagenet_weights_are_fetched_once_from_the_mirror_and_checked(server, folder, tmp_path, monkeypatch, capsys):
    """Sec. 4.1: "pre-trained on ImageNet"; SIIS_MIRROR serves them too, under torchvision's name and digest."""
    content = (folder / "half.pth").read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:8]
    official = models.ResNet18_Weights.IMAGENET1K_V1
    named = dataclasses.replace(official.value, url=f"https://download.pytorch.org/models/resnet18-{digest}.pth")
    monkeypatch.setattr(official, "_value_", named)
    place = tmp_path / "torch" / "hub" / "checkpoints" / f"resnet18-{digest}.pth"
    with pytest.raises(ValueError, match=rf"^--offline: ImageNet weights of resnet18 is not in {place.parent}; "):
        pretrained("resnet18", "imagenet", offline=True)
    server.files[place.name] = content[:-1]
    error = rf"{place.name}: cannot be fetched \(cut short or changed: .*, expected {digest}\); .* \({place.parent}\)$"
    with pytest.raises(OSError, match=error):
        pretrained("resnet18", "imagenet")
    server.files[place.name] = content
    net = pretrained("resnet18", "imagenet")
    assert model.digest(net.backbone) == model.digest(pretrained("resnet18", folder / "half.pth").backbone)
    said = f"ImageNet weights of resnet18: fetching {server.address}/{place.name}, about 0.045 GB"
    assert said in capsys.readouterr().err
    pretrained("resnet18", "imagenet", offline=True)
    place.write_bytes(content[:-1])
    with pytest.raises(OSError, match=rf"{place.name}: is damaged \(cut short or changed.*; remove it, and the same"):
        pretrained("resnet18", "imagenet")


EARLIER = {"validate", "window", "fixed_statistics", "frozen"}  # what a recipe no longer says
SHIPPED_SHA256 = "cf0eaa5f19ae97a42cc2637d2c96142cfcc3baf96b7af4c99e0d14ab165bfdd4"
RECIPE = {"data": "PascalVOC", "samples": 5106, "epochs": 4, "batch": 8}
TRAINED = {"training": None, "size": 64, "recipe": RECIPE, "history": [{"seconds": 1800, "noc85": 7.475}] * 4}


def test_a_network_ships_with_rounded_convolutions_and_computes_in_single_precision(tmp_path, monkeypatch):
    """D33: half precision on disk, float32 in use; what the checkpoint says of its training stays."""
    net = shake(SIISNet("resnet18"))
    save_checkpoint(tmp_path / "net.pt", net, **TRAINED, command="python train.py --data 'my photos'")
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "weights" / "net.pt")
    train.main(["--export", str(checkpoints.SHIPPED), "--out", str(tmp_path / "net.pt")])
    assert checkpoints.SHIPPED.stat().st_size < 0.52 * (tmp_path / "net.pt").stat().st_size
    again, meta = open_network()
    assert meta.pop("command") == "python train.py --data 'my photos'"
    assert meta == TRAINED
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    for name, value in net.state_dict().items():
        rounded = value.half().float() if value.ndim == 4 else value
        assert torch.equal(again.state_dict()[name], rounded), name
    save_checkpoint(tmp_path / "net.pt", net, training={"done": 1}, size=64)
    with pytest.raises(ValueError, match=rf"^{tmp_path / 'net.pt'}: training is not finished; run the same"):
        train.main(["--export", str(tmp_path / "half.pt"), "--out", str(tmp_path / "net.pt")])
    assert not (tmp_path / "half.pt").exists()


def test_one_line_says_which_network_it_was_and_what_it_was_trained_on(folder, net, tmp_path):
    """D33: it is not the paper's ResNet-101, and every report says so."""
    save_checkpoint(tmp_path / "net.pt", net, **TRAINED)
    trained = "trained on PascalVOC: 5,106 instances, 4 epochs, NoC@85 7.47 in its validation"
    assert description(tmp_path / "net.pt") == f"net.pt, a resnet18 (the paper has a resnet101), {trained}"
    assert description(folder / "net.pt", ["PascalVOC"]).endswith("trained on unknown data")
    seen = "; it has seen images of PascalVOC, see weights/README.md"
    assert description(tmp_path / "net.pt", ["COCO", "PascalVOC"]).endswith(f"in its validation{seen}")
    assert seen not in description(tmp_path / "net.pt", ["COCO"])
    save_checkpoint(tmp_path / "net.pt", net, **TRAINED | {"recipe": RECIPE | {"data": "photos"}})
    assert description(tmp_path / "net.pt").endswith("NoC@85 7.47 on images that it was trained on")


def test_a_shipped_network_that_is_missing_or_cut_short_is_one_line_with_the_remedy(folder, tmp_path, monkeypatch):
    """D33: it comes with the clone, so that git has it."""
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "resnet50-voc.pt")
    remedy = "get it again with 'git checkout -- weights', or name a checkpoint of train.py with --weights$"
    for damage in ("no such file", "not a readable checkpoint, or cut short .*"):
        with pytest.raises(ValueError, match=rf"^{checkpoints.SHIPPED}: {damage}; {remedy}"):
            open_network()
        checkpoints.SHIPPED.write_bytes((folder / "cut.pt").read_bytes())


def test_the_network_in_weights_is_the_one_that_its_card_describes():
    """weights/README.md: its SHA-256, at most 60 MB, a ResNet-50 in half precision, made by the recipe for a GPU."""
    content = SHIPPED.read_bytes()
    card = (SHIPPED.parent / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(content).hexdigest() == SHIPPED_SHA256
    assert re.findall(r"\b[0-9a-f]{64}\b", card) == [SHIPPED_SHA256]
    assert len(content) <= 60e6
    stored = read_tensors(SHIPPED)
    assert {v.dtype for v in stored["state"].values() if v.ndim == 4} == {torch.float16}
    assert not stored["meta"]["training"]
    net, meta = open_network()
    assert (net.name, meta["recipe"]["data"]) == ("resnet50", "PascalVOC")
    own = {"data", "samples", "init", "seed"}  # what the command line and the data set add to a recipe
    made = RECIPES["cuda"]._asdict().items() & meta["recipe"].items()
    assert {k for k, _ in made} | own == set(meta["recipe"]) - EARLIER
