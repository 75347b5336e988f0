"""Data sets from anywhere: names that lead out of a folder, and code in files (docs/guarantees.md)."""

import json
import os

import pytest
import torch
from layouts import coco

import data
from loaders.coco import COCO
from session import Session
from training.checkpoints import load_checkpoint, pretrained


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/secret.png", "a/../../secret.png", "a\\..\\secret.png", "a\0b.png"]
)
def test_an_annotation_file_cannot_name_an_image_outside_its_folder(tmp_path, name):
    """COCO's file_name."""
    file = coco(tmp_path, [], names=["a.png"]) / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text().replace('"a.png"', json.dumps(name)))
    with pytest.raises(ValueError, match=r"leads out of .*val2017; expected the name of a file inside$") as error:
        COCO(tmp_path)
    assert f"instances_val2017.json: images[0]: file_name {name!r}" in str(error.value)


def test_a_list_of_names_cannot_lead_out_of_its_folder(tmp_path):
    """PASCAL VOC's ImageSets."""
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("../../secret\n")
    with pytest.raises(ValueError, match=r"'\.\./\.\./secret': leads out of .*JPEGImages"):
        data.PascalVOC(tmp_path)


class Trap:
    """An object whose unpickling would make a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_code_in_a_checkpoint_a_session_or_a_file_of_weights_is_not_run(net, tmp_path):
    """`weights_only=True`: nothing is unpickled but tensors."""
    file, made = tmp_path / "trap.pt", tmp_path / "made"
    torch.save({"state": Trap(made)}, file)
    for read in (load_checkpoint, lambda f: Session.load(f, net), lambda f: pretrained("resnet18", f)):
        with pytest.raises(ValueError, match=r"trap\.pt: "):
            read(file)
    assert not made.exists()
    torch.load(file, weights_only=False)
    assert made.exists()
