"""Secs. 4.1-4.3: the sequence loop, the ablation, the command line."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import siis
from experiments import figures, ledger, runs, tables
from model import SIISNet
from session import Session, Settings
from siis import annotate_sequence, main
from training.checkpoints import save_checkpoint

pytestmark = pytest.mark.usefixtures("small_batches")

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = Settings(size=64)


class Oracle(SIISNet):
    """A network that answers every first click with a given mask."""

    def __init__(self, answer):
        super().__init__("resnet18")
        self.answer = answer

    def predict(self, R, clicks, image):
        return self.answer.float()


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "net.pt", SIISNet("resnet18"), size=64)
    return tmp_path / "net.pt"


def command(folder, checkpoint, out, *more):
    arguments = ["--data", folder, "--weights", checkpoint, "--out", out, "--device", "cpu"]
    return [str(a) for a in [*arguments, *(more or ["--targets", "0.85", "--seeds", "1"])]]


def timeless(file):
    """The records of a ledger without their times, in the order of the runs."""
    records = ledger.read_ledger(Path(file))[0]
    return sorted(({k: v for k, v in r.items() if k != "seconds"} for r in records), key=json.dumps)


# ---- the loop --------------------------------------------------------------------------------------------------------


def test_a_correct_proposal_is_the_first_foreground_click_and_costs_nothing(sequence):
    """Tab. 1: delta NoC "whose maximum is 1.0"; D14."""
    same = [sequence[0]._replace(name=str(i)) for i in range(3)]
    session = Session(Oracle(torch.from_numpy(sequence[0].mask)), SETTINGS._replace(opo=False))
    first, *later = annotate_sequence(session, same, 0.85)
    assert (first["proposal"], first["noc"]) == (None, 1)
    for r in later:
        hit = bool(sequence[0].mask[r["proposal"]])
        assert r["hit"] is hit
        assert r["noc"] == (0 if hit else 1)
        assert r["ious"][0] == (1.0 if hit else 0.0)
        assert not hit or r["clicks"] == [(*r["proposal"], True)]


def test_a_wrong_proposal_costs_nothing_and_leaves_no_click(net, sequence):
    """Sec. 3.2, "directly correct the proposal with a new click"; D15, D16."""
    wrong = 0
    for record in annotate_sequence(Session(net, SETTINGS), sequence, 0.85):
        if record["hit"] is False:
            wrong += 1
            assert record["ious"][0] == 0.0
            assert tuple(record["proposal"]) not in [c[:2] for c in record["clicks"][:1]]
            assert len(record["clicks"]) == len(record["ious"]) - 1
    assert wrong


def test_a_proposal_is_correct_exactly_when_its_pixel_lies_on_the_instance(net, sequence):
    """D16."""
    for r in annotate_sequence(Session(net, SETTINGS), sequence, 0.85):
        assert r["hit"] == (None if r["proposal"] is None else bool(r["sample"].mask[r["proposal"]]))


def test_every_record_holds_together(net, sequence):
    """Sec. 4.1: NoC counts user clicks up to the target; D13."""
    for r in annotate_sequence(Session(net, SETTINGS), sequence, 0.3):
        user_clicks = len(r["clicks"]) - bool(r["hit"])
        assert len(r["ious"]) == user_clicks + 1
        assert len(r["obeyed"]) == user_clicks
        assert r["reached"] == (max(r["ious"]) >= 0.3)
        assert r["noc"] == (user_clicks if r["reached"] else 20)
        assert set(r["seconds"]) == {"features", "clicks", "opo"}


def test_the_same_seed_gives_the_same_sequence_and_another_seed_another_optimisation(net, sequence):
    """D22, D29: the seed draws what OPO learns from, and nothing else is random."""
    parameters = []
    for seed in (0, 0, 1):
        session = Session(net, SETTINGS._replace(seed=seed))
        list(annotate_sequence(session, sequence, 0.85))
        parameters.append(session.category("clover").history[-1]["0.0.weight"])
        session.reset()
    assert torch.equal(parameters[0], parameters[1])
    assert not torch.equal(parameters[0], parameters[2])


def test_what_a_category_held_goes_when_it_is_left(net, sequence):
    """D27: memory is bounded over many categories, whose samples follow each other."""
    session = Session(net, SETTINGS)
    held = [set(session.categories) for _ in annotate_sequence(session, sequence, 0.85)]
    assert held == [{s.category} for s in sequence]
    with pytest.raises(ValueError, match="follow each other"):
        list(annotate_sequence(Session(net, SETTINGS), [sequence[0], sequence[2], sequence[1]], 0.85))


# ---- the ablation ----------------------------------------------------------------------------------------------------


def test_the_rows_are_those_of_tab_1():
    """Tab. 1: (a) neither, (b) ICP, (c) OPO, (d) both."""
    assert {k: tuple(v) for k, v in ledger.ROWS.items()} == {
        "a": (False, False),
        "b": (True, False),
        "c": (False, True),
        "d": (True, True),
    }


def test_each_target_is_a_run_of_its_own_and_only_optimised_rows_are_repeated():
    """Sec. 4.1, "mean value of 5 experiments"; D26, D29."""
    runs = siis.planned_runs("abcd", (0.85, 0.90), 5)
    assert len(set(runs)) == len(runs) == 2 * (1 + 1 + 5 + 5)


def test_a_killed_run_goes_on_to_the_table_of_an_uninterrupted_one(folder, checkpoint, tmp_path, monkeypatch, capsys):
    """Killed after any instance, with or without a saved session, the same command ends in the same ledger."""
    main(command(folder, checkpoint, tmp_path / "whole"))
    whole = timeless(tmp_path / "whole" / "clicks.jsonl")
    assert len(whole) == 4 * 4
    table = capsys.readouterr().out.split("annotated")[0]
    append = ledger.Ledger.append
    for k, seconds in ((6, 0), (15, math.inf)):
        out, written = tmp_path / str(k), []

        def killed(self, *record, k=k, written=written):
            append(self, *record)
            written.append(1)
            if len(written) == k:
                raise KeyboardInterrupt

        with monkeypatch.context() as m:
            m.setattr(ledger.Ledger, "append", killed)
            m.setattr(runs, "SAVE_SECONDS", seconds)
            with pytest.raises(KeyboardInterrupt):
                main(command(folder, checkpoint, out))
        with (out / "clicks.jsonl").open("a") as file:
            file.write('{"config": "cut sho')
        main(command(folder, checkpoint, out))
        assert timeless(out / "clicks.jsonl") == whole
        assert [c for c in out.iterdir() if c.name.startswith("session")] == []
        times = [line.split("|")[:-2] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        assert len(times) == table.count("\n|") + 1


def test_a_finished_run_is_read_not_done_again(folder, checkpoint, tmp_path, monkeypatch):
    """The same command twice computes nothing the second time."""
    main(command(folder, checkpoint, tmp_path / "out"))
    before = (tmp_path / "out" / "clicks.jsonl").read_bytes()
    monkeypatch.setattr(siis, "perform", None)
    main(command(folder, checkpoint, tmp_path / "out"))
    assert (tmp_path / "out" / "clicks.jsonl").read_bytes() == before


def test_a_run_with_other_settings_does_not_mix_with_an_earlier_one(folder, checkpoint, tmp_path):
    """Every record carries the hash of its configuration."""
    main(command(folder, checkpoint, tmp_path / "out", "--rows", "a", "--targets", "0.5"))
    with pytest.raises(ValueError, match=r"--out .*another configuration"):
        main(command(folder, checkpoint, tmp_path / "out", "--rows", "a", "--targets", "0.5", "--layer", "3"))


def test_a_ledger_of_other_instances_is_refused(folder, checkpoint, tmp_path):
    """What is annotated is known by name and category, not by number alone."""
    main(command(folder, checkpoint, tmp_path / "out", "--rows", "a", "--targets", "0.3"))
    for kind in ("images", "masks"):
        (folder / kind / "synthetic-0002.png").rename(folder / kind / "z.png")
    with pytest.raises(ValueError, match=r"holds results of other instances \(synthetic-0002 at place 3\)"):
        main(command(folder, checkpoint, tmp_path / "out", "--rows", "a", "--targets", "0.3"))


def test_a_run_that_is_not_complete_is_no_row_of_the_table(folder, checkpoint, tmp_path, capsys):
    """A mean over part of a sequence is another figure."""
    main(command(folder, checkpoint, tmp_path / "out", "--rows", "ab", "--targets", "0.3"))
    file = tmp_path / "out" / "clicks.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    capsys.readouterr()
    main(command(folder, checkpoint, tmp_path / "out", "--rows", "a", "--targets", "0.3"))
    shown = capsys.readouterr()
    assert "| (a) |" in shown.out
    assert "| (b) |" not in shown.out
    assert shown.err == "siis: 1 runs are not complete and were left out\n"


def test_the_sheet_shows_image_confidence_prediction_and_truth(folder, checkpoint, tmp_path):
    """Figs. 5-6."""
    main(command(folder, checkpoint, tmp_path / "out", "--rows", "b", "--targets", "0.5"))
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        size = sheet.size
    assert size == (4 * (figures.TILE + 2) + 2, 4 * (figures.TILE + 4))


# ---- the command line ------------------------------------------------------------------------------------------------


def run(*arguments, env=None):
    line = [sys.executable, str(ROOT / "siis.py"), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "--data nowhere: no such data set or folder"),
        (["--data", "LeedsButterfly"], "--root is missing"),
        (["--size", "0"], "argument --size: '0'"),
        (["--size", "100"], "argument --size: '100'"),
        (["--seeds", "-1"], "argument --seeds: '-1'"),
        (["--rows", "abx"], "argument --rows: 'abx'"),
        (["--targets", "85"], "argument --targets: '85'"),
        (["--device", "warp"], "argument --device: 'warp'"),
        (["--weights", "nothing.pt"], "--weights nothing.pt: no such file"),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments, message, tmp_path, monkeypatch, refused):
    """STYLE: one clear line, the thing, the value, the remedy; exit code 2."""
    monkeypatch.setenv("SIIS_CACHE", str(tmp_path))
    assert message in refused(arguments)


def test_without_a_baseline_it_says_which_command_trains_one(folder, tmp_path, monkeypatch, capsys):
    """The remedy is part of the error."""
    monkeypatch.setenv("SIIS_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"two cores\): python train\.py --data PascalVOC"):
        main(["--data", str(folder)])


def test_a_baseline_whose_training_is_not_finished_is_used_with_a_warning(folder, tmp_path):
    """D28: a checkpoint says how far its training has come."""
    recipe, state = {"epochs": 30}, {"epoch": 2}
    save_checkpoint(tmp_path / "half.pt", SIISNet("resnet18"), size=64, recipe=recipe, training=state)
    with pytest.warns(UserWarning, match=r"half\.pt: training is not finished, 2 of 30 epochs"):
        main(command(folder, tmp_path / "half.pt", tmp_path / "out", "--rows", "a", "--limit", "1"))


def test_a_corrupt_image_is_one_line(folder, checkpoint, tmp_path):
    """As a user meets it: a process, its stderr, its exit code."""
    bad = next((folder / "images").iterdir())
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    result = run(*command(folder, checkpoint, tmp_path / "o"))
    assert result.returncode == 2
    assert result.stderr.startswith("siis: error: ")
    assert bad.name in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_cut_checkpoint_and_an_unwritable_folder_are_one_line(folder, checkpoint, tmp_path, refused):
    """The same without a process of its own."""
    (tmp_path / "cut.pt").write_bytes(checkpoint.read_bytes()[:5000])
    (tmp_path / "file").write_text("not a folder")
    cut = refused(command(folder, tmp_path / "cut.pt", tmp_path / "o"))
    assert "cut.pt: not a readable checkpoint" in cut
    unwritable = refused(command(folder, checkpoint, tmp_path / "file" / "o"))
    assert unwritable.startswith(f"--out {tmp_path / 'file' / 'o'}: cannot be written")


# ---- the table -------------------------------------------------------------------------------------------------------


def record(row="a", target=0.85, seed=0, index=0, ious=(0.0, 0.9), **more):
    base = {"row": row, "target": target, "seed": seed, "index": index, "ious": list(ious), "config": "x"}
    base |= {"noc": report_noc(ious, target), "hit": None, "obeyed": [True], "clicks": [[1, 1, True]]}
    return base | {"seconds": {"clicks": 0.5}} | more


def report_noc(ious, target):
    return next((k for k, v in enumerate(ious) if v >= target), 20)


def test_the_table_is_a_mean_over_instances_then_over_seeds():
    """D29; a row of Tab. 1 with the paper's figure beside ours."""
    records = [
        record("d", seed=s, index=i, ious=[0.0] * n + [0.9])
        for s, ns in ((0, (1, 3)), (1, (3, 5)))
        for i, n in enumerate(ns)
    ]
    line = tables.table(records, "LeedsButterfly").splitlines()[2]
    assert [c.strip() for c in line.split("|")][1:6] == ["(d)", "yes", "yes", "3.00 ± 12.71", "0 ± 0.00"]
    assert line.endswith("| 0.29 |")


def test_never_reached_counts_twenty_clicks_and_a_failure():
    """D13: NoF stays apart from 'reached at click 20'."""
    records = [record(ious=[0.0] * 20 + [0.9]), record(index=1, ious=[0.0] * 21)]
    cells = [c.strip() for c in tables.table(records, "x").splitlines()[2].split("|")]
    assert cells[4:6] == ["20.00", "1"]


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_the_interval_is_student_s(values):
    """95 %, two-sided; quantiles from a table of the t distribution."""
    quantile = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201][len(values) - 2]
    expected = quantile * np.std(values, ddof=1) / len(values) ** 0.5
    assert tables.interval(values) == pytest.approx(expected, rel=2e-2, abs=1e-9)


def test_one_seed_has_no_interval():
    """A single value says nothing about its spread."""
    assert math.isnan(tables.interval([1.0]))
    assert "±" not in tables.table([record()], "x")


def test_a_broken_line_within_a_ledger_is_an_error_that_names_it(tmp_path):
    """Only a last line can have been cut short by a kill."""
    whole = json.dumps(dict.fromkeys(ledger.NEEDED))
    (tmp_path / "clicks.jsonl").write_text(f"{whole}\nnonsense\n{whole}\n")
    with pytest.raises(ValueError, match="line 2"):
        ledger.read_ledger(tmp_path / "clicks.jsonl")
