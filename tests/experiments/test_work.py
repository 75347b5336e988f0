"""Sec. 4, D29: runs shared among processes. Nobody waits for anybody, and nothing depends on who did what."""

import shutil

import pytest
import torch
from beside import beside, torchrun
from layouts import write
from locks import locked_by_another
from networks import thin_net

import report
import siis
from experiments import ledger, work
from experiments.ledger import read_ledger, run_files, run_of
from experiments.runs import own_device
from training.checkpoints import save_checkpoint

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

PART = 2  # instances, so that runs on the data below have two parts
# siis.py as here
SHORT = f"import networks, quick, siis; from experiments import ledger; ledger.PART = {PART}; "
SHORT += "networks.narrow(); quick.quicken(); siis.run_main(siis.main, 'siis')"
RUNS = ["a-0.3-0", "b-0.3-0", "c-0.3-0", "d-0.3-0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, sequence, thin_networks):
    """Three 64 x 64 images of two categories on disk, and a checkpoint."""
    root = tmp_path_factory.mktemp("work")
    for s, category in zip(sequence, "aab", strict=False):
        write(root / "data" / "images" / category / f"{s.name}.png", s.image)
        write(root / "data" / "masks" / category / f"{s.name}.png", s.mask.astype(int))
    save_checkpoint(root / "net.pt", thin_net(), size=64)
    return root


def command(place, out, *more):
    line = ["--data", place / "data", "--weights", place / "net.pt", "--out", out, "--device", "cpu"]
    return [str(a) for a in [*line, "--targets", "0.3", "--seeds", "1", *more]]


def records(out):
    """The records of each run in order, without their times and how the run was divided."""
    found = {}
    for r in sorted((r for file in run_files(out) for r in read_ledger(file)[0]), key=lambda r: r["index"]):
        found.setdefault(run_of(r).name, []).append({k: v for k, v in r.items() if k not in ("seconds", "config")})
    return found


@pytest.fixture(scope="module", autouse=True)
def starting(request, place, tmp_path_factory):
    """Two processes that torchrun starts."""
    out = tmp_path_factory.mktemp("shared")
    with beside(request, "shared", torchrun(SHORT, *command(place, out))) as processes:
        yield out, *processes


@pytest.fixture(scope="module")
def shared(starting):
    """What the two wrote, on stdout and into their ledgers."""
    out, launcher = starting
    printed, error = launcher.communicate()
    assert launcher.returncode == 0, error
    return printed, out


@pytest.fixture(scope="module")
def single_process(place, tmp_path_factory):
    """What a single process makes of the four rows, none of them divided; not to be changed."""
    out = tmp_path_factory.mktemp("single")
    siis.main(command(place, out))
    return out


def test_a_process_leaves_out_the_run_of_another_and_ends_when_nothing_is_free(
    place, single_process, tmp_path, monkeypatch, capsys
):
    """A lock per run: nobody waits for anybody, and only process 0 prints."""
    monkeypatch.setenv("RANK", "1")
    with locked_by_another(tmp_path / "runs" / ".b-0.3-0.lock"):
        siis.main(command(place, tmp_path))
    assert capsys.readouterr().out == ""
    assert records(tmp_path) == {run: of for run, of in records(single_process).items() if run != "b-0.3-0"}


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
    assert records(tmp_path) == records(single_process)


def test_a_report_shares_its_runs_too(place, tmp_path, monkeypatch, capsys):
    """One lock per part of a run of each configuration; process 0 writes tables and figures."""
    line = command(place, tmp_path, "--tables", "3")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(ledger, "PART", PART)
    with locked_by_another(tmp_path / "data" / "layer-2" / "runs" / ".b-0.3-0-part-2.lock"):
        report.main(line)
    done = sorted((file.parent.parent.name, file.stem) for file in tmp_path.rglob("*.jsonl"))
    names = ("layer-1", "layer-2", "layer-3", "layer-ms", "paper")
    assert done == [(name, f"b-0.3-0-part-{n}") for name in names for n in (1, 2) if (name, n) != ("layer-2", 2)]
    assert not (tmp_path / "report.md").exists()
    monkeypatch.setenv("RANK", "0")
    report.main(line)
    shown = capsys.readouterr()
    assert "report: 5 runs, 1 to do: 1 instances" in shown.err
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
    files = run_files(single_process)
    assert [file.stem for file in files] == RUNS
    for file in files:
        of, _ = read_ledger(file)
        assert [f"{r['row']}-{r['target']}-{r['seed']}" for r in of] == [file.stem] * 3
        assert [r["index"] for r in of] == [0, 1, 2]
        assert {r["length"] for r in of} == {3}


def test_the_processes_of_torchrun_share_the_parts_of_runs_and_end_in_the_results_of_one(shared, single_process):
    """D27, D29: the launcher itself, on a data set of two categories; the first process prints the table."""
    printed, out = shared
    assert [printed.count(f"| ({row}) |") for row in "abcd"] == [1] * 4
    assert printed.count("12 annotated instances") == 1
    assert [file.stem for file in run_files(out)] == [f"{run}-part-{n}" for run in RUNS for n in (1, 2)]
    assert records(out) == records(single_process)
    assert (out / "sheet.png").read_bytes() == (single_process / "sheet.png").read_bytes()


def test_a_report_of_divided_runs_is_that_of_undivided_ones(
    place, shared, single_process, tmp_path, monkeypatch, capsys
):
    """A run is complete when all of its parts are, with and without the data."""
    read = ["--no-runs", "--tables", "1", "--extras", "hits", "curves", "--targets", "0.3", "--data", "data"]
    written = []
    for out in (shared[1], single_process):
        folder = shutil.copytree(out, tmp_path / out.name / "data" / "paper").parents[1]
        report.main([*read, "--out", str(folder)])
        written.append(capsys.readouterr())
    assert written[0] == written[1]
    assert "(d)" in written[0].out
    monkeypatch.setattr(ledger, "PART", PART)
    divided = tmp_path / shared[1].name
    (divided / "data" / "paper" / "runs" / "d-0.3-0-part-1.jsonl").unlink()
    report.main(command(place, divided, "--tables", "1", "--plan"))
    assert "report: 4 runs, 1 to do: 2 instances" in capsys.readouterr().err
    report.main([*read, "--out", str(divided)])
    assert "report: 1 runs are not complete and were left out" in capsys.readouterr().err
