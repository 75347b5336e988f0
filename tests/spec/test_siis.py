"""Secs. 3.2, 3.3 and 4.1-4.3: the loop over a sequence with a robot user. Rows: D12-D16, D20, D22, D26, D27, D29."""

import numpy as np
import pytest
import torch
from sessions import settings

from icp import Point
from model import SIISNet
from robot_user import noc
from session import Proposal, Session
from siis import annotate_sequence

pytestmark = pytest.mark.usefixtures("thin_networks", "small_batches")


class Oracle(SIISNet):
    """A network that answers every first click with a given mask."""

    def __init__(self, answer):
        super().__init__("resnet18")
        self.answer = answer

    def predict(self, R, clicks, image):
        return self.answer.float()


class Pointing(Session):
    """A session that proposes given pixels, one per instance, and notes what it is handed."""

    def __init__(self, net, settings, points):
        super().__init__(net, settings)
        self.points, self.accepted = points, []

    def propose(self, view):
        return Proposal(self.points[self.done], None)

    def finish(self, view, clicks, mask):
        self.accepted.append((clicks, mask.clone()))
        super().finish(view, clicks, mask)


def pixel(mask):
    """The first True pixel of a mask."""
    return Point(*np.argwhere(mask)[0].tolist())


def test_a_correct_proposal_is_the_first_foreground_click_and_costs_nothing(sequence):
    """Tab. 1: delta NoC "whose maximum is 1.0"; D14."""
    same = [sequence[0]._replace(name=str(i)) for i in range(3)]
    on = pixel(sequence[0].mask)
    session = Pointing(Oracle(torch.from_numpy(sequence[0].mask)), settings(opo=False), [None, on, on])
    first, *later = annotate_sequence(session, same, 0.85)
    assert (first.proposal, first.correct, noc(first.ious, 0.85)) == (None, None, 1)
    for r in later:
        assert (r.proposal, r.correct, r.clicks, r.ious, r.consistent) == (on, True, [(*on, True)], [1.0], [])
        assert noc(r.ious, 0.85) == 0


@pytest.mark.parametrize("on_void", [False, True])
def test_a_wrong_proposal_costs_nothing_and_leaves_no_click(sequence, on_void):
    """Sec. 1, "directly correct the proposal with a new click"; D15, D16: void is no part of the object either."""
    mask = sequence[0].mask
    off, sample = pixel(~mask), sequence[0]._replace(void=~mask & on_void)
    (r,) = annotate_sequence(Pointing(Oracle(torch.from_numpy(mask)), settings(opo=False), [off]), [sample], 0.85)
    assert (r.proposal, r.correct, r.ious) == (off, False, [0.0, 1.0])
    assert len(r.clicks) == 1
    assert mask[r.clicks[0][:2]]


def test_the_robot_user_and_the_iou_leave_void_out(sequence):
    """D12: a network that also marks void is right after one click; without void this target is out of reach."""
    gt = np.zeros((64, 64), bool)
    gt[20:40, 20:40] = True
    void = np.zeros_like(gt)
    void[18:42, 18:42] = ~gt[18:42, 18:42]
    sample = sequence[0]._replace(mask=gt, void=void)
    (r,) = annotate_sequence(Session(Oracle(torch.from_numpy(gt | void)), settings()), [sample], 0.99)
    assert r.ious == [0.0, 1.0]


def test_what_is_learnt_from_is_what_the_user_accepted(net, sequence):
    """Sec. 4.3, D20: not the ground truth, and nothing that only the data set knows."""
    session = Pointing(net, settings(), [None] * 4)
    done = list(annotate_sequence(session, sequence, 0.3))
    for (clicks, mask), r in zip(session.accepted, done, strict=True):
        assert clicks == r.clicks
        assert torch.equal(mask, r.mask)
        assert not np.array_equal(mask, r.sample.mask)


def test_the_same_seed_gives_the_same_sequence_and_another_seed_another_optimisation(net, sequence):
    """D22, D29: the seed draws what OPO learns from, and nothing else is random."""
    parameters = []
    for seed in (0, 0, 1):
        session = Session(net, settings(seed=seed))
        list(annotate_sequence(session, sequence[:2], 0.85))
        parameters.append(session.category(sequence[0].category).history[-1].parameters["0.0.weight"])
    assert torch.equal(parameters[0], parameters[1])
    assert not torch.equal(parameters[0], parameters[2])
