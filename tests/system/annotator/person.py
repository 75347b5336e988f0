"""A person at the page: a headless Chromium with mouse and keys."""

import base64
import io
import json
import shutil
import time
from contextlib import contextmanager

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
COLOURS = [(255, 176, 0), (47, 164, 255)]  # of the first two categories


class Page:
    """A person at the page."""

    def __init__(self, tab, client):
        self.client, self.store, self.page = client, client.store, tab
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(client.server.address, wait_until="commit")
        self.ready()

    def ready(self):
        """Wait until every input has been carried out."""
        self.page.wait_for_selector("#canvas[data-state=ready]", timeout=30_000)
        assert not self.errors, self.errors
        return self

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
            self.ready()
        return self

    def name(self, category, *keys):
        """Type into the field that finds or adds a category."""
        self.press("c").page.fill("#category", category)
        return self.press(*keys)

    @contextmanager
    def holding(self, key):
        self.page.keyboard.down(key)
        yield
        self.page.keyboard.up(key)
        self.ready()

    def reload(self):
        self.page.reload()
        return self.ready()

    def type_ahead(self, *keys):
        """Press keys without waiting for anything."""
        for key in keys:
            self.page.keyboard.press(key)
        return self

    def data(self, name):
        return self.page.get_attribute("#canvas", f"data-{name}")

    @property
    def image(self):
        """The number of the image shown, from 0 on."""
        return self.store.names.index(self.data("image"))

    @property
    def category(self):
        return self.page.inner_text("#categories [aria-pressed=true] .long")

    @property
    def clicks(self):
        return [tuple(c) for c in json.loads(self.data("clicks"))]

    @property
    def proposal(self):
        return json.loads(self.data("proposal"))

    def at(self, row, col):
        """The place of the middle of an image pixel on the page, CSS pixels."""
        box = self.page.locator("#canvas").bounding_box()
        scale, left, top = (float(self.data(n)) for n in ("scale", "left", "top"))
        return box["x"] + left + (col + 0.5) * scale, box["y"] + top + (row + 0.5) * scale

    def click(self, row, col, button="left", wait=True):
        self.page.mouse.click(*self.at(row, col), button=button)
        return self.ready() if wait else self

    def draw(self, *points):
        """Press at the first pixel, move over the others and release."""
        for i, point in enumerate(points):
            self.page.mouse.move(*self.at(*point), steps=1 + 3 * (i > 0))
            if not i:
                self.page.mouse.down()
        self.page.mouse.up()
        return self.ready()

    def drag(self, row, col, x, y=0, button="left"):
        """Press on an image pixel, move so many CSS pixels and release."""
        left, top = self.at(row, col)
        self.page.mouse.move(left, top)
        self.page.mouse.down(button=button)
        self.page.mouse.move(left + x, top + y, steps=6)
        self.page.mouse.up(button=button)
        return self.ready()

    def zoom(self, row, col, notches=5):
        self.page.mouse.move(*self.at(row, col))
        for _ in range(notches):
            self.page.mouse.wheel(0, -150)
        self.page.wait_for_timeout(50)
        return self

    def shown(self):
        """(h, w, 3) uint8, what is on the canvas, device pixels."""
        png = self.page.evaluate("""() => document.getElementById("canvas").toDataURL().split(",")[1]""")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))

    def spot(self, row, col):
        """The device pixel (row, col) of the canvas in the middle of an image pixel; arrays if those are given."""
        ratio = self.page.evaluate("devicePixelRatio")
        scale, left, top = (float(self.data(n)) * ratio for n in ("scale", "left", "top"))
        places = top + (np.asarray(row) + 0.5) * scale, left + (np.asarray(col) + 0.5) * scale
        return tuple(place.astype(int) for place in places)

    def mask(self, category=0):
        """(64, 64) bool, where the canvas shows a category's colour (opaque), read in the middle of image pixels."""
        return (self.shown()[self.spot(np.arange(64)[:, None], np.arange(64))] == COLOURS[category]).all(axis=-1)

    def opaque(self):
        return self.press(*"++++++")

    @property
    def button(self):
        """What Space does now."""
        return self.text("primary").split()[0]

    def card(self, text):
        """Wait for the card in the middle that says so."""
        self.page.wait_for_selector(f"#card:has-text('{text}')")

    def text(self, name):
        """What an element says; nothing while it is hidden."""
        return self.page.inner_text(f"#{name}") if self.page.is_visible(f"#{name}") else ""

    def action(self, name):
        self.page.click(f"[data-action={name}]")
        return self.ready()

    def pressed(self, name):
        return self.page.get_attribute(f"[data-action={name}]", "aria-pressed") == "true"

    def marks(self):
        """Of all images: done, draft, empty or nothing."""
        return self.page.eval_on_selector_all("#strip button", "all => all.map((b) => b.dataset.mark)")

    def instances(self):
        """The list of the image's instances: category and what stands beside it."""
        script = "all => all.map((li) => [li.querySelector('select').value, li.querySelector('.long').textContent])"
        return [tuple(found) for found in self.page.eval_on_selector_all("#instances li", script)]

    def saved(self):
        return self.store.live

    def snapshot(self):
        """What a person has made: instances, marks, drafts and what is shown."""
        history = self.store.history
        live = [(e["id"], e["category"], e["clicks"], e.get("strokes"), e["counts"]) for e in self.store.live]
        drafts = self.page.evaluate("import('/history.js').then(({ kept }) => kept.drafts)")
        there = self.data("image"), self.category, self.clicks, self.proposal
        return json.loads(json.dumps([live, sorted(history.empty), sorted(history.done), drafts, there]))

    def events(self):
        return [e["event"] for e in self.store.events if e["event"] != "categories"]


@contextmanager
def slow(monkeypatch, annotator, action, seconds):
    """The server takes so long for an action."""
    act = getattr(annotator, action)
    with monkeypatch.context() as patch:
        patch.setattr(annotator, action, lambda **body: (time.sleep(seconds), act(**body))[1])
        yield
