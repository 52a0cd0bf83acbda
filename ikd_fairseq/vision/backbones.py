"""The one table of image CNNs. Teacher, student, generator size and region grid all follow from an entry.

To add a backbone, add an entry to :data:`BACKBONES`; nothing else needs an edit.
"""

from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Tuple

import torch
from torch import Tensor, nn

from ..errors import check
from .weights import efficientnet_lite0_weights, torchvision_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Tap:
    """A map of the teacher that the student has a counterpart of.

    Attributes:
        path: name of the module whose output the map is, as in ``nn.Module.get_submodule``.
        channels: channels of the map.
        stride: image pixels a position of the map, along each side.
        margin: image pixels that unpadded convolutions or pooling lose: the map of an image with a side of S
            pixels has a side of ``ceil((S - margin) / stride)``.
    """

    path: str
    channels: int
    stride: int
    margin: int = 0


@dataclass(frozen=True)
class Stage:
    """A stage of the student: residual blocks from one tap's map up to the next shallower one.

    Attributes:
        blocks: number of blocks; the last one changes channels and size.
        width: channels inside a block.
        block: name of the kind of block, a key of ``student_cnn.BLOCKS``.
        kernel: side of a block's spatial convolution.
        unpool: grow by 2x2 unpooling after the blocks, as opposed to a pooling of the teacher, and not by a
            transposed convolution in the last block.
    """

    blocks: int
    width: int
    block: str = "bottleneck"
    kernel: int = 3
    unpool: bool = False


@dataclass(frozen=True)
class Backbone:
    """All that the plugin knows of an image CNN.

    Attributes:
        name: what ``--backbone`` takes.
        build: makes the CNN, untrained.
        imagenet: gives the published ImageNet weights, as a state dict, for a CNN that ``build`` made.
        mean, std: per channel, of the input's normalisation (of values from 0 to 1).
        taps: the teacher's maps, shallow to deep. The last one is the CNN's last convolutional map.
        head: modules behind the last map, which are never computed and whose weights are not needed.
        stages: the student between these maps, deep to shallow: one fewer than taps.
        image_kernel: side of the student's last transposed convolution, which makes the image.
    """

    name: str
    build: Callable[[], nn.Module]
    imagenet: Callable[[nn.Module], Dict[str, Tensor]]
    mean: Tuple[float, float, float]
    std: Tuple[float, float, float]
    taps: Tuple[Tap, ...]
    head: Tuple[str, ...]
    stages: Tuple[Stage, ...]
    image_kernel: int

    @property
    def channels(self) -> int:
        """Channels of the last convolutional map (C)."""
        return self.taps[-1].channels

    def side(self, stride: int, image_size: int) -> int:
        """Positions a side of the map of this *stride* for an image whose side is *image_size* pixels."""
        margin = next((tap.margin for tap in self.taps if tap.stride == stride), 0)
        return -(-(image_size - margin) // stride)

    def grid(self, image_size: int) -> int:
        """Positions a side of the last convolutional map: 7 at 224 pixels. P is its square."""
        return self.side(self.taps[-1].stride, image_size)

    def check_image_size(self, image_size: int) -> None:
        """Checks that an image of *image_size* pixels a side fills a position of the last map at least.

        Raises:
            IkdError: it does not.
        """
        stride = self.taps[-1].stride
        check(
            image_size >= stride,
            f"--image-size {image_size} is too small for {self.name}: give {stride} or more",
        )

    def normalise(self, images: Tensor) -> Tensor:
        """Turns *images*, uint8 ``K x H x W x 3`` (RGB), into the CNN's float32 input, ``K x 3 x H x W``.

        The result lies channels-last in memory, as the images do and as the CNN wants it.
        """
        mean = torch.tensor(self.mean, dtype=torch.float32, device=images.device)
        std = torch.tensor(self.std, dtype=torch.float32, device=images.device)
        return images.float().div(255).sub_(mean).div_(std).permute(0, 3, 1, 2)


def _resnet50() -> nn.Module:
    from torchvision.models import resnet50

    return resnet50(weights=None)


def _efficientnet_lite0() -> nn.Module:
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False)


BACKBONES: Dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        # Peng et al. 2022, Table 7. IMAGENET1K_V1 are the weights of the paper's time; V2 was
        # trained by a later recipe.
        Backbone(
            name="resnet50",
            build=_resnet50,
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
                Stage(blocks=3, width=512),
                Stage(blocks=6, width=256),
                Stage(blocks=4, width=128),
                Stage(blocks=3, width=64, unpool=True),
            ),
            image_kernel=8,
        ),
        # The widths are the teacher's own; fewer blocks, so that the student costs less than the teacher.
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
                Stage(blocks=2, width=672, block="inverted_bottleneck"),
                Stage(blocks=2, width=240, block="inverted_bottleneck"),
                Stage(blocks=2, width=144, block="inverted_bottleneck"),
                Stage(blocks=2, width=96, block="inverted_bottleneck"),
            ),
            image_kernel=4,
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
