"""annotator/images.js and panel.js: when an image is done, and the strip of all images, in a real browser."""

from unittest.mock import Mock

from PIL import Image


def test_one_object_an_image_goes_on_by_itself(page):
    """Space accepts the proposal, Space finishes; the next image, and the image is done."""
    page.click(30, 30).press(" ")
    assert (page.image, page.marks()) == (1, ["done", "", "", ""])
    proposal = page.proposal
    assert page.press(" ").clicks == [(*proposal, True)]
    assert page.press(" ").image == 2
    assert [e["accepted"] for e in page.saved()] == [None, True]
    assert page.text("progress") == "2 of 4 done"


def test_several_objects_stay_until_the_person_says_so(several):
    """A finish stays, F goes on; the image with one of several objects is not done before, and the page says so."""
    several.click(15, 15).press(" ")
    assert (several.image, several.marks()[0], len(several.saved())) == (0, "some", 1)
    assert several.text("hint").split() == ["Space", "accept", "Esc", "reject", "F", "image", "done"]
    several.press("Escape").click(50, 50).press(" ")
    assert (several.image, several.page.inner_text("#strip button b")) == (0, "2")
    assert several.press("Escape").text("hint").split() == ["F", "image", "done"]
    assert several.button == "Done"
    several.press(" ")
    assert (several.image, several.marks()[0], several.events()[-1]) == (1, "done", "done")
    assert several.press("a").pressed("done")
    several.press("f")
    assert (several.image, several.marks()[0]) == (0, "some")


def test_f_finishes_what_is_clicked_first(several):
    """Two steps: Z takes back 'done', and Z again the finish."""
    several.click(15, 15).press("f")
    assert several.events() == ["finish", "done"]
    assert several.image == 1
    several.press("z")
    assert (several.image, several.marks()[0], len(several.saved())) == (0, "some", 1)
    assert several.press("z").clicks == [(15, 15, True)]


def test_the_way_of_working_is_chosen_in_the_page_and_remembered(page, serve, visit):
    """In the list above the images; a restart without an option keeps it."""
    page.page.select_option("#way", "several")
    page.ready().click(30, 30).press(" ")
    assert (page.image, page.page.input_value("#way")) == (0, "several")
    again = visit(serve())
    assert (again.image, again.page.input_value("#way")) == (0, "several")


def test_after_the_last_image_a_card_says_what_to_do_next(page):
    """'4 of 4 done', exports and their command, a review; no proposal, and Space saves nothing more."""
    page.click(30, 30).press(*[" "] * 7)
    assert len(page.saved()) == 4
    card = page.text("card")
    assert "4 of 4 done" in card
    assert "--export" in card
    assert page.proposal is None
    page.press(" ", " ")
    assert len(page.saved()) == 4
    page.page.click("text=Export coco")
    assert str(page.store.out) in page.ready().text("toast")
    assert (page.store.out / "annotations.json").exists()
    page.page.click("text=Review")
    page.ready()
    assert (page.image, page.text("card")) == (0, "")
    for way in (lambda: page.press("Escape"), lambda: page.click(2, -5)):
        page.press(" ")
        assert page.text("card")
        way()
        assert page.text("card") == ""


def test_after_the_last_image_of_a_category_the_next_one_follows(page):
    """The card leads to it, at the first image that is not done for it."""
    page.press("2", "x", "1", "a").press(*"xxxx")
    assert "for starfish" in page.text("card")
    page.page.click("text=Go on with clover")
    page.ready()
    assert (page.category, page.image, page.text("card")) == ("clover", 1, "")


def test_a_done_image_shows_a_proposal_when_a_person_asks_for_another_object(page):
    """P, and only then."""
    page.click(30, 30).press(" ", "a")
    assert (page.proposal, page.button) == (None, "Next")
    assert page.press("p").proposal
    page.press(" ", " ")
    assert len(page.instances()) == 0
    assert [e["image"] for e in page.saved()] == ["synthetic-0000"] * 2


def test_no_object_is_marked_and_unmarked(page):
    """X, and X again on coming back; where it is marked there is no proposal, until P asks for one."""
    page.press("x")
    assert (page.image, page.marks()[0], page.text("none")) == (1, "empty", "")
    assert page.press("a").pressed("nothing")
    assert page.text("none") == "∅ no starfish"
    page.press("x")
    assert (page.pressed("nothing"), page.marks()[0], page.text("none")) == (False, "", "")
    page.click(30, 30).press(" ", "x", "a")
    assert (page.proposal, page.text("none"), page.marks()[1]) == (None, "∅ no starfish", "empty")
    assert page.press("p").proposal
    page.press(" ", " ", "a")
    assert (page.text("none"), page.marks()[1]) == ("", "done")
    assert page.press("f").text("toast").startswith("Still done")  # with one object it is, until that is deleted


def test_the_strip_jumps_filters_and_loads_what_is_seen(page):
    """A click opens; 'not done' hides what is done, for D and A too; small pictures come by themselves."""
    page.page.click("#strip button:nth-child(3)")
    assert page.ready().image == 2
    page.page.wait_for_function("document.querySelectorAll('#strip img[src]').length === 4")
    page.press("a", "x", "a", "a")
    page.page.check("#filter")
    assert page.page.locator("#strip button:visible").count() == 3
    assert page.image == 0
    assert page.press("d").image == 2
    assert page.press("a").image == 0


def test_two_thousand_photos_are_listed_at_once_and_read_when_they_are_looked_at(photos, serve, visit, monkeypatch):
    """Neither a start nor the strip reads them all."""
    for k in range(2000):
        (photos / f"z{k:04d}.jpg").touch()
    opened = Mock(wraps=Image.open)
    monkeypatch.setattr("PIL.Image.open", opened)
    page, before = visit(serve()), 0
    assert page.page.locator("#strip button").count() == 2004
    while opened.call_count > before:  # until no more are asked for
        before = opened.call_count
        page.page.wait_for_timeout(300)
    assert 1 <= before < 100


def test_an_image_number_that_there_is_not_is_one_line_and_is_put_back(page):
    """Four images: 99, 0, 1.5 and nothing are none of them; 3 is."""
    for text, named in (("99", "99"), ("0", "0"), ("1.5", "1.5"), ("", "without a number")):
        page.page.fill("#number", text)
        page.page.dispatch_event("#number", "change")
        page.ready()
        assert page.text("error") == f"Image {named}: expected 1 to 4"
        assert page.page.input_value("#number") == "1"
    page.page.fill("#number", "3")
    page.page.keyboard.press("Enter")
    page.ready()
    assert (page.image, page.text("error")) == (2, "")


def test_a_broken_image_is_one_line_and_work_continues(photos, serve, visit):
    """One line in the page, nothing to click on, and Space opens the next image."""
    (photos / "synthetic-0001.png").write_bytes(b"no image")
    page = visit(serve())
    page.click(30, 30).press(" ")
    assert page.image == 1
    line = page.text("error")
    assert "synthetic-0001.png: not a readable image" in line
    assert "\n" not in line
    page.page.mouse.click(200, 250)
    assert page.ready().clicks == []
    assert page.press(" ").image == 2
    page.page.wait_for_selector("#strip button:nth-child(2).unreadable")


def test_an_image_that_was_reopened_by_its_tab_is_found_again(page):
    """A reload stays where the person was, not where the next thing is to do."""
    page.click(30, 30).press(" ", "d", "a", "a")
    assert page.image == 0
    assert page.reload().image == 0
