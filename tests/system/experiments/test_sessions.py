"""Sec. 4: sessions: random proposals (Tab. 5), global optimisation (Tab. 7), --zoom."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks

from clicks import Click
from experiments.sessions import LARGEST, Foreground, Full, Global, Measured, Zoomed, random_point, zoom_box
from session import Settings
from siis import annotate_sequence

pytestmark = pytest.mark.usefixtures("thin_networks", "short_runs")

SETTINGS = Settings(size=64, opo=False)


def same_object(sequence, n=6):
    return [sequence[0]._replace(name=str(i)) for i in range(n)]


# ---- Tab. 5 ----------------------------------------------------------------------------------------------------------


def test_a_random_point_is_any_pixel_equally():
    """Tab. 5, "a random point"."""
    mask, rng = torch.tensor([[True, False, True], [False, True, True]]), np.random.default_rng(0)
    drawn = [random_point(mask, rng) for _ in range(4000)]
    shares = {tuple(p): drawn.count(p) / len(drawn) for p in drawn}
    assert set(shares) == {(0, 0), (0, 2), (1, 1), (1, 2)}
    assert all(abs(share - 0.25) < 0.03 for share in shares.values())


def test_a_random_pixel_of_the_object_is_used_only_when_the_proposal_is_correct(net, sequence, monkeypatch):
    """Tab. 5, "replace the initial click proposal with a random point on the object ... when ... correct"."""
    on, off = (tuple(m.nonzero()[0].tolist()) for m in map(torch.from_numpy, (sequence[0].mask, ~sequence[0].mask)))
    some = same_object(sequence)
    monkeypatch.setattr("session.propose", lambda confidence, ignore: off)
    wrong = list(annotate_sequence(Foreground(net, SETTINGS, some), some, 0.85))[1:]
    assert [(r.proposal, r.correct) for r in wrong] == [(off, False)] * 5
    monkeypatch.setattr("session.propose", lambda confidence, ignore: on)
    right = list(annotate_sequence(Foreground(net, SETTINGS, some), some, 0.85))[1:]
    assert all(r.correct and sequence[0].mask[r.proposal] and r.clicks[0][:2] == r.proposal for r in right)
    assert len({tuple(r.proposal) for r in right}) > 1


def test_a_random_pixel_of_the_image_stands_in_for_every_proposal(net, sequence):
    """Tab. 5, "select the random click from the full image"; the seed draws it, and the first has none."""
    runs = []
    for seed in (0, 0, 1):
        session = Full(net, replace(SETTINGS, seed=seed))
        runs.append([r.proposal for r in annotate_sequence(session, same_object(sequence), 0.85)])
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][0] is None
    assert len({*runs[0], None}) == 6


def test_a_random_pixel_is_never_on_what_is_annotated_already(net, sequence):
    """Eq. 2, p_n in T - I, holds for what replaces it."""
    session = Full(net, SETTINGS)
    free = torch.zeros(64, 64, dtype=torch.bool)
    free[5, 7] = True
    view = session.open(sequence[0].image, "a", "x")
    assert session.propose(view) == (None, None)
    session.finish(view, [Click(1, 1, True)], ~free)
    assert session.propose(session.open(sequence[0].image, "a", "x")).point == (5, 7)


# ---- Tab. 7 ----------------------------------------------------------------------------------------------------------


def test_global_optimisation_moves_all_parameters_and_purification_its_own(net, sequence):
    """Tab. 7: 45.743 M against 0.697 M parameters; both learn from images and leave the network that was passed."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    moved = {}
    for kind in (Measured, Global):
        session = kind(net, Settings(size=64, augment=True))
        list(annotate_sequence(session, same_object(sequence, 2), 0.3))
        assert all(s.features == [] for s in session.memory.samples)
        after = {name: p.detach() for name, p in session.net.named_parameters()}
        moved[kind] = {name for name, p in after.items() if not torch.equal(p, before[name])}
    assert moved[Measured] == {name for name in moved[Global] if name.startswith("purification.")}
    assert {name.split(".")[0] for name in moved[Global]} == {name.split(".")[0] for name in before}
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_features_of_a_global_session_are_those_of_the_parameters_in_force(net, sequence):
    """Tab. 7: what optimisation moves includes the backbone, so nothing that it computed before is kept."""
    session = Global(net, Settings(size=64, augment=True))
    image, name, category = sequence[0].image, "a", sequence[0].category
    first = session.open(image, name, category)
    session.finish(first, [Click(1, 1, True)], sequence[0].mask)
    second, other = session.open(image, name, category), session.open(image, name, "another category")
    assert not torch.equal(first.F[3], second.F[3])
    assert torch.equal(first.F[3], other.F[3])


# ---- --zoom ----------------------------------------------------------------------------------------------------------


SIDE = st.integers(0, 23)


@given(masks(shape=(24, 24)), st.lists(st.tuples(SIDE, SIDE, st.booleans()), max_size=4))
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
