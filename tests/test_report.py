"""Sec. 4: the program of the experiments: shared runs, ledgers alone, sheets, plots."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments.measured import Measured
from layouts import plain
from networks import thin_net
from PIL import Image
from settings import Settings

import report
import siis
from experiments import drawing, figures, work
from experiments.ledger import Run, data_name, read_ledger, run_files
from experiments.sheets import replay
from robot_user import iou
from training.checkpoints import save_checkpoint

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

EVERYTHING = ["--tables", "1", "3", "5", "6", "7", "8", "--figures", "4", "--extras", *report.EXTRAS]


@pytest.fixture(scope="module")
def place(tmp_path_factory, sequence):
    """A data set of four 64 x 64 images on disk, and a checkpoint."""
    root = tmp_path_factory.mktemp("report")
    plain(root / "data", sequence)
    save_checkpoint(root / "net.pt", thin_net(), size=64)
    return root


def command(place, out, *more):
    arguments = ["--data", place / "data", "--weights", place / "net.pt", "--out", out, "--device", "cpu"]
    return [str(a) for a in [*arguments, "--targets", "0.3", "--seeds", "1", "--limit", "3", *more]]


@pytest.fixture(scope="module")
def done(place, tmp_path_factory):
    """A report with shared runs: Tabs. 1 and 5, Figs. 4-6, sequences."""
    out = tmp_path_factory.mktemp("out")
    asked = ["--tables", "1", "5", "--figures", "4", "5", "6", "--stops", "0", "1", "--memories", "1"]
    asked += ["--extras", "curves", "hits"]

    def once(curves, axis, value, file, steep):
        if not file.exists():  # a report draws its plots again after the sheets
            figures.plot(curves, axis, value, file, steep)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "plot", once)
        report.main(command(place, out, *asked))
    return out, asked


def ledgers(out):
    folders = [runs.parent for runs in Path(out).glob("data/*/runs")]
    return {folder.name: [r for file in run_files(folder) for r in read_ledger(file)[0]] for folder in folders}


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_runs_that_two_tables_need_are_one_run():
    """Tab. 3's R_4 is Tab. 1's row (b); Fig. 4's default memory and 'never' are its row (d)."""
    args = report.parse([*EVERYTHING, "--seeds", "2", "--stops", "0", "5", "--memories", "8", "256"])
    jobs = report.planned(args, {"LeedsButterfly": 832})
    runs = {report.folder_name(job.changes): job.runs for job in jobs}
    assert len(jobs) == len(runs)
    assert all(len(set(of)) == len(of) for of in runs.values())
    assert len(runs["paper"]) == 2 * (1 + 1 + 2 + 2)
    assert set(runs) == {
        *("paper", "layer-1", "layer-2", "layer-3", "layer-ms", "proposal-random", "proposal-object"),
        *("scope-global", "stop-after-5", "memory-8", "memory-832", "augment", "delta-2", "delta-4"),
    }
    assert set(runs["proposal-random"]) == {Run("b", t, s) for t in (0.85, 0.9) for s in (0, 1)}
    assert runs["layer-3"] == [Run("b", 0.9, 0)]
    assert set(runs["scope-global"]) == {Run("c", 0.9, 0), Run("c", 0.9, 1)}


def test_one_ledger_per_configuration_and_a_second_invocation_performs_no_run(place, done, monkeypatch, capsys):
    """The ledger says what is done; the same command reads it."""
    out, asked = done
    held = ledgers(out)
    assert {name: len(records) for name, records in held.items()} == {
        "paper": 4 * 3,
        "proposal-random": 3,
        "proposal-object": 3,
        "stop-after-1": 3,
        "memory-1": 3,
    }
    before = (out / "report.md").read_text()
    monkeypatch.setattr(work, "perform", None)
    monkeypatch.setattr("experiments.sheets.replay", None)
    capsys.readouterr()
    report.main(command(place, out, *asked))
    shown = capsys.readouterr()
    assert ", 0 to do" in shown.err
    assert shown.out == (out / "report.md").read_text() == before
    assert ledgers(out) == held


def test_every_figure_can_be_had_from_the_ledgers_alone(place, done, capsys, monkeypatch):
    """Tables, CSV files and curves come from ledgers, without data or weights; sheets stay where they are."""
    out, asked = done
    text = (out / "report.md").read_text()
    tables = {f.name: f.read_bytes() for f in out.glob("*.csv")}
    monkeypatch.setattr(report, "network", None)
    report.main(["--no-runs", "--data", str(place / "data"), "--out", str(out), "--targets", "0.3", *asked])
    assert capsys.readouterr().out == text
    assert "![](data/figure-5-at-30.png)" in text
    assert ("![](figure-4a.png)" in text) is figures.can_plot()
    assert {f.name: f.read_bytes() for f in out.glob("*.csv")} == tables
    (out / "report.md").write_text(text)


def test_siis_goes_on_with_a_ledger_of_a_report(place, done, monkeypatch):
    """The same flags and --out are the same configuration."""
    out, _ = done
    monkeypatch.setattr(work, "perform", None)
    siis.main(command(place, out / "data" / "paper", "--rows", "abcd"))


def test_a_report_that_was_killed_goes_on_from_the_session_it_saved(place, done, tmp_path):
    """What was written after the session was saved is done again, to the same records."""
    whole = [r for r in ledgers(done[0])["paper"] if r["row"] == "d"]
    folder, more = tmp_path / "data" / "paper", ["--extras", "hits"]
    (folder / "runs").mkdir(parents=True)
    (folder / "runs" / "d-0.3-0.jsonl").write_text("".join(json.dumps(r) + "\n" for r in whole[:2]))
    opened = dict(report.open_all(report.parse(command(place, tmp_path, *more))))["data"]
    session = Measured(opened.net, Settings(size=64))
    next(siis.annotate_sequence(session, opened.samples, 0.3))
    session.save(folder / "runs" / "d-0.3-0.pt")
    report.main(command(place, tmp_path, *more))
    assert not list(folder.rglob("*.pt"))
    again = [r for r in ledgers(tmp_path)["paper"] if r["row"] == "d"]
    assert [r | {"seconds": None} for r in again] == [r | {"seconds": None} for r in whole]


def test_the_plan_tells_the_time_once_there_are_like_instances(place, done, monkeypatch, capsys):
    """Seconds an instance are in the ledger."""
    out, _ = done
    monkeypatch.setattr(work, "perform", None)
    report.main(command(place, out, "--tables", "3", "--plan"))
    assert "5 runs, 4 to do: 12 instances, about" in capsys.readouterr().err
    report.main(command(place, out, "--tables", "7", "--extras", "augment", "--plan"))
    assert "4 runs, 2 to do: 6 instances, how long is not known" in capsys.readouterr().err
    report.main(command(place, out.parent / "new", "--tables", "3", "--plan"))
    assert "5 runs, 5 to do: 15 instances, how long is not known" in capsys.readouterr().err
    assert not (out.parent / "new").exists()


# ---- what is written -------------------------------------------------------------------------------------------------


def test_a_report_says_which_network_it_is_of(place, done, capsys):
    """D33: the network that ships is not the paper's."""
    report.main(command(place, done[0], "--tables", "1", "--plan"))
    assert "report: network: net.pt, a resnet18 (the paper has a resnet101)" in capsys.readouterr().err
    assert (done[0] / "report.md").read_text().startswith("Network: net.pt, a resnet18 (the paper has a resnet101)")


def test_csv_and_markdown_hold_the_same_cells(done):
    """One table, two spellings."""
    out, _ = done
    lines = [line.strip("| ").split(" | ") for line in (out / "report.md").read_text().splitlines() if line[:1] == "|"]
    markdown = [cells for cells in lines if set(cells) != {"---"}]
    order = ["table-1", "table-5", "figure-4a", "figure-4b", "curves", "hits"]
    cells = [line for name in order for line in csv.reader((out / f"{name}.csv").read_text().splitlines())]
    assert [[c.strip() for c in line] for line in markdown] == cells


def test_a_number_of_the_report_is_the_mean_of_the_ledger(done):
    """NoC of row (d), from the ledgers by hand."""
    out, _ = done
    noc = [r["noc"] for r in ledgers(out)["paper"] if r["row"] == "d"]
    (line,) = (line for line in csv.reader((out / "table-1.csv").read_text().splitlines()) if line[1] == "(d)")
    assert line[2:5] == ["3", "1", f"{np.mean(noc):.2f}"]


def test_the_sheets_show_proposals_and_first_clicks(done):
    """Figs. 5 and 6: three pictures a row; the truth and three predictions of each of two rows."""
    out, _ = done
    for number, columns in ((5, 3), (6, 7)):
        with Image.open(out / "data" / f"figure-{number}-at-30.png") as sheet:
            assert sheet.size == drawing.page_size(columns, [drawing.TILE] * 3, drawing.NARROWEST)


def test_going_through_the_recorded_clicks_again_gives_the_recorded_masks(place, done):
    """Figs. 5-6 are drawn from a replay: optimisation and masks are those of the run, to the last IoU."""
    out, _ = done
    args = report.parse(command(place, out, "--tables", "1"))
    opened = dict(report.open_all(args))["data"]
    records = [r for r in ledgers(out)["paper"] if r["row"] == "d"]
    run, again = (Measured(opened.net, Settings(size=64)) for _ in range(2))
    list(siis.annotate_sequence(run, opened.samples, 0.3))
    shots = list(replay(again, opened.samples, records, {0, 1, 2}))
    for category, state in run.categories.items():
        learnt, relearnt = state.history[-1], again.category(category).history[-1]
        assert all(torch.equal(relearnt[k], v) for k, v in learnt.items())
        assert not all(torch.equal(again.baseline[k], v) for k, v in learnt.items())
    assert [s["index"] for s in shots] == [0, 1, 2]
    for shot in shots:
        assert iou(shot["mask"], shot["sample"].mask, shot["sample"].void) == shot["ious"][-1]


def test_without_matplotlib_numbers_and_one_line(place, done, monkeypatch, capsys):
    """Extra `plots`."""
    out, _ = done
    for module in (report, figures):
        monkeypatch.setattr(module, "can_plot", lambda: False)
    for file in out.glob("figure-4*"):
        file.unlink()
    more = ["--figures", "4", "--stops", "0", "1", "--memories", "1"]
    report.main(command(place, out, *more))
    assert capsys.readouterr().err.splitlines()[2:] == [f"report: {report.NO_PLOTS}"]
    assert {f.name for f in out.glob("figure-4*")} == {"figure-4a.csv", "figure-4b.csv"}


def test_with_matplotlib_a_picture(tmp_path):
    """Fig. 4 as PNG, drawn without a window."""
    pytest.importorskip("matplotlib")
    file = tmp_path / "curve.png"
    figures.plot([figures.Curve("x", [0, 1, 10], [3, 2, 1], [2, 1, 0], [4, 3, 2])], "samples", "NoC", file, steep=True)
    with Image.open(file) as picture:
        assert picture.size == (900, 600)


def test_an_incomplete_run_is_left_out_and_said(place, done, tmp_path, capsys):
    """A mean over part of a sequence is another figure."""
    out, _ = done
    runs = tmp_path / "data" / "paper" / "runs"
    runs.mkdir(parents=True)
    for row, kept in (("a", 3), ("b", 2)):
        file = f"{row}-0.3-0.jsonl"
        lines = (out / "data" / "paper" / "runs" / file).read_text().splitlines(keepends=True)
        (runs / file).write_text("".join(lines[:kept]))
    report.main(["--no-runs", "--tables", "1", "--targets", "0.3", "--data", "data", "--out", str(tmp_path)])
    shown = capsys.readouterr()
    assert "1 runs are not complete" in shown.err
    assert "| data | (a) | 3 | 1 |" in shown.out
    assert "| data | (b) | — | — | — |" in shown.out


def test_a_sheet_that_is_not_there_is_said(done, tmp_path, capsys):
    """Figs. 5-6 need data and weights, which `--no-runs` does without."""
    out, _ = done
    shutil.copytree(out / "data" / "paper", tmp_path / "data" / "paper")
    report.main(["--no-runs", "--figures", "5", "--targets", "0.3", "--data", "data", "--out", str(tmp_path)])
    file = tmp_path / "data" / "figure-5-at-30.png"
    assert (
        capsys.readouterr().err
        == f"report: {file} is not there; it is drawn from data and weights, without --no-runs\n"
    )


def test_what_a_killed_report_left_half_written_is_removed(done, tmp_path):
    """Its tables, plots and sheets, by the next one on the same --out; a data set may be called anything."""
    out = shutil.copytree(done[0], tmp_path / "out")
    data = (out / "data").rename(out / "mugs [2]")
    left = [out / ".report.123.md", out / ".table-1.123.csv", data / ".figure-5-at-30.123.png"]
    for file in left:
        file.write_text("half")
    report.main(["--no-runs", "--tables", "1", "--targets", "0.3", "--data", f"./{data.name}/", "--out", str(out)])
    assert not any(file.exists() for file in left)


def test_a_ledger_of_an_earlier_version_is_refused_in_one_line(place, tmp_path, refused):
    """With and without runs; the remedy is another folder."""
    folder = tmp_path / "data" / "paper"
    folder.mkdir(parents=True)
    (folder / "clicks.jsonl").write_text("{}\n")
    for more in ([], ["--no-runs"]):
        error = refused(command(place, tmp_path, "--tables", "1", *more), report.main, "report")
        assert error.startswith(f"--out {folder}: clicks.jsonl is a ledger of an earlier version")


def test_a_name_with_spaces_brackets_and_bars_does_not_break_the_report(place, done, tmp_path):
    """Cells stay cells, and links lead to their files."""
    name = "my (own) mugs | 2"
    shutil.copytree(done[0] / "data", tmp_path / name)
    more = ["--tables", "1", "--figures", "5", "--targets", "0.3"]
    report.main(["--no-runs", "--data", f"./{name}/", "--out", str(tmp_path), *more])
    text = (tmp_path / "report.md").read_text()
    assert "| my (own) mugs \\| 2 | (a) | 3 | 1 |" in text
    assert "![](my%20%28own%29%20mugs%20%7C%202/figure-5-at-30.png)" in text


def test_two_data_sets_of_one_name_do_not_share_a_ledger(place, tmp_path, capsys):
    """OUT/NAME is one data set's; a folder goes by its own name, however it is written."""
    for folder in ("x/data", "y/data"):
        shutil.copytree(place / "data", tmp_path / folder)
    for one, other in (("x/data", "y/data"), ("x/data", "x/data/../data"), ("x/data", "x/data/")):
        with pytest.raises(SystemExit):
            report.parse(["--tables", "1", "--data", str(tmp_path / one), str(tmp_path / other)])
        assert "results of two would be in runs/report/data; rename one" in capsys.readouterr().err
    assert data_name(str(tmp_path / "x" / "data" / "..")) == "x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do: name some of --tables, --figures, --extras, --study"),
        (["--study", "nowhere"], "--study nowhere: no annotations.jsonl in it; name a folder that annotate.py wrote"),
        (["--tables", "2"], "argument --tables: invalid choice: '2'"),
        (["--figures", "4", "--stops", "-1"], "argument --stops: '-1'"),
        (["--tables", "1", "--data", "nowhere"], "--data nowhere: no such data set or folder"),
        (["--tables", "1", "--data", "CoCA"], "--data CoCA: --root is missing"),
        (["--tables", "1", "--min-area", "9"], "--min-area 9: the built-in sequence does not use it"),
        (["--tables", "1", "--masks", "index"], "--masks index: the built-in sequence does not use it"),
        (["--tables", "1", "--plan", "--no-runs"], "argument --plan: not allowed with --no-runs"),
        (["--tables", "1", "--root", "."], "argument --root: .: no data set without a ROOT of its own"),
        (["--tables", "1", "--no-runs", "--out", "nowhere"], "--no-runs: no ledger of Synthetic in nowhere"),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments, message, refused):
    """CONTRIBUTING, 'How errors read': exit code 2."""
    assert message in refused(arguments, report.main, "report")
