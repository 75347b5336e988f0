"""A person at the page: a headless Chromium with mouse and keys."""

import base64
import io
import json
import shutil

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MASK = (230, 159, 0)


class Page:
    """A person at the page."""

    def __init__(self, tab, client):
        self.client, self.work, self.page = client, client.server.work, tab
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(client.server.address, wait_until="commit")
        self.ready()

    def ready(self, not_view="0"):
        self.page.wait_for_selector(f"#canvas[data-state=ready]:not([data-view='{not_view}'])", timeout=30_000)
        assert not self.errors, self.errors
        return self

    def press(self, *keys, moves=False):
        for key in keys:
            view = self.data("view")
            self.page.keyboard.press(key)
            self.ready(view if moves else "0")
        return self

    def data(self, name):
        return self.page.get_attribute("#canvas", f"data-{name}")

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

    def click(self, row, col, button="left", **keys):
        self.page.mouse.click(*self.at(row, col), button=button, **keys)
        return self.ready()

    def shown(self):
        """(h, w, 4) uint8, what is on the canvas, device pixels."""
        png = self.page.evaluate("""() => document.getElementById("canvas").toDataURL().split(",")[1]""")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA"))

    def mask(self):
        """(H, W) bool of the image, where the canvas shows the mask's colour (opaque), read in the middle of pixels."""
        picture, (h, w) = self.shown(), self.work.at.view.shape
        ratio = picture.shape[1] / self.page.locator("#canvas").bounding_box()["width"]
        scale, left, top = (float(self.data(n)) * ratio for n in ("scale", "left", "top"))
        rows, cols = ((start + (np.arange(n) + 0.5) * scale).astype(int) for start, n in ((top, h), (left, w)))
        return (picture[rows[:, None], cols][..., :3] == MASK).all(axis=-1)

    def opaque(self):
        return self.press("+", "+", "+", "+")

    def text(self, name):
        return self.page.inner_text(f"#{name}")

    def action(self, name):
        self.page.click(f"[data-action={name}]")
        return self.ready()

    def saved(self):
        return self.work.store.live
