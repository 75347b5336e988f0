"""annotator/picture.js: what a person sees, in a real browser."""

import numpy as np
import pytest
from PIL import Image

from annotator.store import from_counts


def test_what_is_written_is_the_mask_on_the_canvas_hole_included(page):
    """The index PNG and the run lengths equal what the person saw."""
    page.opaque().click(30, 30).click(30, 31, "right")
    seen = page.mask()
    assert not seen[30, 31]
    assert seen[30, 24]
    page.press(" ", moves=True)
    png = np.asarray(Image.open(page.work.store.out / "masks" / "starfish" / "synthetic-0000.png"))
    np.testing.assert_array_equal(png == 1, seen)
    np.testing.assert_array_equal(from_counts(page.saved()[0]["counts"], [64, 64]), seen)


@pytest.mark.parametrize("ratio", [1, 2])
def test_clicks_and_markers_sit_on_the_right_pixel_zoomed_panned_and_resized(visit, ratio):
    """At device pixel ratio 1 and 2: the pixel under the pointer is the one clicked, and its marker is there."""
    page = visit(device_scale_factor=ratio)
    for change in ("fit", "zoom", "pan", "resize"):
        mouse = page.page.mouse
        if change == "zoom":
            mouse.move(*page.at(40, 20))
            before = page.at(40, 20)
            mouse.wheel(0, -240)
            page.page.wait_for_timeout(50)
            assert np.allclose(page.at(40, 20), before, atol=1)
        if change == "pan":
            mouse.move(*page.at(40, 20))
            mouse.down()
            mouse.move(page.at(40, 20)[0] + 30, page.at(40, 20)[1] + 10, steps=3)
            mouse.up()
            assert page.clicks == []
        if change == "resize":
            page.page.set_viewport_size({"width": 800, "height": 700})
            page.page.wait_for_timeout(100)
        page.click(41, 21)
        assert page.clicks == [(41, 21, True)], change
        box, (x, y) = page.page.locator("#canvas").bounding_box(), page.at(41, 21)
        col, row = int((x - box["x"]) * ratio), int((y - box["y"]) * ratio)
        picture = page.shown()
        assert abs(picture.shape[1] - box["width"] * ratio) <= ratio
        assert tuple(picture[row + 3 * ratio, col + 2 * ratio][:3]) == (208, 0, 0)  # its disc
        assert tuple(picture[row, col][:3]) == (255, 255, 255)  # the plus of the marker
        page.press("Escape")


def test_a_hand_that_trembles_clicks_and_one_that_drags_pans(page):
    """Below 4 CSS pixels between press and release it is a click, where it was pressed; beyond, the picture moves."""
    mouse, (x, y), left = page.page.mouse, page.at(30, 30), float(page.data("left"))
    for way, expected in ((3, [(30, 30, True)]), (6, [])):
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + way, y, steps=way)
        mouse.up()
        page.ready()
        assert page.clicks == expected, way
        assert float(page.data("left")) == left + (way if not expected else 0), way
        page.press("Escape")


def test_the_markers_of_the_two_signs_differ_in_shape(page):
    """Not in colour alone: a square has corners where a disc has none."""
    page.page.keyboard.down("h")
    before, box = page.shown(), page.page.locator("#canvas").bounding_box()
    page.click(20, 20).click(40, 40, "right")
    after, changed = page.shown(), []
    for x, y in (page.at(20, 20), page.at(40, 40)):
        corner = int(y - box["y"]) - 7, int(x - box["x"]) - 7
        changed.append(bool((before[corner] != after[corner]).any()))
    page.page.keyboard.up("h")
    assert changed == [False, True]


def test_the_context_menu_stays_away_and_a_middle_click_does_not_scroll(page):
    """On the canvas both buttons are the annotator's."""
    listen = """() => { window.left = []; for (const kind of ["contextmenu", "auxclick", "mousedown"])
        addEventListener(kind, (e) => {
            if (!e.defaultPrevented && (e.button === 1 || kind === "contextmenu")) left.push(kind); }); }"""
    page.page.evaluate(listen)
    page.click(30, 30, "right").click(20, 20, "middle")
    assert page.page.evaluate("left") == []


def test_status_is_announced_and_an_error_is_one_line(page):
    """aria-live for what happens, role=alert for what went wrong."""
    assert page.page.get_attribute("#status", "aria-live") == "polite"
    assert page.text("status") == "Click the object"
    page.press(" ")
    assert "Nothing to finish" in page.text("status")
    page.work.store.file.mkdir()
    page.click(30, 30).press(" ")
    assert "not saved" in page.text("error")
    page.work.store.file.rmdir()
    page.press(" ", moves=True)
    assert page.text("error") == ""
    assert len(page.saved()) == 1


def squares(h, w, side):
    """(h * side, w * side, 3) uint8, squares of random colours."""
    colours = np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8)
    return colours.repeat(side, axis=0).repeat(side, axis=1)


@pytest.mark.parametrize("kind", ["large", "turned", "deep"])
def test_unusual_images_are_shown_as_the_network_sees_them(photos, serve, visit, kind):
    """24 megapixels, turned by EXIF, 16-bit grey: the canvas shows what `read_image` gives."""
    if kind == "large":
        Image.fromarray(squares(40, 60, 100)).save(photos / "a.jpg", quality=95)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(squares(4, 6, 16)).save(photos / "a.jpg", exif=exif, quality=95)
    else:
        Image.fromarray((np.arange(64 * 48).reshape(48, 64) * 21).astype(np.uint16)).save(photos / "a.png")
    page = visit(serve())
    seen, (h, w) = page.work.course.ahead.pixels(0), page.work.at.view.shape
    assert (h, w) == {"large": (4000, 6000), "turned": (96, 64), "deep": (48, 64)}[kind]
    picture, box = page.shown(), page.page.locator("#canvas").bounding_box()
    side = {"large": 100, "turned": 16, "deep": 1}[kind]
    for row, col in ((h // 7, w // 5), (h // 2, w // 3), (h - h // 9, w - w // 9)):
        row, col = (v - v % side + side // 2 for v in (row, col))  # the middle of a square
        x, y = page.at(row, col)
        there = picture[int(y - box["y"]), int(x - box["x"])][:3].astype(int)
        assert np.abs(there - seen[row, col]).max() <= (60 if kind == "large" else 1)
    page.click(h // 2, w // 3).press(" ", moves=True)
    assert [e["size"] for e in page.saved()] == [[h, w]]
