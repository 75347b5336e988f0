"""annotator/page.js, keys.js and panel.js: keys, buttons and the look of the page, in a real browser (D31, D32)."""

import threading

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
    page.page.keyboard.down("Shift")
    page.click(40, 30)
    page.page.keyboard.up("Shift")
    assert page.clicks[-1] == (40, 30, False)


def test_space_space_annotates_an_image_without_the_mouse(page):
    """The proposal is accepted by the first press and the instance finished by the second one, each once per press."""
    page.click(30, 30).press(" ")
    assert page.image == 1
    proposal = page.proposal
    page.press(" ")
    assert page.clicks == [(*proposal, True)]
    page.press(" ")
    assert page.image == 2
    assert [e["accepted"] for e in page.saved()] == [None, True]


def test_a_key_that_is_held_counts_once(page):
    """Auto-repeat is ignored: a held Space accepts and does not finish."""
    page.click(30, 30).press("Enter")
    for _ in range(3):
        page.page.keyboard.down(" ")
    page.page.keyboard.up(" ")
    page.ready()
    assert len(page.clicks) == 1
    assert page.image == 1


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


def test_a_new_proposal_is_outside_what_is_annotated(serve, visit):
    """Several instances an image, also after leaving and coming back (I of Sec. 3.2)."""
    page = visit(serve(several=True))
    page.click(30, 30).press(" ")
    assert page.image == 0
    index = page.store.index("synthetic-0000", "starfish")
    assert index[tuple(page.proposal)] == 0
    page.press("d", "a")
    assert index[tuple(page.proposal)] == 0


# ---- buttons ---------------------------------------------------------------------------------------------------------


def test_the_blue_button_says_what_space_does(page):
    """Finish, idle before there is a click; Accept; Next."""

    def label():
        return page.text("primary").split()[0], page.page.is_enabled("#primary")

    assert label() == ("Finish", False)
    assert "Nothing to finish" in page.press(" ").text("toast")
    page.click(30, 30)
    assert label() == ("Finish", True)
    page.page.click("#primary")
    page.ready()
    assert (page.image, label()) == (1, ("Accept", True))
    page.press("a")
    assert label() == ("Next", True)
    page.press(" ")
    assert page.image == 1


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


def test_every_key_has_a_button_with_a_tooltip_and_its_key(page):
    """A person without a keyboard can do all; the names are there for screen readers."""
    buttons = page.page.eval_on_selector_all(
        "header [data-action]", "all => all.map(b => [b.dataset.action, b.title, b.ariaLabel, b.innerText])"
    )
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
    page.page.keyboard.down("h")
    assert not page.mask().any()
    page.page.keyboard.up("h")
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


def test_a_button_that_was_clicked_does_not_take_the_space_bar(page):
    """Space still finishes after the mouse was used on a button."""
    page.click(30, 30).action("outline").press(" ")
    assert len(page.saved()) == 1
    assert page.pressed("outline")


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


@pytest.mark.parametrize("focused", ["#canvas", "[data-action=help]", "#strip button"])
def test_space_never_scrolls_the_page(page, focused):
    """Nor what is beside the picture, wherever the focus is, also when the key is held."""
    page.page.focus(focused)
    for key in ("down", "down", "up"):
        getattr(page.page.keyboard, key)(" ")
    page.page.wait_for_timeout(50)
    assert page.page.evaluate("[scrollY, document.querySelector('aside').scrollTop]") == [0, 0]


# ---- keyboards -------------------------------------------------------------------------------------------------------

LAYOUTS = [("é", "Digit2", 1), ("&", "Digit1", 0), ("2", "Numpad2", 1), ("1", "Numpad1", 0), ("2", "Digit7", 1)]


def dispatch(page, key, code, **more):
    script = "event => document.body.dispatchEvent(new KeyboardEvent('keydown', {...event, bubbles: true}))"
    page.page.evaluate(script, {"key": key, "code": code, **more})
    return page.ready()


def test_digits_go_by_character_or_place(page):
    """An AZERTY row gives & and é without Shift; the number pad counts. Each changes the category."""
    for key, code, number in LAYOUTS:
        dispatch(page, key, code)
        assert page.category == ("starfish", "clover")[number], (key, code)


def test_latin_letters_go_by_character_and_not_by_place(page):
    """AZERTY's A stands where QWERTY has Q; QWERTZ's Z where it has Y."""
    page.press("d")
    dispatch(page, "a", "KeyQ")
    assert page.image == 0
    page.click(30, 30)
    dispatch(page, "z", "KeyY")
    assert page.clicks == []


@pytest.mark.parametrize("letter", ["я", "ζ"])
def test_letters_of_other_alphabets_go_by_place(page, letter):
    """Cyrillic and Greek keyboards have no Z: the key at its place undoes, with Ctrl and Shift too."""
    page.click(30, 30)
    dispatch(page, letter, "KeyZ")
    assert page.clicks == []
    dispatch(page, letter.upper(), "KeyZ", ctrlKey=True, shiftKey=True)
    assert page.clicks == [(30, 30, True)]


# ---- categories and instances ----------------------------------------------------------------------------------------


def test_a_category_is_found_or_made_by_typing_its_name(page):
    """C and a name: one that is there, part of a name that only one has, or a new one with the next id."""
    page.press("c")
    page.page.keyboard.type("clo")
    found = page.page.eval_on_selector_all("#categories .long", "all => all.map((e) => e.textContent)")
    assert found == ["clover", "Add clo"]
    page.press("Enter")
    assert page.category == "clover"
    page.click(30, 30).press("c")
    page.page.keyboard.type("sea urchin")
    page.press("Enter")
    assert (page.category, page.clicks) == ("sea urchin", [(30, 30, True)])
    page.press(" ")
    assert [e["category"] for e in page.saved()] == ["sea urchin"]
    assert page.store.history.categories == ["starfish", "clover", "sea urchin"]
    page.press("c")
    page.page.keyboard.type("star")
    page.page.click("text=Add star")
    assert page.ready().category == "star"
    page.page.fill("#category", "")
    page.press("c")
    page.page.keyboard.type("a/b")
    page.press("Enter")
    assert "a/b" in page.text("error")


def test_the_list_shows_all_instances_and_changes_them(serve, visit):
    """Of all categories: clicks, strokes, what is covered; category, eye, delete."""
    page = visit(serve(several=True))
    page.click(20, 20).press(" ").press("Escape", "2").click(40, 40).press(" ", "1", "Escape")
    assert page.instances() == [("starfish", "1 click"), ("clover", "1 click")]
    page.page.select_option("#instances li:nth-child(2) select", "starfish")
    assert page.ready().instances() == [("starfish", "1 click"), ("starfish", "1 click")]
    page.opaque()
    assert page.mask()[20, 20]
    page.page.click("#instances li:first-child .eye")
    assert not page.ready().mask()[20, 20]
    page.page.click("#instances li:first-child [title=Delete]")
    assert page.ready().instances() == [("starfish", "1 click")]
    assert [e["clicks"] for e in page.saved()] == [[[40, 40, True]]]


def test_a_covered_instance_stays_in_the_list_and_the_finish_says_so(serve, visit, discs):
    """In one category later pixels win."""
    page = visit(serve(several=True))
    discs.radius = 6.0
    page.click(30, 30).press(" ")
    discs.radius = 12.0
    page.press("Escape").click(30, 50).press("z").page.keyboard.press("b")
    page.ready().draw((50, 10), (50, 12)).press("b").click(30, 31, "middle").press(" ")
    assert ("starfish", "1 click, covered") in page.instances()
    assert "hides 1 other" in page.text("toast")


def test_a_finished_instance_is_reopened_by_a_click_corrected_and_deleted(serve, visit):
    """Click on one; Esc leaves it as it was; a correction keeps its id; Del deletes it."""
    page = visit(serve(several=True))
    page.click(30, 30).press(" ", "Escape").click(30, 30)
    assert (page.clicks, page.text("status")) == ([(30, 30, True)], "Correcting: 1 click")
    page.press("Escape")
    assert page.events() == ["finish"]
    page.click(30, 30).click(22, 30, "right").press(" ")
    assert [(e["id"], len(e["clicks"])) for e in page.saved()] == [(1, 2)]
    page.press("Escape").click(33, 30).press("Delete")
    assert page.saved() == []


def test_a_click_during_optimisation_is_answered(page, monkeypatch):
    """What is learnt behind the user's back holds nobody up."""
    go = threading.Event()
    page.client.session.learner.submit(go.wait, 30)
    page.click(30, 30).press(" ").click(10, 10)
    assert page.clicks == [(10, 10, True)]
    go.set()


# ---- layout ----------------------------------------------------------------------------------------------------------

SIZES = [(390, 844), (900, 600), (1280, 800), (1920, 1080), (640, 400)]


@pytest.mark.parametrize("name", ["p2", "name" * 99], ids=["short", "long"])
def test_the_status_is_whole_whatever_the_name_of_the_image(page, name):
    """Only the name gets an ellipsis."""
    page.page.evaluate("name => document.querySelector('#name').textContent = name", name)
    assert page.page.evaluate("(({ clientWidth: a, scrollWidth: b }) => a >= b)(document.querySelector('#status'))")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_page_fits_and_an_error_does_not_resize_the_picture(visit, size):
    """One toolbar row; nothing sticks out; long lines and names keep their place. The last one: 1280 x 800 at 200 %."""
    page = visit(viewport=dict(zip(("width", "height"), size, strict=True)))
    boxes = """() => ['header', '#canvas', 'aside'].map((name) =>
        Object.values(document.querySelector(name).getBoundingClientRect().toJSON()))"""
    before = page.page.evaluate(boxes)
    page.page.evaluate(
        """import('/panel.js').then(({ fail, toast }) => { fail('word '.repeat(99)); toast('x'.repeat(999)); })"""
    )
    page.page.evaluate("document.querySelector('#name').textContent = 'name'.repeat(99)")
    assert page.page.evaluate(boxes) == before
    assert page.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
        *size
    ]
    assert page.page.locator("header").bounding_box()["height"] < 60
    canvas = page.page.locator("#canvas").bounding_box()
    assert canvas["width"] * canvas["height"] > 0.4 * size[0] * size[1]
    stage = page.page.locator("#stage").bounding_box()
    for name in ("#pill", "#error", "#toast"):
        box = page.page.locator(name).bounding_box()
        assert box["x"] >= stage["x"]
        assert box["x"] + box["width"] <= stage["x"] + stage["width"] + 0.5
    if size[0] >= 900:
        assert page.page.evaluate("document.querySelector('header').scrollWidth") <= size[0]


COLOURS = """() => ['body', '#primary', '#progress', '#toast', '#error'].map((name) => {
    const style = getComputedStyle(document.querySelector(name));
    const ground = name === '#progress' ? getComputedStyle(document.body) : style;
    return [style.color, ground.backgroundColor]; })"""


def test_in_the_dark_the_page_is_dark_and_can_be_read(visit):
    """prefers-color-scheme: text against its ground has a contrast of at least 4.5 both ways."""
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        colours = page.page.evaluate(COLOURS)
        ground = luminance(colours[0][1])
        assert (ground < 0.1) == (scheme == "dark")
        for fore, back in colours[2:] + colours[:1]:
            a, b = sorted((luminance(fore), luminance(back)))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (scheme, fore, back)


def luminance(colour):
    """Relative luminance (WCAG 2) of 'rgb(r, g, b)'."""
    values = [float(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_status_is_announced_and_an_error_is_one_line(page):
    """aria-live for what happens, role=alert for what went wrong."""
    assert page.page.get_attribute("#status", "aria-live") == "polite"
    assert page.page.get_attribute("#error", "role") == "alert"
    assert page.text("status") == "Click the object"
    assert page.click(30, 30).text("status") == "1 click"
    assert page.click(20, 30, "right").text("status") == "2 clicks"


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(page, tab):
    """The strict Content-Security-Policy holds: the browser reports no violation in a session of many things."""
    seen = []
    tab.on("console", lambda message: seen.append(message.text))
    page.click(30, 30).press(" ", "b").draw((10, 10), (12, 12)).press("b", " ", "x", "f", "?")
    assert [line for line in seen if "Content Security Policy" in line] == []
