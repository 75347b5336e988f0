"""Sec. 4: the program of the experiments: shared runs, ledgers alone, sheets, plots."""

import shutil
from pathlib import Path

import pytest
from layouts import plain
from networks import thin_net
from PIL import Image

import report
import siis
from experiments import catalogue, curves, drawing, work
from experiments.ledger import data_name, read_ledger, run_files
from training.checkpoints import save_checkpoint

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")


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


@pytest.fixture(scope="module", autouse=True)
def short_axes():
    """Fig. 4 at few places."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "STOPS", (0, 1))
        patch.setattr(catalogue, "MEMORIES", (1, 256))
        yield


@pytest.fixture(scope="module")
def done(place, tmp_path_factory):
    """A report with shared runs: Tabs. 1 and 5, Figs. 4-6, sequences."""
    out = tmp_path_factory.mktemp("out")
    asked = ["--tables", "1", "5", "proposals", "--figures", "4", "5", "6"]
    report.main(command(place, out, *asked))
    return out, asked


def ledgers(out):
    folders = [runs.parent for runs in Path(out).glob("data/*/runs")]
    return {folder.name: [r for file in run_files(folder) for r in read_ledger(file)[0]] for folder in folders}


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_one_ledger_per_configuration_and_a_second_invocation_performs_no_run(place, done, monkeypatch, capsys):
    """The ledger says what is done; the same command reads it."""
    out, asked = done
    held = ledgers(out)
    assert {name: len(records) for name, records in held.items()} == {
        "paper": 4 * 3,
        "full": 3,
        "foreground": 3,
        "stop-after-1": 3,
        "memory-1": 3,
    }
    before = (out / "report.md").read_text()
    monkeypatch.setattr(work, "perform", None)
    capsys.readouterr()
    report.main(command(place, out, *asked))
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == (out / "report.md").read_text() == before
    assert ledgers(out) == held


def test_every_figure_can_be_had_from_the_ledgers_alone(place, done, capsys, monkeypatch):
    """Tables and curves come from ledgers, without data or weights; sheets stay where they are."""
    out, asked = done
    text = (out / "report.md").read_text()
    monkeypatch.setattr(report, "perform", None)
    report.main(["--no-runs", "--data", str(place / "data"), "--out", str(out), "--targets", "0.3", *asked])
    assert capsys.readouterr().out == text
    assert "![](data/figure-5.png)" in text
    assert ("![](figure-4a.png)" in text) is curves.can_plot()
    (out / "report.md").write_text(text)


def test_siis_goes_on_with_a_ledger_of_a_report(place, done, monkeypatch):
    """The same flags and --out are the same configuration."""
    out, _ = done
    monkeypatch.setattr(work, "perform", None)
    siis.main(command(place, out / "data" / "paper", "--rows", "abcd"))


# ---- what is written -------------------------------------------------------------------------------------------------


def test_a_report_says_which_network_it_is_of(done):
    """D33: the network that ships is not the paper's."""
    assert (done[0] / "report.md").read_text().startswith("Network: net.pt, a resnet18 (the paper has a resnet101)")


def test_the_sheets_show_proposals_and_first_clicks(done):
    """Figs. 5 and 6: three pictures a row; the truth and three predictions of each of two rows."""
    out, _ = done
    for number, columns in ((5, 3), (6, 7)):
        with Image.open(out / "data" / f"figure-{number}.png") as sheet:
            assert sheet.size == drawing.page_size(columns, [drawing.TILE] * 3, drawing.NARROWEST)


def test_runs_without_pictures_are_said_to_have_none(place, done, tmp_path, capsys):
    """Figs. 5 and 6 are laid out from what was kept while the runs were done."""
    out = shutil.copytree(done[0], tmp_path / "out")
    shutil.rmtree(out / "data" / "paper" / "sheet")
    (out / "data" / "figure-5.png").unlink()
    report.main(command(place, out, "--figures", "5"))
    folder = out / "data" / "paper"
    assert capsys.readouterr().err == f"report: Fig. 5: the runs in {folder} have no pictures; use a new --out\n"
    assert "Fig. 5" not in (out / "report.md").read_text()


def test_without_matplotlib_numbers_and_one_line(place, done, monkeypatch, capsys):
    """Extra `plots`."""
    out, _ = done
    monkeypatch.setattr(report, "can_plot", lambda: False)
    for file in out.glob("figure-4*"):
        file.unlink()
    more = ["--figures", "4"]
    report.main(command(place, out, *more))
    assert capsys.readouterr().err.startswith("report: matplotlib is missing, so numbers only; plots with: pip install")
    assert not list(out.glob("figure-4*"))
    assert "Fig. 4 (b)" in (out / "report.md").read_text()


def test_with_matplotlib_a_picture(tmp_path):
    """Fig. 4 as PNG, drawn without a window."""
    pytest.importorskip("matplotlib")
    file = tmp_path / "curve.png"
    curves.plot([curves.Curve("x", [0, 1, 10], [3, 2, 1], [2, 1, 0], [4, 3, 2])], "samples", file)
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
    assert "| data | (b) |" not in shown.out


def test_a_name_with_spaces_brackets_and_bars_does_not_break_the_report(place, done, tmp_path):
    """Cells stay cells, and links lead to their files."""
    name = "my (own) mugs | 2"
    shutil.copytree(done[0] / "data", tmp_path / name)
    more = ["--tables", "1", "--figures", "5", "--targets", "0.3"]
    report.main(["--no-runs", "--data", f"./{name}/", "--out", str(tmp_path), *more])
    text = (tmp_path / "report.md").read_text()
    assert "| my (own) mugs \\| 2 | (a) | 3 | 1 |" in text
    assert "![](my%20%28own%29%20mugs%20%7C%202/figure-5.png)" in text


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
        ([], "nothing to do: name some of --tables, --figures, --study"),
        (["--study", "nowhere"], "--study nowhere: no annotations.jsonl in it; name a folder that annotate.py wrote"),
        (["--tables", "2"], "argument --tables: invalid choice: '2'"),
        (["--tables", "1", "--data", "nowhere"], "--data nowhere: no such data set or folder"),
        (["--tables", "1", "--data", "CoCA"], "--data CoCA: --root is missing"),
        (["--tables", "1", "--min-area", "9"], "--min-area 9: the built-in sequence does not use it"),
        (["--tables", "1", "--masks", "index"], "--masks index: the built-in sequence does not use it"),
        (["--tables", "1", "--root", "."], "argument --root: .: no data set without a ROOT of its own"),
        (["--tables", "1", "--no-runs", "--out", "nowhere"], "--no-runs: no ledger of Synthetic in nowhere"),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments, message, refused):
    """CONTRIBUTING, 'How errors read': exit code 2."""
    assert message in refused(arguments, report.main, "report")


def test_orders_stand_behind_one_another_and_row_a_is_run_once(place, tmp_path):
    """D29: `--orders 2`; the interval over orders stands beside the mean."""
    report.main(command(place, tmp_path, "--tables", "1", "--orders", "2"))
    held = [(r["row"], r["order"]) for r in ledgers(tmp_path)["paper"] if r["index"] == 0]
    assert sorted(held) == [("a", 0), *((row, n) for row in "bcd" for n in (0, 1))]
    text = (tmp_path / "report.md").read_text()
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| data ")]
    assert [line[4] for line in lines] == ["orders", "1", "2", "2", "2"]
    assert ["±" in line[6] for line in lines[1:]] == [False, True, True, True]
    assert "± is the 95 % interval over orders" in text


def test_a_study_is_summed_up_with_the_paper_s_own_protocol_named_as_another(tmp_path, capsys):
    """Tab. 4 is an experiment of its own: what people needed in the annotator is no repetition of it."""
    (tmp_path / "annotations.jsonl").write_text("")
    report.main(["--study", str(tmp_path)])
    assert (
        "Tab. 4 is another experiment: 0.46 s to judge a correct point, 0.56 s to judge a wrong point"
        in capsys.readouterr().out
    )
