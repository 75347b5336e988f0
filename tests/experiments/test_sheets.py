"""Figs. 5 and 6: the sheets that a report names."""

import os
from argparse import Namespace

from experiments.sheets import sheets


def test_a_sheet_s_link_is_ascii_also_for_a_folder_whose_name_is_no_text(tmp_path):
    """Names of files are bytes; those that are not UTF-8, spaces, brackets and bars are escaped in Markdown."""
    for name, link in ((b"caf\xe9", "caf%E9"), (b"a (b)|c", "a%20%28b%29%7Cc")):
        args = Namespace(out=tmp_path, figures=["5"], targets=None)
        ((file, line),) = sheets(args, os.fsdecode(name))
        assert f"![]({link}/{file.name})" in line
