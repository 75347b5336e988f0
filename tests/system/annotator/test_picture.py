"""annotator/picture.js: what a person sees, draws and points at, in a real browser."""

import numpy as np
import pytest
from person import COLOURS
from PIL import Image

from annotator.masks import from_counts


def test_what_is_written_is_the_mask_on_the_canvas_hole_included(page):
    """The index PNG and the run lengths equal what the person saw, but for the pixels that the outline hides."""
    page.opaque().click(30, 30).click(30, 31, "right")
    seen = page.mask()
    assert not seen[30, 31]
    assert seen[30, 24]
    page.press(" ")
    png = np.asarray(Image.open(page.store.out / "masks" / "starfish" / "synthetic-0000.png")) == 1
    np.testing.assert_array_equal(from_counts(page.saved()[0]["counts"], [64, 64]), png)
    covered = np.zeros_like(png)
    covered[28:33, 28:34] = True  # the markers
    for axis in (0, 1):
        covered |= (np.roll(png, 1, axis) != png) | (np.roll(png, -1, axis) != png)
    np.testing.assert_array_equal(png[~covered], seen[~covered])


def test_instances_of_all_categories_are_drawn_in_their_colours_with_an_outline(several):
    """A tint over the image; at the edge the full colour beside black, whatever lies below."""
    bare = several.shown().astype(float)
    several.click(15, 15).press(" ", "Escape", "2").click(45, 45).press(" ", "Escape")
    picture = several.shown().astype(float)
    for place, colour in zip((15, 45), COLOURS, strict=True):
        row, col = several.spot(place, place)
        assert np.allclose(picture[row, col], 0.65 * bare[row, col] + 0.35 * np.array(colour), atol=3)
        line = picture[row, col : several.spot(0, place + 14)[1]]
        assert (np.abs(line - colour).max(axis=1) < 4).any()
        assert (line.max(axis=1) < 70).any()


@pytest.mark.parametrize("ratio", [1, 2])
def test_clicks_and_markers_sit_on_the_right_pixel_zoomed_panned_and_resized(visit, ratio):
    """At device pixel ratio 1 and 2: the pixel under the pointer is the one clicked, and its marker is there."""
    page = visit(device_scale_factor=ratio)
    for change in ("fit", "zoom", "pan", "resize"):
        if change == "zoom":
            before = page.at(40, 20)
            page.zoom(40, 20, 2)
            assert np.allclose(page.at(40, 20), before, atol=1)
        if change == "pan":
            assert page.drag(40, 20, 30, 10).clicks == []
        if change == "resize":
            page.page.set_viewport_size({"width": 800, "height": 700})
            page.page.wait_for_timeout(100)
        page.click(41, 21)
        assert page.clicks == [(41, 21, True)], change
        (row, col), picture = page.spot(41, 21), page.shown()
        width = page.page.locator("#canvas").bounding_box()["width"]
        assert abs(picture.shape[1] - width * ratio) <= ratio
        assert tuple(picture[row + 3 * ratio, col + 2 * ratio]) == (208, 0, 0)  # its disc
        assert tuple(picture[row, col]) == (255, 255, 255)  # the plus of the marker
        page.press("Escape")


def test_the_picture_cannot_be_lost_out_of_view(page):
    """However far it is dragged or zoomed out, a part of it stays; 0 shows the whole. A hand that trembles, below 4 CSS
    pixels between press and release, clicks where it was pressed."""
    left = float(page.data("left"))
    for way, expected in ((3, [(30, 30, True)]), (6, [])):
        assert page.drag(30, 30, way).clicks == expected, way
        assert float(page.data("left")) == left + (way if not expected else 0), way
        page.press("Escape", "0")
    scale, box = float(page.data("scale")), page.page.locator("#canvas").bounding_box()
    for way in (-3000, 3000):
        page.drag(30, 30, way, way)
        for name, size in (("left", box["width"]), ("top", box["height"])):
            start = float(page.data(name))
            assert start <= size - 79
            assert start + 64 * float(page.data("scale")) >= 79
        page.press("0")
    for _ in range(40):
        page.page.mouse.wheel(0, 300)
    page.page.wait_for_timeout(100)
    assert float(page.data("scale")) > 0.4 * scale


def test_a_double_click_shows_the_whole_image_and_leaves_no_click(page):
    """Zoomed in; the first of the two presses was no click, and is nothing to undo."""
    scale = page.data("scale")
    page.click(20, 20).zoom(30, 30)
    assert page.data("scale") != scale
    page.page.mouse.dblclick(*page.at(30, 34))
    page.ready()
    assert (page.data("scale"), page.clicks) == (scale, [(20, 20, True)])
    assert page.press("z").clicks == []


def test_the_markers_of_the_two_signs_differ_in_shape(page):
    """Not in colour alone: a square has corners where a disc has none."""
    with page.holding("h"):
        before = page.shown()
        changed = (page.click(20, 20).click(40, 40, "right").shown() != before).any(axis=-1)
    corners = [tuple(place - 7 for place in page.spot(p, p)) for p in (20, 40)]
    assert [changed[corner] for corner in corners] == [False, True]


def test_the_context_menu_stays_away_and_a_middle_click_does_not_scroll(page):
    """On the canvas both buttons are the annotator's."""
    listen = """() => { window.left = []; for (const kind of ["contextmenu", "auxclick", "mousedown"])
        addEventListener(kind, (e) => {
            if (!e.defaultPrevented && (e.button === 1 || kind === "contextmenu")) left.push(kind); }); }"""
    page.page.evaluate(listen)
    page.click(30, 30, "right").click(20, 20, "middle")
    assert page.page.evaluate("left") == []


# ---- brush and eraser ------------------------------------------------------------------------------------------------


def test_brush_and_eraser_change_the_mask_that_is_saved(page):
    """B and E, [ and ]; each stroke is an event of its mode, radius and points, and each can be undone (D20)."""
    page.opaque().click(30, 30)
    page.press("b", "[", "[").draw((30, 40), (30, 58)).press("e").draw((22, 20), (38, 20))
    seen = page.mask()
    assert seen[30, 55]
    assert not seen[30, 20]
    page.press("z")
    assert page.mask()[30, 20]
    page.press("Shift+Z", "e", " ")
    strokes = page.saved()[0]["strokes"]
    assert [s["mode"] for s in strokes] == ["add", "erase"]
    assert strokes[0]["radius"] == pytest.approx(12 / 1.25**2 / float(page.data("scale")), rel=0.01)
    mask = from_counts(page.saved()[0]["counts"], [64, 64])
    assert mask[30, 55]
    assert not mask[30, 20]
    page.press("b").zoom(30, 30).draw((30, 33), (30, 35))
    left = float(page.data("left"))
    page.drag(30, 30, 20, button="middle")  # moves the picture: the left one draws
    assert float(page.data("left")) == left + 20
    page.press("b", " ")
    assert page.saved()[1]["strokes"][0]["radius"] < strokes[0]["radius"]  # it is the size on the screen


def test_a_stroke_on_a_finished_instance_corrects_it(several):
    """And one on a proposal accepts it; an eraser on nothing says so."""
    several.press("e").draw((5, 5), (5, 9))
    assert "Nothing to erase" in several.text("toast")
    several.press("e").click(30, 30).press(" ", "Escape", "b").draw((30, 38), (30, 50)).press("b", " ")
    assert [(e["id"], len(e["strokes"])) for e in several.saved()] == [(1, 1)]
    proposal = several.proposal
    several.press("b").draw((5, 5), (5, 9))
    assert several.clicks == [(*proposal, True)]


# ---- focus -----------------------------------------------------------------------------------------------------------


def test_the_first_click_in_a_view_of_less_than_half_makes_the_network_look_there(page):
    """The box is what was seen; a first click in a wider view has none, and later zooming changes nothing."""
    page.click(30, 30).zoom(30, 30).click(30, 34).press(" ")
    page.press("Escape").zoom(30, 30).click(30, 30).press("0").click(30, 36).press(" ")
    first, second = page.saved()
    assert first["box"] is None
    _, left, _, right = second["box"]
    assert 0 <= left < 30 < right <= 64
    assert 2 * (right - left) < 64


def test_the_part_that_the_network_looks_at_is_framed_and_the_rest_is_dim(page):
    """The pill says Focus, before the first click too; the frame is there again after a reload."""
    assert page.text("status") == "Click the object"
    assert page.zoom(30, 30).text("status") == "Focus · Click the object"
    page.click(30, 30).press("0")
    for _ in range(2):
        assert page.text("status") == "Focus · 1 click"
        focused = page.shown()[page.spot(2, 2)]
        with page.holding("h"):
            bare = page.shown()[page.spot(2, 2)]
        assert np.allclose(focused, bare * 0.47, atol=3)
        page.reload()
    assert page.press("Escape").text("status") == "Click the object"


def test_a_click_outside_the_part_makes_the_network_look_at_the_whole_again(page):
    """All clicks stay."""
    page.zoom(10, 10, 8).click(10, 10).press("0").click(55, 55)
    assert page.clicks == [(10, 10, True), (55, 55, True)]
    assert "whole image" in page.text("toast")
    page.press(" ")
    assert page.saved()[0]["box"] is None


# ---- touch -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def fingers(visit):
    """A page on a screen that is touched, and a function that puts fingers on places of it."""
    page = visit(has_touch=True)
    send = page.page.context.new_cdp_session(page.page).send

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    return page, touch


def test_a_tap_is_foreground_and_a_long_press_background(fingers):
    """Half a second."""
    page, touch = fingers
    touch("Start", page.at(30, 30))
    touch("End")
    assert page.ready().clicks == [(30, 30, True)]
    touch("Start", page.at(20, 30))
    page.page.wait_for_timeout(600)
    touch("End")
    assert page.ready().clicks == [(30, 30, True), (20, 30, False)]


def test_one_finger_drags_and_two_zoom_about_their_middle(fingers):
    """Neither is a click."""
    page, touch = fingers
    (x, y), scale = page.at(30, 30), float(page.data("scale"))
    touch("Start", (x - 20, y), (x + 20, y))
    for step in (30, 40):
        touch("Move", (x - step, y), (x + step, y))
    touch("End")
    page.ready()
    assert float(page.data("scale")) == pytest.approx(2 * scale, rel=0.05)
    assert np.allclose(page.at(30, 30), (x, y), atol=2)
    touch("Start", (x, y))
    touch("Move", (x + 15, y))
    touch("Move", (x + 30, y))
    touch("End")
    assert np.allclose(page.at(30, 30), (x + 30, y), atol=2)
    assert page.ready().clicks == []


# ---- what is shown is what the network sees --------------------------------------------------------------------------


def squares(h, w, side):
    """(h * side, w * side, 3) uint8, squares of random colours."""
    colours = np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8)
    return colours.repeat(side, axis=0).repeat(side, axis=1)


@pytest.mark.parametrize("kind", ["large", "turned", "deep"])
def test_unusual_images_are_shown_as_the_network_sees_them(photos, serve, visit, kind):
    """12 megapixels, turned by EXIF, 16-bit grey: the canvas shows what `read_image` gives."""
    if kind == "large":
        Image.fromarray(squares(30, 40, 100)).save(photos / "a.jpg", quality=95)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(squares(4, 6, 16)).save(photos / "a.jpg", exif=exif, quality=95)
    else:
        Image.fromarray((np.arange(64 * 48).reshape(48, 64) * 21).astype(np.uint16)).save(photos / "a.png")
    page = visit(serve())
    seen = page.client.session.prefetcher.pixels("a")
    h, w = seen.shape[:2]
    assert (h, w) == {"large": (3000, 4000), "turned": (96, 64), "deep": (48, 64)}[kind]
    picture = page.shown()
    side = {"large": 100, "turned": 16, "deep": 1}[kind]
    for row, col in ((h // 7, w // 5), (h // 2, w // 3), (h - h // 9, w - w // 9)):
        row, col = (v - v % side + side // 2 for v in (row, col))  # the middle of a square
        assert np.abs(picture[page.spot(row, col)].astype(int) - seen[row, col]).max() <= (60 if kind == "large" else 1)
    page.click(h // 2, w // 3).press(" ")
    assert [e["size"] for e in page.saved()] == [[h, w]]


def test_the_outline_is_two_pixels_wide_at_any_zoom(page):
    """CSS pixels, not image pixels: white between black on both sides."""
    page.click(30, 30)
    for notches in (0, 1, 1):
        page.zoom(30, 30, notches)
        row, col = page.spot(30, 30)
        column = page.shown()[: row - 12, col]
        assert (column == 255).all(axis=-1).sum() in (1, 2, 3), notches
