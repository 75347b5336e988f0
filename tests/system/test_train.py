"""Sec. 4.1: what `python train.py` trains on and starts from. Rows: D28, D30."""

import pytest

import train
from loaders.synthetic import Synthetic


@pytest.mark.parametrize(("more", "sbd"), [([], False), (["--recipe", "paper"], True)])
def test_without_flags_it_trains_on_pascal_voc_from_imagenet_weights_and_the_paper_s_recipe_adds_sbd(
    monkeypatch, more, sbd
):
    """Sec. 4.1: "augmented PASCAL VOC", "pre-trained on ImageNet"; D28, D30."""
    asked = []
    monkeypatch.setattr(
        train, "open_dataset", lambda data, root, split, masks, **how: asked.append((data, root, split, how))
    )
    args = train.parse(["--device", "cpu", *more])
    train.data_of(args)
    (data, root, split, how), (*same, _) = asked
    assert (data, root, split, how["sbd"], how["offline"]) == ("PascalVOC", None, "train", sbd, False)
    assert same == ["PascalVOC", None, "val"]
    assert train.recipe_of(args, 100).init == "imagenet"


def test_a_root_of_one_s_own_is_taken_as_it_is(monkeypatch, tmp_path):
    """`PascalVOC`: SBD counts where it lies there."""
    asked = []
    monkeypatch.setattr(train, "open_dataset", lambda data, root, split, masks, **how: asked.append((root, how)))
    train.data_of(train.parse(["--root", str(tmp_path), "--recipe", "paper", "--offline"]))
    assert asked[0] == (tmp_path, {"sbd": None, "limit": None, "offline": True, "min_area": 0})


def test_without_init_a_backbone_starts_at_random(monkeypatch):
    """D28 and D30 start from ImageNet; `--init none` does not."""
    args = train.parse(["--data", "Synthetic", "--init", "none", "--val", "1", "--limit", "8"])
    assert train.recipe_of(args, 8).init is None
    assert [type(samples) for samples in train.data_of(args)] == [Synthetic, Synthetic]


def test_mixed_precision_is_for_gpus_that_calculate_in_bfloat16(monkeypatch):
    """--amp: "without either, where a GPU has it", from compute capability 8.0: asked of the GPU of --device."""
    args = train.parse([])
    args.device = "cuda:1"
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(train.torch.cuda, "get_device_capability", {"cuda:1": capability}.__getitem__)
        assert train.recipe_of(args, 100).amp is (capability >= (8, 0))
    args.device = "cpu"
    assert train.recipe_of(args, 100).amp is False
