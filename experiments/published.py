"""Sec. 4: the figures that the paper prints, for comparison with ours, and those of the field's own benchmarks.

NoC stands as `table[data][label]`, a pair @85 and @90, None where nothing is printed. Data sets go by their `--data`
names, labels are those of our tables.
"""

NoC = dict[str, dict[str, tuple[float | None, float | None]]]
TARGETS = (0.85, 0.90)  # of the pairs

TAB_1: NoC = {
    "PascalVOC": {"(a)": (3.18, 4.07), "(b)": (2.82, 3.70), "(c)": (3.11, 3.98), "(d)": (2.74, 3.60)},
    "COCO-individual": {"(a)": (5.81, 8.25), "(b)": (5.40, 7.85), "(c)": (5.36, 7.88), "(d)": (4.98, 7.51)},
    "CoSOD3k": {"(a)": (4.86, 7.24), "(b)": (4.34, 6.70), "(c)": (4.47, 6.82), "(d)": (3.93, 6.29)},
    "CoCA": {"(a)": (6.81, 9.61), "(b)": (6.50, 9.32), "(c)": (5.88, 8.76), "(d)": (5.57, 8.48)},
    "Fashionpedia": {"(a)": (13.87, 16.47), "(b)": (13.68, 16.30), "(c)": (11.34, 14.29), "(d)": (11.17, 14.14)},
    "LeedsButterfly": {"(a)": (2.16, 2.89), "(b)": (1.37, 2.07), "(c)": (1.25, 1.48), "(d)": (0.29, 0.52)},
}

TAB_2 = {  # parameters in M, FLOPs in G, s/click
    "DeepLab v3+": (59.345, 50.149, 0.024),
    "ours": (45.743, 32.364, 0.016),
}

_TAB_3 = {"CoSOD3k": (7.00, 7.04, 6.84, 6.70, 6.64), "CoCA": (9.43, 9.46, 9.37, 9.32, 9.23)}
TAB_3: NoC = {  # R_4 is row (b) of Tab. 1
    data: {label: (None, noc) for label, noc in zip(("R_1", "R_2", "R_3", "R_4", "R-MS"), figures, strict=True)}
    for data, figures in _TAB_3.items()
}

TAB_4 = {  # seconds in the categories C1 .. C4 and in all; the line of clicking cannot be read in our copy of the paper
    "judge a correct point": (0.48, 0.46, 0.47, 0.43, 0.46),
    "judge a wrong point": (0.58, 0.56, 0.54, 0.55, 0.56),
}

TAB_5: NoC = {  # "Ours" is row (b) of Tab. 1
    "CoSOD3k": {"Ours": (4.34, 6.70), "Full": (4.77, 7.15), "Foreground": (4.50, 6.86)},
    "CoCA": {"Ours": (6.50, 9.32), "Full": (6.77, 9.56), "Foreground": (6.55, 9.38)},
}

TAB_6_TARGETS = {
    "PascalVOC": 0.85,
    "COCO-individual": 0.85,
    "CoSOD3k": 0.90,
    "CoCA": 0.90,
    "Fashionpedia": 0.85,
    "LeedsButterfly": 0.90,
}
TAB_6_METHODS = {  # NoC in the order of TAB_6_TARGETS, None where the paper has N/A; "Ours" is row (d) of Tab. 1
    "Ours": (2.74, 4.98, 6.29, 8.48, 11.17, 0.52),
    "DOS": (6.88, 9.07, 11.04, 13.04, 16.27, 5.32),
    "RIS": (5.12, None, None, None, None, None),
    "LD": (None, 7.86, 8.73, 11.94, 16.41, 3.66),
    "ITIS": (3.80, 6.51, 8.67, 11.42, 16.77, 3.43),
    "MS": (3.88, None, None, None, None, None),
    "BRS": (None, 5.16, None, None, None, None),
    "CMG": (3.62, 5.90, None, None, None, None),
    "FCA": (2.98, 5.28, 6.31, 9.51, 13.31, 2.44),
    "f-BRS": (None, 5.75, 6.93, 9.46, 14.40, 2.86),
}
TAB_6: NoC = {
    data: {
        method: (figures[place], None) if target == 0.85 else (None, figures[place])
        for method, figures in TAB_6_METHODS.items()
    }
    for place, (data, target) in enumerate(TAB_6_TARGETS.items())
}

TAB_7: NoC = {  # "Purification" is row (c) of Tab. 1
    "CoSOD3k": {"Purification": (None, 6.82), "Global": (None, 6.67)},
    "CoCA": {"Purification": (None, 8.76), "Global": (None, 8.38)},
}
TAB_7_COSTS = {
    "purification, backbone recomputed": (0.697, 0.098),
    "global": (45.743, 0.277),
}  # parameters in M, s/batch

# Clicks alone, at most 20, on the field's own benchmarks, beyond the paper.
# f-BRS-B: github.com/saic-vul/fbrs_interactive_segmentation, README; RITM, which has no figure for two of the data sets
# at 85 %: github.com/saic-vul/ritm_interactive_segmentation, README.
PEER_METHODS = (
    "f-BRS-B, ResNet-50, SBD",
    "f-BRS-B, ResNet-101, SBD",
    "RITM HRNet18 IT-M, SBD",
    "RITM HRNet18 IT-M, COCO+LVIS",
)
_PEERS = {
    "GrabCut": ((2.20, 2.64), (2.30, 2.68), (1.76, 2.04), (1.42, 1.54)),
    "Berkeley": ((2.17, 4.22), (2.61, 4.22), (None, 3.22), (None, 2.26)),
    "DAVIS": ((5.44, 7.81), (5.32, 7.35), (4.94, 6.71), (4.36, 5.74)),
    "COCO-MVal": ((4.31, 6.26), (4.11, 5.91), (None, 4.39), (None, 2.98)),
}
PEERS: NoC = {data: dict(zip(PEER_METHODS, pairs, strict=True)) for data, pairs in _PEERS.items()}


def noc(table: NoC, data: str, label: str, target: float) -> float | None:
    """A published NoC; None where there is none."""
    pair = table.get(data, {}).get(label)
    return pair[TARGETS.index(target)] if pair and target in TARGETS else None
