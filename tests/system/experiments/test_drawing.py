"""Figs. 5-6: how clicks, proposals, masks and confidence maps are drawn."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import drawing


def test_clicks_of_both_signs_and_proposals_differ_in_colour_and_in_shape():
    """`drawing`: red on the object, blue on the background as in the paper; "shapes differ, not colours alone"."""
    red, blue = (np.asarray(drawing.marker(kind))[12, 7, :3].astype(int) for kind in (True, False))  # left of the sign
    assert (red.argmax(), blue.argmax()) == (0, 2)
    signs = [np.asarray(drawing.marker(kind).convert("LA")).astype(int) for kind in (True, False, None)]
    for k, a in enumerate(signs):
        for b in signs[:k]:
            assert (abs(a - b).max(axis=2) > 60).sum() >= 12


def test_an_object_stays_visible_under_its_mask():
    """`drawing`: "a light tint with an outline, so that the object stays visible"; outside nothing changes."""
    image = np.full((drawing.TILE, drawing.TILE, 3), 90, np.uint8)
    mask = np.zeros(image.shape[:2], bool)
    mask[40:160, 50:150] = True
    change = abs(np.asarray(drawing.masked(image, mask)).astype(int) - 90).max(axis=2)
    assert 0 < change[44:156, 54:146].min() <= change[44:156, 54:146].max() <= 0.16 * 255
    assert change[34:42, 90].max() > 100
    change[34:166, 44:156] = 0
    assert not change.any()


@settings(max_examples=10)
@given(st.integers(0, 119), st.integers(0, 159), st.sampled_from([True, False, None]))
def test_a_sign_is_drawn_where_its_pixel_lies_in_the_picture(row, col, kind):
    """D9: pixel centres, (p + 0.5) times the scale of the picture."""
    image = np.full((120, 160, 3), 90, np.uint8)
    clicks, star = ([], (row, col)) if kind is None else ([(row, col, kind)], None)
    picture = drawing.marked(drawing.plain(image), image.shape, clicks, star)
    rows, columns = np.nonzero((np.asarray(picture) != 90).any(axis=2))
    y, x = (row + 0.5) * drawing.TILE / 120, (col + 0.5) * picture.width / 160
    assert abs(rows - y).max() <= 14
    assert abs(columns - x).max() <= 14
    assert len(rows) > 30


def test_the_most_confident_pixel_is_the_brightest_of_the_map():
    """Fig. 5: the confidence map over the image in grey, from dark to yellow."""
    confidence = torch.full((100, 100), -0.5)
    confidence[60:80, 20:40] = 0.9
    light = np.asarray(drawing.heated(np.full((100, 100, 3), 128, np.uint8), confidence).convert("L")).astype(int)
    assert light[140, 60] > light[20, 160] + 100
    assert drawing.heated(np.zeros((8, 8, 3), np.uint8), torch.zeros(8, 8)).size == (drawing.TILE, drawing.TILE)
