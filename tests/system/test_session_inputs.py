"""`session.py`: what a user might hand over, and the modes of PyTorch that a caller might have on."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from sessions import SETTINGS, finish, same, settings

from session import Session, Settings

pytestmark = pytest.mark.usefixtures("small_batches", "thin_networks")

BAD_MASKS = {
    "shape": np.zeros((64, 63), bool),
    "expected bool, or 0 and 1, such as mask > 0.5": np.zeros((64, 64)),
    "uint8 from 255 to 255": np.full((64, 64), 255, np.uint8),
    "float32 from nan": torch.full((64, 64), torch.nan),
    "int64 from -1 to 0": np.full((64, 64), -1) * np.eye(64, dtype=int),
}
BAD_CLICKS = (
    *((64, 0, True), (0, -1, True), (float("nan"), 0, True), (1, 2), (1.5, 2, True), (1, 2, "fg")),
    *((1, 2, np.array([1, 0])), (1, 2, torch.tensor([1, 0])), torch.zeros(3, device="meta")),
)


def test_what_finish_cannot_use_is_refused_before_anything_changes(net, sequence):
    """`accept`: ValueError for shapes, dtypes, NaN and points outside."""
    session = Session(net, settings(opo=False))
    view = session.open(sequence[0].image, "0", "c")
    before = everything(session)
    for expected, mask in BAD_MASKS.items():
        with pytest.raises(ValueError, match=expected):
            session.finish(view, [(1, 2, True)], mask)
    for click in BAD_CLICKS:
        with pytest.raises(ValueError, match="click"):
            session.finish(view, [(1, 2, True), click], sequence[0].mask)
        with pytest.raises(ValueError, match="click"):
            session.segment(view, [click])
    assert everything(session) == before


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        (np.zeros((64, 64, 3)), r"shape \(64, 64, 3\), float64; expected .*uint8"),
        (np.zeros((64, 64), np.uint8), r"shape \(64, 64\), uint8; .*convert"),
        (np.zeros((3, 64, 64), np.uint8), r"shape \(3, 64, 64\)"),
        (np.zeros((0, 64, 3), np.uint8), r"shape \(0, 64, 3\)"),
    ],
)
def test_an_image_that_is_no_rgb_of_bytes_is_refused_with_the_remedy(net, image, remedy):
    """`open`: (H, W, 3) uint8."""
    with pytest.raises(ValueError, match=remedy):
        Session(net, SETTINGS).open(image, "0", "c")


@pytest.mark.parametrize(
    "change",
    [
        *({"size": 72}, {"size": 48}, {"size": 1040}, {"size": 64.0}, {"delta": 0}, {"delta": True}, {"memory": 0}),
        *({"layer": "5"}, {"layer": 4}, {"seed": -1}, {"stop_after": 0}, {"icp": 1}, {"size": np.int64(64)}),
    ],
)
def test_settings_that_mean_nothing_are_refused_when_made(change):
    """`Settings`: what was got and what was expected."""
    with pytest.raises(ValueError, match=rf"setting {next(iter(change))}=.*: expected"):
        Settings(**change)


def everything(session):
    """All that a session keeps, as values to compare."""
    states = {
        name: ([v.tolist() for v in c.bank], [id(learnt) for learnt in c.history], c.finished)
        for name, c in session.categories.items()
    }
    return states, session.done, dict(session.ignore), [id(s) for s in session.memory.samples]


@pytest.mark.parametrize("name", [Path("a/b"), np.int64(3), 3, np.str_("a"), "\udcff", "", "a\0 🦋\n"])
def test_what_names_an_image_without_loss_is_taken_as_its_text(net, sequence, tmp_path, name):
    """`open`, `next_round`, `learn`: paths and whole numbers, which a saved session knows again."""
    session = Session(net, SETTINGS)
    view = session.open(sequence[0].image, name, name)
    assert (type(view.name), type(view.category)) == (str, str)
    session.accept(view, [(20, 20, True)], sequence[0].mask)
    assert session.next_round(name) is not None
    session.learn(name)
    session.save(tmp_path / "s.pt")
    loaded = Session.load(tmp_path / "s.pt", net)
    assert list(loaded.categories) == [str(name)]
    assert torch.equal(loaded.ignored(loaded.open(sequence[0].image, name, name)), session.ignored(view))


@pytest.mark.parametrize("bad", [None, 1.5, True, ["a"], b"a", np.array("a")])
def test_a_name_or_category_that_is_no_text_is_refused_at_once(net, sequence, bad):
    """`open`: before anything changes."""
    session = Session(net, SETTINGS)
    before = everything(session)
    for what, arguments in (("name", (bad, "c")), ("category", ("a", bad))):
        with pytest.raises(ValueError, match=f"{what} .*: expected text, a path or a whole number"):
            session.open(sequence[0].image, *arguments)
    for use in (session.category, session.next_round, session.learn):
        with pytest.raises(ValueError, match=r"category .*: expected text"):
            use(bad)
    assert everything(session) == before


@contextmanager
def doubles():
    """Within the block new tensors are of double precision unless they say what they are."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, doubles, lambda: torch.device("meta")])
def test_what_a_caller_has_set_for_torch_changes_nothing(net, sequence, mode):
    """`Session`: gradients, the default type and the default device are its own."""
    plain, inside = Session(net, SETTINGS), None
    samples = [s._replace(category="c") for s in sequence[:3]]
    with mode():
        inside = Session(net, SETTINGS)
        for sample in samples[:2]:
            view = finish(inside, sample)
            mask = inside.segment(view, [(20, 20, True)])
        proposal = inside.propose(view)
    for sample in samples[:2]:
        view = finish(plain, sample)
    assert torch.equal(mask, plain.segment(view, [(20, 20, True)]))
    assert proposal.point == plain.propose(view).point
    finish(inside, samples[2])
    finish(plain, samples[2])
    assert same(inside.category("c").history[-1], plain.category("c").history[-1])


@pytest.mark.parametrize("layer", ["4", "ms"])
def test_a_session_goes_on_with_and_without_autocast(net, sequence, layer):
    """`torch.autocast` of the caller: what the bank holds is float32 whatever the features were computed in."""
    session = Session(net, settings(layer=layer))
    for i, cast in enumerate((True, False, True)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
            session.propose(session.open(sequence[i].image, "a", "c"))
            finish(session, sequence[i]._replace(category="c"))
    assert {v.dtype for v in session.category("c").bank} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_that_is_not_float32_is_refused_in_one_line(net, dtype):
    """`Session`: with the remedy; statistics of another type are no better than parameters."""
    net.decoder.refine[0][1].to(dtype)
    with pytest.raises(ValueError, match=f"network: holds {dtype}"):
        Session(net, SETTINGS)
    with pytest.raises(ValueError, match=r"network: holds torch.*; expected float32 throughout, such as net.float\(\)"):
        Session(net.to(dtype), SETTINGS)


def test_arrays_of_any_layout_and_tensors_are_taken(net, sequence):
    """`open`, `finish`: read-only, reversed and transposed views, torch tensors and scalars, 0 and 1."""
    session = Session(net, settings(opo=False))
    image, mask = sequence[0].image, sequence[0].mask
    fixed, turned = image.copy(), np.ascontiguousarray(image[::-1])[::-1]
    fixed.setflags(write=False)
    for given_image in (fixed, turned, np.asfortranarray(image), torch.from_numpy(image.copy())):
        view = session.open(given_image, "0", "c")
        assert view.content == session.open(image, "0", "c").content
        session.segment(view, [(torch.tensor(3), np.int16(4), np.True_)])
    for given_mask in (
        np.asfortranarray(mask),
        mask[::-1][::-1],
        torch.from_numpy(mask).T.contiguous().T,
        mask.astype(np.uint8),
    ):
        session.finish(view, [(1, 2, True)], given_mask)
        assert torch.equal(session.ignored(view), torch.from_numpy(mask))
