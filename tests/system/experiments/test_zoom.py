"""Beyond the paper: `siis.py --zoom`, a second look at small objects."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks

from experiments.sessions import LARGEST, Zoomed, zoom_box
from session import Settings

pytestmark = pytest.mark.usefixtures("thin_networks")

PIXELS = st.tuples(st.integers(0, 23), st.integers(0, 23), st.booleans())


@given(masks(shape=(24, 24)), st.lists(PIXELS, max_size=4))
def test_the_box_holds_the_mask_and_the_positive_clicks_and_is_less_than_a_quarter_of_the_image(mask, clicks):
    """`zoom_box`: in a larger one there is little to gain."""
    box = zoom_box(mask, clicks)
    points = [*map(tuple, mask.nonzero().tolist()), *(c[:2] for c in clicks if c[2])]
    if box is None:
        rows, cols = ([p[i] for p in points] for i in (0, 1))
        assert not points or 1.5**2 * (max(rows) - min(rows) + 3) * (max(cols) - min(cols) + 3) >= LARGEST * 24 * 24
        return
    top, left, bottom, right = box
    assert 0 <= top < bottom <= 24
    assert 0 <= left < right <= 24
    assert (bottom - top) * (right - left) < LARGEST * 24 * 24
    assert all(top <= r < bottom and left <= c < right for r, c in points)


def test_from_the_second_click_on_a_small_object_is_segmented_in_its_surroundings_alone(net, sequence, monkeypatch):
    """The first click shows where it is; what is predicted of the part is put where the part lies."""
    session = Zoomed(net, Settings(size=64))
    view, seen = session.open(sequence[0].image, "a", "c"), []

    def predict(R, clicks, shape):
        seen.append((clicks, tuple(shape)))
        P = torch.zeros(*shape)
        P[: shape[0] // 4, : shape[1] // 4] = 1  # 16 x 16 of the whole image
        return P

    monkeypatch.setattr(session.net, "predict", predict)
    whole = session.segment(view, [(5, 5, True)])
    part = session.segment(view, [(5, 5, True), (60, 60, False), (8, 8, False)])
    assert [shape for _, shape in seen] == [(64, 64), (64, 64), (20, 20)]
    assert seen[2][0] == [(5, 5, True), (8, 8, False)]  # a click outside is not seen
    assert int(whole.sum()) == 16 * 16
    assert part.nonzero().tolist() == [[row, col] for row in range(5) for col in range(5)]
