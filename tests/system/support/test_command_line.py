"""CONTRIBUTING, 'How errors read': bad input is one line and exit code 2; command lines show how far they are."""

import argparse
import io
import sys
import time
import warnings
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support import command_line
from support.command_line import (
    LineParser,
    cache_folder,
    default_device,
    device_name,
    positive_int,
    progress,
    run_main,
    size_int,
)


@pytest.fixture
def ran(capsys, monkeypatch):
    """A function: exit code, stdout and stderr of an action that is run as a program."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which run_main sets

    def run(action):
        code = 0
        try:
            run_main(lambda _: action(), "siis")
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return run


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line_and_an_error_of_our_own_is_not_hidden(ran):
    """CONTRIBUTING, 'How errors read': ValueError and OSError are the user's; `assert` is for our own invariants."""
    for error in (ValueError("--root ./bsd:\n  no\tpictures"), OSError("--root ./bsd: no pictures")):
        assert ran(Mock(side_effect=error)) == (2, "", "siis: error: --root ./bsd: no pictures\n")
    for ours in (AssertionError(), TypeError(), RuntimeError()):
        with pytest.raises(type(ours)):
            ran(Mock(side_effect=ours))


def test_a_run_that_ends_well_says_nothing_and_a_warning_is_one_line(ran):
    """CONTRIBUTING, 'How errors read'."""
    assert ran(lambda: None) == (0, "", "")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert ran(lambda: warnings.warn("slow disk", stacklevel=1)) == (0, "", "siis: warning: slow disk\n")


# ---- values ----------------------------------------------------------------------------------------------------------


@given(st.integers(-2000, 2000))
def test_a_count_is_at_least_1_and_a_side_is_a_multiple_of_16_from_64_to_1024(n):
    """D10 for the side."""
    for convert, fits in ((positive_int, n >= 1), (size_int, n % 16 == 0 and 64 <= n <= 1024)):
        if fits:
            assert convert(str(n)) == n
        else:
            with pytest.raises(argparse.ArgumentTypeError, match=f"'{n}': expected a "):
                convert(str(n))
        for text in ("1.5", "abc", "", "1e3", "²", "+-3"):
            with pytest.raises(argparse.ArgumentTypeError, match=r"expected a (whole number|multiple)"):
                convert(text)


def test_a_device_that_is_there_is_taken_and_another_refused_in_one_line(monkeypatch):
    """CONTRIBUTING, 'How code reads': devices are passed in; the CPU is the default without a GPU."""
    for text in ("0", "abc", "", "cuda:99", "hpu"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}': [^\n]*; try cpu$"):
            device_name(text)
    assert device_name("cpu") == "cpu"
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert default_device() == expected


def test_the_cache_folder_is_the_user_s_unless_siis_cache_names_another(monkeypatch, tmp_path):
    """README: $SIIS_CACHE, else siis/ in $XDG_CACHE_HOME, else in ~/.cache."""
    for name in ("SIIS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "siis"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "siis"
    monkeypatch.setenv("SIIS_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_help_shows_defaults_and_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    """`LineParser`: in texts and paths, also where the shell leaves it, such as --out=~/x."""
    parser = LineParser(prog="siis")
    parser.add_argument("--clicks", type=positive_int, default=20, help="clicks per instance")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--data")
    assert "(default: 20)" in parser.format_help()
    monkeypatch.setenv("HOME", str(tmp_path))
    args = parser.parse_args(["--out=~/x", "--data=~/y"])
    assert (args.out, args.data) == (tmp_path / "x", str(tmp_path / "y"))


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_no_letter_is_more_than_stdout_and_stderr_can_take(ran, monkeypatch, stream, encoding):
    """`run_main`: letters that a terminal does not have, and bytes of file names that are none, are escaped."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, stream, io.TextIOWrapper(written, encoding, errors="strict"))  # as in such a locale
    ran(lambda: print("\U0001f98b \udcfc", file=getattr(sys, stream), flush=True))
    butterfly = "\U0001f98b" if encoding == "utf-8" else r"\U0001f98b"
    assert written.getvalue().decode(encoding).rstrip() == rf"{butterfly} \udcfc"


# ---- progress --------------------------------------------------------------------------------------------------------


def test_progress_on_a_terminal_is_one_line_that_is_cut_to_its_width(capsys, monkeypatch):
    """`progress`: the loop yields, the command line prints; items pass through unchanged and in order."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "15")
    work = progress(iter("abc"), "epoch 1", total=3)
    assert next(work) == "a"
    assert capsys.readouterr().err == "\repoch 1: 0/3  "
    assert list(work) == ["b", "c"]
    assert capsys.readouterr() == ("", "\repoch 1: 3/3, \n")


def test_progress_that_is_no_terminal_is_a_line_a_minute_over_all_work(capsys, monkeypatch):
    """`progress`: lines of a log; 130 pieces of work of 10 seconds each, one after another."""
    now = [1000.0]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    monkeypatch.setattr(command_line, "_spoken", [now[0]])
    monkeypatch.setattr(command_line, "LINE_SECONDS", 60)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for k in range(130):
        for _ in progress(range(5), f"part {k}", total=5):
            now[0] += 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1300 // 60
    assert lines[0] == "part 5: 5/5, 0.5/s, 0 s left"
    list(progress(range(5), "hidden", total=5, show=False))
    assert capsys.readouterr().err == ""
