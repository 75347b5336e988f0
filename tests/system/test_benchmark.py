"""Tabs. 2 and 7, D7: what the benchmark counts and prints. Nothing here is timed."""

import re

import torch

import benchmark
from experiments import deeplab, published

SMALL = ["--quick", "--backbone", "resnet18", "--size", "64", "--device", "cpu"]


def test_the_counts_of_tab_2_are_the_paper_s_and_cached_features_and_reduced_features_spare_the_rest():
    """Tab. 2: 59.345 M, 50.149 G; 45.743 M, 32.364 G; D7. Sec. 3.1: a click needs neither backbone nor purification."""
    counts = deeplab.counts("resnet101", 384)
    printed = [(f"{p / 1e6:.3f}", f"{n / 1e9:.3f}") for p, n in counts.values()]
    assert printed[:2] == [("59.345", "50.149"), ("45.743", "32.364")]
    assert counts["DeepLab v3+"][0] == 59_345_441
    assert counts["ours, R cached"][1] < counts["ours, F cached"][1] < 0.1 * counts["ours"][1]


def test_every_part_prints_its_rows(capsys):
    """`python benchmark.py`: Tabs. 2 and 7; a time with its quartiles."""
    benchmark.main(SMALL)
    printed = capsys.readouterr().out
    assert printed.startswith("cpu, 1 threads, PyTorch ")
    first = [line.split(" | ")[0] for line in printed.splitlines() if line.startswith("| ")]
    names = [name.strip("| ") for name in first]
    assert names == [
        *("network", "---", "DeepLab v3+", "ours", "ours, F cached", "ours, R cached"),
        *("optimised", "---", "purification, cached features", "purification, backbone recomputed", "global"),
    ]
    assert {*published.TAB_2, *published.TAB_7_COSTS} <= {*names}
    assert published.TAB_7_COSTS["purification, backbone recomputed"][1] == 0.098  # D24
    assert len(re.findall(r"\| [\d.]+ \([\d.]+-[\d.]+\) m?s ", printed)) == 4 + 3


def test_the_paper_s_figures_stand_beside_the_paper_s_network_alone(monkeypatch):
    """Tabs. 2 and 7 are of a ResNet-101 at 384 x 384."""
    monkeypatch.setattr(benchmark, "SIISNet", lambda name: torch.nn.Identity())
    for line, figures in (([], (1, 2, 3)), (["--size", "64"], [""] * 3), (["--backbone", "resnet18"], [""] * 3)):
        assert benchmark.Bench(benchmark.parse(["--device", "cpu", *line])).printed((1, 2, 3)) == figures
