"""The annotator in forked processes that are killed at random moments, torch being imported once.

    python kills.py PHOTOS OUT SEED KILLS

A page annotates and is told what is saved; then SIGKILL, another start, and a look at what is left. What happened is
printed as JSON. Run by test_store.py, which puts the project on its path.
"""

import http.client
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path

import numpy as np
import torch

import opo
import session
from annotator.course import Course
from annotator.server import Server
from annotator.store import Store, from_counts
from annotator.work import Work
from loaders.pictures import read_mask
from model import SIISNet
from session import Session, Settings

SECONDS = {"first": 1.0, "after": None, "total": 2.0, "kind": "click", "valid": True}


def course(net, photos, out):
    made = Course(partial(Session, net), partial(Session.load, net=net), Settings(size=64), Store(photos, out))
    made.replay()
    return made


def serve(net, photos, out):
    """(process id, address, token) of a server in a child."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        with os.fdopen(read) as pipe:
            return pid, *pipe.readline().split()
    try:
        server = Server(Work(course(net, photos, out), ["thing"]), 0)
        os.write(write, f"http://127.0.0.1:{server.server_address[1]} {server.token}\n".encode())
        server.serve_forever()
    finally:
        os._exit(1)


def post(address, token, path, **body):
    headers = {"Content-Type": "application/json", "X-Token": token, "X-Client": "a tab"}
    request = urllib.request.Request(address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def annotate(address, token, rng, told):
    """Annotate until nobody answers; told: what the page called saved, and what it was shown for it."""
    try:
        state = post(address, token, "/state")
        at = post(address, token, "/open", image=state["image"], category="thing")
        for seq in range(1, 1000):
            click = [rng.randrange(64), rng.randrange(64), True]
            proposal = "rejected" if at["proposal"] else "none"
            kind = {"seconds": SECONDS | {"kind": "own" if at["proposal"] else "click"}, "proposal": proposal}
            view = {"view": at["view"], "seq": seq, "clicks": [click]}
            post(address, token, "/segment", **view)
            at = post(address, token, "/finish", **view, **kind, stay=rng.random() < 0.3)
            told.append((at["saved"], at["image"], at["proposal"]))
    except (OSError, http.client.HTTPException):  # killed, before an answer or in the middle of one
        return


def look(net, photos, out, told, before):
    """What is wrong after a kill: lost instances, index masks that are not the lines', another proposal."""
    wrong = []
    again = course(net, photos, out)
    live = again.store.live
    if not before + len(told) <= len(live) <= before + len(told) + 1:
        wrong.append(f"{len(live)} instances, {before} and {len(told)} were saved")
    for e in live:
        index = read_mask(out / "masks" / "thing" / f"{e['image']}.png")
        later = np.zeros(index.shape, bool)
        for other in live[live.index(e) + 1 :]:
            later |= from_counts(other["counts"], other["size"]) & (other["image"] == e["image"])
        if not np.array_equal(index == e["value"], from_counts(e["counts"], e["size"]) & ~later):
            wrong.append(f"mask of {e['id']}")
    if told and len(live) == before + len(told):
        view, _ = again.look(told[-1][1], "thing")
        found = again.proposal(view)
        if found != (tuple(told[-1][2]) if told[-1][2] else None):
            wrong.append(f"proposal {found}, was {told[-1][2]}")
    again.learner.thread.shutdown()
    again.ahead.thread.shutdown()
    return wrong, len(live)


def main(photos, out, seed, kills):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    opo.BATCH, session.optimise = 2, partial(opo.optimise, iterations=1)
    net, rng = SIISNet("resnet18").eval(), random.Random(seed)
    session.digest = lambda net: "of the small network"  # a tenth of a second for each session
    Session(net)  # folds the network once, for all children
    wrong, saved, before = [], 0, 0
    for _ in range(kills):
        pid, address, token = serve(net, photos, out)
        told = []
        page = threading.Thread(target=annotate, args=(address, token, rng, told))
        page.start()
        instances, deadline = rng.randrange(5), time.monotonic() + 10.0
        while len(told) < instances and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))  # anywhere in the next one
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        page.join()
        found, before = look(net, photos, out, told, before)
        wrong, saved = wrong + found, saved + len(told)
        if before > 12:
            shutil.rmtree(out)
            before = 0
    print(json.dumps({"kills": kills, "saved": saved, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
