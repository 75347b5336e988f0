"""Tabs. 2 and 7, D7: what the benchmark counts and prints. Nothing here is timed."""

import json
from functools import partial

import pytest
import torch

import benchmark
from data import Synthetic
from experiments import deeplab
from experiments.deeplab import DeepLabV3Plus, operations
from experiments.timings import Costs, Target, Timing, markdown, quartiles, show
from model import parameter_count

SMALL = ["--quick", "--backbone", "resnet18", "--size", "64", "--device", "cpu"]


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_deeplab_v3_plus_has_59_345_m_parameters_and_50_149_g_operations():
    """Tab. 2, to the last printed digit; D7: ASPP 256, low-level 48, two 3x3 at 256, five input channels."""
    with torch.device("meta"):
        net = DeepLabV3Plus("resnet101").eval()
        count, z = operations(partial(net, torch.empty(1, 3, 384, 384), torch.empty(1, 2, 384, 384)))
    assert parameter_count(net) == 59_345_441
    assert f"{count / 1e9:.3f}" == "50.149"
    assert z.shape == (1, 1, 384, 384)
    assert net.backbone.stem[0].weight.shape == (64, 5, 7, 7)


def test_the_counts_of_tab_2_are_the_paper_s_and_cached_features_and_reduced_features_spare_the_rest():
    """Tab. 2: 59.345 M, 50.149 G; 45.743 M, 32.364 G; D7. Sec. 3.1: a click needs neither backbone nor purification."""
    counts = deeplab.counts("resnet101", 384)
    printed = [(f"{p / 1e6:.3f}", f"{n / 1e9:.3f}") for p, n in counts.values()]
    assert printed[:2] == [("59.345", "50.149"), ("45.743", "32.364")]
    assert counts["ours, F cached"][0] == 45_742_593 - 42_500_160
    assert counts["ours, R cached"][0] == 45_742_593 - 42_500_160 - 697_280
    assert counts["ours, R cached"][1] < counts["ours, F cached"][1] < 0.1 * counts["ours"][1]


def test_deeplab_v3_plus_answers_every_click_with_the_whole_network():
    """Tab. 2, D7: the click maps are joined to the image, so that nothing can be cached."""
    torch.manual_seed(0)
    net = DeepLabV3Plus("resnet18").eval()
    E_0 = torch.zeros(2, 2, 64, 96)
    E_0[1, 0, 20:40, 20:40] = 1
    with torch.no_grad():
        z, F = net(torch.zeros(2, 3, 64, 96), E_0), net.backbone(torch.cat([torch.zeros(2, 3, 64, 96), E_0], dim=1))
    assert z.shape == (2, 1, 64, 96)
    assert not torch.equal(z[0], z[1])
    assert not torch.equal(F[0][0], F[0][1])


# ---- what is printed -------------------------------------------------------------------------------------------------


def test_every_part_prints_its_rows_and_writes_the_same_as_json(tmp_path, capsys, monkeypatch, short_runs):
    """`python benchmark.py`: Tabs. 2 and 7, a click by part, row (d) by operator, and the targets."""
    monkeypatch.setattr(benchmark, "Synthetic", lambda n, size: Synthetic(n, size=64))
    out = tmp_path / "new" / "benchmark.json"
    benchmark.main([*SMALL, "--out", str(out)])
    printed, written = capsys.readouterr().out, json.loads(out.read_text())
    tables = []
    for t in written["tables"]:
        rows = [[Timing(**c) if isinstance(c, dict) else c for c in row] for row in t["rows"]]
        tables.append(Costs(t["title"], t["columns"], rows))
    assert printed == "".join(markdown(t) + "\n" for t in tables)
    assert all(len(row) == len(t.columns) for t in tables for row in t.rows)
    assert (written["device"], written["backbone"], written["size"], written["quick"]) == ("cpu", "resnet18", 64, True)
    first = [[row[0] for row in t.rows] for t in tables]
    assert ["DeepLab v3+", "ours", "ours, F cached", "ours, R cached"] in first
    assert ["purification, cached features", "purification, backbone recomputed", "global"] in first
    assert len(first[-1]) == 4  # targets
    for word in ("features", "purify", "segment", "resize", "distance transforms", "convolutions"):
        assert any(word in name for names in first for name in names)


def test_a_target_is_met_from_its_bound_on():
    """The table of targets: at most, or at least."""
    rows = [Target("x", ratio, 0.5, least).row() for least in (False, True) for ratio in (0.4, 0.5, 0.6)]
    assert [row[3] for row in rows] == ["met", "met", "not met", "not met", "met", "met"]
    assert [rows[0][1], rows[3][1]] == ["at most 0.500", "at least 0.500"]


def test_a_time_is_its_median_and_quartiles_in_a_fitting_unit():
    """Medians with spread."""
    assert quartiles([3.0, 1.0, 2.0, 5.0, 4.0]) == Timing(3, 2, 4)
    assert quartiles([0.25]) == Timing(0.25, 0.25, 0.25)
    assert show(Timing(1.25, 1, 1.5)) == "1.25 (1-1.5) s"
    assert show(Timing(0.0123, 0.01, 0.02)) == "12.3 (10-20) ms"


@pytest.mark.parametrize(
    "line",
    [
        *(["--size", "100"], ["--backbone", "vgg"], ["--parts", "tab9"], ["--device", "abacus"]),
        ["--root", ".", "--parts", "tab2"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(line, capsys):
    """CONTRIBUTING, 'How errors read': the command line answers in one line."""
    with pytest.raises(SystemExit) as end:
        benchmark.parse(line)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith("benchmark: error: argument ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("line", [["--root", "nowhere"], ["--out", "file/benchmark.json"]])
def test_a_folder_that_is_not_there_is_refused_before_anything_is_measured(line, tmp_path, monkeypatch):
    """CONTRIBUTING, 'How errors read'; a whole run takes a quarter of an hour."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(benchmark, "run", None)
    with pytest.raises((ValueError, OSError), match=line[1].split("/")[0]):
        benchmark.main([*SMALL, *line])
