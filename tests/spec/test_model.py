"""Sec. 3.1, Eq. 1, D1-D7, D10: the network in three stages and its input sizes."""

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import example, given
from hypothesis import strategies as st
from networks import noise, shake
from strategies import masks
from torchvision import models

import model
from clicks import click_map
from experiments.deeplab import operations
from model import BACKBONES, R_CHANNELS, SIISNet, network_size


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
    """Eq. 1: E_i = C(R_i ⊕ D(E_{i-1})), i in {1..4}; "C means two convolutional layers"; D3, D4."""
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
    ("name", "options", "step"), [("resnet50", DILATED, 1), ("resnet50", {}, 2), ("resnet18", {}, 2)]
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


# ---- input sizes -----------------------------------------------------------------------------------------------------


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
