"""annotator/page.js: what a person does with mouse and keys, in a real browser (D31, D32)."""

import threading
import time

import numpy as np
from person import MASK, Page


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
    page.click(30, 30).press(" ", moves=True)
    assert page.data("image") == "1"
    proposal = page.proposal
    page.press(" ")
    assert page.clicks == [(*proposal, True)]
    page.press(" ", moves=True)
    assert page.data("image") == "2"
    assert [e["accepted"] for e in page.saved()] == [None, True]


def test_a_key_that_is_held_counts_once(page):
    """Auto-repeat is ignored: a held Space accepts and does not finish."""
    page.click(30, 30).press("Enter", moves=True)
    for _ in range(3):
        page.page.keyboard.down(" ")
    page.page.keyboard.up(" ")
    page.ready()
    assert len(page.clicks) == 1
    assert page.data("image") == "1"


def test_a_wrong_proposal_is_replaced_and_the_bank_takes_the_new_point(page):
    """D15, D19, D32: Esc and a click, a click alone, the paper's middle button, or R and a click."""
    page.click(30, 30).press(" ", moves=True)
    for how, row in (("escape", 5), ("click", 5), ("middle", 5), ("r", 50)):  # the last one on the third one's image
        replace(page, how, row)


def replace(page, how, row):
    assert page.proposal, how
    page.client.settle()
    view, before = page.work.at.view, page.work.course.session.category("starfish").bank.sums[0]
    if how == "escape":
        page.press("Escape")
        assert page.proposal is None
        assert page.data("mask") == "none"
    if how == "r":
        page.press("r")
    page.click(row, 60, "middle" if how == "middle" else "left")
    assert page.clicks == [(row, 60, True)], how
    page.press(" ", moves=True)
    cell = view.R[3][0][:, row * view.R[3].shape[-2] // 64, 60 * view.R[3].shape[-1] // 64]
    added = page.work.course.session.category("starfish").bank.sums[0] - before
    assert np.allclose(added, cell / cell.norm(), atol=1e-4), how
    assert page.saved()[-1]["accepted"] is False


def test_middle_click_replaces_the_first_click_and_keeps_the_others(page):
    """Re-select after some clicks."""
    page.click(30, 30).click(20, 30, "right").click(10, 10, "middle")
    assert page.clicks == [(10, 10, True), (20, 30, False)]


def test_undo_takes_back_clicks_then_the_finished_instance(page):
    """Z and Ctrl+Z: the screen, the files and the bank as they were."""
    page.opaque().click(30, 30)
    one = page.mask()
    page.click(20, 30, "right").press("z")
    assert page.clicks == [(30, 30, True)]
    np.testing.assert_array_equal(page.mask(), one)
    page.press(" ", moves=True)
    page.press("Escape").press("Control+z", moves=True)
    assert page.data("image") == "0"
    assert page.saved() == []
    assert len(page.work.course.session.category("starfish").bank) == 0
    assert list((page.work.store.out / "masks").rglob("*.png")) == []
    assert not page.mask().any()


def test_undo_restores_screen_files_and_bank(page):
    """Ctrl+Z after the second instance: all as the first one left it, and the proposal that was shown then."""
    page.click(30, 30).press(" ", moves=True)
    page.client.settle()
    before = remembered(page)
    page.press(" ").press(" ", moves=True)
    page.client.settle()
    assert remembered(page)[1:] != before[1:]
    page.press("Control+z", moves=True)
    after = remembered(page)
    np.testing.assert_array_equal(after[0], before[0])
    assert after[1:] == before[1:]
    assert page.text("status") == "Undone: synthetic-0001, starfish"


def remembered(page):
    """The canvas; image, proposal and clicks; the index masks; the bank."""
    files = {p.name: p.read_bytes() for p in (page.work.store.out / "masks").rglob("*.png")}
    bank = page.work.course.session.category("starfish").bank
    return page.shown(), page.data("image"), page.proposal, page.clicks, files, bank.count, bank.sums[0].tolist()


def test_a_broken_image_is_one_line_and_work_continues(serve, discs, tab, photos, capsys):
    """One line in the page and on the terminal, nothing to click on, and D opens the next image."""
    (photos / "synthetic-0001.png").write_bytes(b"no image")
    page = Page(tab, serve())
    page.click(30, 30).press(" ", moves=True)
    assert page.data("image") == "1"
    line = page.text("error")
    assert "synthetic-0001.png: not a readable image" in line
    assert "\n" not in line
    assert capsys.readouterr().out == f"annotate: {line}\n"
    page.page.mouse.click(300, 300)
    page.ready()
    assert page.clicks == []
    page.press("d", moves=True)
    assert page.text("error") == ""
    page.click(10, 10).press(" ", moves=True)
    assert [e["image"] for e in page.saved()] == ["synthetic-0000", "synthetic-0002"]


def test_undoing_an_accepted_proposal_shows_it_again(page):
    """Z right after Space."""
    page.click(30, 30).press(" ", moves=True)
    proposal = page.proposal
    page.press(" ").press("z")
    assert page.proposal == proposal
    assert page.clicks == []
    assert page.data("mask") == "shown"


def test_the_next_proposal_is_outside_what_is_annotated(page):
    """Several instances an image: S stays; also after leaving and coming back."""
    page.press("s").click(30, 30).press(" ", moves=True)
    assert page.data("image") == "0"
    index = page.work.store.index("synthetic-0000", "starfish")
    assert index[tuple(page.proposal)] == 0
    page.press("d", moves=True).press("a", moves=True)
    assert index[tuple(page.proposal)] == 0


def test_keys_are_inert_in_a_text_field(page):
    """Letters typed into the number of the image do nothing else."""
    page.page.focus("#number")
    page.page.keyboard.press("d")
    page.page.keyboard.press("x")
    page.ready()
    assert page.data("image") == "0"
    assert page.work.store.events == []
    page.page.fill("#number", "3")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#canvas[data-state=ready][data-image='2']")


def test_an_image_number_that_there_is_not_is_one_line_and_is_put_back(page):
    """Four images: 99, 0, 1.5 and nothing are none of them."""
    for text, named in (("99", "99"), ("0", "0"), ("1.5", "1.5"), ("", "without a number")):
        page.page.fill("#number", text)
        page.page.dispatch_event("#number", "change")
        page.ready()
        assert page.text("error") == f"Image {named}: expected 1 to 4"
        assert page.page.input_value("#number") == "1"
    page.press("d", moves=True)
    assert page.text("error") == ""


def test_one_click_is_not_called_clicks(page):
    """The status and the list of finished instances."""
    page.click(30, 30)
    assert page.text("status") == "1 click"
    page.click(20, 30, "right")
    assert page.text("status") == "2 clicks"
    page.press("z", "s").press(" ", moves=True)
    assert page.text("instances") == "1: 1 click"


SCROLLABLE = """() => { const aside = document.querySelector("aside"), tall = document.createElement("p");
    tall.style.height = "5000px"; aside.append(tall); aside.tabIndex = 0; }"""
SCROLLED = """() => { window.scrolled = new Promise((done) => {
    document.querySelector("aside").addEventListener("scroll", () => done(true));
    setTimeout(done, 5000, false); }); }"""


def test_space_never_scrolls_the_page(page):
    """Nor what is beside the picture, wherever the focus is, also when the key is held; Page Down does scroll it."""
    page.page.evaluate(SCROLLABLE)
    for focused in ("#canvas", "[data-action=help]", "aside"):
        page.page.focus(focused)
        for key in ("down", "down", "up"):
            getattr(page.page.keyboard, key)(" ")
        page.page.wait_for_timeout(100)
        assert page.page.evaluate("[scrollY, document.querySelector('aside').scrollTop]") == [0, 0], focused
        page.page.evaluate("document.querySelector('#help').close()")
    page.page.evaluate(SCROLLED)
    page.page.keyboard.press("PageDown")
    assert page.page.evaluate("window.scrolled")


LAYOUTS = [("é", "Digit2"), ("&", "Digit1"), ("2", "Numpad2"), ("1", "Numpad1"), ("2", "Digit7")]


def test_digits_go_by_character_or_place(page):
    """An AZERTY row gives & and é without Shift; the number pad counts. Each changes the category."""
    for key, code in LAYOUTS:
        view = page.data("view")
        dispatch(page, key, code)
        page.ready(view)
        assert page.work.at.category == ("starfish" if key in "&1" else "clover"), (key, code)


def test_letters_go_by_character_and_not_by_place(page):
    """AZERTY's A stands where QWERTY has Q; QWERTZ's Z where it has Y."""
    page.press("d", moves=True)
    view = page.data("view")
    dispatch(page, "a", "KeyQ")
    page.ready(view)
    assert page.data("image") == "0"
    page.click(30, 30)
    dispatch(page, "z", "KeyY")
    page.ready()
    assert page.clicks == []


def dispatch(page, key, code):
    script = "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true}))"
    page.page.evaluate(script, [key, code])


def test_every_key_of_the_table_has_a_button(page):
    """A person without a keyboard can do all; H hides while it is held, the display keys change the display."""
    names = page.page.eval_on_selector_all("[data-action]", "all => all.map(b => b.dataset.action)")
    assert set(names) == set(page.page.evaluate("Object.values(KEYS)")) | {"fit", "hide"}
    page.opaque().click(30, 30)
    page.page.keyboard.down("h")
    assert not page.mask().any()
    page.page.keyboard.up("h")
    assert page.mask().any()
    page.action("outline")
    assert not page.mask()[30, 40]
    assert (page.shown()[..., :3] == MASK).all(axis=-1).any()
    page.action("outline")
    assert page.mask()[30, 40]
    page.action("less")
    assert not page.mask().any()
    page.action("help")
    assert page.page.is_visible("dialog#help")


def test_a_button_that_was_clicked_does_not_take_the_space_bar(page):
    """Space still accepts and finishes after the mouse was used on a button."""
    page.click(30, 30).action("outline").press(" ", moves=True)
    assert len(page.saved()) == 1
    assert page.page.get_attribute("[data-action=outline]", "aria-pressed") == "true"


def test_a_finished_instance_is_reopened_by_a_click_corrected_and_deleted(page):
    """Click on one; Esc leaves it as it was; a correction replaces it; Del deletes it."""
    page.press("s").click(30, 30).press(" ", moves=True).press("Escape")
    page.click(30, 30)
    assert page.clicks == [(30, 30, True)]
    page.press("Escape", moves=True)
    assert [e["id"] for e in page.saved()] == [1]
    page.press("Escape").click(30, 30).click(22, 30, "right").press(" ", moves=True)
    assert [e["replaces"] for e in page.saved()] == [1]
    page.press("Escape").click(33, 30).press("Delete", moves=True)
    assert page.saved() == []


def test_no_object_is_marked_and_unmarked(page):
    """X, and X again on coming back."""
    page.press("x", moves=True)
    assert page.data("image") == "1"
    page.press("a", moves=True)
    assert page.page.get_attribute("[data-action=nothing]", "aria-pressed") == "true"
    page.press("x", moves=True)
    assert page.page.get_attribute("[data-action=nothing]", "aria-pressed") == "false"


def test_a_click_during_optimisation_is_answered(page, monkeypatch):
    """What is learnt behind the user's back holds nobody up."""
    go, learn = threading.Event(), page.work.course.learner.twin.learn
    monkeypatch.setattr(page.work.course.learner.twin, "learn", lambda category: (go.wait(30), learn(category)))
    page.click(30, 30).press(" ", moves=True)
    assert not page.work.course.rounds["starfish"].done()
    page.click(10, 10)
    assert page.clicks == [(10, 10, True)]
    go.set()


def test_a_late_answer_never_overwrites_a_newer_one(page, monkeypatch):
    """The answer to the first of two clicks comes last."""
    segment, slow = page.work.segment, []

    def late(view, seq, clicks):
        answer = segment(view, seq, clicks)
        if not slow:
            slow.append(time.sleep(0.2))
        return answer

    monkeypatch.setattr(page.work, "segment", late)
    page.opaque()
    page.page.mouse.click(*page.at(10, 10))
    page.page.mouse.click(*page.at(50, 50))
    page.ready()
    assert len(page.clicks) == 2
    assert page.mask()[50, 56]
    page.page.wait_for_timeout(300)
    assert page.mask()[50, 56]


def test_reload_and_restart_resume_at_the_first_unfinished_image(page, serve, visit):
    """Nothing that was saved is lost, and the proposal is the same."""
    page.click(30, 30).press(" ", moves=True)
    proposal = page.proposal
    page.page.reload()
    page.ready()
    assert (page.data("image"), page.proposal) == ("1", proposal)
    again = visit(serve())
    assert (again.data("image"), again.proposal) == ("1", proposal)


def test_a_second_tab_is_refused_in_one_line(page, visit):
    """One tab a folder."""
    second = page.page.context.browser.new_context().new_page()
    second.goto(page.client.server.address)
    second.wait_for_selector("#error:has-text('another tab')")
    second.context.close()
    page.click(30, 30)


def test_a_duplicated_tab_is_refused_and_the_first_works_on(serve, visit):
    """window.open copies what the tab stores for itself; only a reload is the same tab again."""
    page = visit(serve())
    page.click(30, 30)
    with page.page.context.expect_page() as opened:
        page.page.evaluate("void window.open(location.href)")
    second = opened.value
    for _ in range(2):
        second.wait_for_selector("#error:has-text('another tab')")
        assert "\n" not in second.inner_text("#error")
        second.reload()
    page.press(" ", moves=True)
    assert page.data("image") == "1"
    page.page.reload()
    page.ready()
    page.click(10, 10)
    assert page.text("error") == ""
