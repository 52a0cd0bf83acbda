"""The one table of image CNNs. Frozen CNN, inverse CNN, generator and region grid follow from an entry.

To add a backbone, add an entry to :data:`BACKBONES`; nothing else needs an edit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import check
from .weights import efficientnet_lite0_weights, torchvision_weights

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
        mean, std: per channel, of the input's normalisation (of values from 0 to 1).
        taps: the CNN's maps, shallow to deep. The last one is its last convolutional map.
        head: modules behind the last map, which are never computed and whose weights are not needed.
        stages: the inverse CNN, deep to shallow: the mirror of the CNN from each tap up to the next shallower
            one, and at last up to the image. Empty for a CNN that nothing inverts.
        signed: the last map is linear, with values of both signs; most CNNs have a ReLU behind it.
        margins: by stride, the image pixels that unpadded convolutions and pooling lose, if any: the map of
            that stride has a side of ``ceil((S - margin) / stride)`` for an image with a side of S pixels.
    """

    name: str
    build: Callable[[], nn.Module]
    imagenet: Callable[[nn.Module], dict[str, Tensor]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    taps: tuple[Tap, ...]
    head: tuple[str, ...]
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


def _torchvision(name: str) -> nn.Module:
    from torchvision import models

    return getattr(models, name)(weights=None)


def _efficientnet_lite0() -> nn.Module:
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False)


# Margins of a CNN whose maps are halved again and again, rounding down.
_HALVED_DOWNWARDS = {2: 1, 4: 3, 8: 7, 16: 15, 32: 31}

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        # Peng et al. 2022, Table 7. IMAGENET1K_V1 are the weights of the paper's time; V2 was
        # trained by a later recipe.
        Backbone(
            name="resnet50",
            build=partial(_torchvision, "resnet50"),
            imagenet=partial(torchvision_weights, "ResNet50_Weights.IMAGENET1K_V1"),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            taps=(
                Tap("relu", 64, 2),
                Tap("layer1", 256, 4),
                Tap("layer2", 512, 8),
                Tap("layer3", 1024, 16),
                Tap("layer4", 2048, 32),
            ),
            head=("avgpool", "fc"),
            stages=(
                (Block("bottleneck", 1024, width=512, count=3, grow=2),),
                (Block("bottleneck", 512, width=256, count=6, grow=2),),
                (Block("bottleneck", 256, width=128, count=4, grow=2),),
                (Block("bottleneck", 64, width=64, count=3), Block("unpool", 64, grow=2)),
                (Block("image", 3, kernel=8, grow=2),),
            ),
        ),
        Backbone(
            name="resnet18",
            build=partial(_torchvision, "resnet18"),
            imagenet=partial(torchvision_weights, "ResNet18_Weights.IMAGENET1K_V1"),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            taps=(
                Tap("relu", 64, 2),
                Tap("layer1", 64, 4),
                Tap("layer2", 128, 8),
                Tap("layer3", 256, 16),
                Tap("layer4", 512, 32),
            ),
            head=("avgpool", "fc"),
            stages=(
                (Block("basic", 256, width=512, count=2, grow=2),),
                (Block("basic", 128, width=256, count=2, grow=2),),
                (Block("basic", 64, width=128, count=2, grow=2),),
                (Block("basic", 64, width=64, count=2), Block("unpool", 64, grow=2)),
                (Block("image", 3, kernel=8, grow=2),),
            ),
        ),
        # The CNN has no batch norm; its inverse does, for nothing so deep learns from scratch without.
        Backbone(
            name="vgg19",
            build=partial(_torchvision, "vgg19"),
            imagenet=partial(torchvision_weights, "VGG19_Weights.IMAGENET1K_V1"),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            taps=(  # after each pooling
                Tap("features.4", 64, 2),
                Tap("features.9", 128, 4),
                Tap("features.18", 256, 8),
                Tap("features.27", 512, 16),
                Tap("features.36", 512, 32),
            ),
            head=("avgpool", "classifier"),
            stages=(
                (Block("unpool", 512, grow=2), Block("conv", 512, count=4)),
                (Block("unpool", 512, grow=2), Block("conv", 256, count=4)),
                (Block("unpool", 256, grow=2), Block("conv", 128, count=4)),
                (Block("unpool", 128, grow=2), Block("conv", 64, count=2)),
                (Block("unpool", 64, grow=2), Block("conv", 64), Block("image", 3, kernel=3)),
            ),
            margins=_HALVED_DOWNWARDS,
        ),
        Backbone(
            name="alexnet",
            build=partial(_torchvision, "alexnet"),
            imagenet=partial(torchvision_weights, "AlexNet_Weights.IMAGENET1K_V1"),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            taps=(  # after each pooling: 27, 13 and 6 positions a side at 224 pixels
                Tap("features.2", 64, 8),
                Tap("features.5", 192, 16),
                Tap("features.12", 256, 32),
            ),
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
            name="efficientnet_lite0",
            build=_efficientnet_lite0,
            imagenet=efficientnet_lite0_weights,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            taps=(
                Tap("blocks.0", 16, 2),
                Tap("blocks.1", 24, 4),
                Tap("blocks.2", 40, 8),
                Tap("blocks.4", 112, 16),
                Tap("blocks.6", 320, 32),
            ),
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
}


def get_backbone(name: str) -> Backbone:
    """The table's entry *name*.

    Raises:
        IkdError: no such backbone; the sentence lists those there are.
    """
    check(name in BACKBONES, f"--backbone {name}: unknown; choose from {', '.join(BACKBONES)}")
    return BACKBONES[name]
