"""Secs. 4.1-4.3: the sequence loop, the ablation, the command line."""

import json
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from beside import beside
from experiments.measured import Measured, ledger_line
from layouts import plain
from networks import thin_net
from PIL import Image
from settings import Settings

import report
import siis
from experiments import drawing, figures, ledger, work
from experiments.runs import OpenDataset, planned_runs
from icp import Point
from loaders.samples import labels
from model import SIISNet
from robot_user import interact, mask_digest
from session import Session
from siis import annotate_sequence, main
from training.checkpoints import save_checkpoint

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = Settings(size=64)


class Oracle(SIISNet):
    """A network that answers every first click with a given mask."""

    def __init__(self, answer):
        super().__init__("resnet18")
        self.answer = answer

    def predict(self, R, clicks, image):
        return self.answer.float()


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


# ---- the loop --------------------------------------------------------------------------------------------------------


class Pointing(Measured):
    """A session that proposes given pixels, one per instance, and notes what it is handed."""

    def __init__(self, net, settings, points):
        super().__init__(net, settings)
        self.points, self.accepted = points, []

    def propose(self, view, confidence):
        return self.points[self.done]

    def finish(self, view, clicks, mask):
        self.accepted.append((clicks, mask.clone()))
        super().finish(view, clicks, mask)


def pixel(mask):
    """The first True pixel of a mask."""
    return Point(*np.argwhere(mask)[0].tolist())


def test_a_correct_proposal_is_the_first_foreground_click_and_costs_nothing(sequence):
    """Tab. 1: delta NoC "whose maximum is 1.0"; D14."""
    same = [sequence[0]._replace(name=str(i)) for i in range(3)]
    on = pixel(sequence[0].mask)
    session = Pointing(Oracle(torch.from_numpy(sequence[0].mask)), SETTINGS._replace(opo=False), [None, on, on])
    first, *later = annotate_sequence(session, same, 0.85)
    assert (first.proposal, first.hit, ledger_line(first, 0.85, {})["noc"]) == (None, None, 1)
    for r in later:
        assert (r.proposal, r.hit, r.clicks, r.ious, r.obeyed) == (on, True, [(*on, True)], [1.0], [])
        assert ledger_line(r, 0.85, {})["noc"] == 0


def test_after_a_correct_proposal_the_user_s_own_clicks_are_counted(sequence, monkeypatch):
    """D14, D13: NoC is the number of the user's clicks; a network that never agrees costs 20, with or without a hit."""
    monkeypatch.setattr(siis, "interact", interact)  # which does not give up before 20
    on, off = pixel(sequence[0].mask), pixel(~sequence[0].mask)
    session = Pointing(Oracle(torch.zeros(64, 64)), SETTINGS._replace(opo=False, icp=False), [on, off])
    hit, miss = annotate_sequence(session, sequence[:1] * 2, 0.85)
    assert (hit.hit, len(hit.clicks), len(hit.ious), len(hit.obeyed)) == (True, 21, 21, 20)
    assert (miss.hit, len(miss.clicks), len(miss.ious), len(miss.obeyed)) == (False, 20, 21, 20)
    assert [ledger_line(r, 0.85, {})["noc"] for r in (hit, miss)] == [20, 20]
    slow = hit.__class__(0, sequence[0], None, on, True, hit.clicks[:4], [0.1, 0.2, 0.8, 0.9], [True] * 3, hit.mask)
    line = ledger_line(slow, 0.85, {})
    assert (line["noc"], line["reached"]) == (3, True)


def test_a_wrong_proposal_costs_nothing_and_leaves_no_click(sequence):
    """Sec. 3.2, "directly correct the proposal with a new click"; D15, D16."""
    off = pixel(~sequence[0].mask)
    net = Oracle(torch.from_numpy(sequence[0].mask))
    (r,) = annotate_sequence(Pointing(net, SETTINGS._replace(opo=False), [off]), sequence[:1], 0.85)
    assert (r.proposal, r.hit, r.ious) == (off, False, [0.0, 1.0])
    assert len(r.clicks) == 1
    assert sequence[0].mask[r.clicks[0][:2]]


def test_the_robot_user_and_the_iou_leave_void_out(sequence):
    """D12: a network that also marks void is right after one click; without void this target is out of reach."""
    gt = np.zeros((64, 64), bool)
    gt[20:40, 20:40] = True
    void = np.zeros_like(gt)
    void[18:42, 18:42] = ~gt[18:42, 18:42]
    sample = sequence[0]._replace(mask=gt, void=void)
    (r,) = annotate_sequence(Measured(Oracle(torch.from_numpy(gt | void)), SETTINGS), [sample], 0.99)
    assert r.ious == [0.0, 1.0]


def test_what_is_learnt_from_is_what_the_user_accepted(net, sequence):
    """Sec. 4.3, D20: not the ground truth, and nothing that only the data set knows."""
    session = Pointing(net, SETTINGS, [None] * 4)
    done = list(annotate_sequence(session, sequence, 0.3))
    for (clicks, mask), r in zip(session.accepted, done, strict=True):
        assert clicks == r.clicks
        assert torch.equal(mask, r.mask)
        assert not np.array_equal(mask, r.sample.mask)


def test_every_record_holds_together(net, sequence):
    """Sec. 4.1: NoC counts user clicks up to the target; D13, D14, D16. Proposals hit, miss and are not there."""
    points = [None, pixel(sequence[1].mask), pixel(~sequence[2].mask), pixel(sequence[3].mask)]
    session, seen = Pointing(net, SETTINGS, points), []
    for r in annotate_sequence(session, sequence, 0.3):
        seen.append(r.hit)
        user_clicks = len(r.clicks) - bool(r.hit)
        assert len(r.ious) == user_clicks + 1
        assert len(r.obeyed) == user_clicks
        line = ledger_line(r, 0.3, session.watch.laps)
        assert line["reached"] == (max(r.ious) >= 0.3)
        assert line["noc"] == (user_clicks if line["reached"] else 20)
        assert line["mask_digest"] == mask_digest(r.mask)
        assert set(line["seconds"]) == {"features", "clicks", "opo"}
    assert seen == [None, True, False, True]


def test_the_same_seed_gives_the_same_sequence_and_another_seed_another_optimisation(net, sequence):
    """D22, D29: the seed draws what OPO learns from, and nothing else is random."""
    parameters = []
    for seed in (0, 0, 1):
        session = Measured(net, SETTINGS._replace(seed=seed))
        list(annotate_sequence(session, sequence[:2], 0.85))
        parameters.append(session.category(sequence[0].category).history[-1]["0.0.weight"])
    assert torch.equal(parameters[0], parameters[1])
    assert not torch.equal(parameters[0], parameters[2])


def test_the_order_of_categories_is_free_and_their_memory_is_one(net, sequence):
    """D27, D22: a category can be left and continued; what is remembered is bounded over all of them."""
    session = Session(net, SETTINGS._replace(memory=3))
    list(annotate_sequence(session, [sequence[i] for i in (0, 2, 1, 3)], 0.85))
    assert [c.finished for c in session.categories.values()] == [2, 2]
    assert [s.category for s in session.memory.samples] == [sequence[i].category for i in (2, 1, 3)]


def test_a_run_has_the_row_and_the_seed_of_its_name(net, sequence, tmp_path):
    """Tab. 1, D29: the settings of a session follow from its run."""
    opened = OpenDataset(sequence, "", net, 64)
    ledger_of = ledger.Ledger(tmp_path, {}, labels(sequence))
    for row in "abcd":
        (part,) = ledger_of.parts(ledger.Run(row, 0.85, 3))
        session = work.resume(work.Task(ledger_of, part, opened, SETTINGS._replace(delta=2)))
        icp, opo = ledger.ROWS[row]
        assert session.settings == SETTINGS._replace(icp=icp, opo=opo, seed=3, delta=2)


# ---- the ablation ----------------------------------------------------------------------------------------------------


def test_the_rows_are_those_of_tab_1():
    """Tab. 1: (a) neither, (b) ICP, (c) OPO, (d) both."""
    assert {k: tuple(v) for k, v in ledger.ROWS.items()} == {
        "a": (False, False),
        "b": (True, False),
        "c": (False, True),
        "d": (True, True),
    }


def test_each_target_is_a_run_of_its_own_and_only_optimised_rows_are_repeated():
    """Sec. 4.1, "mean value of 5 experiments"; D26, D29."""
    runs = planned_runs("abcd", (0.85, 0.90), 5)
    assert len(set(runs)) == len(runs) == 2 * (1 + 1 + 5 + 5)


def test_without_targets_and_seeds_a_data_set_gets_those_of_the_paper(folder, checkpoint, monkeypatch):
    """Sec. 4.1, D26, D29: 85 % and 90 %, five experiments; the built-in sequence has ten scenes, a target, a seed."""
    planned = []
    monkeypatch.setattr(siis, "carry_out", lambda tasks, _: planned.extend(tasks))
    monkeypatch.setattr(siis, "show", lambda *_: None)
    main(command(folder, checkpoint, folder / "out", "--rows", "abcd"))
    runs = [(row, t, n) for row in "abcd" for t in (0.85, 0.9) for n in range(5 if row in "cd" else 1)]
    assert sorted(task.part.run for task in planned) == runs
    planned.clear()
    main(command("Synthetic", checkpoint, folder / "out", "--rows", "abcd"))
    assert [task.part.run for task in planned] == [(row, 0.85, 0) for row in "abcd"]
    assert {(len(task.opened.samples), task.settings.size) for task in planned} == {(10, 224)}


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


def test_a_ledger_of_an_earlier_version_is_refused(folder, checkpoint, tmp_path, refused):
    """One file held all runs then; it is neither read nor overwritten."""
    (tmp_path / "clicks.jsonl").write_text("{}\n")
    old = "clicks.jsonl is a ledger of an earlier version, which this one cannot continue; choose another folder"
    assert refused(command(folder, checkpoint, tmp_path)) == f"--out {tmp_path}: {old}"


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
        assert verdict == {None: "", True: "proposal right", False: "proposal wrong"}[helped["hit"]]
        assert clicks.endswith(f" (row (a): {alone['noc']})")
        assert clicks.startswith(f"{helped['noc']} click" if helped["reached"] else "not reached")
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
    assert len(text.splitlines()) <= (30 if program is siis else 40)
    gone = {f"--{name}" for name in ("refresh", "scope", "proposal", "stop-after", "memory", "layer")}
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
