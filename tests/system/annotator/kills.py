"""The annotator in forked processes that are killed at random moments, torch being imported once.

    python kills.py PHOTOS OUT SEED KILLS

A page annotates and is told what is saved; then SIGKILL, another start, the request that had no answer once more, and a
look at what is left. What happened is printed as JSON. Run by test_store.py, which puts the project on its path.
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
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from networks import thin_net

import opo
from annotator.annotator import Annotator
from annotator.folder_session import FolderSession
from annotator.masks import from_counts
from annotator.server import Server
from annotator.store import Store
from loaders.pictures import read_mask
from session import Session, Settings

SECONDS = {"first": 1.0, "after": None, "total": 2.0, "kind": "click", "valid": True}


def annotator(net, photos, out, learns):
    return Annotator(FolderSession(Session(net, Settings(size=64, opo=learns)), Store(photos, out)), ["thing", "other"])


def serve(net, photos, out, learns):
    """(process id, address, token) of a server in a child."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        with os.fdopen(read) as pipe:
            return pid, *pipe.readline().split()
    try:
        server = Server(annotator(net, photos, out, learns), 0)
        os.write(write, f"http://127.0.0.1:{server.server_address[1]} {server.token}\n".encode())
        server.serve_forever()
    finally:
        os._exit(1)


class Page:
    """Annotates until nobody answers."""

    def __init__(self, address, token, rng):
        self.address, self.token, self.rng = address, token, rng
        self.told, self.at, self.open = [], {}, None  # keys of what was called saved; the request without an answer

    def post(self, path, **body):
        headers = {"Content-Type": "application/json", "X-Token": self.token, "X-Client": "a tab"}
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def act(self, path, **body):
        self.open = path, {"key": f"{self.rng.getrandbits(64):016x}", **body}
        self.at = self.post(path, **self.open[1])
        if self.at["event"] is not None:
            self.told.append(self.open[1]["key"])
        self.open = None

    def annotate(self):
        try:
            state = self.post("/state")
            self.at = self.post("/open", image=state["image"], category="thing", propose=True)
            while True:
                where = {name: self.at[name] for name in ("image", "category")}
                clicks = [[self.rng.randrange(64), self.rng.randrange(64), True]]
                draft = {"box": None, "plain": False, "instance": None, "clicks": clicks, "strokes": [], **where}
                kind, instances = self.rng.random(), self.at["instances"]
                if kind < 0.6:
                    point = self.at["proposal"]
                    proposal = {"point": point, "accepted": False} if point else None
                    self.act("/finish", draft=draft, proposal=proposal, seconds=SECONDS)
                elif kind < 0.8:
                    self.act("/undo" if kind < 0.7 else "/redo", **where)
                elif kind < 0.9 and instances:
                    self.act("/recategorise", instance=self.rng.choice(instances)["id"], category=self.at["category"])
                elif instances:
                    self.act("/delete", instance=self.rng.choice(instances)["id"])
                else:
                    self.at = self.post("/open", image=where["image"], category=where["category"], propose=True)
        except (OSError, http.client.HTTPException):  # killed, before an answer or in the middle of one
            return


def look(net, photos, out, page, learns, before):
    """What is wrong after a kill: lost events, index masks that are not the lines', another proposal."""
    wrong, again = [], annotator(net, photos, out, learns)
    store = again.store
    again.session.learner.submit(int).result()  # what the last file did not know of the bank has been recalled
    subjects = [store.events[e["n"] - 1] if "n" in e else e for e in store.events[before:]]
    moved = any(e["event"] == "category" for e in subjects)  # its vector is that of the parameters of its category now
    if page.open is None and page.at.get("proposal") and not learns and not moved:
        view = again.session.open(page.at["image"], page.at["category"])
        if again.session.proposal(view) != tuple(page.at["proposal"]):
            wrong.append(f"another proposal than {page.at['proposal']}")
    if page.open is not None:  # as a page does that lost the answer
        path, body = page.open
        known = body["key"] in store.history.keys
        events = len(store.events)
        getattr(again, path[1:])(**body)
        if known and len(store.events) != events:
            wrong.append(f"{path} was done twice")
    count = Counter(e["key"] for e in store.events if "key" in e)
    wrong += [f"event {key} is there {count[key]} times" for key in page.told if count[key] != 1]
    for e in store.live:
        mask, above = from_counts(e["counts"], e["size"]), np.zeros(e["size"], bool)
        mine = store.instances(e["image"], e["category"])
        for other in mine[[o["id"] for o in mine].index(e["id"]) + 1 :]:
            above |= from_counts(other["counts"], other["size"])
        if not np.array_equal(read_mask(store.mask_file(e["image"], e["category"])) == e["value"], mask & ~above):
            wrong.append(f"mask of {e['id']}")
    again.session.learner.shutdown()
    again.session.prefetcher.thread.shutdown()
    return wrong, len(store.live), len(store.events)


def main(photos, out, seed, kills):
    torch.set_num_threads(1)
    opo.BATCH, opo.ITERATIONS = 2, 1
    net, rng = thin_net(), random.Random(seed)
    wrong, saved, events = [], 0, 0
    for kill in range(kills):
        learns = bool(kill % 2)
        pid, address, token = serve(net, photos, out, learns)
        page = Page(address, token, rng)
        thread = threading.Thread(target=page.annotate)
        thread.start()
        count, deadline = rng.randrange(8), time.monotonic() + 10.0
        while len(page.told) < count and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))  # anywhere in the next one
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        thread.join()
        found, live, events = look(net, photos, out, page, learns, events)
        wrong, saved = wrong + found, saved + len(page.told)
        if live > 12:
            shutil.rmtree(out)
            events = 0
    print(json.dumps({"kills": kills, "saved": saved, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
