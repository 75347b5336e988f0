"""Command lines in forked processes that are killed at a chosen moment, torch being imported once.

    python forks.py KILLS ARGUMENTS     siis.py, killed KILLS times at random and at each kind of event, and with two
                                        Ctrl-C at several distances; all is written below the --out of ARGUMENTS

What happened is printed as JSON. Run by test_robustness.py.
"""

import json
import math
import os
import random
import signal
import sys
import time
from functools import wraps
from pathlib import Path

import torch
from networks import narrow
from processes import ended, forked
from quick import quicken, records

import siis
from experiments import ledger, runs, sessions, work
from support import command_line

EVENTS = {"append": (ledger.Ledger, "append"), "save": (sessions.Measured, "save"), "rename": (os, "replace")}


def fork(arguments, log, death=None):
    """Start siis.py in a child; with `death` = (event, 'before' | 'after' | 'half', n) it dies at its n-th such."""

    def run():
        work.SAVE_SECONDS = -1
        if death:
            _arm(*death)
        sys.argv = ["siis.py", *arguments]
        siis.run_main(siis.main, "siis")

    return forked(run, log)


def _arm(event, when, n):
    owner, name = EVENTS[event]
    real, calls = getattr(owner, name), []

    @wraps(real)
    def deadly(*arguments, **named):
        calls.append(1)
        if len(calls) == n and when == "half":
            with arguments[0].file(arguments[1]).open("a") as file:
                file.write('{"config": "' + arguments[0].config + '", "ro')
        if len(calls) == n and when != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **named)
        if len(calls) == n:
            os.kill(os.getpid(), signal.SIGKILL)  # after it
        return result

    setattr(owner, name, deadly)


def result(out):
    """What a run left: its records without their times, and the names of its files; every line is whole."""
    assert all(file.read_bytes().endswith(b"\n") for file in ledger.run_files(out))
    return {"records": records(out), "files": sorted(str(p.relative_to(out)) for p in out.rglob("*"))}


def kill(out, kills, arguments):
    """An uninterrupted run, and runs that are killed until they end: at `kills` random moments, then at each event."""
    rng, log = random.Random(0), out / "log"
    out.mkdir(parents=True)
    start = time.monotonic()
    assert ended(fork([*arguments, "--out", str(out / "whole")], log)) == 0, log.read_text()
    seconds, whole = time.monotonic() - start, result(out / "whole")
    events = [(event, when, 2) for event in EVENTS for when in ("before", "after")] + [("append", "half", 2)]
    deaths, done, torn, runs, differing = [None] * kills + events, [], 0, 0, []
    while deaths or (out / f"killed-{runs}").exists():
        folder, death = out / f"killed-{runs}", deaths[0] if deaths else None
        pid = fork([*arguments, "--out", str(folder)], log, death)
        if deaths and not death:
            time.sleep(rng.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
        code = ended(pid)
        assert code in (0, -signal.SIGKILL), log.read_text()
        if code:
            done.append(deaths.pop(0))
        torn += any(file.read_bytes()[-1:] not in (b"", b"\n") for file in ledger.run_files(folder))
        if code == 0:  # also where what was to kill it did not happen any more; the next run begins anew
            differing += [folder.name] if result(folder) != whole else []
            runs += 1
    return {
        "random": done.count(None),
        "events": sorted({f"{when} {event}" for event, when, _ in filter(None, done)}),
        "torn": torn,
        "differing": differing,
        "instances": sum(map(len, whole["records"].values())),
    }


def interrupt(out, arguments):
    """Runs that get Ctrl-C twice within so many seconds: (exit code, stderr) of each."""
    found = []
    for k, apart in enumerate((0.0, 0.0005, 0.002, 0.01, 0.05, None)):
        log, folder = out / f"{k}.log", out / str(k)
        out.mkdir(parents=True, exist_ok=True)
        pid = fork([*arguments, "--out", str(folder)], log)
        while not any(file.read_bytes() for file in ledger.run_files(folder)):
            time.sleep(0.01)
        os.kill(pid, signal.SIGINT)
        if apart is not None:
            time.sleep(apart)
            os.kill(pid, signal.SIGINT)
        found.append((ended(pid), log.read_text()))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    narrow()
    quicken()
    kills, *rest = sys.argv[1:]
    out = Path(rest[rest.index("--out") + 1])
    command_line.LINE_SECONDS = math.inf  # no progress lines among what is compared
    loaded = runs.open_network(Path(rest[rest.index("--weights") + 1]))  # once, for all children
    runs.open_network = lambda *_: loaded
    killed = kill(out / "killed", int(kills), rest)
    print(json.dumps({"killed": killed, "interrupted": interrupt(out / "interrupted", rest)}))
