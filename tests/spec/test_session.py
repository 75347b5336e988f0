"""Secs. 3.2, 3.3, 4.3: what a session keeps, by category and by image, and that it survives being saved."""

import copy

import numpy as np
import pytest
import torch
from sessions import SETTINGS, calls_of, finish, same, same_state, settings, state_of

import opo
from clicks import Click
from data import Synthetic
from model import SIISNet, network_mask
from session import LAYERS, Session
from siis import annotate_sequence

pytestmark = pytest.mark.usefixtures("small_batches", "thin_networks")


def test_the_backbone_runs_once_per_image_whatever_is_clicked_and_optimised(net, sequence):
    """Sec. 3.1, "because of the separation of feature extraction and interactive segmentation"; D24.

    Two instances of one image share its features (Sec. 3.2).
    """
    session = Session(net, SETTINGS)
    calls = calls_of(session.net.backbone)
    records = list(annotate_sequence(session, [sequence[0], *sequence[:3]], 0.85))
    assert sum(len(r.clicks) for r in records) > 4
    assert len(calls) == 3


def test_purification_does_not_run_again_for_a_click(net, sequence):
    """Sec. 3.1: with R_1 .. R_4 cached, a click costs the head alone."""
    session = Session(net, settings(opo=False))
    view = session.open(sequence[0].image, "a", "c")
    calls = calls_of(session.net.purification)
    for n in range(1, 4):
        session.segment(view, [Click(5 * k, 9, k % 2 == 0) for k in range(n)])
    assert calls == []


def test_the_first_image_of_a_category_gets_no_proposal_and_the_next_one_does(net, sequence):
    """Sec. 3.2, "it is initialized as an empty bank"."""
    session = Session(net, SETTINGS)
    view = session.open(sequence[0].image, "0", "c")
    assert session.propose(view) == (None, None)
    finish(session, sequence[0]._replace(category="c"))
    view = session.open(sequence[1].image, "1", "c")
    point, confidence = session.propose(view)
    assert confidence[point] == confidence.max()


def test_the_bank_grows_by_the_first_foreground_click_of_each_instance(net, sequence):
    """Sec. 3.2, "the corresponding feature vector will be stored in the click bank"; D17, D19."""
    session = Session(net, settings(opo=False))
    clicks = [Click(3, 60, False), Click(40, 20, True), Click(10, 10, True)]
    view = finish(session, sequence[0], clicks)
    bank = session.category(sequence[0].category).bank
    expected = view.R[3][0][:, int(40.5 * 4 / 64), int(20.5 * 4 / 64)]
    assert len(bank) == 1
    assert torch.equal(bank[0], expected)


def test_an_annotated_instance_is_never_proposed_again_in_its_image(net, sequence):
    """Sec. 3.2, "the ignore mask I will be updated to I ∪ A" (Fig. 3)."""
    session = Session(net, settings(opo=False))
    finish(session, sequence[0])
    seen = torch.zeros(64, 64, dtype=torch.bool)
    for _ in range(6):
        view = session.open(sequence[1].image, "many", sequence[0].category)
        p = session.propose(view).point
        assert not seen[p]
        area = torch.zeros(64, 64, dtype=torch.bool)
        area[max(0, p.row - 9) : p.row + 9, max(0, p.col - 9) : p.col + 9] = True
        session.finish(view, [Click(*p, True)], area)
        seen |= area


def test_the_ignore_mask_is_that_of_one_image_and_one_category_and_lasts(net, sequence):
    """Sec. 3.2: I is "initially set to ∅" for each target image and then I ∪ A; D27, D31."""
    session = Session(net, settings(opo=False))
    finish(session, sequence[0]._replace(category="x"))
    for name, image, category in (("0", 0, "x"), (sequence[0].name, 0, "y"), (sequence[0].name, 1, "x")):
        assert not session.ignored(session.open(sequence[image].image, name, category)).any()
    view = session.open(sequence[0].image, sequence[0].name, "x")
    assert torch.equal(session.ignored(view), torch.from_numpy(sequence[0].mask))
    assert not sequence[0].mask[session.propose(view).point]


def test_each_category_has_its_own_purification_parameters_and_a_new_one_the_baseline_s(net, sequence):
    """Sec. 3.3, "for each category, the segmentation system will save a set of parameters"; D27."""
    session = Session(net, SETTINGS)
    baseline = state_of(net.purification)
    finish(session, sequence[0]._replace(category="x"))
    session.open(sequence[1].image, "1", "x")
    of_x = state_of(session.net.purification)
    assert not same_state(of_x, baseline)
    session.open(sequence[1].image, "1", "y")
    assert same_state(session.net.purification.state_dict(), baseline)
    session.open(sequence[1].image, "1", "x")
    assert same_state(session.net.purification.state_dict(), of_x)


@pytest.mark.parametrize("delta", [1, 2, 3])
def test_instance_n_is_segmented_with_the_parameters_of_the_first_n_minus_delta(net, sequence, delta):
    """Sec. 3.3, "use the model trained by the first (n - delta) samples when segmenting the n th object"; D25."""
    reference = Session(net, SETTINGS)
    after = [reference.baseline]
    for sample in sequence[:3]:
        finish(reference, sample._replace(category="c"))
        after.append(reference.category("c").history[-1])
    session = Session(net, settings(delta=delta))
    for n, sample in enumerate(sequence[:3], start=1):
        session.open(sample.image, sample.name, "c")
        assert same_state(session.net.purification.state_dict(), after[max(0, n - delta)].parameters)
        finish(session, sample._replace(category="c"))
        assert same(session.category("c").history[-1], after[n])  # learnt from the newest, not those in force


def test_optimisation_learns_from_the_accepted_mask_not_from_the_ground_truth(net, sequence):
    """Sec. 4.3, "previously annotated masks ... naturally serve as ground truth labels"; D20; D12: without void."""
    session = Session(net, SETTINGS)
    view = session.open(sequence[0].image.repeat(2, axis=0).repeat(2, axis=1), "0", "c")
    accepted = torch.zeros(128, 128, dtype=torch.bool)
    accepted[30:100, 20:60] = True
    session.finish(view, [Click(40, 40, True)], accepted)
    rng = np.random.default_rng(0)
    batch = opo.view_batch(session.memory.draw(rng, 2), 64, rng)
    assert all(torch.equal(mask, network_mask(accepted, (64, 64))) for mask in batch.mask)
    assert not batch.void.any()


def test_without_icp_nothing_is_proposed_and_without_opo_nothing_is_optimised(net, sequence):
    """Tab. 1, row (a)."""
    session = Session(net, settings(icp=False, opo=False))
    records = list(annotate_sequence(session, sequence, 0.85))
    assert [r.proposal for r in records] == [None] * 4
    assert same_state(session.net.state_dict(), net.state_dict())


@pytest.mark.parametrize("layer", LAYERS)
def test_proposals_can_be_made_from_any_layer_and_from_all(net, sequence, layer):
    """Tab. 3: R_1 .. R_4 and multi-scale."""
    session = Session(net, settings(layer=layer, opo=False))
    records = list(annotate_sequence(session, sequence[:2], 0.85))
    assert records[1].proposal is not None
    channels = 4 + 8 + 16 + 32 if layer == "ms" else 4 * 2 ** (int(layer) - 1)  # of the thin network
    assert [len(vector) for vector in session.category(sequence[0].category).bank] == [channels] * 2


@pytest.mark.parametrize(
    ("change", "stop"), [({}, 1), ({}, 2), ({"delta": 2, "memory": 1}, 2), ({"layer": "ms", "augment": True}, 1)]
)
def test_a_loaded_session_goes_on_exactly_as_the_saved_one_would_have(net, sequence, tmp_path, change, stop):
    """Save -> load -> continue equals continue, to the bit."""

    def told(records):
        return [(r.index, r.proposal, r.correct, r.clicks, r.ious, r.consistent) for r in records]

    sequence = [s._replace(category="c") for s in sequence[:3]]
    session = Session(net, settings(**change))
    records = annotate_sequence(session, sequence, 0.85)
    for _ in range(stop):
        next(records)
    session.save(tmp_path / "session.pt")
    rest = told(records)
    newest = {name: c.history[-1] for name, c in session.categories.items()}
    loaded = Session.load(tmp_path / "session.pt", net)
    assert loaded.done == stop
    assert told(annotate_sequence(loaded, sequence, 0.85)) == rest
    assert all(same(loaded.categories[name].history[-1], learnt) for name, learnt in newest.items())


def test_a_file_that_is_no_session_of_this_network_and_version_is_refused_in_one_line(net, tmp_path):
    """`load`: of another network, cut short, of an older version."""
    file = tmp_path / "s.pt"
    Session(net, SETTINGS).save(file)
    with pytest.raises(ValueError, match=r"s\.pt: saved with another network"):
        Session.load(file, SIISNet("resnet18"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"s\.pt"):
        Session.load(file, net)
    torch.save({"format": "siis-session-3"}, file)
    with pytest.raises(ValueError, match=r"s\.pt: saved by another version \(siis-session-3\); remove it"):
        Session.load(file, net)


def test_the_samples_of_all_categories_together_are_bounded_oldest_out(net):
    """D22, Fig. 4b: a memory bank of bounded size is enough; `Settings.memory`."""
    session = Session(net, settings(memory=2))
    for i, category in enumerate("xyxy"):
        finish(session, Synthetic(4, size=64)[i]._replace(category=category))
    assert [s.category for s in session.memory.samples] == ["x", "y"]
    assert all(len(session.memory.of_category(c)) == 1 for c in "xy")


def test_a_category_does_not_see_the_others(net, sequence):
    """D22, D27, D29: what a category learns, momentum too, depends on its own instances, in any order of the others."""
    alone, among = Session(net, SETTINGS), Session(net, SETTINGS)
    for sample, category in zip(sequence, "xyxy", strict=True):
        finish(among, sample._replace(category=category))
        if category == "x":
            finish(alone, sample._replace(category=category))
    assert same(alone.category("x").history[-1], among.category("x").history[-1])


def test_a_round_elsewhere_is_that_of_the_session(net, sequence):
    """Sec. 3.3, D25: a round taken before later clicks, run on another network, learns what the session would have."""
    plain, apart = (Session(net, settings(delta=2)) for _ in range(2))
    finish(plain, sequence[0]._replace(category="c"))
    view = apart.open(sequence[0].image, "0", "c")
    row, col = sequence[0].mask.nonzero()
    apart.accept(view, [(int(row[0]), int(col[0]), True)], sequence[0].mask)
    following, other = apart.next_round("c"), copy.deepcopy(apart.net)
    before = state_of(apart.net)
    apart.accept(apart.open(sequence[1].image, "1", "c"), [(3, 3, True)], sequence[1].mask)
    apart.commit("c", following.run(other))
    assert same(apart.category("c").history[-1], plain.category("c").history[-1])
    assert same_state(state_of(apart.net), before)


def test_optimisation_ends_after_the_instances_that_the_settings_say(net, sequence):
    """Fig. 4 (a): "when stopping online training after a specified number of samples"; the lag of D25 still shrinks."""
    session = Session(net, settings(stop_after=1, delta=2))
    for sample in sequence[:3]:
        finish(session, sample._replace(category="c"))
        first = session.category("c").history[-1]
    assert [same(learnt, first) for learnt in session.category("c").history] == [True, True]
    assert not same_state(first.parameters, session.baseline.parameters)


def test_a_round_that_fails_leaves_the_parameters_as_they_were(net, sequence):
    """Sec. 3.3: its instance stays accepted, and the rounds after it start from the last parameters there were."""
    session = Session(net, SETTINGS)
    session.accept(session.open(sequence[0].image, "0", "c"), [(20, 20, True)], sequence[0].mask)
    session.memory.samples[-1].features[3].fill_(torch.nan)
    with pytest.raises(ValueError, match="online optimisation: the loss is nan; are the weights broken"):
        session.learn("c")
    state = session.category("c")
    assert (session.done, state.history[-1] is session.baseline) == (1, True)
    session.memory.samples.clear()
    finish(session, sequence[1]._replace(category="c"))
    assert not same_state(state.history[-1].parameters, session.baseline.parameters)


def test_two_sessions_on_one_network_neither_change_it_nor_see_each_other(net, sequence):
    """Sec. 3.3: the network passed in stays as it was in mode, flags and values."""
    before, flags = state_of(net.train()), [p.requires_grad for p in net.parameters()]
    one, other = (Session(net, SETTINGS) for _ in range(2))
    view = other.open(sequence[1].image, "1", "x")
    mask = other.segment(view, [(20, 20, True)])
    finish(one, sequence[0]._replace(category="x"))
    one.open(sequence[1].image, "1", "x")
    assert torch.equal(other.segment(other.open(sequence[1].image, "1", "x"), [(20, 20, True)]), mask)
    assert other.propose(view) == (None, None)
    assert same_state(net.state_dict(), before)
    assert net.training
    assert [p.requires_grad for p in net.parameters()] == flags


def test_a_view_of_an_earlier_image_works_on_that_image(net, sequence):
    """A view knows what it was opened from; another image of the same name is another image."""
    session = Session(net, settings(opo=False))
    first = session.open(sequence[0].image, "a", "x")
    mask = session.segment(first, [(20, 20, True)])
    second = session.open(sequence[1].image, "a", "x")
    assert not torch.equal(first.F[3], second.F[3])
    assert torch.equal(session.segment(first, [(20, 20, True)]), mask)
    session.finish(first, [(20, 20, True)], sequence[0].mask)
    assert not session.ignored(second).any()
    assert torch.equal(session.ignored(first), torch.from_numpy(sequence[0].mask))


def test_a_mask_is_where_the_probability_exceeds_a_half(net, sequence, monkeypatch):
    """D10: mask = P > 0.5."""
    session = Session(net, SETTINGS)
    view = session.open(sequence[0].image, "0", "c")
    monkeypatch.setattr(session.net, "predict", lambda *_: torch.tensor([[0.45, 0.5, 0.55]]))
    assert session.segment(view, []).tolist() == [[False, False, True]]


def test_a_view_of_another_network_is_refused(net, sequence):
    """D19: its features mean nothing to this bank; `accept`, before anything changes."""
    session, other = Session(net, SETTINGS), Session(SIISNet("resnet18").eval(), SETTINGS)
    with pytest.raises(ValueError, match="view of 'a': opened with another network"):
        session.accept(other.open(sequence[0].image, "a", "x"), [(0, 0, True)], sequence[0].mask)
    assert session.done == 0
