"""A small annotator on a folder of built-in images, asked over HTTP or shown in a browser."""

import json
import threading
import urllib.error
import urllib.request
from functools import partial

import numpy as np
import pytest
import torch
from layouts import write
from person import CHROMIUM, FLAGS, Page

from annotator.course import Course
from annotator.server import Server
from annotator.store import Store
from annotator.work import Work
from session import Session, Settings

SIZE = 64
TIMES = {"first": 1.0, "after": None, "total": 2.0, "valid": True}


class Client:
    """What the page does, without a page."""

    def __init__(self, server, name="a tab"):
        self.server, self.name = server, name
        self.base = f"http://127.0.0.1:{server.server_address[1]}"
        self.at = {}

    def send(self, path, data, **headers):
        """(status, answer) of a request as it is."""
        known = {"Content-Type": "application/json", "X-Token": self.server.token, "X-Client": self.name}
        sent = {k: v for k, v in {**known, **headers}.items() if v is not None}
        request = urllib.request.Request(self.base + path, data, sent, method="POST" if data is not None else "GET")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content = answer.read()
                return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def post(self, path, **body):
        status, answer = self.send(path, json.dumps(body).encode())
        assert status == 200, answer
        if isinstance(answer, dict) and "proposal" in answer:
            self.at = answer
        return answer

    def open(self, image=0, category="starfish"):
        return self.post("/open", image=image, category=category)

    def segment(self, *clicks, seq=1):
        return self.post("/segment", view=self.at["view"], seq=seq, clicks=[list(c) for c in clicks])

    def body(self, *clicks, seq=1, stay=False):
        """What a finish sends: the clicks given, or the proposal."""
        proposal = self.at["proposal"]
        kind = ("own" if clicks else "accept") if proposal else "click"
        taken = "none" if not proposal else "rejected" if clicks else "accepted"
        clicks = [list(c) for c in clicks] or [[*proposal, True]]
        return {
            "view": self.at["view"],
            "seq": seq,
            "clicks": clicks,
            "proposal": taken,
            "seconds": {**TIMES, "kind": kind},
            "stay": stay,
        }

    def finish(self, *clicks, seq=1, stay=False):
        return self.post("/finish", **self.body(*clicks, seq=seq, stay=stay))

    def settle(self):
        """Wait for what is learnt behind the user's back."""
        for future in list(self.server.work.course.rounds.values()):
            future.result()


@pytest.fixture
def photos(tmp_path, sequence):
    """Four 64 x 64 images."""
    for s in sequence:
        write(tmp_path / "photos" / f"{s.name}.png", s.image)
    return tmp_path / "photos"


@pytest.fixture
def serve(pristine, photos, small_batches, monkeypatch):
    """Make a server of the folder; further calls are restarts."""
    monkeypatch.setattr("session.digest", lambda net: "of the small network")  # a tenth of a second for each session
    servers = []

    def start(name="a tab", categories=("starfish", "clover"), **options):
        stop()
        settings = options.pop("settings", Settings(size=SIZE))
        store = Store(photos, photos.parent / "out")
        course = Course(partial(Session, pristine), partial(Session.load, net=pristine), settings, store)
        server = Server(Work(course, categories, **options), 0)
        server.worker.submit(course.replay).result()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return Client(server, name)

    def stop():
        while servers:
            servers.pop().end()

    yield start
    stop()


@pytest.fixture
def centre(sequence):
    """A foreground click on the object of a sample."""

    def click(image, positive=True):
        row, col = np.argwhere(sequence[image].mask).mean(axis=0).round().astype(int).tolist()
        return row, col, positive

    return click


@pytest.fixture
def discs(pristine, monkeypatch):
    """Masks that follow the clicks: discs around the foreground ones without those around the background ones."""

    class Discs:
        radius = 12.0

    def predict(self, R, clicks, image):
        P = torch.zeros(image)
        for r, c, positive in clicks:
            radius = Discs.radius if positive else 4.0
            top, left = (max(0, int(v - radius)) for v in (r, c))
            box = P[top : int(r + radius) + 1, left : int(c + radius) + 1]
            row, col = (torch.arange(n) for n in box.shape)
            box[(row[:, None] + top - r) ** 2 + (col + left - c) ** 2 < radius**2] = float(positive)
        return P

    monkeypatch.setattr(type(pristine), "predict", predict)
    return Discs


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; without one the test is skipped and says what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(serve, discs, browser):
    """Open the page; options are the browser's."""
    contexts = []

    def go(client=None, **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1000, "height": 600}, **options}))
        return Page(contexts[-1], client or serve())

    yield go
    for context in contexts:
        context.close()


@pytest.fixture
def page(visit):
    return visit()
