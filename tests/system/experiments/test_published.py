"""Sec. 4: the figures of the paper, typed from its tables a second time, row by row as they are printed there."""

import pytest

from experiments import published


def test_there_are_no_figures_for_other_targets_lines_or_data_sets():
    """Tab. 1 is @85 and @90."""
    assert published.noc(published.TAB_1, "LeedsButterfly", "(a)", 0.8) is None
    assert published.noc(published.TAB_1, "LeedsButterfly", "(e)", 0.85) is None
    assert published.noc(published.TAB_1, "mugs", "(a)", 0.85) is None


PERCENTAGES = [  # what each is said to be, its data set, against which row which row, printed
    ("ICP on PASCAL", "PascalVOC", "ab", 11.37),
    ("ICP on COCO", "COCO-individual", "ab", 7.04),
    ("ICP on CoSOD3k", "CoSOD3k", "ab", 10.61),
    ("ICP on CoCA", "CoCA", "ab", 4.67),
    ("OPO on COCO", "COCO-individual", "ac", 7.70),
    ("OPO on CoSOD3k", "CoSOD3k", "ac", 7.97),
    ("OPO on CoCA", "CoCA", "ac", 13.66),
    ("both on COCO", "COCO-individual", "ad", 14.32),
    ("both on CoSOD3k", "CoSOD3k", "ad", 19.09),
    ("both on CoCA", "CoCA", "ad", 18.21),
    ("ICP on Fashionpedia", "Fashionpedia", "ab", 1.33),
    ("OPO on Fashionpedia", "Fashionpedia", "ac", 18.25),
    ("OPO on LeedsButterfly", "LeedsButterfly", "ac", 42.04),
    ("ICP on LeedsButterfly", "LeedsButterfly", "ab", 36.62),
    ("ICP after OPO on LeedsButterfly", "LeedsButterfly", "cd", 76.52),
]


@pytest.mark.parametrize(("what", "data", "rows", "printed"), PERCENTAGES)
def test_the_percentages_of_sec_4_2_are_those_of_tab_1_as_far_as_its_digits_tell(what, data, rows, printed):
    """Sec. 4.2, @85 %: NoC is printed with two digits, so each percentage is only known within bounds."""
    before, after = (published.TAB_1[data][f"({row})"][0] for row in rows)
    least, most = (100 * (1 - (after + d) / (before - d)) for d in (0.005, -0.005))
    assert least - 0.005 <= printed <= most + 0.005


def test_the_differences_of_sec_4_2_are_those_of_tab_1():
    """Sec. 4.2: "the delta NoC achieves 0.79", and 0.96 after OPO, "whose maximum is 1.0"."""
    noc = {row: pair[0] for row, pair in published.TAB_1["LeedsButterfly"].items()}
    assert [round(noc["(a)"] - noc["(b)"], 2), round(noc["(c)"] - noc["(d)"], 2)] == [0.79, 0.96]


def test_tab_4_s_readable_lines_are_the_paper_s():
    """Tab. 4, Sec. 4.2: "the time to judge the wrong recommendation point is more than to judge the correct one"."""
    correct, wrong = published.TAB_4.values()
    assert (correct, wrong) == ((0.48, 0.46, 0.47, 0.43, 0.46), (0.58, 0.56, 0.54, 0.55, 0.56))
    assert all(a < b for a, b in zip(correct, wrong, strict=True))
    for *categories, mean in (correct, wrong):
        assert abs(sum(categories) / 4 - mean) <= 0.005 + 1e-9


def test_what_tables_share_is_the_same_figure_in_the_paper():
    """Tab. 3's R_4 and Tab. 5's "Ours" are row (b), Tab. 7's purification row (c), Tab. 6's "Ours" row (d)."""
    for data in ("CoSOD3k", "CoCA"):
        assert published.TAB_3[data]["R_4"][1] == published.TAB_1[data]["(b)"][1]
        assert published.TAB_5[data]["Ours"] == published.TAB_1[data]["(b)"]
        assert published.TAB_7[data]["Purification"][1] == published.TAB_1[data]["(c)"][1]
    for data, target in published.TAB_6_TARGETS.items():
        ours = published.noc(published.TAB_6, data, "Ours", target)
        assert ours == published.noc(published.TAB_1, data, "(d)", target) is not None
        assert published.noc(published.TAB_6, data, "Ours", 1.75 - target) is None
