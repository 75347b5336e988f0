"""Sec. 4.1, D1: files of networks, and the ImageNet weights that training starts from."""

from unittest.mock import Mock
from urllib.error import URLError

import pytest
import torch
from networks import noise, shake
from torchvision import models

import model
from model import SIISNet
from support.files import read_tensors
from training.checkpoints import load_checkpoint, pretrained, save_checkpoint


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


def test_a_file_of_half_precision_weights_is_taken_in_single_precision(folder):
    """D1: torchvision's names and order, every tensor of the trunk, F_4 at stride 16."""
    state = torch.load(folder / "half.pth", weights_only=True)
    net = pretrained("resnet18", folder / "half.pth").eval()
    expected = [v.float() if v.is_floating_point() else v for k, v in state.items() if not k.startswith("fc.")]
    for got, value in zip(net.backbone.state_dict().values(), expected, strict=True):
        torch.testing.assert_close(got, value, rtol=0, atol=0)
    assert net.features(noise(1, 3, 64, 64))[3].shape == (1, 512, 4, 4)


def test_a_checkpoint_comes_back_exact_to_the_bit(folder, tmp_path):
    """Sec. 4.2, Q5: parameters are saved; a network read back is the network written, in eval mode, with its notes."""
    net, meta = load_checkpoint(folder / "net.pt", backbone="resnet18")
    assert (meta, net.training) == ({"size": 64, "note": "kept"}, False)
    save_checkpoint(tmp_path / "new" / "again.pt", net)
    again, _ = load_checkpoint(tmp_path / "new" / "again.pt")
    assert model.digest(again) == model.digest(net)
    assert net.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in net.state_dict().items())
    again.decoder.predict.bias.data += 1e-6
    assert model.digest(again) != model.digest(net)


def test_a_file_that_is_no_checkpoint_of_this_network_is_one_error_that_names_it(folder, tmp_path):
    """D1: another backbone, a torchvision file, a text file, a file cut short, one of other shapes, none at all."""
    with pytest.raises(ValueError, match=r"net\.pt: holds a resnet18, not a resnet101"):
        load_checkpoint(folder / "net.pt", backbone="resnet101")
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


def test_imagenet_weights_that_cannot_be_downloaded_say_where_to_put_the_file(tmp_path, monkeypatch):
    """Sec. 4.1, D1: without a network the user can fetch the file elsewhere."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", Mock(side_effect=URLError("no route to host")))
    place = rf"put the file at {tmp_path}/hub/checkpoints/resnet18-\w+\.pth$"
    with pytest.raises(OSError, match=rf"^https://\S+: cannot be downloaded .*no route to host.*{place}"):
        pretrained("resnet18", "imagenet")
