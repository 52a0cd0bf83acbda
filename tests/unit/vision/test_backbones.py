"""The table of backbones: taps are where the table says, and its arithmetic is that of the CNNs."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from ikd_fairseq.errors import IkdError
from ikd_fairseq.vision.backbones import BACKBONES, Backbone, Block, Tap, get_backbone
from ikd_fairseq.vision.frozen_cnn import FrozenCNN
from ikd_fairseq.vision.inverse_cnn import InverseCNN
from ikd_fairseq.vision.weights import load_weights


def test_an_unknown_name_is_refused_with_the_choices():
    with pytest.raises(IkdError, match="resnet51.*resnet50.*efficientnet_lite0"):
        get_backbone("resnet51")


@pytest.mark.parametrize(
    "name, channels, grids",
    [
        ("resnet50", 2048, [7, 4, 4, 3, 2]),
        ("resnet18", 512, [7, 4, 4, 3, 2]),
        ("vgg19", 512, [7, 3, 3, 2, 2]),
        ("alexnet", 256, [6, 2, 2, 1, 1]),
        ("efficientnet_lite0", 320, [7, 4, 4, 3, 2]),
        ("efficientnet_lite1", 320, [7, 4, 4, 3, 2]),
        ("efficientnet_lite2", 352, [7, 4, 4, 3, 2]),
    ],
)
def test_channels_and_grid(name, channels, grids):
    backbone = get_backbone(name)
    assert backbone.channels == channels
    assert [backbone.grid(size) for size in (224, 112, 100, 65, 64)] == grids


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_an_image_without_a_position_in_the_last_map_is_refused(backbone):
    smallest = {"alexnet": 63}.get(backbone.name, 32)
    backbone.check_image_size(smallest)
    assert backbone.grid(smallest) == 1
    sentence = f"^--image-size {smallest - 1} is too small for {backbone.name}: give {smallest} or more$"
    with pytest.raises(IkdError, match=sentence):
        backbone.check_image_size(smallest - 1)


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_the_stages_of_an_entry_lead_from_tap_to_tap_and_to_the_image(backbone):
    assert len(backbone.stages) == len(backbone.taps)
    ends = [(tap.channels, tap.stride) for tap in backbone.taps[-2::-1]] + [(3, 1)]
    stride = backbone.taps[-1].stride
    for stage, (channels, end) in zip(backbone.stages, ends):
        for block in stage:
            assert block.count > 0 and stride % block.grow == 0
            stride //= block.grow
        assert (stage[-1].outputs, stride) == (channels, end)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_signed_says_whether_the_last_map_has_negative_values(name):
    torch.manual_seed(1)
    backbone = get_backbone(name)
    with torch.no_grad():
        last = FrozenCNN(backbone, "random")(torch.randn(2, 3, 64, 64))[-1]
    assert bool((last < 0).any()) == backbone.signed


def test_normalise_scales_each_channel_and_moves_it_first():
    backbone = get_backbone("resnet50")
    images = torch.randint(256, (2, 4, 5, 3), dtype=torch.uint8)
    result = backbone.normalise(images)
    assert result.shape == (2, 3, 4, 5) and result.dtype == torch.float32
    expected = (images[1, 3, 2, 2].item() / 255 - 0.406) / 0.225
    assert result[1, 2, 3, 2].item() == pytest.approx(expected, rel=1e-5)


def test_normalise_takes_no_images():
    images = torch.zeros(0, 4, 5, 3, dtype=torch.uint8)
    assert get_backbone("efficientnet_lite0").normalise(images).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_efficientnet_taps_are_those_of_timm(number):
    name = f"efficientnet_lite{number}"
    features = timm.create_model(f"tf_{name}", pretrained=False, features_only=True).eval()
    teacher = FrozenCNN(get_backbone(name), "random", "block")
    features.load_state_dict(load_weights(teacher.backbone, "random").state_dict(), strict=False)
    images = torch.randn(2, 3, 100, 100)
    for tap, ours, theirs in zip(teacher.taps, teacher(images), features(images)):
        assert ours.shape[1:] == (tap.channels, -(-100 // tap.stride), -(-100 // tap.stride))
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_a_backbone_that_nothing_inverts_needs_no_mirror_and_is_refused_where_one_is_asked_for():
    backbone = replace(get_backbone("resnet18"), name="own", stages=())
    assert [m.shape for m in FrozenCNN(backbone, "random")(torch.zeros(1, 3, 64, 64))] == [(1, 512, 2, 2)]
    with pytest.raises(IkdError, match="--backbone own has no inverse CNN.*choose one of resnet50, resnet18"):
        InverseCNN(backbone, 64)


def test_a_new_backbone_is_one_entry_even_with_other_arithmetic():
    # AlexNet's geometry: 11x11 stride 4 and pooling that loses the border: 27, 13, 6 positions at 224 px.
    def build():
        cnn = nn.Sequential()
        cnn.add_module("conv", nn.Conv2d(3, 6, 11, stride=4, padding=2))
        cnn.add_module("pool1", nn.MaxPool2d(3, 2))
        cnn.add_module("pool2", nn.MaxPool2d(3, 2))
        cnn.add_module("wide", nn.Conv2d(6, 8, 3, padding=1))
        cnn.add_module("relu", nn.ReLU(inplace=True))
        cnn.add_module("pool3", nn.MaxPool2d(3, 2))
        cnn.add_module("head", nn.LazyLinear(10))
        return cnn

    backbone = Backbone(
        name="toy",
        build=build,
        imagenet=lambda cnn: {},
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        taps=(Tap("conv", 6, 4), Tap("pool1", 6, 8), Tap("pool2", 6, 16), Tap("pool3", 8, 32)),
        head=("head",),
        stages=(
            (Block("unpool", 8, grow=2), Block("conv", 6)),
            (Block("bottleneck", 6, width=4, count=2, grow=2),),
            (Block("inverted_bottleneck", 6, width=4, kernel=5, grow=2),),
            (Block("image", 3, kernel=11, grow=4),),
        ),
        # ceil((S - margin) / stride): 55 = (224 - 6) / 4 upwards, 27 = (224 - 14) / 8, 13 and 6 alike.
        margins={4: 6, 8: 14, 16: 30, 32: 62},
    )
    for size in (224, 130, 101):
        images = torch.randn(2, 3, size, size)
        maps = FrozenCNN(backbone, "random", "block")(images)
        output = InverseCNN(backbone, size)(torch.randn(2, backbone.grid(size) ** 2, 8))
        assert [m.shape for m in output.maps] == [m.shape for m in maps]
        assert output.image.shape == images.shape
    assert backbone.grid(224) == 6


def test_stages_have_the_names_of_the_literature():
    aliases = {name: [tap.alias for tap in BACKBONES[name].taps] for name in ("resnet50", "resnet18")}
    assert aliases["resnet50"] == ["conv1", "res2c", "res3d", "res4f", "res5c"]
    assert aliases["resnet18"] == ["conv1", "res2b", "res3b", "res4b", "res5b"]
    res4f = get_backbone("resnet50").up_to("layer3")
    assert res4f == get_backbone("resnet50").up_to("res4f")
    assert (res4f.channels, res4f.grid(224)) == (1024, 14)
    with pytest.raises(IkdError, match="--backbone resnet50 has no inverse"):
        InverseCNN(res4f, 64)


@pytest.mark.parametrize("number", [1, 2])
def test_every_block_of_an_efficientnet_has_its_mirror(number):
    backbone = get_backbone(f"efficientnet_lite{number}")
    mirrored = [block for stage in backbone.stages for block in stage if block.kind == "inverted_bottleneck"]
    blocks = [block for stage in backbone.build().blocks[:0:-1] for block in stage[::-1]]
    plain = [block for block in mirrored for _ in range(block.count)]
    assert len(plain) == len(blocks)
    for mirror, block in zip(plain, blocks):
        kernel, stride = block.conv_dw.kernel_size[0], block.conv_dw.stride[0]
        inputs = block.conv_pw.in_channels
        assert (mirror.kernel, mirror.outputs if mirror.grow == stride else 0) == (kernel, inputs)
