"""Sec. 3.1, Eq. 1, D1-D10: the network in three stages, its click maps and its input sizes."""

import copy
import inspect
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import example, given
from hypothesis import strategies as st
from networks import noise, shake
from strategies import masks
from torch import nn
from torchvision import models

import model
from experiments.deeplab import operations
from model import BACKBONES, CLICK_WIDTH, R_CHANNELS, SIISNet, click_map, click_maps, network_size
from robot_user import interact
from support import gaussians


@pytest.fixture(scope="module")
def pristine():
    """A random network in eval mode, as wide as the paper's head, to be copied."""
    torch.manual_seed(0)
    return SIISNet("resnet18").eval()


@pytest.fixture(scope="module")
def paper_net():
    """The paper's network without values: shapes and counts only."""
    with torch.device("meta"):
        return SIISNet("resnet101").eval()


def literal(x, conv, bn, _):
    """Convolution without bias, BatchNorm, ReLU, from the parameters alone."""
    assert conv.bias is None
    x = nnf.conv2d(x, conv.weight, padding="same", dilation=conv.dilation)
    return nnf.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias).relu()


# ---- the paper's claims ----------------------------------------------------------------------------------------------


def test_the_network_and_its_parts_have_the_parameters_of_tabs_2_and_7(paper_net):
    """Tab. 2: 45.743 M, D7; Tab. 7: 0.697 M, D2, "less than 2%"; the others fit that total: D1, D4, D5, D6."""
    counts = {name: model.parameter_count(part) for name, part in paper_net.named_children()}
    assert counts.pop("backbone") == 42_500_160
    assert counts == {"purification": 697_280, "encoder": 1_956_288, "aspp": 496_384, "decoder": 92_481}
    assert model.parameter_count(paper_net) == 45_742_593


def test_an_image_of_384_pixels_costs_32_364_giga_operations_and_a_further_click_less_than_a_tenth(paper_net):
    """Tab. 2: 32.364 G, D7, D10; Sec. 3.1: "separation of feature extraction and interactive segmentation"."""
    image, E_0 = (torch.empty(1, c, 384, 384, device="meta") for c in (3, 2))
    total, z = operations(lambda: paper_net(image, E_0))
    assert z.shape == (1, 1, 384, 384)
    assert total == 32_364_332_160
    once, F = operations(lambda: paper_net.features(image))
    purify, R = operations(lambda: paper_net.purify(F))
    click, _ = operations(lambda: paper_net.segment(R, E_0))
    assert once + purify + click == total
    assert click + purify < 0.1 * total


@pytest.mark.parametrize("name", BACKBONES)
def test_the_backbone_has_output_stride_16_and_purification_gives_32_64_128_256_channels(name):
    """Sec. 3.1: "ResNet-101 with the output stride of 16 as backbone"; {R_i} with {32, 64, 128, 256}; D1, D2."""
    with torch.device("meta"):
        net = SIISNet(name).eval()
        F = net.features(torch.empty(2, 3, 64, 96))
    first = 256 if name in ("resnet101", "resnet50") else 64  # "channels of {256, 512, 1024, 2048}"
    sizes = [(16, 24), (8, 12), (4, 6), (4, 6)]
    assert [f.shape for f in F] == [(2, first * 2**i, *s) for i, s in enumerate(sizes)]
    assert [r.shape for r in net.purify(F)] == [(2, c, *s) for c, s in zip((32, 64, 128, 256), sizes, strict=True)]


def test_features_never_depend_on_clicks_and_the_segmentation_does(net):
    """Sec. 3.1: "the annotation input will disturb the semantic feature"; D1 (3 channels)."""
    assert [list(inspect.signature(f).parameters) for f in (net.features, net.purify)] == [["image"], ["F"]]
    assert net.backbone.stem[0].in_channels == 3
    with torch.no_grad():
        R = net.purify(net.features(noise(1, 3, 64, 64)))
        before = [r.clone() for r in R]
        maps = [click_map(clicks, (64, 64))[None] for clicks in ([], [(20, 30, True)], [(20, 30, False)])]
        z = [net.segment(R, E_0) for E_0 in maps]
    assert all(torch.equal(r, b) for r, b in zip(R, before, strict=True))
    assert not any(torch.allclose(z[a], z[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_the_mini_encoder_is_eq_1_with_two_3x3_convolutions_and_no_parameter_in_its_resize():
    """Eq. 1: E_i = C(R_i + D(E_{i-1})), i in {1..4}; "C means two convolutional layers"; D3, D4."""
    torch.manual_seed(0)
    encoder = shake(model.MiniEncoder())
    R = [noise(1, c, s, s, seed=c) for c, s in zip(R_CHANNELS, (16, 8, 4, 4), strict=True)]
    E = [click_map([(20, 30, True), (5, 5, False)], (64, 64))[None]]
    for i in range(4):
        x = torch.cat([R[i], nnf.interpolate(E[i], R[i].shape[-2:], mode="bilinear", align_corners=False)], dim=1)
        for layer in encoder[i]:
            assert layer[0].kernel_size == (3, 3)
            x = literal(x, *layer)
        E.append(x)
    got = encoder(R, E[0])
    assert [e.shape[1] for e in got] == [32, 64, 128, 256]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, E[1:], strict=True))


def test_mini_aspp_reduces_256_to_64_channels_by_five_branches_and_the_decoder_joins_raw_e_1(net):
    """Sec. 3.1: "the down-sampling is only 1/4", "concatenated by the E_1"; D5: 320 -> 64; D6."""
    shake(net)
    E_4, E_1 = noise(2, 256, 20, 20), noise(2, 32, 80, 80, seed=1)
    with torch.no_grad():
        parts = [literal(E_4, *branch) for branch in net.aspp.branches]
        parts.append(literal(E_4.mean(dim=(2, 3), keepdim=True), *net.aspp.pool[1:]).expand(-1, -1, 20, 20))
        x = literal(torch.cat(parts, dim=1), *net.aspp.project)
        assert torch.allclose(net.aspp(E_4), x, rtol=1e-3, atol=1e-4)
        joined = torch.cat([nnf.interpolate(x, (80, 80), mode="bilinear", align_corners=False), E_1], dim=1)
        z = net.decoder.predict(literal(literal(joined, *net.decoder.refine[0]), *net.decoder.refine[1]))
        assert torch.allclose(net.decoder(x, E_1), z, rtol=1e-3, atol=1e-4)
    assert (x.shape, z.shape) == ((2, 64, 20, 20), (2, 1, 80, 80))
    convs = [branch[0] for branch in net.aspp.branches]
    assert [(c.kernel_size[0], c.dilation[0]) for c in convs] == [(1, 1), (3, 6), (3, 12), (3, 18)]


def test_forward_is_the_three_stages_in_a_row_and_a_batch_is_its_samples_one_by_one(net):
    """Sec. 3.1, Fig. 2."""
    shake(net)
    image, E_0 = noise(2, 3, 64, 80), torch.rand(2, 2, 64, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = net(image, E_0)
        assert torch.equal(z, net.segment(net.purify(net.features(image)), E_0))
        singles = torch.cat([net(image[i : i + 1], E_0[i : i + 1]) for i in range(2)])
    assert torch.allclose(z, singles, atol=1e-4)


def outputs(network, image):
    """What torchvision's own network computes in its layers 1 to 4."""
    seen = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        layer.register_forward_hook(lambda m, inputs, output: seen.append(output))
    with torch.no_grad():
        network.eval()(image)
    return seen


DILATED = {"replace_stride_with_dilation": [False, False, True]}


@pytest.mark.parametrize(
    ("name", "options", "step"),
    [
        ("resnet50", DILATED, 1),
        ("resnet50", {}, 2),
        ("resnet18", {}, 2),
    ],
)
def test_the_backbone_is_torchvision_s_dilated_network_which_holds_the_stride_32_one(name, options, step):
    """D1: dilation replaces the last stride, so that every second cell of F_4 is what the weights were trained for."""
    reference = shake(getattr(models, name)(**options))
    image = noise(1, 3, 64, 96)
    with torch.no_grad():
        F = SIISNet(name, reference.state_dict()).eval().features(image)
    F[3] = F[3][..., ::step, ::step]
    for ours, theirs in zip(F, outputs(reference, image), strict=True):
        assert (ours - theirs).norm() < 1e-4 * theirs.norm()


# ---- the same, faster ------------------------------------------------------------------------------------------------


def test_masks_clicks_and_noc_are_those_of_the_network_without_folded_batch_norms(net, sequence):
    """Sec. 3.1, D2, D4-D6: P to 1e-5; masks, and so every click of the robot user, are equal."""
    frozen = model.frozen(shake(net))
    for sample in sequence:
        gt = torch.from_numpy(sample.mask)
        x, done = model.normalise(model.network_image(sample.image, 64)[None]), []
        with torch.no_grad():
            for n in (frozen, net):
                R = n.purify(n.features(x))
                run = interact(lambda clicks, R=R, n=n: n.predict(R, clicks, (64, 64)) > 0.5, gt, max_clicks=6)
                done.append((run, n.predict(R, run.clicks, (64, 64))))
        (folded, P), (plain, expected) = done
        assert torch.allclose(P, expected, atol=1e-5)
        assert (folded.clicks, folded.ious) == (plain.clicks, plain.ious)
        assert torch.equal(folded.mask, plain.mask)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_a_frozen_network_has_batch_norms_and_trainable_values_in_purification_alone(backbone):
    """Sec. 3.3, "the parameters of other modules are fixed"; D23. The network it is made of stays as it is."""
    net = shake(SIISNet(backbone)).train()
    before = model.digest(net)
    frozen = model.frozen(net)
    assert model.digest(net) == before
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert not frozen.training
    assert not any(p.requires_grad for p in frozen.parameters())
    norms = [name for name, m in frozen.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == [f"purification.{i}.1" for i in range(4)]
    held, own = ({t.data_ptr() for t in n.state_dict().values()} for n in (net, frozen))
    assert not held & own
    other = model.sharing(frozen)
    assert other.backbone is frozen.backbone
    assert other.purification[0][0].weight.data_ptr() not in own
    with torch.no_grad():
        image, E_0 = noise(1, 3, 64, 64), torch.rand(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
        F, G = net.eval().features(image), frozen.features(image)
        assert all((f - g).norm() <= 1e-4 * f.norm() for f, g in zip(F, G, strict=True))
        assert torch.equal(frozen(image, E_0), other(image, E_0))


def test_the_order_of_channels_in_memory_changes_nothing_but_the_rounding(net):
    """The network computes channels last; values are those of the usual order to 1e-4."""
    twin, image, E_0 = copy.deepcopy(shake(net)), noise(2, 3, 64, 96), torch.rand(2, 2, 64, 96)
    twin.to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        assert all(f.is_contiguous(memory_format=torch.channels_last) for f in net.features(image))
        assert torch.allclose(net(image, E_0), twin(image, E_0), rtol=1e-3, atol=1e-4)


def test_a_click_reaches_as_far_as_single_precision_does():
    """D8: what is left out of a click's Gaussian is 0, and a map of several is their maximum."""
    size, clicks = (150, 260), [(3, 100, True), (90, 170, True), (149, 0, True), (70, 80, False)]
    rows, cols = (torch.arange(n, dtype=torch.float64) for n in size)
    for channel, sign in enumerate((True, False)):
        maps = [
            torch.exp2(-4 * ((rows - r)[:, None] ** 2 + (cols - c) ** 2) / 10**2) for r, c, s in clicks if s is sign
        ]
        assert torch.equal(click_map(clicks, size)[channel], torch.stack(maps).amax(dim=0).float())


# ---- click maps and input sizes -------------------------------------------------------------------------------------

SRC, NET = (37, 53), (32, 48)
CLICKS = st.lists(st.tuples(st.integers(0, SRC[0] - 1), st.integers(0, SRC[1] - 1), st.booleans()), max_size=6)


def cell(p, src, dst):
    """D9 in whole numbers: floor((p + 0.5) dst / src)."""
    return tuple((2 * p[i] + 1) * dst[i] // (2 * src[i]) for i in range(2))


@given(CLICKS, st.randoms(use_true_random=False))
def test_a_click_map_is_the_nearest_click_of_each_sign_whatever_their_order(clicks, random):
    """Sec. 3.1: "two Gaussian maps based on points"; D8 (nearest click of that sign), D9. Literal loops."""
    E_0 = click_map(clicks, NET, SRC)
    points = [(*cell(p, SRC, NET), p[2]) for p in clicks]
    expected = torch.zeros(2, *NET, dtype=torch.float64)
    for r, c in itertools.product(*map(range, NET)):
        for channel, sign in enumerate((True, False)):
            d2 = min(((r - i) ** 2 + (c - j) ** 2 for i, j, s in points if s is sign), default=math.inf)
            expected[channel, r, c] = math.exp(-4 * math.log(2) * d2 / 10**2)
    assert (E_0.shape, E_0.dtype) == ((2, *NET), torch.float32)
    assert torch.allclose(E_0.double(), expected, atol=1e-6)
    assert torch.equal(E_0, click_map(random.sample(clicks, len(clicks)), NET, SRC))
    assert torch.equal(E_0, torch.stack([click_map(p, NET, SRC) for p in [[], *zip(clicks)]]).amax(dim=0))


@given(st.lists(CLICKS, max_size=4))
def test_the_click_maps_of_a_batch_are_those_of_its_instances_however_they_are_drawn(clicks):
    """D8, D9; `draw_gaussians` on an accelerator, which takes all clicks at once, draws the same to the bit."""
    each = [click_map(c, NET, SRC) for c in clicks]
    E_0 = click_maps(clicks, NET, SRC)
    assert E_0.shape == (len(clicks), 2, *NET)
    assert torch.equal(E_0, torch.stack(each) if each else E_0)
    places = [(2 * i + (not p), *cell((r, c), SRC, NET)) for i, cs in enumerate(clicks) for r, c, p in cs]
    stamp = gaussians._stamp(CLICK_WIDTH, torch.device("cpu"))
    drawn = gaussians._all_at_once(torch.zeros(2 * len(clicks), *NET), torch.tensor(places).reshape(-1, 3), stamp)
    assert torch.equal(drawn.reshape(E_0.shape), E_0)


@given(CLICKS)
def test_a_click_map_lies_in_0_1_peaks_at_its_clicks_and_swaps_channels_with_their_signs(clicks):
    """D8: foreground and background are drawn alike; D9: the peak is at the click's network cell."""
    E_0 = click_map(clicks, NET, SRC)
    assert 0 <= E_0.min() <= E_0.max() <= 1
    for row, col, positive in clicks:
        assert E_0[(0 if positive else 1, *cell((row, col), SRC, NET))] == 1
    assert torch.equal(E_0.flip(0), click_map([(r, c, not s) for r, c, s in clicks], NET, SRC))
    assert [bool(channel.any()) for channel in E_0] == [any(s is sign for *_, s in clicks) for sign in (True, False)]


def test_a_click_map_falls_to_half_at_a_distance_of_5_network_pixels():
    """D8: exp(-4 ln 2 d^2 / 10^2) is 1/2 at d = 5, at the network's resolution whatever the image's."""
    for scale in (1, 4):
        E_0 = click_map([(16 * scale, 20 * scale, True)], NET, (NET[0] * scale, NET[1] * scale))
        assert all(abs(E_0[0, r, c] - 0.5) < 1e-6 for r, c in ((11, 20), (21, 20), (16, 15), (19, 24), (13, 16)))


@pytest.mark.parametrize("click", [(-1, 0, True), (0, -1, False), (37, 0, True), (0, 53, False)])
def test_a_click_outside_the_image_is_an_error(click):
    """D9."""
    with pytest.raises(ValueError, match="outside the image of 37x53"):
        click_map([(5, 5, True), click], NET, SRC)


@given(st.integers(0, 600), st.integers(1, 600), st.integers(1, 64))
@example(23, 24, 24)
def test_a_click_falls_into_the_cell_of_the_network_that_holds_its_pixel_centre(p, more, cells):
    """D9: network = floor((p + 0.5) dst / src), exactly."""
    src, dst = (p + more, p + more), (16 * cells, 16 * cells)
    assert tuple(model.to_network(torch.tensor([[p, p]]), src, dst)[0].tolist()) == cell((p, p), src, dst)


@given(st.integers(20, 2000), st.integers(20, 2000))
@example(20, 2000)
def test_the_network_input_keeps_the_aspect_in_multiples_of_16_within_384_and_1024(H, W):
    """D10: aspect kept, short side 384, sides rounded to multiples of 16, long side at most 1,024."""
    h, w = network_size(H, W)
    assert h % 16 == w % 16 == 0
    assert (min(h, w) == 384 and max(h, w) <= 1024) or (max(h, w) == 1024 and min(h, w) <= 384)
    assert abs(h * W - w * H) <= 8 * (H + W)  # no side is rounded by more than 8
    assert network_size(W, H) == (w, h)


def test_an_image_becomes_the_network_input_by_a_resize_and_imagenet_s_mean_and_deviation():
    """D10: an image of the right size is untouched; a plain colour stays that colour."""
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    image.setflags(write=False)
    assert torch.equal(model.network_image(image, short=64), torch.tensor(np.moveaxis(image, 2, 0).copy()))
    plain = model.network_image(np.full((50, 70, 3), (10, 120, 250), np.uint8), short=64)
    assert (plain.shape, plain.dtype) == ((3, 64, 96), torch.uint8)
    assert (plain == torch.tensor([10, 120, 250])[:, None, None]).all()
    expected = [(10 / 255 - 0.485) / 0.229, (120 / 255 - 0.456) / 0.224, (250 / 255 - 0.406) / 0.225]
    assert torch.allclose(model.normalise(plain)[:, 3, 5], torch.tensor(expected))


@given(masks(max_side=12), st.integers(1, 4), st.integers(1, 4))
def test_a_mask_keeps_hard_edges_at_every_size(mask, up, across):
    """D10: each pixel of the network takes its nearest; enlarging by a whole factor repeats pixels."""
    grown = model.network_mask(mask, (mask.shape[0] * up, mask.shape[1] * across))
    assert grown.dtype == torch.bool
    assert torch.equal(grown, mask.repeat_interleave(up, 0).repeat_interleave(across, 1))
    assert torch.equal(model.network_mask(grown.numpy(), mask.shape), mask)


def test_a_prediction_is_a_probability_for_every_pixel_of_the_image(net):
    """D10: probabilities resized bilinearly back to the image; D9: clicks are given in the image's own pixels."""
    R = [noise(1, c, s, s + s // 4, seed=c) for c, s in zip(R_CHANNELS, (16, 8, 4, 4), strict=True)]
    clicks = [(20, 30, True), (99, 140, False)]
    with torch.no_grad():
        P = net.predict(R, clicks, (100, 150))
        coarse = net.segment(R, click_map(clicks, (64, 80), (100, 150))[None]).sigmoid()
    assert (P.shape, P.dtype) == ((100, 150), torch.float32)
    assert 0 <= P.min() < P.max() <= 1
    assert torch.allclose(P, nnf.interpolate(coarse, (100, 150), mode="bilinear", align_corners=False)[0, 0])
