"""annotator/drafts.py: corrections, strokes, the part of an image that is in view, and instances that cover others."""

import numpy as np
import pytest
import torch
from layouts import write
from test_masks import filled

from annotator.masks import cropped, from_counts

NAME = "synthetic-0000"


def mask(client, id):
    """(H, W) bool, an instance as it is saved."""
    event = client.store.history.live[id]
    return from_counts(event["counts"], event["size"])


def shown(answer, shape=(64, 64)):
    """(H, W) bool, a mask as the page draws it."""
    return filled([np.reshape(line, (-1, 2)) for line in answer["mask"]], shape)


def disc(row, col, radius=12.0):
    rows, cols = np.ogrid[:64, :64]
    return (rows - row) ** 2 + (cols - col) ** 2 < radius**2


def test_a_draft_of_nothing_is_refused_and_so_is_no_object_where_there_is_one(client):
    """Strokes that leave nothing; X on an image with a finished instance."""
    body = client.body(strokes=[{"mode": "erase", "radius": 6, "points": [[30, 30]]}])
    status, answer = client.refused("/finish", **body)
    assert (status, answer["error"]) == (422, "the mask is empty; click the object first")
    client.finish((20, 20, True))
    assert client.refused("/empty", key="a new key", image=NAME, category="starfish", empty=True)[0] == 422


def test_a_correction_changes_the_mask_at_its_click_and_nowhere_else(client, discs):
    """The network would change all of it since it has learned; a finished mask is changed where the person clicks."""
    client.finish((20, 20, True))
    before = mask(client, 1)
    discs.radius = 18.0  # another mask for the same clicks
    client.correct(1, (50, 50, True))
    assert np.array_equal(mask(client, 1), before | disc(50, 50, 18.0))
    discs.radius = 12.0
    client.correct(1, (50, 50, False), (10, 55, True))  # each changes the part that it lies on
    expected = ((before | disc(50, 50, 18.0)) & ~disc(50, 50, 4.0)) | disc(10, 55)
    assert np.array_equal(mask(client, 1), expected)
    assert len(client.store.history.live[1]["clicks"]) == 4


def test_a_correction_adds_strokes_to_those_that_are_there(client):
    """Those of before are in the mask already: a click made over an old stroke is not painted over again."""
    old = {"mode": "erase", "radius": 6, "points": [[20, 20]]}
    new = {"mode": "add", "radius": 2, "points": [[5.0, 60.0]]}
    client.finish((20, 20, True), strokes=[old])
    assert not mask(client, 1)[20, 20]
    client.correct(1, (21, 21, True), strokes=[old, new])
    assert mask(client, 1)[20, 20]
    assert mask(client, 1)[5, 60]


def test_with_other_clicks_than_before_the_mask_is_made_anew(client):
    """Re-selected: the old mask is no longer what the clicks are about."""
    client.finish((20, 20, True), (20, 40, True))
    client.correct(1, clicks=[[50, 50, True]])
    assert np.array_equal(mask(client, 1), disc(50, 50))


def test_a_mask_that_no_click_made_is_corrected_as_one_that_clicks_made(client):
    """--masks and drawings: the network gets a click in the middle, so that a background click takes a part away."""
    client.finish(strokes=[{"mode": "add", "radius": 12, "points": [[30, 30]]}])
    before = mask(client, 1)
    assert np.array_equal(before, disc(29.5, 29.5, 12.0) | before)
    assert client.session.session.category("starfish").bank == []  # nothing for the bank, but a mask to learn from
    assert len(client.session.session.memory) == 1
    client.correct(1, (30, 32, False))
    assert np.array_equal(mask(client, 1), before & ~disc(30, 32, 4.0))


def test_a_correction_is_undone_to_the_mask_before(client):
    """The same instance, with the mask, the clicks and the vector that it had."""
    client.finish((20, 20, True))
    client.settle()
    session, before = client.session.session, mask(client, 1)
    vector = session.category("starfish").bank[0].clone()
    client.correct(1, clicks=[[50, 50, True]])
    assert not torch.equal(session.category("starfish").bank[0], vector)
    client.undo()
    client.settle()
    assert np.array_equal(mask(client, 1), before)
    torch.testing.assert_close(session.category("starfish").bank[0], vector)


def test_the_network_looks_at_what_is_in_view_with_a_margin():
    """A tenth of the sides on each side, within the image; a sliver is refused."""
    assert cropped((1000, 2000), [100, 200, 300, 600]) == (80, 160, 320, 640)
    assert cropped((1000, 2000), [-50, 1900, 100, 2100]) == (0, 1880, 115, 2000)
    assert cropped((1000, 2000), None) is None
    with pytest.raises(ValueError, match="less than 16 pixels of the image"):
        cropped((1000, 2000), [2000, 0, 3000, 100])
    assert cropped((10, 2000), [0, 100, 10, 200]) == (0, 90, 10, 210)  # of a thin image all that there is


@pytest.fixture
def large(serve, photos, sequence, discs):
    """An image of 256 x 256 pixels, four times the network's size."""
    write(photos / "large.png", np.kron(sequence[0].image, np.ones((4, 4, 1), np.uint8)))
    client = serve(several=True)
    client.open("large")
    return client


def test_in_view_the_crop_is_segmented_at_the_networks_size(large):
    """D37: Clicks, mask and sample are the crop's: an object of 19 network pixels becomes one of many."""
    box = [100, 100, 140, 140]
    answer = large.segment((120, 120, True), box=box)
    top, left, bottom, right = answer["crop"]
    assert (top, left, bottom, right) == (96, 96, 144, 144)
    expected = np.zeros((256, 256), bool)
    rows, cols = np.ogrid[:256, :256]
    expected[96:144, 96:144] = ((rows - 120) ** 2 + (cols - 120) ** 2 < 144)[96:144, 96:144]
    assert np.array_equal(shown(answer, (256, 256)), expected)
    large.finish((120, 120, True), box=box)
    assert np.array_equal(mask(large, 1), expected)
    (sample,) = large.session.session.memory.samples
    view = large.session.open("large", "starfish", (96, 96, 144, 144))
    assert torch.equal(sample.image, view.image)
    assert view.shape == (48, 48)
    assert sample.mask.shape == (64, 64)
    inside = expected[96:144, 96:144]
    assert abs(sample.mask.float().mean() - inside.mean()) < 0.02
    draft = {"image": "large", "category": "starfish", "clicks": [[120, 120, True]], "strokes": [], "box": box}
    again = large.post("/instance", instance=1)
    assert again["draft"] == {**draft, "plain": False, "instance": 1}
    assert (again["mask"], again["crop"]) == (answer["mask"], answer["crop"])


def test_proposals_still_come_from_the_whole_image(large):
    """The bank holds the first click's vector as it is in the whole image."""
    large.finish((120, 120, True), box=[100, 100, 140, 140])
    whole = large.session.open("large", "starfish")
    cell = whole.R[3][0][:, 120 * whole.R[3].shape[-2] // 256, 120 * whole.R[3].shape[-1] // 256]
    assert torch.equal(large.session.session.category("starfish").bank[0], cell)
