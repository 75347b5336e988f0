"""annotator/history.js and clicks.js: nothing that a person does is lost, in a real browser (D31, D32)."""

import random

import numpy as np
import pytest
from person import Page, slow


def one_of_each(page):
    """Do something of each kind, step by step: on the second image, on the fourth one and on the first one again."""
    yield page.click(30, 30)
    yield page.click(20, 30, "right")
    for key in (" ", " ", "Escape"):
        yield page.press(key)
    yield page.click(9, 9)
    yield page.press("r").click(40, 40)
    for key in ("2", "1", " ", "x", "Escape"):
        yield page.press(key)
    yield page.press("b").draw((10, 10), (10, 30)).press("b")
    yield page.press("a", "a", "a").click(30, 30)
    yield page.click(34, 30)
    yield page.press(" ")
    page.page.select_option("#instances select", "clover")
    yield page.ready()
    yield page.click(34, 30)
    for key in ("Delete", "f"):
        yield page.press(key)


def test_every_step_is_undone_and_done_again_across_images(page):
    """One history of drafts and of what is saved: back to the beginning, and to the end again, each step alone."""
    states, masks = [page.snapshot(), *(page.snapshot() for _ in one_of_each(page))], page.store.out / "masks"
    files = {path: path.read_bytes() for path in masks.rglob("*.png")}
    assert page.events() == ["finish", "finish", "empty", "correct", "category", "delete", "done"]
    for before in states[-2::-1]:
        assert page.press("z").snapshot()[:4] == before[:4]
        assert page.text("toast").startswith("Undone: ")
    assert page.snapshot() == states[0]
    assert list(masks.rglob("*.png")) == []
    for after in states[1:]:
        assert page.press("Control+Shift+Z").snapshot()[:4] == after[:4]
    assert page.press("Control+y").text("toast") == "Nothing to redo"
    assert {path: path.read_bytes() for path in masks.rglob("*.png")} == files


KEYS = [" ", " ", " ", "Escape", "z", "Shift+Z", "d", "a", "x", "f", "1", "2", "r", "p", "Delete"]


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_a_person_does_is_undone_to_nothing_and_done_again(serve, visit, seed):
    """Mostly without waiting; with one object an image and with several: nothing saved and no click is left; then all
    is back."""
    page, rng, count = visit(serve(several=bool(seed))), random.Random(seed), 0
    for _ in range(40):
        if rng.random() < 0.4:
            button = rng.choice(["left", "left", "right", "middle"])
            page.click(rng.randrange(4, 60), rng.randrange(4, 60), button, wait=False)
        else:
            page.type_ahead(rng.choice(KEYS))
        if rng.random() < 0.5:
            page.ready()
    made = page.ready().snapshot()
    assert "finish" in page.events()
    while page.page.is_enabled("[data-action=undo]"):
        page.press("z")
        count += 1
    assert page.snapshot()[:4] == [[], [], [], {}]
    for _ in range(count):
        page.press("Shift+Z")
    assert page.snapshot()[:4] == made[:4]


def test_a_new_tab_undoes_what_an_earlier_one_saved_and_says_what(page, serve, visit):
    """Also after a restart with other categories: what is undone is shown."""
    page.press("2").click(30, 30).press(" ")
    again = visit(serve(categories=["starfish"]))
    again.press("z")
    assert again.saved() == []
    assert (again.image, again.category) == (0, "clover")
    assert "synthetic-0000, clover" in again.text("toast")
    assert len(again.press("Shift+Z").saved()) == 1


# ---- drafts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", ["da", "21", "xa", "F", "dFa"])
def test_unfinished_clicks_survive(page, keys):
    """D and A, the digits, X, and a reload of the page (F)."""
    page.click(30, 30).click(22, 30, "right")
    clicks = page.clicks
    for key in keys:
        page.reload() if key == "F" else page.press(key)
    assert (page.image, page.clicks, page.marks()[0]) == (0, clicks, "draft")
    assert page.opaque().mask().sum() > 100
    assert page.press("Escape").reload().clicks == []


def test_a_draft_keeps_its_category(page):
    """Begun as clover, it comes back as clover among starfish: after a key, and after a finish that leads to it."""
    page.press("d", "2").click(30, 30).press("a", "1")
    assert (page.image, page.category) == (0, "starfish")
    for keys in ("d", "a1"):
        page.press(*keys)
        if keys == "a1":
            page.click(20, 20).press(" ")
        assert (page.image, page.category, page.clicks) == (1, "clover", [(30, 30, True)])


# ---- input during work -----------------------------------------------------------------------------------------------


def test_clicks_during_a_save_are_applied_in_order(several, monkeypatch):
    """Several objects an image: five clicks while the first is saved are the second one's, and Space finishes it."""
    several.click(10, 10)
    with slow(monkeypatch, several.client.annotator, "finish", 0.4):
        several.type_ahead(" ")
        for col in (30, 35, 40, 45, 50):
            several.click(50, col, wait=False)
        several.type_ahead(" ")
        several.ready()
    assert [len(e["clicks"]) for e in several.saved()] == [1, 5]
    assert several.saved()[1]["clicks"] == [[50, col, True] for col in (30, 35, 40, 45, 50)]


@pytest.mark.parametrize("late", [False, True])
def test_a_click_on_an_image_that_gives_way_is_kept_for_that_image(page, monkeypatch, late):
    """One object an image: it never lands on the next one, also if the button goes up when that is there."""
    page.click(30, 30)
    with slow(monkeypatch, page.client.annotator, "finish", 0.4):
        page.page.mouse.move(*page.at(10, 12))
        page.type_ahead(" ").page.mouse.down()
        if not late:
            page.page.mouse.up()
        page.ready()
    page.page.mouse.up()
    page.ready()
    assert (page.image, page.clicks) == (1, [])
    assert "meant for synthetic-0000" in page.text("toast")
    assert page.marks()[:2] == ["draft", ""]
    assert page.press("a").clicks == [(10, 12, True)]


def test_space_right_after_a_click_finishes_with_its_mask(page, monkeypatch):
    """The mask of the click is waited for."""
    with slow(monkeypatch, page.client.annotator, "segment", 0.3):
        page.click(30, 30, wait=False).click(20, 30, "right", wait=False).type_ahead(" ").ready()
    assert [e["clicks"] for e in page.saved()] == [[[30, 30, True], [20, 30, False]]]
    assert page.image == 1


@pytest.mark.parametrize(("key", "event"), [(" ", "finish"), ("x", "empty"), ("f", "done")])
def test_what_was_not_seen_is_neither_accepted_nor_marked(page, monkeypatch, key, event):
    """A key that was pressed again before the next image was shown says so and does nothing; nobody saw that image."""
    page.click(30, 30).press(" ")
    if key == " ":
        page.press(" ")  # accepts the proposal
    with slow(monkeypatch, page.client.annotator, event, 0.3):
        page.type_ahead(key, key).ready()
    assert (page.image, page.events()) == (2, ["finish", event])
    assert "press it again" in page.text("toast")


def test_a_late_answer_never_overwrites_a_newer_one(page):
    """The answer to the first of two clicks comes last."""
    held = []
    page.page.route("**/segment", lambda route: held.append((route, route.fetch(max_retries=3))), times=1)
    page.opaque().click(10, 10, wait=False).click(50, 50)
    newest = page.mask()
    route, answer = held[0]
    route.fulfill(response=answer)
    page.page.wait_for_timeout(200)
    assert newest[50, 56]
    np.testing.assert_array_equal(page.mask(), newest)


# ---- the server goes away --------------------------------------------------------------------------------------------


def test_an_answer_that_is_lost_is_asked_for_again_and_nothing_is_done_twice(page):
    """Finish and undo: one event each, and the draft is gone, then back."""
    for action in ("finish", "undo"):
        page.page.route(f"**/{action}", lambda route: (route.fetch(max_retries=3), route.abort()), times=1)
    page.click(30, 30).press(" ")
    assert page.events() == ["finish"]
    assert (page.clicks, page.marks()[0]) == ([], "done")
    assert page.press("z").clicks == [(30, 30, True)]
    assert page.events() == ["finish", "undo"]


def lose(page, action, times):
    """Lose the answers to what is done."""
    page.page.route(f"**/{action}", lambda route: (route.fetch(max_retries=3), route.abort()), times=times)


def test_a_finish_whose_answers_are_lost_is_shown_as_saved_and_a_click_more_is_no_second_instance(page):
    """Four of them: the page looks for itself. A click on the mask corrects it, and all is undone step by step."""
    lose(page, "finish", 4)
    page.click(30, 30).press(" ")
    assert (page.image, page.clicks, page.marks()[0], page.text("error")) == (0, [], "done", "")
    page.click(34, 30).click(20, 30, "right").press(" ")
    assert page.events() == ["finish", "correct"]
    assert [e["clicks"] for e in page.saved()] == [[[30, 30, True], [20, 30, False]]]
    page.press(*"zzzz")
    assert (page.saved(), page.clicks) == ([], [(30, 30, True)])


def test_a_finish_that_got_no_answer_at_all_is_saved_once(page):
    """Given up where no other answer is heard either: the next Space asks for the same again, also after a reload."""
    lose(page, "finish", 4)
    lose(page, "open", 4)
    page.click(30, 30).press(" ")
    assert "No answer" in page.text("error")
    assert page.clicks == [(30, 30, True)]
    page.reload().press(" ")
    assert page.events() == ["finish"]
    assert (page.image, page.marks()[0]) == (1, "done")


FAULT = {"status": 500, "json": {"error": "KeyError: 3", "reason": "fault"}}


@pytest.mark.parametrize(("action", "times"), [("segment", 1), ("finish", 1), ("open", 1), ("finish", 4)])
def test_what_the_server_cannot_do_is_said_and_work_goes_on(page, action, times):
    """A fault is not asked for again, one that ends each answer three times; the clicks stay as a draft."""
    asked = []

    def fails(route):
        asked.append(action)
        route.fulfill(**FAULT) if times == 1 else route.abort()

    page.click(30, 30).page.route(f"**/{action}", fails)
    {"segment": lambda: page.click(40, 30), "finish": lambda: page.press(" "), "open": lambda: page.press("d")}[
        action
    ]()
    assert len(asked) == times
    assert ("KeyError: 3" if times == 1 else "No answer") in page.text("error")
    assert (page.image, page.clicks[0]) == (0, (30, 30, True))
    page.page.unroute(f"**/{action}")
    page.press(" ")
    assert (page.image, page.events(), page.text("error")) == (1, ["finish"], "")


def test_a_page_reloaded_while_it_waits_does_it_once(page):
    """The request is in the tab's storage until it is answered."""
    page.click(30, 30)
    page.page.route("**/finish", lambda route: route.fetch(max_retries=3), times=1)
    page.type_ahead(" ")
    page.page.wait_for_timeout(200)
    page.reload()
    assert page.events() == ["finish"]
    assert page.marks()[0] == "done"


def test_when_the_server_comes_back_the_page_goes_on(page, serve):
    """A card says that it is away; a click made meanwhile is segmented when it is back, under the same address."""
    page.click(30, 30)
    port = page.client.server.server_address[1]
    page.client.server.end()
    page.click(20, 30, "right", wait=False)
    page.card("does not answer")
    page.client = serve(port=port)
    page.store = page.client.store
    page.ready()
    assert page.clicks == [(30, 30, True), (20, 30, False)]
    assert not page.page.is_visible("#card")
    page.press(" ")
    assert [len(e["clicks"]) for e in page.saved()] == [2]


def test_a_second_tab_takes_over_and_the_first_one_says_so(serve, visit, monkeypatch):
    """Instead of 'close the other': that one may have crashed. What it had not finished stays there."""
    page = visit(serve())
    page.click(30, 30)
    second = page.page.context.browser.new_context().new_page()
    second.goto(page.client.server.address)
    second.wait_for_selector("#card:has-text('another tab')")
    server, admit, asked = page.client.server, page.client.server.admit, []
    monkeypatch.setattr(server, "admit", lambda request: (asked.append(request.path), admit(request)))
    second.click("#card button")
    second.wait_for_selector("#canvas[data-state=ready]")
    assert "/state" in asked
    assert "/bye" not in asked  # or the first one, if it is busy, would get the place back
    page.click(20, 20, wait=False)
    page.page.click("#card:has-text('another tab') button")
    page.page.wait_for_timeout(100)
    assert page.ready().clicks == [(30, 30, True), (20, 20, True)]
    second.context.close()


def test_a_duplicated_tab_is_another_tab(serve, visit):
    """window.open copies what the tab stores for itself; only a reload is the same tab again."""
    page = visit(serve())
    page.click(30, 30)
    with page.page.context.expect_page() as opened:
        page.page.evaluate("void window.open(location.href)")
    second = opened.value
    for _ in range(2):
        second.wait_for_selector("#card:has-text('another tab')")
        second.reload()
    assert page.press(" ").image == 1


def test_nothing_saved_is_one_line_and_the_draft_stays(page):
    """A disk that takes no more: the clicks are there, and the next Space tries again."""
    page.store.file.rename(page.store.file.with_name("aside"))
    page.store.file.mkdir()
    page.click(30, 30).press(" ")
    assert "not saved" in page.text("error")
    assert page.clicks == [(30, 30, True)]
    page.store.file.rmdir()
    page.store.file.with_name("aside").rename(page.store.file)
    page.press(" ")
    assert page.text("error") == ""
    assert len(page.saved()) == 1


def test_the_history_is_its_own_for_each_folder_and_needs_the_token(page, tab, photos, pristine, tmp_path):
    """Another folder in the same tab has no draft and nothing to undo."""
    from client import Client, started

    page.click(30, 30)
    (tmp_path / "other").mkdir()
    other = started(pristine, photos.rename(tmp_path / "other" / "photos"))
    second = Page(tab, Client(other))
    assert second.clicks == []
    assert tab.is_disabled("[data-action=undo]")
    tab.goto("about:blank")
    tab.goto(second.client.server.address.split("#")[0])  # without the token
    tab.wait_for_selector("#card:has-text('address that the program printed')")
    other.end()


def test_a_double_click_takes_back_its_own_first_click_alone(several, discs, monkeypatch):
    """Not those before it that still wait for their turn."""
    discs.radius = 2.0
    several.zoom(30, 30).click(30, 30)
    with slow(monkeypatch, several.client.annotator, "finish", 0.4):
        several.type_ahead(" ").click(26, 28, wait=False).click(34, 34, wait=False)
        several.page.mouse.dblclick(*several.at(32, 26))
        several.ready()
    assert several.clicks == [(26, 28, True), (34, 34, True)]


def test_keys_that_lead_on_are_counted(page, monkeypatch):
    """D D during a slow open: two images on."""
    with slow(monkeypatch, page.client.annotator, "open", 0.2):
        page.type_ahead("d", "d").ready()
    assert page.image == 2


def test_what_takes_long_is_named_and_turns_at_the_click(page, monkeypatch):
    """A spinner at the click after 150 ms, and the word 'Saving'; nothing before."""
    with slow(monkeypatch, page.client.annotator, "segment", 0.6):
        page.click(20, 20, wait=False)
        page.page.wait_for_selector("#spinner", state="visible")
        col, row = page.page.locator("#spinner").evaluate("e => [e.offsetLeft + 15, e.offsetTop + 15]")
        assert np.allclose([row, col], page.spot(20, 20), atol=2)
        page.ready()
    assert not page.page.is_visible("#spinner")
    with slow(monkeypatch, page.client.annotator, "finish", 0.6):
        page.type_ahead(" ")
        page.page.wait_for_selector("#status:has-text('Saving')")
        page.ready()


def test_opening_an_instance_from_the_list_puts_unfinished_clicks_away_and_says_so(several):
    """Z brings them back."""
    several.click(20, 20).press(" ", "Escape").click(44, 44)
    several.page.click("#instances li button.long")
    assert several.ready().clicks == [(20, 20, True)]
    assert "put away" in several.text("toast")
    assert several.press("z").clicks == [(44, 44, True)]
