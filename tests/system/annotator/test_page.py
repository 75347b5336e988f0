"""annotator/page.js, keys.js and panel.js: keys, buttons and the look of the page, in a real browser (D31, D32)."""

import numpy as np
import pytest


def test_a_left_click_makes_a_mask_and_a_right_click_shrinks_it(page):
    """Foreground and background click; Shift and left is a background click too."""
    page.opaque().click(30, 30)
    first = page.mask()
    assert first[20, 30]
    page.click(20, 30, "right")
    assert page.clicks == [(30, 30, True), (20, 30, False)]
    second = page.mask()
    assert not second[20, 30]
    assert second.sum() < first.sum()
    with page.holding("Shift"):
        page.click(40, 30)
    assert page.clicks[-1] == (40, 30, False)


@pytest.mark.parametrize("how", ["Escape", "click", "middle", "r"])
def test_a_wrong_proposal_is_replaced_and_the_bank_takes_the_new_point(page, how):
    """D15, D19, D32: Esc and a click, a click alone, the paper's middle button, or R and a click."""
    page.click(30, 30).press(" ")
    assert page.proposal
    page.client.settle()
    if how in ("Escape", "r"):
        page.press(how)
    assert (page.proposal is None) == (how == "Escape")
    page.click(5, 60, "middle" if how == "middle" else "left")
    assert page.clicks == [(5, 60, True)]
    view = page.client.session.open("synthetic-0001", "starfish")
    page.press(" ")
    cell = view.R[3][0][:, 5 * view.R[3].shape[-2] // 64, 60 * view.R[3].shape[-1] // 64]
    bank = page.client.session.session.category("starfish").bank
    assert np.allclose(bank[-1], cell, atol=1e-4)
    assert page.saved()[-1]["accepted"] is False


def test_middle_click_replaces_the_first_click_and_keeps_the_others(page):
    """Re-select after some clicks; Esc takes back an R that was pressed by mistake, and no click."""
    page.click(30, 30).click(20, 30, "right").click(10, 10, "middle")
    assert page.clicks == [(10, 10, True), (20, 30, False)]
    page.press("r")
    assert page.pressed("reselect")
    page.press("Escape")
    assert not page.pressed("reselect")
    assert len(page.clicks) == 2


def test_a_background_click_beside_a_proposal_accepts_it_first(page):
    """Two steps, the proposal is the first click."""
    page.click(30, 30).press(" ")
    proposal = page.proposal
    page.click(2, 2, "right")
    assert page.clicks == [(*proposal, True), (2, 2, False)]
    assert page.press("z").clicks == [(*proposal, True)]
    assert page.press("z").proposal == proposal


# ---- buttons ---------------------------------------------------------------------------------------------------------


def test_the_blue_button_says_what_space_does(page):
    """Finish, idle before there is a click; Accept; Next."""
    assert (page.button, page.page.is_enabled("#primary")) == ("Finish", False)
    assert "Nothing to finish" in page.press(" ").text("toast")
    page.click(30, 30)
    assert (page.button, page.page.is_enabled("#primary")) == ("Finish", True)
    page.action("primary")
    assert (page.image, page.button) == (1, "Accept")
    assert page.press("a").button == "Next"
    assert page.press(" ").image == 1


def test_every_key_has_a_button_with_a_tooltip_and_its_key(page):
    """A person without a keyboard can do all; the names are there for screen readers."""
    told = "all => all.map(b => [b.dataset.action, b.title, b.ariaLabel, b.querySelector('kbd').innerText])"
    buttons = page.page.eval_on_selector_all("header [data-action]", told)
    keys = page.page.evaluate("import('/keys.js').then(({ KEYS }) => Object.values(KEYS))")
    elsewhere = {"find", "smaller", "larger"}  # the field; the wheel of the mouse zooms instead
    assert {name for name, *_ in buttons} == set(keys) - elsewhere | {"fit"}
    for name, title, label, text in buttons[1:]:
        assert title == f"{label} ({text.strip()})", name
    unnamed = "all => all.filter(e => !(e.innerText || e.ariaLabel || e.title || e.labels?.length)).length"
    assert page.page.eval_on_selector_all("button, input, select", unnamed) == 0


def test_the_display_keys_change_the_display_alone(page):
    """H hides while it is held; + and - the opacity; O outlines."""
    page.opaque().click(30, 30)
    with page.holding("h"):
        assert not page.mask().any()
    assert page.mask()[30, 40]
    page.action("outline")
    assert not page.mask()[30, 40]
    page.action("outline")
    assert page.mask()[30, 40]
    for _ in range(4):
        page.action("less")
    assert not page.mask().any()
    page.action("help")
    assert page.page.is_visible("dialog#help")


def test_keys_are_inert_in_a_text_field(page):
    """Letters typed into the number of the image or the name of a category do nothing else."""
    page.page.focus("#number")
    page.type_ahead("d", "x")
    page.page.focus("#category")
    page.type_ahead("d", "x", "Escape")
    page.ready()
    assert page.image == 0
    assert page.events() == []
    assert page.press("d").image == 1


def test_a_key_that_is_held_counts_once_and_a_button_that_was_clicked_does_not_take_it(page):
    """Auto-repeat is ignored: a held Space accepts and does not finish, also after the mouse was used on a button."""
    page.click(30, 30).press("Enter").action("outline")
    for key in ("down", "down", "down", "up"):
        getattr(page.page.keyboard, key)(" ")
    page.ready()
    assert (page.image, len(page.clicks), len(page.saved())) == (1, 1, 1)
    assert page.pressed("outline")


@pytest.mark.parametrize("focused", ["#canvas", "[data-action=help]", "#strip button"])
def test_space_never_scrolls_the_page(page, focused):
    """Nor what is beside the picture, wherever the focus is, also when the key is held."""
    page.page.focus(focused)
    for key in ("down", "down", "up"):
        getattr(page.page.keyboard, key)(" ")
    page.page.wait_for_timeout(50)
    assert page.page.evaluate("[scrollY, document.querySelector('aside').scrollTop]") == [0, 0]


# ---- keyboards -------------------------------------------------------------------------------------------------------

LAYOUTS = [
    *[("é", "Digit2", "2"), ("&", "Digit1", "1"), ("2", "Numpad2", "2"), ("2", "Digit7", "2")],
    *[("a", "KeyQ", "a"), ("z", "KeyY", "z"), ("я", "KeyZ", "z"), ("ζ", "KeyZ", "z")],
]


def test_a_key_is_its_character_or_on_other_alphabets_its_place(page):
    """An AZERTY row gives é without Shift, its A stands where QWERTY has Q; Cyrillic and Greek keyboards have no Z."""
    meant = "event => import('/keys.js').then(({ meant }) => meant(event))"
    for key, code, expected in LAYOUTS:
        assert page.page.evaluate(meant, {"key": key, "code": code}) == expected, (key, code)
    press = "event => void document.body.dispatchEvent(new KeyboardEvent('keydown', {...event, bubbles: true}))"
    page.click(30, 30).page.evaluate(press, {"key": "я", "code": "KeyZ"})
    assert page.ready().clicks == []
    page.page.evaluate(press, {"key": "Я", "code": "KeyZ", "ctrlKey": True, "shiftKey": True})
    assert page.ready().clicks == [(30, 30, True)]


# ---- categories and instances ----------------------------------------------------------------------------------------


def test_a_category_is_found_or_made_by_typing_its_name(page):
    """C and a name: one that is there, part of a name that only one has, or a new one with the next id."""
    page.name("clo")
    found = page.page.eval_on_selector_all("#categories .long", "all => all.map((e) => e.textContent)")
    assert found == ["clover", "Add clo"]
    page.press("Enter")
    assert page.category == "clover"
    page.click(30, 30).name("sea urchin", "Enter")
    assert (page.category, page.clicks) == ("sea urchin", [(30, 30, True)])
    page.press(" ")
    assert [e["category"] for e in page.saved()] == ["sea urchin"]
    assert page.store.history.categories == ["starfish", "clover", "sea urchin"]
    page.name("star").page.click("text=Add star")
    assert page.ready().category == "star"
    assert page.page.locator("#categories button").count() == 4
    assert "a/b" in page.name("a/b", "Enter").text("error")


def test_the_list_shows_all_instances_and_changes_them(several):
    """Of all categories: clicks, strokes, what is covered; category, eye, delete."""
    several.click(20, 20).press(" ").press("Escape", "2").click(40, 40).press(" ", "1", "Escape")
    assert several.instances() == [("starfish", "1 click"), ("clover", "1 click")]
    several.page.select_option("#instances li:nth-child(2) select", "starfish")
    assert several.ready().instances() == [("starfish", "1 click"), ("starfish", "1 click")]
    several.opaque()
    assert several.mask()[20, 20]
    several.page.click("#instances li:first-child .eye")
    assert not several.ready().mask()[20, 20]
    several.page.click("#instances li:first-child [title=Delete]")
    assert several.ready().instances() == [("starfish", "1 click")]
    assert [e["clicks"] for e in several.saved()] == [[[40, 40, True]]]


def test_a_covered_instance_stays_in_the_list_and_the_finish_says_so(several, discs):
    """In one category later pixels win."""
    discs.radius = 6.0
    several.click(30, 30).press(" ")
    discs.radius = 12.0
    several.press("Escape").click(30, 31, "middle").press(" ")
    assert ("starfish", "1 click, covered") in several.instances()
    assert "hides 1 other" in several.text("toast")


def test_a_finished_instance_is_reopened_by_a_click_corrected_and_deleted(several):
    """Click on one; Esc leaves it as it was; a correction keeps its id; Del deletes it."""
    several.click(30, 30).press(" ", "Escape").click(30, 30)
    assert (several.clicks, several.text("status")) == ([(30, 30, True)], "Correcting: 1 click")
    several.press("Escape")
    assert several.events() == ["finish"]
    several.click(30, 30).click(22, 30, "right").press(" ")
    assert [(e["id"], len(e["clicks"])) for e in several.saved()] == [(1, 2)]
    several.press("Escape").click(33, 30).press("Delete")
    assert several.saved() == []


# ---- layout ----------------------------------------------------------------------------------------------------------

SIZES = [(390, 844), (900, 600), (1280, 800), (1920, 1080), (640, 400)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_page_fits_and_an_error_does_not_resize_the_picture(visit, size):
    """All tools are in view, in one row down to 900 pixels; nothing sticks out; long lines and names keep their place.
    The last one: 1280 x 800 at 200 %."""
    page = visit(viewport=dict(zip(("width", "height"), size, strict=True)))
    boxes = """() => ['header', '#canvas', 'aside'].map((name) =>
        Object.values(document.querySelector(name).getBoundingClientRect().toJSON()))"""
    before = page.page.evaluate(boxes)
    page.page.evaluate(
        """import('/panel.js').then(({ fail, toast }) => { fail('word '.repeat(99)); toast('x'.repeat(999)); })"""
    )
    page.page.evaluate("document.querySelector('#name').textContent = 'name'.repeat(99)")
    assert page.page.evaluate(boxes) == before
    whole = "(({ scrollWidth, scrollHeight }) => [scrollWidth, scrollHeight])(document.documentElement)"
    assert page.page.evaluate(whole) == [*size]
    assert page.page.locator("header").bounding_box()["height"] < (60 if size[0] >= 900 else 130)
    canvas = page.page.locator("#canvas").bounding_box()
    assert canvas["width"] * canvas["height"] > 0.4 * size[0] * size[1]
    stage = page.page.locator("#stage").bounding_box()
    for name in ("#pill", "#error", "#toast"):
        box = page.page.locator(name).bounding_box()
        assert box["x"] >= stage["x"]
        assert box["x"] + box["width"] <= stage["x"] + stage["width"] + 0.5
    assert page.page.evaluate("document.querySelector('header').scrollWidth") <= size[0]


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(page, tab):
    """The strict Content-Security-Policy holds: the browser reports no violation in a session of many things."""
    seen = []
    tab.on("console", lambda message: seen.append(message.text))
    page.click(30, 30).press(" ", "b").draw((10, 10), (12, 12)).press("b", " ", "x", "f", "?")
    assert [line for line in seen if "Content Security Policy" in line] == []


def test_idle_buttons_are_disabled(page):
    """Nothing to undo, to reject, to delete, before the first image; and each as soon as there is."""

    def idle():
        found = page.page.eval_on_selector_all("[data-action]:disabled", "all => all.map(b => b.dataset.action)")
        return set(found)

    assert idle() == {"primary", "reject", "undo", "redo", "previous", "propose", "remove"}
    page.click(30, 30)
    assert idle() == {"redo", "previous", "propose", "remove"}
    page.press(" ", "a").click(30, 30)
    assert idle() == {"redo", "previous", "nothing"}
    page.press("z", "z", "d")
    assert "redo" not in idle()
