"""Sec. 4, D29: runs shared among processes. Nobody waits for anybody, and nothing depends on who did what."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from beside import beside
from layouts import plain
from locks import locked_by_another
from networks import thin_net

import report
import siis
from experiments import work
from experiments.ledger import read_ledger, run_files
from experiments.runs import own_device
from training.checkpoints import save_checkpoint

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

ROOT = Path(__file__).resolve().parents[2]
# siis.py as here
SHORT = "import networks, quick, siis; networks.narrow(); quick.quicken(); siis.run_main(siis.main, 'siis')"
RUNS = ["a-0.3-0", "b-0.3-0", "c-0.3-0", "d-0.3-0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, sequence, thin_networks):
    """Two 64 x 64 images on disk, and a checkpoint."""
    root = tmp_path_factory.mktemp("work")
    plain(root / "data", sequence[:2])
    save_checkpoint(root / "net.pt", thin_net(), size=64)
    return root


def command(place, out, *more):
    line = ["--data", place / "data", "--weights", place / "net.pt", "--out", out, "--device", "cpu"]
    return [str(a) for a in [*line, "--targets", "0.3", "--seeds", "1", *more]]


def records(out):
    """The records of each run, without their times."""
    found = {file.stem: read_ledger(file)[0] for file in run_files(out)}
    return {run: [{k: v for k, v in r.items() if k != "seconds"} for r in of] for run, of in found.items()}


@pytest.fixture(scope="module", autouse=True)
def starting(request, place, tmp_path_factory):
    """Two processes as torchrun starts them."""
    out = tmp_path_factory.mktemp("shared")
    line = [sys.executable, "-c", SHORT, *command(place, out)]
    environment = os.environ | {"WORLD_SIZE": "2", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    with beside(request, "shared", *((line, environment | {"RANK": str(n)}) for n in (0, 1))) as processes:
        yield out, processes


@pytest.fixture(scope="module")
def shared(starting):
    """What the two wrote, on stdout and into their ledgers."""
    out, processes = starting
    written = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], written
    return [stdout for stdout, _ in written], records(out)


@pytest.fixture(scope="module")
def single_process(place, tmp_path_factory):
    """What a single process makes of the four rows."""
    out = tmp_path_factory.mktemp("single")
    siis.main(command(place, out))
    return records(out)


def test_a_process_leaves_out_the_run_of_another_and_ends_when_nothing_is_free(
    place, single_process, tmp_path, monkeypatch, capsys
):
    """A lock per run: nobody waits for anybody, and only process 0 prints."""
    monkeypatch.setenv("RANK", "1")
    with locked_by_another(tmp_path / "runs" / ".b-0.3-0.lock"):
        siis.main(command(place, tmp_path))
    assert capsys.readouterr().out == ""
    assert records(tmp_path) == {run: single_process[run] for run in RUNS if run != "b-0.3-0"}


def test_process_0_waits_for_the_runs_of_others_and_takes_over_what_one_that_died_has_left(
    place, single_process, tmp_path, monkeypatch, capsys
):
    """A process that dies takes only its run with it, half a line of its ledger included."""
    with locked_by_another(tmp_path / "runs" / ".c-0.3-0.lock") as other:
        whole = tmp_path / "runs" / "c-0.3-0.jsonl"

        def died(_):
            whole.write_text('{"config": "cut sho')
            other.kill()
            other.wait()

        monkeypatch.setattr(work.time, "sleep", died)
        siis.main(command(place, tmp_path))
    shown = capsys.readouterr()
    assert shown.err == "1 runs are at work in other processes; waiting for them\n"
    assert "| (c) |" in shown.out
    assert records(tmp_path) == single_process


def test_a_report_shares_its_runs_too(place, tmp_path, monkeypatch, capsys):
    """One lock per run of each configuration; process 0 writes tables and figures."""
    line = command(place, tmp_path, "--tables", "3")
    monkeypatch.setenv("RANK", "1")
    with locked_by_another(tmp_path / "data" / "layer-2" / "runs" / ".b-0.3-0.lock"):
        report.main(line)
    done = {file.parent.parent.name for file in tmp_path.rglob("*.jsonl")}
    assert done == {"paper", "layer-1", "layer-3", "layer-ms"}
    assert not (tmp_path / "report.md").exists()
    monkeypatch.setenv("RANK", "0")
    report.main(line)
    shown = capsys.readouterr()
    assert "report: 5 runs, 1 to do: 2 instances" in shown.err
    assert shown.out == (tmp_path / "report.md").read_text()


def test_every_process_on_a_machine_has_a_gpu_of_its_own(monkeypatch):
    """torchrun's LOCAL_RANK, or one that it shares; a device that was named in full, or the CPU, stays."""
    assert own_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "3")
    for count, device in ((8, "cuda:3"), (2, "cuda:1"), (1, "cuda:0")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert [own_device(d) for d in ("cuda", "cuda:1", "cpu")] == [device, "cuda:1", "cpu"]


def test_a_ledger_s_lines_name_their_run(single_process):
    """Each file is one run, in order, and says of how many instances."""
    for run, of in single_process.items():
        assert [f"{r['row']}-{r['target']}-{r['seed']}" for r in of] == [run] * 2
        assert [r["index"] for r in of] == [0, 1]
        assert {r["length"] for r in of} == {2}
        assert json.dumps(of)


def test_two_processes_end_in_the_results_of_one_and_the_first_prints_the_table(shared, single_process):
    """RANK and WORLD_SIZE say which is which."""
    printed, found = shared
    assert [printed[0].count(f"| ({row}) |") for row in "abcd"] == [1] * 4
    assert "8 annotated instances" in printed[0]
    assert printed[1] == ""
    assert found == single_process
