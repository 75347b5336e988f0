"""Sec. 4, Tab. 1: the command line of `siis.py`: runs, ledgers, tables, pictures, bad input."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from quick import TARGET, command, records

from experiments import figures, ledger, work
from experiments.runs import OpenDataset
from loaders.samples import categories
from model import SIISNet
from robot_user import noc
from session import Settings
from siis import main
from training.checkpoints import save_checkpoint

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")


@pytest.fixture
def out(whole, tmp_path):
    """A copy of `whole`."""
    return shutil.copytree(whole, tmp_path / "out")


# ---- the ablation ----------------------------------------------------------------------------------------------------


def test_a_run_has_the_row_and_the_seed_of_its_name(net, sequence, tmp_path):
    """Tab. 1: (a) neither, (b) ICP, (c) OPO, (d) both; D29: the settings of a session follow from its run."""
    held, settings = ledger.Ledger(tmp_path, {}, categories(sequence)), Settings(size=64, delta=2)
    for row, icp, opo in (("a", False, False), ("b", True, False), ("c", False, True), ("d", True, True)):
        task = work.Task(held, ledger.Run(row, 0.85, 3), OpenDataset(sequence, "", net, 64), settings)
        assert work.resume(task).settings == Settings(size=64, delta=2, icp=icp, opo=opo, seed=3)


@pytest.fixture
def planned(place, tmp_path, monkeypatch):
    """A function: the tasks of a command line, none of which is done, and the targets of its table."""

    def tasks(*arguments):
        found = []
        monkeypatch.setattr(work, "carry_out", found.extend)
        monkeypatch.setattr(work, "show", lambda ledger, data, targets: found.append(targets))
        fixed = ["--weights", place / "net.pt", "--device", "cpu", "--out", tmp_path / Path(arguments[1]).name]
        main([str(a) for a in (*arguments, *fixed)])
        return found[:-1], found[-1]

    return tasks


def test_without_targets_and_seeds_a_data_set_gets_those_of_the_paper(place, planned):
    """Sec. 4.1, D26, D29: 85 % and 90 %, five experiments; the built-in sequence has ten scenes, a target, a seed."""
    tasks, targets = planned("--data", place / "data")
    assert sorted(t.run for t in tasks) == [(r, 0.9, n, 0) for r in "abcd" for n in range(5 if r in "cd" else 1)]
    assert targets == (0.85, 0.9)
    tasks, targets = planned("--data", "Synthetic")
    assert [t.run for t in tasks] == [(row, 0.85, 0, 0) for row in "abcd"]
    assert targets == (0.85,)
    assert {(len(t.opened.samples), t.settings.size) for t in tasks} == {(10, 224)}


def test_benchmarks_without_categories_have_row_a_alone_unless_others_are_named(planned, sequence, monkeypatch, capsys):
    """GrabCut, Berkeley, DAVIS and COCO-MVal are no sequence; one line says so."""
    monkeypatch.setattr("experiments.runs.open_samples", lambda *_: sequence)
    assert [t.run.row for t in planned("--data", "GrabCut")[0]] == ["a"]
    no_sequence = "siis: the images of GrabCut are not a sequence"
    assert capsys.readouterr().err == f"{no_sequence}, so only row (a) runs; choose others with --rows\n"
    assert [t.run.row for t in planned("--data", "GrabCut", "--rows", "ad", "--seeds", "1")[0]] == ["a", "d"]


def test_zoom_is_a_session_of_its_own_and_its_results_too(planned, place):
    """`--zoom`: never mixed with those of the paper's protocol."""
    (plain, *_), _ = planned("--data", place / "data")
    assert plain.session.__name__ == "Measured"
    with pytest.raises(ValueError, match=r"another configuration \(session: Measured, not Zoomed\)"):
        planned("--data", place / "data", "--zoom")


def test_with_at_least_the_user_goes_on_and_the_table_says_when_the_target_was_reached(place, tmp_path, capsys):
    """D26: `--at-least 3`; the clicks after the target are work that NoC does not count."""
    line = ("--rows", "a", "--targets", "0.01", "--at-least")
    for n in ("0", "3"):
        main(command(place, tmp_path / n, *line, n))
    few, more = (records(tmp_path / n)["a-0.01-0"] for n in ("0", "3"))
    assert max(len(r["clicks"]) for r in few) == 1
    assert {len(r["clicks"]) for r in more} == {3}
    tables = [line.split(" | ")[3] for line in capsys.readouterr().out.splitlines() if line.startswith("| (a)")]
    assert tables == ["1.00", "1.00"]
    with pytest.raises(ValueError, match=r"--out .*another configuration \(at_least: 3, not 0\); choose another"):
        main(command(place, tmp_path / "3", *line, "0"))


def test_a_folder_is_one_data_set_however_its_path_is_written(place, out, monkeypatch):
    """`mugs`, `mugs/`, `./mugs` and the absolute path; a copy with other times and another path is the same."""
    shutil.copytree(place / "data", out / "data", copy_function=shutil.copyfile)
    monkeypatch.chdir(out)
    monkeypatch.setattr(work, "perform", None)
    for spelling in ("data", "data/", "./data", f"../{out.name}/data"):
        main(command(place, out, "--data", spelling))


@pytest.mark.parametrize("changed", ["images", "masks", "names", "net"])
def test_other_files_names_or_weights_are_another_configuration(place, out, net, monkeypatch, changed):
    """A result is known by the pixels, the names and the weights that it came from."""
    shutil.copytree(place, out / "place")
    if changed == "net":
        with torch.no_grad():
            next(net.decoder.parameters())[0] += 1
        save_checkpoint(out / "place" / "net.pt", net, size=64)
    elif changed == "names":
        for folder in ("images", "masks"):
            file = next((out / "place" / "data" / folder).rglob("*.png"))
            file.rename(file.with_name("other.png"))
    else:
        file = next((out / "place" / "data" / changed).rglob("*.png"))
        with Image.open(file) as picture:
            pixels = np.asarray(picture).copy()
        pixels[0, 0] ^= 1
        Image.fromarray(pixels).save(file)
    key = "net" if changed == "net" else "content"
    with pytest.raises(ValueError, match=rf"--out .*another configuration \({key}: \w+, not \w+\);"):
        main(command(out / "place", out))


def test_the_sheet_shows_image_confidence_prediction_and_truth(place, out, monkeypatch):
    """Figs. 5-6: four pictures an instance, under headings, and below them what the ledger says."""
    pages = []
    monkeypatch.setattr(figures, "page", lambda *page: pages.append(page))
    main(command(place, out))
    ((title, headings, rows, file),) = pages
    assert title == f"data, row (d) of Tab. 1: proposals, online optimisation. Target: IoU {TARGET * 100:g} %"
    assert (len(headings), file) == (4, out / "sheet.png")
    a, d = (records(out)[f"{row}-{TARGET}-0"] for row in "ad")
    verdicts = {None: "", True: "proposal correct", False: "proposal wrong"}
    for row, alone, helped in zip(rows, a, d, strict=True):
        clicks = noc(helped["ious"], TARGET)
        needed = f"{clicks} click{'s' * (clicks != 1)}" if helped["ious"][-1] >= TARGET else "not reached"
        assert [caption for _, caption in row][1:] == [
            verdicts[helped["correct"]],
            f"{needed} (row (a): {noc(alone['ious'], TARGET)})",
            f"IoU {helped['ious'][-1]:.0%}",
        ]
        assert row[0][1].startswith(helped["category"])


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "--data nowhere: no such data set or folder"),
        (["--data", "CoCA"], "--root is missing"),
        (["--data", "CoCA", "--root", "nowhere"], "--root nowhere: no such folder"),
        (["--data", ".", "--root", "nowhere"], "--root nowhere: --data names a folder already"),
        (["--data", "LeedsButterfly", "--offline"], "--offline: LeedsButterfly is not in"),
        (["--masks", "index"], "--masks index: the built-in sequence does not use it"),
        (["--unknown"], "unrecognized arguments: --unknown"),
        (["two\nlines"], "unrecognized arguments: two lines"),
        (["--rows"], "argument --rows: expected one argument"),
        (["--rows", "abx"], "argument --rows: 'abx'"),
        (["--device", "abc"], "argument --device: 'abc'"),
        (["--device", "meta"], "argument --device: 'meta'"),
        (["--at-least", "-1"], "argument --at-least: '-1'"),
        (["--at-least", "21"], "argument --at-least: invalid choice: 21"),
        (["--targets", "85"], "argument --targets: '85'"),
        (["--weights", "nothing.pt"], "--weights nothing.pt: no such file"),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments, message, tmp_path, monkeypatch, refused):
    """CONTRIBUTING, 'How errors read': one clear line, the thing, the value, the remedy; exit code 2."""
    monkeypatch.setenv("SIIS_CACHE", str(tmp_path))
    assert message in refused(arguments)


def test_a_baseline_whose_training_is_not_finished_is_used_with_a_warning(place, tmp_path, capsys):
    """D28, D33: a checkpoint says how far its training has come, and the table says which network it is of."""
    recipe, half = {"data": "mugs", "samples": 7, "epochs": 30}, tmp_path / "half.pt"
    save_checkpoint(half, SIISNet("resnet18"), size=64, recipe=recipe, training={"epoch": 2})
    with pytest.warns(UserWarning, match=r"half\.pt: training is not finished"):
        main(command(place, tmp_path / "out", "--weights", str(half), "--rows", "a", "--limit", "1"))
    assert "network: half.pt, a resnet18 (the paper has a resnet101), trained on mugs" in capsys.readouterr().out
