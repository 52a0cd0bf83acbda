"""The teacher: frozen for good, transparent to gradients, and hidden from its owner's modules."""

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from ikd_fairseq.errors import IkdError
from ikd_fairseq.vision.backbones import Tap, get_backbone
from ikd_fairseq.vision.frozen_cnn import FrozenCNN, UnregisteredCNN
from ikd_fairseq.vision.weights import load_weights
from tests.closeness import assert_close_to_scale

LITE = get_backbone("efficientnet_lite0")
RESNET = get_backbone("resnet50")


@pytest.fixture(scope="module")
def teacher():
    return FrozenCNN(LITE, "random", "block")


def make_images(count=2, size=64):
    torch.manual_seed(4)
    return torch.randn(count, 3, size, size)


def test_resnet50_maps_have_the_shapes_of_table_7_and_the_values_of_torchvision():
    teacher = FrozenCNN(RESNET, "random", "block")
    images = make_images(1, 224)
    with torch.no_grad():
        maps = teacher(images)
        plain = load_weights(RESNET, "random").eval()
        expected = create_feature_extractor(plain, [tap.path for tap in RESNET.taps])(images)
    shapes = [(64, 112, 112), (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
    assert [tuple(m.shape[1:]) for m in maps] == shapes
    for ours, theirs in zip(maps, expected.values()):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize("backbone", [RESNET, LITE], ids=lambda backbone: backbone.name)
def test_its_batch_norms_are_in_its_convolutions(tmp_path, backbone):
    plain = load_weights(backbone, "random").eval()
    for norm in (module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 1.0)
    torch.save(plain.state_dict(), tmp_path / "weights.pt")
    teacher, images = FrozenCNN(backbone, str(tmp_path / "weights.pt"), "block"), make_images()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in teacher.modules())
    expected: list[torch.Tensor] = []
    for tap in backbone.taps:
        plain.get_submodule(tap.path).register_forward_hook(lambda *call: expected.append(call[-1].clone()))
    with torch.no_grad():
        plain(images)
        for ours, theirs in zip(teacher(images), expected, strict=True):
            assert_close_to_scale(ours, theirs)


def test_granularity_layer_gives_what_each_layer_of_resnet50_hands_on():
    # By hand: the first convolution, the pooling, and of each block the middle two maps and the sum.
    paths = ["relu", "maxpool"]
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            paths += [f"layer{stage}.{block}.{part}" for part in ("relu", "relu_1", "relu_2")]
    teacher, images = FrozenCNN(RESNET, "random", "layer"), make_images(1)
    with torch.no_grad():
        maps = teacher(images)
        expected = create_feature_extractor(teacher.cnn, paths)(images)
    assert len(maps) == 50
    for ours, theirs in zip(maps, expected.values()):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


def test_granularity_layer_gives_every_activation_and_pooling_of_alexnet():
    teacher, images = FrozenCNN(get_backbone("alexnet"), "random", "layer"), make_images(1)
    expected, current = [], images
    with torch.no_grad():
        for module in teacher.cnn.features:
            current = module(current.clone())
            if not isinstance(module, nn.Conv2d):
                expected.append(current.clone())
        maps = teacher(images)
    assert len(maps) == len(expected) == 5 + 3
    for ours, theirs in zip(maps, expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


def test_granularity_layer_includes_depthwise_convolutions(teacher):
    maps = FrozenCNN(LITE, "random", "layer")(make_images())
    convolutions = [m for m in teacher.modules() if isinstance(m, nn.Conv2d)]
    assert len(maps) == len(convolutions) == 48
    # Of the first blocks: stem, depthwise, 1x1; then 1x1, depthwise with stride 2, 1x1.
    first = [(32, 32), (32, 32), (16, 32), (96, 32), (96, 16), (24, 16)]
    assert [(m.size(1), m.size(2)) for m in maps[:6]] == first
    assert torch.equal(maps[-1], teacher(make_images())[-1])


def test_granularity_model_gives_the_last_map_alone(teacher):
    (only,) = FrozenCNN(LITE, "random", "model")(make_images())
    assert torch.equal(only, teacher(make_images())[-1])


def test_an_unknown_granularity_is_refused():
    with pytest.raises(IkdError, match="--granularity pixel.*model, block, layer"):
        FrozenCNN(LITE, "random", "pixel")


def test_it_stays_in_eval_mode_and_gives_the_same_after_train(teacher):
    before = teacher(make_images())[-1]
    parent = nn.Sequential(teacher).train()
    assert parent.training and not any(module.training for module in teacher.modules())
    assert torch.equal(teacher(make_images())[-1], before)


def test_a_gradient_reaches_the_image_and_leaves_the_teacher_as_it_was(teacher):
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    images = make_images().requires_grad_()
    sum(m.square().mean() for m in teacher(images)).backward()
    assert (images.grad.abs().amax((1, 2, 3)) > 0).all()
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_no_images_give_empty_maps(teacher):
    maps = teacher(torch.zeros(0, 3, 64, 64))
    shapes = [(0, tap.channels, 64 // tap.stride, 64 // tap.stride) for tap in LITE.taps]
    assert [tuple(m.shape) for m in maps] == shapes


def test_the_head_is_not_computed(teacher):
    assert not any(isinstance(module, nn.Linear) for module in teacher.modules())
    assert all(isinstance(teacher.cnn.get_submodule(name), nn.Identity) for name in LITE.head)


def test_a_map_survives_an_activation_in_place_behind_it():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn = nn.Conv2d(3, 3, 1)
            self.last = nn.ReLU(inplace=True)

        def forward(self, images):
            return self.last(self.cnn(images))

    teacher = FrozenCNN(LITE, "random", "block")
    teacher.cnn = InPlace().requires_grad_(False)
    teacher.taps = tuple(Tap(path, 3, 1) for path in ("cnn", "last"))
    first, last = teacher(make_images())
    assert first.min() < 0 and torch.equal(last, first.relu())


def test_frozen_teacher_is_invisible_to_the_module_that_owns_it():
    owner = nn.Module()
    owner.teacher = UnregisteredCNN(LITE, "random", "block")
    assert not isinstance(owner.teacher, nn.Module) and owner.teacher.backbone is LITE
    assert list(owner.modules()) == [owner]
    assert not list(owner.parameters()) and not owner.state_dict()


def test_frozen_teacher_follows_the_type_of_its_images(teacher):
    frozen = UnregisteredCNN(LITE, "random", "block")
    single = frozen(make_images())
    double = frozen(make_images().double())
    assert {m.dtype for m in single} == {torch.float32} and {m.dtype for m in double} == {torch.float64}
    for a, b, expected in zip(single, double, teacher(make_images())):
        assert torch.equal(a, expected)
        assert torch.allclose(a.double(), b, rtol=1e-3, atol=1e-4 * b.abs().max().item())


def test_frozen_teacher_gives_the_same_maps_to_the_bit_after_a_change_of_precision():
    frozen = UnregisteredCNN(LITE, "random", "block")
    before, half = frozen(make_images()), frozen(make_images().bfloat16())
    assert {m.dtype for m in half} == {torch.bfloat16}
    for again, first in zip(frozen(make_images()), before):
        assert torch.equal(again, first)
    frozen(make_images().double())
    for again, first in zip(frozen(make_images().bfloat16()), half):
        assert torch.equal(again, first)


def test_frozen_teacher_is_copied_for_another_type_only_and_once():
    frozen = UnregisteredCNN(LITE, "random")
    ran = []
    with nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: ran.append(module) if isinstance(module, FrozenCNN) else None
    ):
        for images in (make_images(), make_images().double(), make_images().double(), make_images()):
            frozen(images)
    assert ran[0] is ran[3] is frozen._original
    assert ran[1] is ran[2] is not frozen._original
    assert not ran[1].training and not any(p.requires_grad for p in ran[1].parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frozen_teacher_under_autocast_keeps_float32_weights_and_casts_the_operations(teacher, dtype):
    frozen, images = UnregisteredCNN(LITE, "random", "block"), make_images().to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        maps = frozen(images)
        expected = teacher(images.float())
    assert {m.dtype for m in maps} == {torch.bfloat16}
    for ours, theirs in zip(maps, expected):
        assert torch.equal(ours, theirs)
    assert {p.dtype for p in frozen._original.parameters()} == {torch.float32} and frozen._copy is None
    sum(m.float().square().mean() for m in maps).backward()
    assert images.grad.dtype == dtype and images.grad.abs().max() > 0


@pytest.mark.parametrize("count", [0, 1, 33, 70])
def test_regions_are_those_of_all_images_at_once(count):
    frozen = UnregisteredCNN(LITE, "random")
    torch.manual_seed(5)
    images = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = FrozenCNN.forward(frozen._original, LITE.normalise(images))[-1]
    regions = frozen.regions(images)
    assert regions.shape == (count, 1, 320) and not regions.requires_grad
    assert_close_to_scale(regions[:, 0], expected[:, :, 0, 0])
