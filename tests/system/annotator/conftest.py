"""A small annotator on a folder of built-in images, asked over HTTP or shown in a browser."""

import numpy as np
import pytest
import torch
from client import Client, started
from layouts import write
from lines import SQUARE, event
from person import CHROMIUM, FLAGS, Page

from annotator.store import Store

VIEWPORT = {"width": 900, "height": 450}


@pytest.fixture
def photos(tmp_path, sequence):
    """Four 64 x 64 images."""
    for s in sequence:
        write(tmp_path / "photos" / f"{s.name}.png", s.image)
    return tmp_path / "photos"


@pytest.fixture(scope="module", autouse=True)
def short_rounds():
    """A round of optimisation is one step on two samples: enough to tell whether it happened."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("opo.ITERATIONS", 1)
        patch.setattr("opo.BATCH", 2)
        yield


@pytest.fixture
def serve(pristine, photos):
    """Make a server of the folder; further calls are restarts."""
    servers = []

    def start(name="a tab", **options):
        stop()
        servers.append(started(pristine, photos, **options))
        return Client(servers[0], name)

    def stop():
        while servers:
            servers.pop().end()

    start.stop = stop
    yield start
    stop()


@pytest.fixture
def client(serve, discs):
    """A page that has just been loaded, on a network whose masks follow the clicks."""
    client = serve()
    client.post("/state")
    client.open()
    return client


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


@pytest.fixture(scope="session")
def tab(browser):
    """A tab of the browser, for all tests that change nothing about it."""
    return browser.new_context(viewport=VIEWPORT).new_page()


@pytest.fixture
def visit(serve, discs, browser):
    """Open the page in a new tab; options are the browser's."""
    contexts = []

    def go(client=None, **options):
        contexts.append(browser.new_context(**{"viewport": VIEWPORT, **options}))
        return Page(contexts[-1].new_page(), client or serve())

    yield go
    for context in contexts:
        context.close()


@pytest.fixture
def page(serve, discs, tab):
    """A page that has just been loaded."""
    return Page(tab, serve())


@pytest.fixture
def several(serve, discs, tab):
    """A page that has just been loaded, for several objects an image."""
    return Page(tab, serve(several=True))


@pytest.fixture
def annotated(photos):
    """Two instances in one image, a ring and a square that hides a part of it, and one in another."""
    store = Store(photos, photos.parent / "out")
    ring = np.zeros((64, 64), bool)
    ring[5:30, 5:30] = True
    ring[10:20, 10:20] = False
    store.add(event(1, "synthetic-0000", ring))
    store.add(event(2, "synthetic-0000", SQUARE))
    store.add(event(3, "synthetic-0002", ring, "clover"))
    return store, ring, SQUARE


@pytest.fixture
def store(annotated):
    """The store of the same."""
    return annotated[0]
