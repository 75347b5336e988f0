"""Sec. 4.1: what `python train.py` trains on and starts from. Rows: D28, D30."""

import json

import pytest
from toys import small

import train
from training.checkpoints import save_checkpoint
from training.recipe import CUDA, RECIPES


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


# ---- files that are there already ------------------------------------------------------------------------------------


RECIPE = small(CUDA, 8)
HISTORY = [{"epoch": 1, "step": 2, "loss": 0.5}, {"epoch": 2, "step": 4, "loss": 0.25}]
LOG = "".join(json.dumps(entry) + "\n" for entry in HISTORY)


def test_a_new_training_overwrites_no_file_with_its_log(tmp_path):
    """`--out photos/annotations.pt` beside an annotator's annotations.jsonl; nor would its log replace it."""
    log = tmp_path / "annotations.jsonl"
    error = r"^--out .*annotations\.pt: its log would overwrite .*annotations\.jsonl; "
    for content in ('{"event": "finish"}\n', LOG, ""):
        log.write_text(content)
        with pytest.raises(ValueError, match=error):
            train.start_from(tmp_path / "annotations.pt", RECIPE, offline=True)
        assert log.read_text() == content
    with pytest.raises(ValueError, match=r"net\.jsonl: the name of its log; choose one that does not end in \.jsonl"):
        train.start_from(tmp_path / "net.jsonl", RECIPE, offline=True)


def test_a_resumed_training_overwrites_no_log_but_its_own(net, tmp_path, thin_networks):
    """A kill between the two files leaves the log a line short; any other difference makes it another file."""
    out, log, state = tmp_path / "net.pt", tmp_path / "net.jsonl", {"done": 2, "history": HISTORY}
    save_checkpoint(out, net, recipe=RECIPE._asdict(), history=HISTORY, training=state)
    for own in (LOG, LOG.splitlines(keepends=True)[0], ""):
        log.write_text(own)
        assert train.start_from(out, RECIPE, offline=True)[1]["done"] == 2
    for other in ('{"event": "finish"}\n', LOG + LOG, LOG.replace("0.5", "0.75")):
        log.write_text(other)
        with pytest.raises(ValueError, match=r"net\.jsonl is not its log and would be overwritten; move that file"):
            train.start_from(out, RECIPE, offline=True)
        assert log.read_text() == other
