"""Sec. 4, Tab. 1: the command line of `siis.py`: runs, ledgers, tables, pictures, bad input."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import plain
from networks import thin_net
from PIL import Image

import data
from experiments import drawing, figures, ledger, work
from experiments.runs import OpenDataset, planned_runs
from loaders.samples import labels
from model import SIISNet
from robot_user import noc
from session import Settings
from siis import main
from training.checkpoints import save_checkpoint

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    save_checkpoint(path, thin_net(), size=64)
    return path


@pytest.fixture(scope="module")
def whole(sequence, checkpoint, tmp_path_factory):
    """The four rows on four images, never interrupted; not to be changed."""
    root = tmp_path_factory.mktemp("whole")
    main(command(plain(root / "data", sequence), checkpoint, root / "out"))
    return root / "out"


@pytest.fixture
def out(whole, tmp_path):
    """A copy of `whole`, for `folder`."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def command(folder, checkpoint, out, *more):
    arguments = ["--data", folder, "--weights", checkpoint, "--out", out, "--device", "cpu"]
    return [str(a) for a in [*arguments, *(more or ["--targets", "0.85", "--seeds", "1"])]]


# ---- the ablation ----------------------------------------------------------------------------------------------------


def test_the_rows_are_those_of_tab_1():
    """Tab. 1: (a) neither, (b) ICP, (c) OPO, (d) both."""
    assert {k: tuple(v) for k, v in ledger.ROWS.items()} == {
        "a": (False, False),
        "b": (True, False),
        "c": (False, True),
        "d": (True, True),
    }


def test_a_run_has_the_row_and_the_seed_of_its_name(net, sequence, tmp_path):
    """Tab. 1, D29: the settings of a session follow from its run."""
    held, settings = ledger.Ledger(tmp_path, {}, labels(sequence)), Settings(size=64, delta=2)
    for row in "abcd":
        task = work.Task(held, ledger.Run(row, 0.85, 3), OpenDataset(sequence, "", net, 64), settings)
        icp, opo = ledger.ROWS[row]
        assert work.resume(task, sequence).settings == Settings(size=64, delta=2, icp=icp, opo=opo, seed=3)


def test_what_is_random_is_repeated_over_seeds_and_what_depends_on_order_over_orders():
    """Sec. 4.1, "mean value of 5 experiments"; D26: one run for all targets; D29."""
    runs = planned_runs("abcd", 0.9, 5, 3)
    assert len(set(runs)) == len(runs) == 1 + 3 + 3 * 5 + 3 * 5
    assert {run.target for run in runs} == {0.9}
    assert planned_runs("ab", 0.9, 2, drawn=True) == [("a", 0.9, 0, 0), ("b", 0.9, 0, 0), ("b", 0.9, 1, 0)]


def planned(monkeypatch, *arguments):
    """The tasks of a command line, none of which is done, and the targets of its table."""
    found = []
    monkeypatch.setattr(work, "carry_out", found.extend)
    monkeypatch.setattr(work, "show", lambda ledger, data, targets: found.append(targets))
    main([str(a) for a in arguments])
    return found[:-1], found[-1]


def test_without_targets_and_seeds_a_data_set_gets_those_of_the_paper(folder, checkpoint, monkeypatch):
    """Sec. 4.1, D26, D29: 85 % and 90 %, five experiments; the built-in sequence has ten scenes, a target, a seed."""
    tasks, targets = planned(monkeypatch, *command(folder, checkpoint, folder / "out", "--rows", "abcd"))
    assert sorted(t.run for t in tasks) == [(r, 0.9, n, 0) for r in "abcd" for n in range(5 if r in "cd" else 1)]
    assert targets == (0.85, 0.9)
    tasks, targets = planned(monkeypatch, *command("Synthetic", checkpoint, folder / "out", "--rows", "abcd"))
    assert [t.run for t in tasks] == [(row, 0.85, 0, 0) for row in "abcd"]
    assert targets == (0.85,)
    assert {(len(t.opened.samples), t.settings.size) for t in tasks} == {(10, 224)}


def test_benchmarks_without_categories_have_row_a_alone_unless_others_are_named(
    folder, checkpoint, monkeypatch, capsys
):
    """GrabCut, Berkeley, DAVIS and COCO-MVal are no sequence; one line says so."""
    monkeypatch.setattr("experiments.runs.open_samples", lambda *_: data.Folder(folder))
    line = command("GrabCut", checkpoint, folder / "out", "--seeds", "1")
    tasks, _ = planned(monkeypatch, *line)
    assert [t.run.row for t in tasks] == ["a"]
    no_sequence = "siis: the images of GrabCut are no sequence and have no categories, so row (a) alone"
    assert capsys.readouterr().err == f"{no_sequence}; --rows names others\n"
    tasks, _ = planned(monkeypatch, *line, "--rows", "ad")
    assert [t.run.row for t in tasks] == ["a", "d"]


def test_with_at_least_the_user_goes_on_and_the_table_says_when_the_target_was_reached(
    folder, checkpoint, tmp_path, capsys
):
    """D26: `--at-least 3`; the clicks after the target are work that NoC does not count."""
    for n in ("0", "3"):
        line = ("--rows", "a", "--targets", "0.01", "--at-least", n)
        main(command(folder, checkpoint, tmp_path / n, *line))
    few, more = (ledger.read_ledger(tmp_path / n / "runs" / "a-0.01-0.jsonl")[0] for n in ("0", "3"))
    assert max(len(r["clicks"]) for r in few) == 1
    assert {len(r["clicks"]) for r in more} == {3}
    tables = [line.split(" | ")[3] for line in capsys.readouterr().out.splitlines() if line.startswith("| (a)")]
    assert tables == ["1.00", "1.00"]
    with pytest.raises(ValueError, match=r"--out .*another configuration"):
        main(command(folder, checkpoint, tmp_path / "3", "--rows", "a", "--targets", "0.01"))


def test_another_network_of_the_same_backbone_is_another_configuration(folder, out, net, tmp_path):
    """The digest of the weights is part of what fixes a result."""
    with torch.no_grad():
        next(net.decoder.parameters())[0] += 1
    save_checkpoint(tmp_path / "other.pt", net, size=64)
    with pytest.raises(ValueError, match=r"--out .*another configuration"):
        main(command(folder, tmp_path / "other.pt", out))


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_files_replaced_under_the_same_names_are_another_configuration(folder, checkpoint, out, monkeypatch, kind):
    """A result is known by the pixels it came from; a copy with other times and another path is the same."""
    monkeypatch.setattr(work, "perform", None)
    main(command(folder, checkpoint, out))  # whose ledgers are of another folder
    file = folder / kind / "synthetic-0000.png"
    with Image.open(file) as picture:
        pixels = np.asarray(picture).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    with pytest.raises(ValueError, match=r"--out .*another configuration .*images or masks"):
        main(command(folder, checkpoint, out))


def test_a_folder_is_one_data_set_however_its_path_is_written(folder, checkpoint, out, monkeypatch):
    """`mugs`, `mugs/`, `./mugs` and the absolute path, of which the results are."""
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(work, "perform", None)
    for spelling in (folder.name, f"{folder.name}/", f"./{folder.name}", f"../{folder.parent.name}/{folder.name}"):
        main(command(spelling, checkpoint, out))


def test_the_sheet_shows_image_confidence_prediction_and_truth(folder, checkpoint, out, monkeypatch):
    """Figs. 5-6: four pictures an instance, under headings, and below them what the ledger says."""
    pages, write = [], figures.page
    monkeypatch.setattr(figures, "page", lambda *page: (pages.append(page), write(*page)))
    (out / "sheet.png").unlink()
    main(command(folder, checkpoint, out))
    with Image.open(out / "sheet.png") as sheet:
        size = sheet.size
    assert size == drawing.page_size(4, [drawing.TILE] * 4, drawing.NARROWEST)
    ((title, headings, rows, _),) = pages
    assert title == "data, row (d) of Tab. 1: proposals, online optimisation. Target: IoU 85 %"
    assert len(headings) == 4
    a, d = (ledger.read_ledger(out / "runs" / f"{row}-0.85-0.jsonl")[0] for row in "ad")
    for row, alone, helped in zip(rows, a, d, strict=True):
        name, verdict, clicks, iou = row.captions
        assert name.startswith(helped["category"])
        assert verdict == {None: "", True: "proposal correct", False: "proposal wrong"}[helped["correct"]]
        assert clicks.endswith(f" (row (a): {noc(alone['ious'], 0.85)})")
        reached = helped["ious"][-1] >= 0.85
        assert clicks.startswith(f"{noc(helped['ious'], 0.85)} click" if reached else "not reached")
        assert iou == f"IoU {helped['ious'][-1]:.0%}"


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "--data nowhere: no such data set or folder"),
        (["--data", "CoCA"], "--root is missing"),
        (["--data", "LeedsButterfly", "--offline"], "--offline: LeedsButterfly is not in"),
        (["--size", "0"], "argument --size: '0'"),
        (["--size", "72"], "argument --size: '72'"),
        (["--size", "100"], "argument --size: '100'"),
        (["--seeds", "-1"], "argument --seeds: '-1'"),
        (["--rows", "abx"], "argument --rows: 'abx'"),
        (["--orders", "0"], "argument --orders: '0'"),
        (["--at-least", "-1"], "argument --at-least: '-1'"),
        (["--targets", "85"], "argument --targets: '85'"),
        (["--device", "warp"], "argument --device: 'warp'"),
        (["--weights", "nothing.pt"], "--weights nothing.pt: no such file"),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments, message, tmp_path, monkeypatch, refused):
    """CONTRIBUTING, 'How errors read': one clear line, the thing, the value, the remedy; exit code 2."""
    monkeypatch.setenv("SIIS_CACHE", str(tmp_path))
    assert message in refused(arguments)


def test_a_baseline_whose_training_is_not_finished_is_used_with_a_warning(folder, tmp_path, capsys):
    """D28, D33: a checkpoint says how far its training has come, and the table says which network it is of."""
    recipe = {"data": "mugs", "samples": 7, "epochs": 30}
    save_checkpoint(tmp_path / "half.pt", SIISNet("resnet18"), size=64, recipe=recipe, training={"epoch": 2})
    with pytest.warns(UserWarning, match=r"half\.pt: training is not finished"):
        main(command(folder, tmp_path / "half.pt", tmp_path / "out", "--rows", "a", "--limit", "1"))
    assert "network: half.pt, a resnet18 (the paper has a resnet101), trained on mugs" in capsys.readouterr().out
