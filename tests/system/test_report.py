"""Sec. 4: the program of the experiments: shared runs, ledgers alone, sheets, plots."""

import shutil
import sys
from importlib.util import find_spec

import pytest
from quick import command, records

import report
import siis
from experiments import work
from experiments.catalogue import EXPERIMENTS
from experiments.ledger import data_name

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

ASKED = ["--tables", "1", "5", "--figures", "4", "5", "6"]


@pytest.fixture(scope="module", autouse=True)
def short_axes():
    """Fig. 4 at few places."""
    with pytest.MonkeyPatch.context() as patch:
        for name, lines in (("4a", [0, 1, 10]), ("4b", [0, 8])):
            e = EXPERIMENTS[f"figure-{name}"]
            patch.setitem(EXPERIMENTS, f"figure-{name}", e._replace(lines=[e.lines[i] for i in lines]))
        yield


@pytest.fixture(scope="module")
def done(place, tmp_path_factory):
    """A report with shared runs: Tabs. 1 and 5, Figs. 4-6."""
    out = tmp_path_factory.mktemp("out")
    report.main(command(place, out, *ASKED))
    return out


def alone(out, *more):
    """A report of ledgers alone."""
    report.main(["--no-runs", "--targets", "0.15", "--out", str(out), *more])


def test_one_ledger_per_configuration_and_a_second_invocation_performs_no_run(place, done, monkeypatch, capsys):
    """The ledger says what is done; the same command reads it, and so does `siis.py` with the same flags."""
    before = (done / "report.md").read_text()
    folders = {folder.name for folder in (done / "data").iterdir() if folder.is_dir()}
    assert folders == {"paper", "full", "foreground", "stop-after-1", "memory-1"}
    monkeypatch.setattr(work, "perform", None)
    capsys.readouterr()
    report.main(command(place, done, *ASKED))
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == (done / "report.md").read_text() == before
    siis.main(command(place, done / "data" / "paper"))
    assert "16 annotated instances" in capsys.readouterr().out


def test_everything_can_be_had_from_the_ledgers_and_the_pictures_beside_them(done, capsys, monkeypatch):
    """Tables, curves and sheets, without data or weights; the network is named, which is not the paper's (D33)."""
    text = (done / "report.md").read_text()
    monkeypatch.setattr(report, "perform", None)
    alone(done, "--data", "data", *ASKED)
    assert capsys.readouterr().out == text
    with pytest.raises(ValueError, match=r"--targets: no run of data goes to 0\.9; name 0\.15"):
        report.main(["--no-runs", "--out", str(done), "--data", "data", *ASKED])
    assert text.startswith("Network: net.pt, a resnet18 (the paper has a resnet101)")
    assert "![](data/figure-5.png)" in text
    assert ("![](figure-4a.png)" in text) is (find_spec("matplotlib") is not None)


def test_without_matplotlib_numbers_and_one_line(done, tmp_path, monkeypatch, capsys):
    """Extra `plots`."""
    shutil.copytree(done / "data", tmp_path / "data")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    alone(tmp_path, "--data", "data", "--figures", "4")
    assert capsys.readouterr().err.startswith("report: matplotlib is missing, so numbers only; plots with: pip install")
    assert not list(tmp_path.glob("figure-4*"))
    assert "Fig. 4 (b)" in (tmp_path / "report.md").read_text()


def test_an_incomplete_run_is_left_out_and_said(done, tmp_path, capsys):
    """A mean over part of a sequence is another figure."""
    runs = tmp_path / "data" / "paper" / "runs"
    runs.mkdir(parents=True)
    for name, kept in (("a-0.15-0.jsonl", 4), ("b-0.15-0.jsonl", 3)):
        lines = (done / "data" / "paper" / "runs" / name).read_text().splitlines(keepends=True)
        (runs / name).write_text("".join(lines[:kept]))
    alone(tmp_path, "--tables", "1", "--data", "data")
    shown = capsys.readouterr()
    assert "1 runs are not complete" in shown.err
    assert "| data | (a) | 4 | 1 |" in shown.out
    assert "| data | (b) |" not in shown.out


def test_two_data_sets_of_one_name_do_not_share_a_ledger(capsys):
    """OUT/NAME is one data set's; a folder goes by its own name, however it is written."""
    for other in ("y/data", "x/data/../data", "x/data/"):
        with pytest.raises(SystemExit):
            report.parse(["--tables", "1", "--data", "x/data", other])
        assert "results of two would be in runs/report/data; rename one" in capsys.readouterr().err
    assert data_name("x/data/..") == "x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do: name some of --tables, --figures, --study"),
        (["--study", "nowhere"], "--study nowhere: no annotations.jsonl in it; name a folder that annotate.py wrote"),
        (["--tables", "2"], "argument --tables: invalid choice: '2'"),
        (["--tables", "1", "--min-area", "9"], "--min-area 9: the built-in sequence does not use it"),
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
    runs = ["a-0.15-0", *(f"{row}-0.15-0{order}" for row in "bcd" for order in ("", "-order-1"))]
    assert sorted(records(tmp_path / "data" / "paper")) == runs
    text = (tmp_path / "report.md").read_text()
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| data ")]
    assert [line[4] for line in lines] == ["orders", "1", "2", "2", "2"]
    assert ["±" in line[6] for line in lines[1:]] == [False, True, True, True]
    assert "± is the 95 % interval over orders" in text


def test_a_study_is_summed_up_with_the_paper_s_own_protocol_named_as_another(tmp_path, capsys):
    """Tab. 4 is an experiment of its own: what people needed in the annotator is no repetition of it."""
    (tmp_path / "annotations.jsonl").write_text("")
    report.main(["--study", str(tmp_path)])
    other = "Tab. 4 is another experiment: 0.46 s to judge a correct point, 0.56 s to judge a wrong point"
    assert other in capsys.readouterr().out
