"""The student: Table 7's shapes, a mirror of the teacher at any size, and every part of it learns."""

from contextlib import ExitStack
from functools import cache

import pytest
import torch
from torch import nn

from ikd_fairseq.errors import IkdError
from ikd_fairseq.vision.backbones import BACKBONES, get_backbone
from ikd_fairseq.vision.frozen_cnn import FrozenCNN
from ikd_fairseq.vision.inverse_cnn import KERNELS, InverseCNN, _Growth, _TransposedConv, _Unpool

LITE = get_backbone("efficientnet_lite0")
RESNET = get_backbone("resnet50")


@cache
def layers_of(name, size):
    """Shapes of the maps of every layer of a teacher, and those at its taps."""
    taps = []
    teacher = meta_teacher(name)
    with ExitStack() as hooks:
        for tap in get_backbone(name).taps:
            module = teacher.cnn.get_submodule(tap.path)
            hook = module.register_forward_hook(lambda module, inputs, output: taps.append(output.shape))
            hooks.callback(hook.remove)
        return [m.shape for m in teacher(torch.empty(2, 3, size, size, device="meta"))], taps


@cache
def meta_teacher(name):
    """A teacher without memory for its values."""
    with torch.device("meta"):
        return FrozenCNN(get_backbone(name), "random", "layer")


def make_regions(backbone, size, count=2):
    torch.manual_seed(6)
    return torch.randn(count, backbone.grid(size) ** 2, backbone.channels)


def everything(output):
    """One number that every part of the student has a share in."""
    return output.image.square().mean() + sum(m.pow(3).mean() for m in output.maps)


def test_resnet50_has_the_shapes_and_blocks_of_table_7():
    student = InverseCNN(RESNET, 224)
    output = student(make_regions(RESNET, 224, count=1))
    shapes = [(64, 112, 112), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
    assert [tuple(m.shape[1:]) for m in output.maps] == shapes
    assert tuple(output.image.shape[1:]) == (3, 224, 224)

    def convolutions(block):  # kernel, stride, channels before and after
        found = [m for m in block.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
        return [(m.kernel_size[0], m.stride[0], m.in_channels, m.out_channels) for m in found]

    assert [sum(hasattr(m, "body") for m in stage) for stage in student.stages] == [3, 6, 4, 3]
    assert convolutions(student.stages[3][3]) == [(2, 2, 64, 64)]  # the unpooling
    # S-conv4_x, the teacher's conv4_x backwards: five blocks at 1024, then the one that doubles the side.
    *same, grow = map(convolutions, student.stages[1])
    assert same == [[(1, 1, 1024, 256), (3, 1, 256, 256), (1, 1, 256, 1024)]] * 5
    assert grow == [(1, 1, 1024, 256), (4, 2, 256, 256), (1, 1, 256, 512), (2, 2, 1024, 512)]
    # S-conv2_x does not stride in a block, but has the projection that conv2_x has.
    *body, shortcut = convolutions(student.stages[3][2])
    assert body == [(1, 1, 256, 64), (3, 1, 64, 64), (1, 1, 64, 64)] and shortcut == (1, 1, 256, 64)
    assert convolutions(student.to_image) == [(8, 2, 64, 3)] and student.to_image[0].padding == (3, 3)


# Channels and sides of the student's stages at 224 pixels, as they come, and of its image.
STAGES = {
    "resnet50": [(2048, 7), (1024, 14), (512, 28), (256, 56), (64, 112), (3, 224)],
    "resnet18": [(512, 7), (256, 14), (128, 28), (64, 56), (64, 112), (3, 224)],
    "vgg19": [(512, 7), (512, 14), (256, 28), (128, 56), (64, 112), (3, 224)],
    "alexnet": [(256, 6), (192, 13), (64, 27), (3, 224)],
    "efficientnet_lite0": [(320, 7), (112, 14), (40, 28), (24, 56), (16, 112), (3, 224)],
    "efficientnet_lite1": [(320, 7), (112, 14), (40, 28), (24, 56), (16, 112), (3, 224)],
    "efficientnet_lite2": [(352, 7), (120, 14), (48, 28), (24, 56), (16, 112), (3, 224)],
}


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_stage_by_stage_at_224_pixels(backbone):
    with torch.device("meta"):
        output = InverseCNN(backbone, 224)(make_regions(backbone, 224, count=1))
    shapes = [tuple(m.shape[1:]) for m in (*output.maps[::-1], output.image)]
    assert shapes == [(channels, side, side) for channels, side in STAGES[backbone.name]]


# An odd size (the smallest of all backbones), and that of the paper.
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("size", [63, 224])
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_every_map_has_the_shape_of_its_teachers_at_any_size(backbone, size, kernels):
    layers, taps = layers_of(backbone.name, size)
    with torch.device("meta"):
        student = InverseCNN(backbone, size, kernels)
        regions = make_regions(backbone, size)
    for granularity, expected in (("model", taps[-1:]), ("block", taps), ("layer", layers)):
        output = student(regions, granularity)
        assert [m.shape for m in output.maps] == expected
        assert output.image.shape == (2, 3, size, size)


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_each_convolution_mirrors_one_of_the_teachers(backbone):
    def convolutions(network, input):
        """(depthwise, stride, kernel, channels read and made, sides read and made) of each."""
        found = []
        hooks = [
            module.register_forward_hook(lambda m, inputs, output: found.append((m, inputs[0], output)))
            for module in network.modules()
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        ]
        network(input)
        for hook in hooks:
            hook.remove()
        return [
            (m.groups > 1, m.stride[0], m.kernel_size[0], a.size(1), b.size(1), a.size(2), b.size(2))
            for m, a, b in found
        ]

    with torch.device("meta"):
        student, regions = InverseCNN(backbone, 128, "odd"), make_regions(backbone, 128, count=1)
    taught = convolutions(meta_teacher(backbone.name), torch.empty(1, 3, 128, 128, device="meta"))
    mirrors = convolutions(student, regions)
    turned = [(*kind, made, read, larger, smaller) for *kind, read, made, smaller, larger in mirrors]
    # The kernel that makes the image has an even side where it grows by 2 (8 in Table 7), against patterns.
    first, taught = taught[0], taught[1:]
    (image,) = [conv for conv in turned if conv[3] == 3]
    assert image[:2] == first[:2] and image[3:] == first[3:] and 0 <= image[2] - first[2] <= 1
    assert sorted(taught) == sorted(conv for conv in turned if conv != image)


@pytest.mark.parametrize("size", range(33, 64, 3))
def test_odd_sizes_work_too(size):
    output = InverseCNN(LITE, size)(make_regions(LITE, size))
    assert [m.size(-1) for m in output.maps] == [-(-size // stride) for stride in (2, 4, 8, 16, 32)]
    assert output.image.shape == (2, 3, size, size)


def test_the_deepest_map_is_the_regions_row_by_row():
    regions = make_regions(LITE, 96)  # 3x3
    deepest = InverseCNN(LITE, 96)(regions).maps[-1]
    assert torch.equal(deepest[1, :, 2, 0], regions[1, 6])
    assert torch.equal(deepest[0, :, 1, 2], regions[0, 5])


def test_unpooling_puts_each_value_top_left_among_zeros():
    maps = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    exact = _Unpool(_Growth(2, 2, 4))(maps)
    assert exact.view(4, 4).tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    assert _Unpool(_Growth(2, 2, 3))(maps).view(3, 3).tolist() == [[1, 0, 2], [0, 0, 0], [3, 0, 4]]
    assert _Unpool(_Growth(2, 1, 3))(maps[..., :1, :1]).view(3, 3).tolist() == [[1, 0, 0], [0] * 3, [0] * 3]


@pytest.mark.parametrize("name", BACKBONES)
def test_even_kernels_paint_every_position_by_equally_many(name):
    """Odd ones chequer what equal maps and weights paint, or leave holes in it."""

    def is_uneven(layer):
        for weight in layer.parameters():
            nn.init.ones_(weight)
        side = layer.growth.before if isinstance(layer, _Unpool) else 9
        painted = layer(torch.ones(1, getattr(layer, "in_channels", 1), side, side))[0, 0]
        edge = 2 * len(painted) // side
        return len(painted[edge:-edge, edge:-edge].unique()) > 1

    uneven = {
        kernels: [
            is_uneven(layer)
            for layer in InverseCNN(get_backbone(name), 288, kernels).modules()
            if isinstance(layer, (_TransposedConv, _Unpool))
        ]
        for kernels in KERNELS
    }
    assert any(uneven["odd"]) and not any(uneven["even"])


@pytest.mark.parametrize("size", range(224, 228))
def test_transposed_convolution_undoes_the_size_of_an_unpadded_one_and_paints_up_to_every_edge(size):
    # AlexNet's first: 11x11, stride 4, padding 2.
    before = (size + 4 - 11) // 4 + 1
    conv = _TransposedConv(1, 1, 11, _Growth(4, before, size))
    nn.init.ones_(conv.weight)
    output = conv(torch.ones(1, 1, before, before))
    assert output.shape == (1, 1, size, size) and output.detach().min() > 0


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_every_parameter_and_the_regions_get_a_gradient(backbone, kernels):
    student, regions = InverseCNN(backbone, 64, kernels), make_regions(backbone, 64, count=3).requires_grad_()
    everything(student(regions)).backward()
    assert regions.grad.abs().max() > 0
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # fairseq flattens parameters and gradients with view(-1).
        assert parameter.is_contiguous() and parameter.grad.is_contiguous(), name
    still = [name for name, parameter in student.named_parameters() if not parameter.grad.any()]
    assert not still


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_no_regions_give_empty_maps_and_zero_gradients(backbone):
    student = InverseCNN(backbone, 64)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    output = student(make_regions(backbone, 64)[:0])
    sides = [backbone.side(tap.stride, 64) for tap in backbone.taps]
    shapes = [(0, tap.channels, side, side) for tap, side in zip(backbone.taps, sides)]
    assert [tuple(m.shape) for m in output.maps] == shapes
    assert output.image.shape == (0, 3, 64, 64)
    (output.image.sum() + sum(m.sum() for m in output.maps)).backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_one_image_at_one_region_trains():
    everything(InverseCNN(LITE, 32)(make_regions(LITE, 32, count=1))).backward()


def test_the_image_starts_at_the_scale_of_a_normalised_one():
    image = InverseCNN(RESNET, 64)(make_regions(RESNET, 64, count=4).relu()).image
    assert 0.3 < image.std() < 3


def test_an_image_smaller_than_the_stride_is_refused():
    with pytest.raises(IkdError, match="--image-size 31.*32"):
        InverseCNN(RESNET, 31)
