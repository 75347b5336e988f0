"""Sec. 4: the figures of the paper, typed from its tables a second time, row by row as they are printed there."""

from experiments import published

COLUMNS = ["PascalVOC", "COCO-individual", "CoSOD3k", "CoCA", "Fashionpedia", "LeedsButterfly"]
TAB_1 = """
(a)  3.18  4.07  5.81  8.25  4.86  7.24  6.81  9.61  13.87  16.47  2.16  2.89
(b)  2.82  3.70  5.40  7.85  4.34  6.70  6.50  9.32  13.68  16.30  1.37  2.07
(c)  3.11  3.98  5.36  7.88  4.47  6.82  5.88  8.76  11.34  14.29  1.25  1.48
(d)  2.74  3.60  4.98  7.51  3.93  6.29  5.57  8.48  11.17  14.14  0.29  0.52
"""
TAB_6 = """
DOS    6.88  9.07  11.04  13.04  16.27  5.32
RIS    5.12  N/A   N/A    N/A    N/A    N/A
LD     N/A   7.86  8.73   11.94  16.41  3.66
ITIS   3.80  6.51  8.67   11.42  16.77  3.43
MS     3.88  N/A   N/A    N/A    N/A    N/A
BRS    N/A   5.16  N/A    N/A    N/A    N/A
CMG    3.62  5.90  N/A    N/A    N/A    N/A
FCA    2.98  5.28  6.31   9.51   13.31  2.44
f-BRS  N/A   5.75  6.93   9.46   14.40  2.86
Ours   2.74  4.98  6.29   8.48   11.17  0.52
"""


def lines(table):
    """{first word: the numbers after it, None for N/A}."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {name: [None if n == "N/A" else float(n) for n in numbers] for name, *numbers in rows}


def test_tab_1_is_the_paper_s():
    """Tab. 1: NoC @85 and @90 of rows (a) to (d) on six data sets."""
    typed = lines(TAB_1)
    assert list(published.TAB_1) == COLUMNS
    for row in "abcd":
        printed = [published.tab_1(data, row, target) for data in COLUMNS for target in (0.85, 0.90)]
        assert printed == typed[f"({row})"]


def test_tab_1_has_no_figures_for_other_targets_rows_or_data_sets():
    """Tab. 1 is @85 and @90."""
    assert published.tab_1("LeedsButterfly", "a", 0.8) is None
    assert published.tab_1("mugs", "a", 0.85) is None


def test_tab_2_is_the_paper_s():
    """Tab. 2: parameters in M, operations in G, seconds per click."""
    assert published.TAB_2 == {"DeepLab v3+": (59.345, 50.149, 0.024), "ours": (45.743, 32.364, 0.016)}


def test_tab_3_is_the_paper_s():
    """Tab. 3: NoC@90 from R_1, R_2, R_3, R_4 and R-MS."""
    order = ["1", "2", "3", "4", "ms"]
    printed = {data: [figures[layer] for layer in order] for data, figures in published.TAB_3.items()}
    assert printed == {"CoSOD3k": [7.00, 7.04, 6.84, 6.70, 6.64], "CoCA": [9.43, 9.46, 9.37, 9.32, 9.23]}


def test_tab_5_is_the_paper_s():
    """Tab. 5: NoC @85 / @90 with our proposal, a random pixel of the image, one of the foreground."""
    order = ["similar", "random", "object"]
    printed = {data: [figures[kind] for kind in order] for data, figures in published.TAB_5.items()}
    assert printed == {
        "CoSOD3k": [(4.34, 6.70), (4.77, 7.15), (4.50, 6.86)],
        "CoCA": [(6.50, 9.32), (6.77, 9.56), (6.55, 9.38)],
    }


def test_tab_6_is_the_paper_s():
    """Tab. 6: other methods, each data set at its own target."""
    typed = lines(TAB_6)
    ours = typed.pop("Ours")
    assert {name: list(figures) for name, figures in published.TAB_6.items()} == typed
    assert dict(zip(COLUMNS, (0.85, 0.85, 0.90, 0.90, 0.85, 0.90), strict=True)) == published.TAB_6_TARGETS
    assert [published.tab_1(data, "d", target) for data, target in published.TAB_6_TARGETS.items()] == ours


def test_tab_7_is_the_paper_s():
    """Tab. 7: NoC@90, parameters in M and seconds per batch."""
    assert published.TAB_7 == {
        "CoSOD3k": {"purification": 6.82, "global": 6.67},
        "CoCA": {"purification": 8.76, "global": 8.38},
    }
    assert published.TAB_7_COSTS == {"purification, cached features": (0.697, 0.098), "global": (45.743, 0.277)}


def test_what_tables_share_is_the_same_figure_in_the_paper():
    """Tab. 3's R_4 and Tab. 5's "Ours" are row (b), Tab. 7's purification row (c)."""
    for data in ("CoSOD3k", "CoCA"):
        assert published.TAB_3[data]["4"] == published.TAB_1[data]["b"][1]
        assert published.TAB_5[data]["similar"] == published.TAB_1[data]["b"]
        assert published.TAB_7[data]["purification"] == published.TAB_1[data]["c"][1]
