"""Sec. 4, Tab. 1: the command line of `siis.py`: runs, ledgers, tables, pictures, bad input."""

import json
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import plain
from networks import thin_net
from PIL import Image
from processes import beside

import data
import report
import siis
from experiments import drawing, figures, ledger, work
from experiments.runs import OpenDataset, planned_runs
from loaders.samples import labels
from model import SIISNet
from robot_user import noc
from session import Settings
from siis import main
from training.checkpoints import save_checkpoint

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.fixture(scope="module", autouse=True)
def starting(request, sequence, checkpoint, tmp_path_factory):
    """`python siis.py` on a folder whose first image is cut short."""
    place = tmp_path_factory.mktemp("corrupt")
    plain(place / "data", sequence)
    bad = place / "data" / "images" / f"{sequence[0].name}.png"
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    line = [sys.executable, ROOT / "siis.py", *command(place / "data", checkpoint, place / "out")]
    with beside(request, "corrupt", (line, os.environ)) as started:
        yield bad.name, started


@pytest.fixture(scope="module")
def corrupt(starting):
    """The name of that image, and the exit code and stderr of the process."""
    name, (process,) = starting
    error = process.communicate()[1]
    return name, process.returncode, error


@pytest.fixture
def out(whole, tmp_path):
    """A copy of `whole`, for `folder`."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def command(folder, checkpoint, out, *more):
    arguments = ["--data", folder, "--weights", checkpoint, "--out", out, "--device", "cpu"]
    return [str(a) for a in [*arguments, *(more or ["--targets", "0.85", "--seeds", "1"])]]


def timeless(out):
    """The records of a folder of results without their times, in the order of the runs."""
    records = [r for file in ledger.run_files(out) for r in ledger.read_ledger(file)[0]]
    return sorted(({k: v for k, v in r.items() if k != "seconds"} for r in records), key=json.dumps)


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


def test_noc_at_a_lower_target_is_read_from_the_run_to_the_highest(folder, checkpoint, tmp_path, capsys):
    """D26: the clicks until the IoU curve first reaches it."""
    main(command(folder, checkpoint, tmp_path, "--rows", "a", "--targets", "0.3", "0.01"))
    (file,) = ledger.run_files(tmp_path)
    assert file.stem == "a-0.3-0"
    curves = [r["ious"] for r in ledger.read_ledger(file)[0]]
    expected = [np.mean([next((k for k, v in enumerate(c) if v >= t), 20) for c in curves]) for t in (0.3, 0.01)]
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("| (a)"))
    assert line.split(" | ")[3:5] == [f"{noc:.2f}" for noc in expected]


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


def test_orders_are_runs_of_their_own_with_an_interval_over_them(folder, checkpoint, tmp_path, capsys):
    """D29: row (b) depends on the order within a category, row (a) does not."""
    main(command(folder, checkpoint, tmp_path, "--rows", "ab", "--targets", "0.3", "--orders", "3"))
    names = ["a-0.3-0", "b-0.3-0", "b-0.3-0-order-1", "b-0.3-0-order-2"]
    assert sorted(file.stem for file in ledger.run_files(tmp_path)) == names
    for number, name in enumerate(names[1:]):
        records, _ = ledger.read_ledger(tmp_path / "runs" / f"{name}.jsonl")
        instances = ledger.order(["data"] * 4, number)
        assert [r["instance"] for r in records] == instances
        assert [r["name"] for r in records] == [f"synthetic-{i:04d}" for i in instances]
        assert [r["index"] for r in records] == [0, 1, 2, 3]
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| (")]
    assert ["±" in line for line in shown] == [False, True]


@pytest.mark.parametrize(("undone", "seconds"), [("b", 0), ("cd", math.inf)])
def test_a_killed_run_goes_on_to_the_table_of_an_uninterrupted_one(
    folder, checkpoint, whole, out, monkeypatch, capsys, undone, seconds
):
    """Killed within any run, with or without a saved session, the same command ends in the same ledger."""
    assert len(timeless(whole)) == 4 * 4
    files = [out / "runs" / f"{row}-0.85-0.jsonl" for row in undone]
    for file in files:
        file.unlink()
    append, written = ledger.Ledger.append, []

    def killed(self, *record):
        append(self, *record)
        written.append(1)
        if len(written) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(ledger.Ledger, "append", killed)
        m.setattr(work, "SAVE_SECONDS", seconds)
        with pytest.raises(KeyboardInterrupt):
            main(command(folder, checkpoint, out))
    assert bool(list(out.rglob("*.pt"))) == (not seconds)
    with files[0].open("a") as file:
        file.write('{"config": "cut sho')
    capsys.readouterr()
    main(command(folder, checkpoint, out))
    assert timeless(out) == timeless(whole)
    assert not list(out.rglob("*.pt"))
    shown = capsys.readouterr().out
    assert [shown.count(f"| ({row}) |") for row in "abcd"] == [1] * 4


def test_a_finished_run_is_read_not_done_again(folder, checkpoint, out, monkeypatch):
    """The same command twice computes nothing the second time."""
    before = {file.name: file.read_bytes() for file in ledger.run_files(out)}
    assert set(before) == {f"{row}-0.85-0.jsonl" for row in "abcd"}
    monkeypatch.setattr(work, "perform", None)
    main(command(folder, checkpoint, out))
    assert {file.name: file.read_bytes() for file in ledger.run_files(out)} == before


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


def test_a_run_with_other_settings_does_not_mix_with_an_earlier_one(folder, checkpoint, out):
    """Every record carries the hash of its configuration."""
    with pytest.raises(ValueError, match=r"--out .*another configuration"):
        main(command(folder, checkpoint, out, "--delta", "2"))


def test_a_ledger_of_other_instances_is_refused(folder, checkpoint, out):
    """What is annotated is known by name and category, not by number alone."""
    for kind in ("images", "masks"):
        (folder / kind / "synthetic-0003.png").rename(folder / kind / "z.png")  # same bytes in the same order
    with pytest.raises(ValueError, match=r"holds results of other instances \(synthetic-0003 at place 4\)"):
        main(command(folder, checkpoint, out))


def test_a_run_that_is_not_complete_is_no_row_of_the_table(folder, checkpoint, out, capsys):
    """A mean over part of a sequence is another figure."""
    file = out / "runs" / "b-0.85-0.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    main(command(folder, checkpoint, out, "--rows", "a", "--targets", "0.85"))
    shown = capsys.readouterr()
    assert "| (a) |" in shown.out
    assert "| (b) |" not in shown.out
    assert shown.err == "siis: 1 runs are not complete and were left out\n"


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


@pytest.mark.parametrize("program", [siis, report])
def test_the_help_fits_on_one_screen(program, monkeypatch, capsys):
    """At 80 columns; what only an experiment of report.py varies is no flag of siis.py."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        program.parse(["--help"])
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= (33 if program is siis else 43)
    gone = {f"--{name}" for name in ("scope", "proposal", "stop-after", "memory", "layer")}
    assert not gone & set(text.split())


def test_a_baseline_whose_training_is_not_finished_is_used_with_a_warning(folder, tmp_path, capsys):
    """D28, D33: a checkpoint says how far its training has come, and the table says which network it is of."""
    recipe = {"data": "mugs", "samples": 7, "epochs": 30}
    save_checkpoint(tmp_path / "half.pt", SIISNet("resnet18"), size=64, recipe=recipe, training={"epoch": 2})
    with pytest.warns(UserWarning, match=r"half\.pt: training is not finished"):
        main(command(folder, tmp_path / "half.pt", tmp_path / "out", "--rows", "a", "--limit", "1"))
    assert "network: half.pt, a resnet18 (the paper has a resnet101), trained on mugs" in capsys.readouterr().out


def test_a_cut_checkpoint_and_an_unwritable_folder_are_one_line(folder, checkpoint, tmp_path, refused):
    """The same without a process of its own."""
    (tmp_path / "cut.pt").write_bytes(checkpoint.read_bytes()[:5000])
    (tmp_path / "file").write_text("not a folder")
    cut = refused(command(folder, tmp_path / "cut.pt", tmp_path / "o"))
    assert "cut.pt: not a readable checkpoint" in cut
    unwritable = refused(command(folder, checkpoint, tmp_path / "file" / "o"))
    assert unwritable.startswith(f"--out {tmp_path / 'file' / 'o'}: cannot be written")


def test_a_corrupt_image_is_one_line(corrupt):
    """As a user meets it: a process, its stderr, its exit code."""
    name, code, error = corrupt
    assert code == 2
    assert error.startswith("siis: error: ")
    assert name in error
    assert error.count("\n") == 1
