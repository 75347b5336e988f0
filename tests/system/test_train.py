"""Sec. 4.1: what `python train.py` trains on and starts from. Rows: D28, D30."""

import pytest

import train
from training.recipe import RECIPES


@pytest.mark.parametrize(("more", "sbd"), [([], False), (["--recipe", "paper"], True)])
def test_without_flags_it_trains_on_pascal_voc_from_imagenet_weights_and_the_paper_s_recipe_adds_sbd(
    monkeypatch, more, sbd
):
    """Sec. 4.1: "augmented PASCAL VOC", "pre-trained on ImageNet"; D28, D30."""
    asked = []
    monkeypatch.setattr(train, "open_dataset", lambda data, root, split, **how: asked.append((data, root, split, how)))
    args = train.parse(["--device", "cpu", *more])
    train.data_of(args)
    (data, root, split, how), (*same, _) = asked
    assert (data, root, split, how["sbd"], how["offline"]) == ("PascalVOC", None, "train", sbd, False)
    assert same == ["PascalVOC", None, "val"]
    assert train.recipe_of(args, 100).init == "imagenet"


@pytest.mark.parametrize("name", RECIPES)
def test_only_our_recipe_for_gpus_uses_mixed_precision_and_only_where_a_gpu_has_bfloat16(monkeypatch, name):
    """D28: the paper's recipe computes in float32; D30: 'cuda' in bfloat16 from compute capability 8.0."""
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(train.torch.cuda, "get_device_capability", {"cuda:1": capability}.__getitem__)
        args = train.parse(["--recipe", name])
        args.device = "cuda:1"
        assert train.recipe_of(args, 100).amp is (name == "cuda" and capability >= (8, 0))
    assert train.recipe_of(train.parse(["--recipe", name, "--device", "cpu"]), 100).amp is False
