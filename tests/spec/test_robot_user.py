"""Sec. 4.1, Metrics, D11-D15: the robot user, its distance transform, IoU, NoC and NoF."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import brute_distance
from strategies import masks

from clicks import Click
from robot_user import MAX_CLICKS, distance_transform, interact, iou, next_click, next_clicks, noc, nof


def scenes(max_side=12, n=3):
    """n masks of one shape: prediction, ground truth, void."""
    sides = st.integers(1, max_side)
    return st.tuples(sides, sides).flatmap(lambda s: st.tuples(*[masks(shape=s)] * n))


def square(shape, top, left, height, width):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


GT = square((12, 16), 3, 4, 6, 7)  # deepest pixels: rows 5 and 6, columns 6 .. 8
TARGETS = st.sampled_from([0.0, 0.25, 0.5, 0.85, 1.0])
CURVES = st.lists(st.floats(0, 1), min_size=1, max_size=25)


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_the_next_click_is_the_centre_of_the_largest_error_region():
    """Sec. 4.1, Metrics: "selecting the next point in the center of the largest error region"; D11."""
    gt = square((20, 20), 2, 2, 9, 9)
    pred = square((20, 20), 14, 14, 5, 5)
    assert next_click(pred, gt) == Click(6, 6, True)
    assert next_click(pred | gt, gt) == Click(16, 16, False)
    assert next_click(square((20, 20), 4, 2, 7, 9), gt) == Click(2, 2, True)  # all 1 deep: the first


def test_the_largest_error_is_the_deepest_not_the_one_of_most_pixels():
    """Sec. 4.1, Metrics; D11: 49 pixels of a square before 168 of a strip."""
    gt = square((30, 60), 2, 2, 3, 56) | square((30, 60), 15, 20, 7, 7)
    assert next_click(torch.zeros_like(gt), gt) == Click(18, 23, True)


def test_a_perfect_predictor_takes_one_click_and_none_after_a_correct_proposal():
    """Sec. 4.2: "the Delta NoC ..., whose maximum is 1.0"; D14."""
    alone = interact(lambda clicks: GT, GT)
    proposed = interact(lambda clicks: GT, GT, proposal=(3, 4))
    assert (alone.clicks, alone.ious) == ([Click(5, 6, True)], [0, 1])
    assert (proposed.clicks, proposed.ious, proposed.consistent) == ([Click(3, 4, True)], [1], [])
    assert [noc(run.ious, 0.9) for run in (alone, proposed)] == [1, 0]


def test_a_correct_proposal_is_the_first_foreground_click_and_later_clicks_add_to_it():
    """D14; Fig. 3: "The proposal will act as a real click from users"."""
    seen = []

    def predict(clicks):
        seen.append(list(clicks))
        return square(GT.shape, 3, 4, min(2 * len(clicks), 6), 7)

    run = interact(predict, GT, proposal=(4, 5), target=1.0)
    assert run.clicks[0] == (4, 5, True)
    assert seen == [run.clicks[:1], run.clicks[:2], run.clicks[:3]]
    assert run.ious == [1 / 3, 2 / 3, 1]
    assert noc(run.ious, 1.0) == len(run.consistent) == 2


def test_the_user_gives_up_after_20_clicks_a_proposal_not_among_them():
    """D13: at most 20 clicks per instance; D14; D11: each on another pixel."""
    full = torch.ones(12, 16, dtype=torch.bool)
    for proposal in (None, (0, 0)):
        run = interact(lambda clicks: ~full, full, proposal=proposal)
        assert len(run.consistent) == 20 == MAX_CLICKS
        assert len(run.ious) == 21
        assert len({c[:2] for c in run.clicks}) == len(run.clicks) == 20 + (proposal is not None)
        assert noc(run.ious, 0.85) == 20
        assert nof([run.ious], 0.85) == 1


def test_an_instance_reached_at_click_20_counts_20_and_is_no_failure():
    """D13: NoF apart from 'reached at click 20'; the 21st click does not exist."""
    late, never, too_late = [0.0] * 20 + [0.9], [0.0] * 21, [0.0] * 21 + [0.9]
    assert [noc(curve, 0.9) for curve in (late, never, too_late)] == [20, 20, 20]
    assert [nof([curve], 0.9) for curve in (late, never, too_late)] == [0, 1, 1]
    assert nof([late, never, too_late, never], 0.9) == 3
    assert nof([], 0.9) == 0
    assert noc([0.0, 0.9], 0.9) == 1  # reached means equal or better
    assert noc([0.0, 0.5, 0.5], 0.9, max_clicks=2) == 2


def test_click_consistency_says_whether_each_click_got_its_own_pixel_right():
    """Beyond the paper: whether the clicked pixel comes out as the click says."""
    bump = square(GT.shape, 9, 0, 3, 4)
    states = [bump, GT | bump, GT | bump, GT]  # ignored, consistent, ignored, consistent
    run = interact(lambda clicks: states[len(clicks) - 1], GT, target=1.0)
    assert [click.positive for click in run.clicks] == [True, True, False, False]
    assert run.consistent == [False, True, False, True]


@pytest.mark.parametrize("proposal", [None, (3, 4)])
def test_at_least_5_clicks_go_on_after_the_target_a_proposal_among_them(proposal):
    """D26: the network has seen five clicks before the user is content; NoC is still read from the curve."""
    nearly = GT & ~square(GT.shape, 3, 4, 1, 7)
    run = interact(lambda clicks: nearly, GT, proposal=proposal, target=0.8, at_least=5)
    assert len(run.clicks) == 5
    assert len(run.consistent) == 5 - (proposal is not None)
    assert noc(run.ious, 0.8) == (proposal is None)


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(CURVES, TARGETS, TARGETS, st.integers(1, 20))
def test_noc_is_bounded_grows_with_the_target_and_is_the_maximum_for_every_failure(ious, a, b, most):
    """Sec. 4.1 Metrics, D13."""
    low, high = sorted((a, b))
    assert 0 <= noc(ious, low, most) <= noc(ious, high, most) <= most
    assert nof([ious], low, most) <= nof([ious], high, most) <= 1
    if nof([ious], low, most):
        assert noc(ious, low, most) == most
    else:
        assert ious[noc(ious, low, most)] >= low
        assert max([-1.0, *ious[: noc(ious, low, most)]]) < low


@given(scenes(6), st.booleans(), TARGETS)
def test_an_obedient_predictor_improves_with_every_click_until_the_target(scene, proposed, target):
    """Sec. 4.1 Metrics, D12, D13: the loop stops at the target, at 20 clicks or when nothing is wrong."""
    start, gt, void = scene

    def predict(clicks):
        pred = start.clone()
        for row, col, positive in clicks:
            pred[row, col] = positive
        return pred

    inside = (gt & ~void).nonzero().tolist()
    run = interact(predict, gt, void, inside[0] if proposed and inside else None, target)
    assert all(run.consistent)
    assert len(run.ious) == len(run.consistent) + 1 <= 21
    assert run.ious[1:] == sorted(run.ious[1:])
    assert all(value < target for value in run.ious[:-1])
    assert run.ious[-1] >= target or len(run.consistent) == 20 or next_click(run.mask, gt, void, run.clicks) is None
    if run.clicks:
        assert torch.equal(run.mask, predict(run.clicks))
        assert run.ious[-1] == iou(run.mask, gt, void)
    assert not any(void[row, col] for row, col, _ in run.clicks)


# ---- slow oracles ----------------------------------------------------------------------------------------------------


@given(scenes(), st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=5))
def test_the_next_click_is_the_one_that_a_literal_search_finds(scene, clicked):
    """D11, D12: void excluded, clicked pixels 0, foreground only if strictly deeper, first in row-major order."""
    pred, gt, void = scene
    clicked = {(r, c) for r, c in clicked if r < gt.shape[0] and c < gt.shape[1]}
    best, expected = 0.0, None
    for positive, error in ((False, pred & ~gt & ~void), (True, gt & ~pred & ~void)):
        depth = brute_distance(error)
        for r in range(gt.shape[0]):
            for c in range(gt.shape[1]):
                if (r, c) not in clicked and depth[r, c] > best:
                    best, expected = depth[r, c], (r, c, positive)
    assert next_click(pred, gt, void, sorted(clicked)) == expected
    assert next_click(pred.numpy(), gt.numpy(), void.numpy(), [(r, c, True) for r, c in clicked]) == expected


@given(
    st.integers(0, 4).flatmap(lambda n: st.tuples(*[masks(shape=(n, 5, 7))] * 3)),
    st.lists(st.sets(st.tuples(st.integers(0, 4), st.integers(0, 6), st.booleans()), max_size=5), min_size=4),
    st.booleans(),
)
def test_the_next_clicks_of_a_batch_are_those_of_its_instances(scene, clicked, voidless):
    """D11, D12; what other instances look like and where they were clicked changes nothing."""
    pred, gt, void = scene
    clicks = [sorted(c) for c in clicked[: len(gt)]]
    voids = [None] * len(gt) if voidless else void
    each = [next_click(p, g, v, c) for p, g, v, c in zip(pred, gt, voids, clicks, strict=True)]
    assert next_clicks(pred, gt, None if voidless else void, clicks) == each


@given(scenes())
def test_iou_counts_pixels_as_sets_do(scene):
    """Sec. 4.1 Metrics; D12. Both empty: 1."""
    A, B, V = ({tuple(p) for p in mask.nonzero().tolist()} for mask in scene)
    assert iou(*scene) == (len(A & B - V) / len((A | B) - V) if (A | B) - V else 1)
    assert iou(*scene[:2]) == (len(A & B) / len(A | B) if A | B else 1)


# ---- pinned edge cases -----------------------------------------------------------------------------------------------


def test_on_a_tie_the_click_is_background():
    """D11: foreground only if the FN maximum is strictly larger."""
    left, right = square((5, 10), 1, 1, 3, 3), square((5, 10), 1, 6, 3, 3)
    assert next_click(pred=left, gt=right) == Click(2, 2, False)
    assert next_click(pred=right, gt=left) == Click(2, 7, False)
    left[0, 1:4] = left[4, 1:4] = left[1:4, 4] = left[1:4, 0] = True
    assert next_click(pred=right, gt=left) == Click(2, 2, True)


def test_the_border_of_the_image_is_an_edge_of_the_error_and_a_clicked_pixel_is_none():
    """D11: the image border counts as outside (pad 1); a clicked pixel is set to 0 after the transform."""
    full = torch.ones(5, 5, dtype=torch.bool)
    assert distance_transform(full)[2].tolist() == [1, 2, 3, 2, 1]
    assert next_click(~full, full) == Click(2, 2, True)
    assert next_click(~full, full, clicks=[(2, 2, True)]) == Click(1, 1, True)
    assert next_click(~full, full, clicks=[(2, 2, True), (1, 1)]) == Click(1, 2, True)


def test_nothing_wrong_is_no_click_and_nothing_to_find_is_no_interaction():
    """D11; an empty instance cannot be clicked."""
    empty = torch.zeros(4, 4, dtype=torch.bool)
    assert next_click(GT, GT) is None
    assert next_click(~GT, GT, void=torch.ones_like(GT)) is None
    assert distance_transform(empty).tolist() == empty.float().tolist()
    run = interact(lambda clicks: empty, empty)
    assert (run.clicks, run.ious, run.consistent) == ([], [0], [])
    assert torch.equal(run.mask, empty)


def test_masks_of_different_shapes_and_clicks_of_other_instances_are_an_error():
    """CONTRIBUTING, 'How errors read': never broadcast silently."""
    for shapes in (((4, 4), (4, 5), (4, 4)), ((4, 4), (4, 4), (5, 4)), ((2, 4, 4),) * 3, ((4,),) * 3):
        for measure in (iou, next_click):
            with pytest.raises(ValueError, match=r"expected one shape \(H, W\) for pred, gt and void"):
                measure(*(torch.zeros(s, dtype=torch.bool) for s in shapes))
    batch = torch.zeros(2, 4, 5, dtype=torch.bool)
    for pred, gt, void in ((batch[0], batch[0], None), (batch, batch[:1], None), (batch, batch, batch[0])):
        with pytest.raises(ValueError, match=r"expected one shape \(B, H, W\) for pred, gt and void"):
            next_clicks(pred, gt, void, [[], []])
    with pytest.raises(ValueError, match="clicks of 1 instances: expected 2"):
        next_clicks(batch, batch, None, [[]])
