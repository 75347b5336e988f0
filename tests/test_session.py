"""Secs. 3.2, 3.3, 4.3: what a session keeps, by category and by image, and that it survives being saved."""

import copy

import pytest
import torch

from data import Synthetic
from model import SIISNet
from robot_user import Click
from session import LAYERS, Session, Settings
from siis import annotate_sequence

pytestmark = pytest.mark.usefixtures("small_batches")

SETTINGS = Settings(size=64)
PLAIN = ("index", "proposal", "hit", "clicks", "ious", "obeyed")


def count_calls(module):
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def finish(session, sample, clicks=None):
    """Annotate a sample perfectly: the accepted mask is the ground truth."""
    view = session.open(sample.image, sample.name, sample.category)
    row, col = sample.mask.nonzero()
    clicks = clicks or [Click(int(row[0]), int(col[0]), True)]
    session.finish(view, clicks, sample.mask, sample.void)
    return view


def same_state(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def plain(records):
    """What a record says, without times and pictures."""
    return [{k: getattr(r, k) for k in PLAIN} for r in records]


def test_the_backbone_runs_once_an_image_whatever_is_clicked_and_optimised(net, sequence):
    """Sec. 3.1, "because of the separation of feature extraction and interactive segmentation"; D24."""
    calls = count_calls(net.backbone)
    session = Session(net, SETTINGS)
    records = list(annotate_sequence(session, sequence[:3], 0.85))
    assert sum(len(r.clicks) for r in records) > 3
    assert len(calls) == 3


def test_purification_does_not_run_again_for_a_click(net, sequence):
    """Sec. 3.1: with R_1 .. R_4 held, a click costs the head alone."""
    session = Session(net, SETTINGS._replace(opo=False))
    view = session.open(sequence[0].image, "a", "c")
    calls = count_calls(net.purification)
    for n in range(1, 4):
        session.segment(view, [Click(5 * k, 9, k % 2 == 0) for k in range(n)])
    assert calls == []


def test_two_instances_of_one_image_share_its_features(net, sequence):
    """Sec. 3.2, "if multiple instances of the same categories are in an image"; D24."""
    calls = count_calls(net.backbone)
    session = Session(net, SETTINGS)
    finish(session, sequence[0])
    finish(session, sequence[0])
    assert len(calls) == 1


def test_the_first_image_of_a_category_gets_no_proposal_and_the_next_one_does(net, sequence):
    """Sec. 3.2, "it is initialized as an empty bank"."""
    session = Session(net, SETTINGS)
    view = session.open(sequence[0].image, "0", "c")
    assert session.confidence(view) is None
    assert session.propose(view, None) is None
    finish(session, sequence[0]._replace(category="c"))
    view = session.open(sequence[1].image, "1", "c")
    assert session.propose(view, session.confidence(view)) is not None


def test_the_bank_grows_by_the_first_foreground_click_of_each_instance(net, sequence):
    """Sec. 3.2, "the corresponding feature vector will be stored in the click bank"; D17, D19."""
    session = Session(net, SETTINGS._replace(opo=False))
    clicks = [Click(3, 60, False), Click(40, 20, True), Click(10, 10, True)]
    view = finish(session, sequence[0], clicks)
    bank = session.category(sequence[0].category).bank
    expected = view.R[3][0][:, int(40.5 * 4 / 64), int(20.5 * 4 / 64)]
    assert len(bank) == 1
    torch.testing.assert_close(bank.sums[0], torch.nn.functional.normalize(expected, dim=0))


def test_an_annotated_instance_is_never_proposed_again_in_its_image(net, sequence):
    """Sec. 3.2, "the ignore mask I will be updated to I + A" (Fig. 3)."""
    session = Session(net, SETTINGS._replace(opo=False))
    finish(session, sequence[0])
    seen = torch.zeros(64, 64, dtype=torch.bool)
    for _ in range(6):
        view = session.open(sequence[1].image, "many", sequence[0].category)
        p = session.propose(view, session.confidence(view))
        assert not seen[p]
        area = torch.zeros(64, 64, dtype=torch.bool)
        area[max(0, p.row - 9) : p.row + 9, max(0, p.col - 9) : p.col + 9] = True
        session.finish(view, [Click(*p, True)], area)
        seen |= area


def test_the_ignore_mask_is_that_of_one_image_and_one_category(net, sequence):
    """Sec. 3.2: I is "initially set to the empty set" for each target image; D27."""
    session = Session(net, SETTINGS._replace(opo=False))
    finish(session, sequence[0]._replace(category="x"))
    session.open(sequence[0].image, sequence[0].name, "y")
    assert session.ignore.keys() == {"x"}
    session.open(sequence[1].image, sequence[1].name, "x")
    assert session.ignore == {}


def test_each_category_has_its_own_purification_parameters_and_a_new_one_the_baseline_s(net, sequence):
    """Sec. 3.3, "for each category, the segmentation system will save a set of parameters"; D27."""
    session = Session(net, SETTINGS)
    baseline = {k: v.clone() for k, v in net.purification.state_dict().items()}
    finish(session, sequence[0]._replace(category="x"))
    of_x = {k: v.clone() for k, v in net.purification.state_dict().items()}
    assert not same_state(of_x, baseline)
    session.open(sequence[1].image, "1", "y")
    assert same_state(net.purification.state_dict(), baseline)
    session.open(sequence[1].image, "1", "x")
    assert same_state(net.purification.state_dict(), of_x)


@pytest.mark.parametrize("delta", [1, 2, 3])
def test_instance_n_is_segmented_with_the_parameters_of_the_first_n_minus_delta(net, sequence, delta):
    """Sec. 3.3, "use the model trained by the first (n - delta) samples when segmenting the n th object"; D25."""
    reference = Session(copy.deepcopy(net), SETTINGS)
    after = [reference.baseline]
    for sample in sequence[:3]:
        finish(reference, sample._replace(category="c"))
        after.append({k: v.clone() for k, v in reference.net.purification.state_dict().items()})
    session = Session(net, SETTINGS._replace(delta=delta))
    for n, sample in enumerate(sequence[:3], start=1):
        session.open(sample.image, sample.name, "c")
        assert same_state(net.purification.state_dict(), after[max(0, n - delta)])
        finish(session, sample._replace(category="c"))


def test_optimisation_learns_from_the_accepted_mask_not_from_the_ground_truth(net, sequence):
    """Sec. 4.3, "previously annotated masks ... naturally serve as ground truth labels"; D20."""
    session = Session(net, SETTINGS)
    view = session.open(sequence[0].image, "0", "c")
    accepted = torch.zeros(64, 64, dtype=torch.bool)
    accepted[16:32, 16:48] = True
    session.finish(view, [Click(20, 20, True)], accepted)
    assert torch.equal(session.category("c").memory.samples[0].mask, accepted)


def test_without_icp_nothing_is_proposed_and_without_opo_nothing_is_optimised(net, sequence):
    """Tab. 1, row (a)."""
    before = {k: v.clone() for k, v in net.state_dict().items()}
    records = list(annotate_sequence(Session(net, SETTINGS._replace(icp=False, opo=False)), sequence, 0.85))
    assert [r.proposal for r in records] == [None] * 4
    assert same_state(net.state_dict(), before)


def test_a_refreshed_bank_follows_the_parameters_and_the_literal_one_keeps_what_was_clicked(net, sequence):
    """Sec. 3.2 stores the vectors; refresh=True purifies them anew: D19."""
    for refresh in (False, True):
        session = Session(net, SETTINGS._replace(refresh=refresh))
        view = finish(session, sequence[0])
        bank = session.category(sequence[0].category).bank
        now = session.net.purify(view.F)[3] if refresh else view.R[3]
        row, col = sequence[0].mask.nonzero()
        vector = now[0][:, int((row[0] + 0.5) / 16), int((col[0] + 0.5) / 16)]
        torch.testing.assert_close(bank.sums[0], torch.nn.functional.normalize(vector, dim=0), rtol=1e-4, atol=1e-5)
        session.reset()


@pytest.mark.parametrize("layer", LAYERS)
def test_proposals_can_be_made_from_any_layer_and_from_all(net, sequence, layer):
    """Tab. 3: R_1 .. R_4 and multi-scale."""
    session = Session(net, SETTINGS._replace(layer=layer, opo=False))
    records = list(annotate_sequence(session, sequence[:2], 0.85))
    assert records[1].proposal is not None
    assert len(session.category(sequence[0].category).bank.sums) == len(LAYERS[layer])


@pytest.mark.parametrize(
    ("change", "stop"),
    [
        ({}, 1),
        ({}, 2),
        ({"delta": 2, "memory": 1}, 2),
        ({"refresh": True, "layer": "ms", "augment": True}, 1),
    ],
)
def test_a_loaded_session_goes_on_exactly_as_the_saved_one_would_have(net, sequence, tmp_path, change, stop):
    """Save -> load -> continue equals continue, to the bit."""
    sequence = [s._replace(category="c") for s in sequence[:3]]
    session = Session(net, SETTINGS._replace(**change))
    records = annotate_sequence(session, sequence, 0.85)
    for _ in range(stop):
        next(records)
    session.save(tmp_path / "session.pt")
    rest = plain(records)
    parameters = {name: c.history[-1] for name, c in session.categories.items()}
    session.reset()
    loaded = Session.load(tmp_path / "session.pt", net)
    assert loaded.done == stop
    assert plain(annotate_sequence(loaded, sequence, 0.85)) == rest
    assert all(same_state(loaded.categories[name].history[-1], p) for name, p in parameters.items())


def test_a_session_saved_between_two_instances_of_an_image_remembers_the_first(net, sequence, tmp_path):
    """Sec. 3.2: the ignore mask is part of what is saved."""
    session = Session(net, SETTINGS)
    finish(session, sequence[0])
    session.save(tmp_path / "session.pt")
    session.reset()
    loaded = Session.load(tmp_path / "session.pt", net)
    view = loaded.open(sequence[0].image, sequence[0].name, sequence[0].category)
    assert torch.equal(loaded.ignore[sequence[0].category], torch.from_numpy(sequence[0].mask))
    assert not sequence[0].mask[loaded.propose(view, loaded.confidence(view))]


def test_a_session_of_another_network_is_refused(net, tmp_path):
    """A saved session fits the baseline that it was made with."""
    Session(net, SETTINGS).save(tmp_path / "s.pt")
    with pytest.raises(ValueError, match="another network"):
        Session.load(tmp_path / "s.pt", SIISNet("resnet18"))
    (tmp_path / "s.pt").write_bytes((tmp_path / "s.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"s\.pt"):
        Session.load(tmp_path / "s.pt", net)


def test_many_instances_leave_a_session_no_larger_than_its_memory(net, tmp_path):
    """Q7, Fig. 4b: a memory bank of bounded size is enough."""
    session, sizes = Session(net, SETTINGS._replace(memory=2)), []
    for sample in (Synthetic(4, size=64)[i] for i in range(4)):
        finish(session, sample._replace(category="c"))
        session.save(tmp_path / "s.pt")
        sizes.append((tmp_path / "s.pt").stat().st_size)
    assert len(session.category("c").memory) == 2
    assert sizes[1] == sizes[3]


def test_a_closed_category_holds_nothing_and_is_not_opened_again(net, sequence, tmp_path):
    """D27: one bank, memory and parameters for each category; its samples follow each other."""
    session = Session(net, SETTINGS)
    baseline = {k: v.clone() for k, v in net.purification.state_dict().items()}
    finish(session, sequence[0]._replace(category="x"))
    session.close("x")
    assert session.categories == {}
    session.save(tmp_path / "s.pt")
    session.reset()
    for again in (session, Session.load(tmp_path / "s.pt", net)):
        with pytest.raises(ValueError, match=r"'x'.*follow each other"):
            again.open(sequence[1].image, "1", "x")
    session.open(sequence[1].image, "1", "y")
    assert same_state(net.purification.state_dict(), baseline)
