"""An annotator in forked processes that are killed at random moments, and what is left then. Used by test_store.py."""

import http.client
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from client import KEYS, SETTINGS, Client, started
from processes import ended, forked

from annotator.annotator import Annotator
from annotator.folder_session import FolderSession
from annotator.masks import from_counts
from annotator.store import Store
from loaders.pictures import read_mask
from session import Session


class Person(Client):
    """Annotates until nobody answers."""

    def __init__(self, port, token, rng):
        self.base, self.name, self.server = f"http://127.0.0.1:{port}", "a tab", SimpleNamespace(token=token)
        self.rng, self.at = rng, {}
        self.told, self.asked = [], None  # keys of what was called saved; the request without an answer

    def act(self, path, **body):
        self.asked = path, {"key": next(KEYS), **body}
        if self.post(path, **self.asked[1])["event"] is not None:
            self.told.append(self.asked[1]["key"])
        self.asked = None

    def annotate(self):
        try:
            self.open(self.post("/state")["image"], propose=True)
            while True:
                kind, instances = self.rng.random(), self.at["instances"]
                if kind < 0.6:
                    self.act("/finish", **self.body((self.rng.randrange(64), self.rng.randrange(64), True)))
                elif kind < 0.8:
                    self.act("/undo" if kind < 0.7 else "/redo", **self.where)
                elif kind < 0.9 and instances:
                    self.act("/recategorise", instance=self.rng.choice(instances)["id"], category="starfish")
                elif instances:
                    self.act("/delete", instance=self.rng.choice(instances)["id"])
                else:
                    self.open(**self.where, propose=True)
        except (OSError, http.client.HTTPException):  # killed, before an answer or in the middle of one
            return


def killed(net, photos, settings, rng):
    """Somebody who annotated until the server was killed, after up to seven answers and anywhere in the next one."""
    read, write = os.pipe()

    def serve():
        server = started(net, photos, settings=settings)
        os.write(write, f"{server.server_address[1]} {server.token}\n".encode())
        signal.pause()

    pid = forked(serve)
    os.close(write)
    with os.fdopen(read) as pipe:
        person = Person(*pipe.readline().split(), rng)
    thread = threading.Thread(target=person.annotate)
    thread.start()
    count, deadline = rng.randrange(8), time.monotonic() + 10.0
    while len(person.told) < count and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.1))
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL
    thread.join()
    return person


def faults(net, photos, settings, person, before):
    """What is wrong after a kill: lost events, index masks that are not the lines', another proposal; the store."""
    session = FolderSession(Session(net, settings), Store(photos, photos.parent / "out"))
    wrong, again, store = [], Annotator(session, ["starfish", "clover"]), session.store
    session.learner.submit(int).result()  # what the last file did not know of the bank has been recalled
    subjects = [store.events[e["n"] - 1] if "n" in e else e for e in store.events[before:]]
    moved = any(e["event"] == "category" for e in subjects)  # its vector is that of the parameters of its category now
    same = person.asked is None and not settings.opo and not moved and person.at.get("proposal")
    if same and session.proposal(session.open(**person.where)) != tuple(same):
        wrong.append(f"another proposal than {same}")
    if person.asked is not None:  # as a page does that lost the answer
        path, body = person.asked
        known, events = body["key"] in store.history.keys, len(store.events)
        getattr(again, path[1:])(**body)
        if known and len(store.events) != events:
            wrong.append(f"{path} was done twice")
    count = Counter(e["key"] for e in store.events if "key" in e)
    wrong += [f"event {key} is there {count[key]} times" for key in person.told if count[key] != 1]
    for e in store.live:
        mask, above = from_counts(e["counts"], e["size"]), np.zeros(e["size"], bool)
        mine = store.instances(e["image"], e["category"])
        for other in mine[[o["id"] for o in mine].index(e["id"]) + 1 :]:
            above |= from_counts(other["counts"], other["size"])
        if not np.array_equal(read_mask(store.mask_file(e["image"], e["category"])) == e["value"], mask & ~above):
            wrong.append(f"mask of {e['id']}")
    session.end(wait=True)
    return wrong, store


def found(net, photos, kills, seed=0):
    """(faults, number of changes that were called saved) after so many kills, every second one while it learns."""
    rng, wrong, saved, events = random.Random(seed), [], 0, 0
    for kill in range(kills):
        settings = replace(SETTINGS, opo=bool(kill % 2))
        person = killed(net, photos, settings, rng)
        own, store = faults(net, photos, settings, person, events)
        wrong, saved, events = wrong + own, saved + len(person.told), len(store.events)
        if len(store.live) > 12:
            shutil.rmtree(store.out)
            events = 0
    return wrong, saved
