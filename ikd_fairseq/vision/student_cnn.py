"""The student: the teacher CNN upside down, from generated regions to an image (Peng et al. 2022, Table 7).

Stage by stage it walks the teacher's taps from deep to shallow. Blocks come in reverse, inside a block the
channels run backwards, and a transposed convolution grows what the teacher's stride shrank.
"""

import math
from typing import Dict, List, NamedTuple, Type

import torch.nn.functional as F
from torch import Tensor, nn

from .backbones import Backbone
from .batch_norm import SyncedBatchNorm


class StudentOutput(NamedTuple):
    """What the student makes of the regions of K sentences.

    Attributes:
        maps: shallow to deep, each of the shape of the teacher's tap in the same place. The last one is the
            input itself, ``K x C x g x g``.
        image: ``K x 3 x H x W``, normalised like the teacher's input.
    """

    maps: List[Tensor]
    image: Tensor


class StudentCNN(nn.Module):
    """The inverse of a backbone, trained from scratch.

    Its parameters lie in memory in PyTorch's default order on purpose: fairseq flattens parameters and
    gradients with ``view(-1)``, which channels-last ones refuse. The activations alone are channels-last.

    Args:
        backbone: the CNN to mirror.
        image_size: side of the image in pixels.

    Raises:
        IkdError: the image is too small, see :meth:`Backbone.check_image_size`.
    """

    def __init__(self, backbone: Backbone, image_size: int) -> None:
        super().__init__()
        backbone.check_image_size(image_size)
        self.grid = backbone.grid(image_size)
        self.stages = nn.ModuleList()
        for stage, deep, shallow in zip(backbone.stages, backbone.taps[::-1], backbone.taps[-2::-1]):
            factor = deep.stride // shallow.stride
            side = backbone.side(shallow.stride, image_size)
            grow = dict(stride=1) if stage.unpool else dict(stride=factor, side=side)
            block, inputs, outputs = BLOCKS[stage.block], deep.channels, shallow.channels
            layers: List[nn.Module] = [
                block(inputs, stage.width, inputs, stage.kernel) for _ in range(stage.blocks - 1)
            ]
            layers.append(block(inputs, stage.width, outputs, stage.kernel, **grow))
            if stage.unpool:
                layers += [_Unpool(factor, side), SyncedBatchNorm(outputs), nn.ReLU(inplace=True)]
            self.stages.append(nn.Sequential(*layers))
        first = backbone.taps[0]
        self.to_image = _TransposedConv(
            first.channels, 3, backbone.image_kernel, first.stride, image_size, bias=True
        )
        self.apply(_initialise)

    def forward(self, regions: Tensor) -> StudentOutput:
        """Inverts *regions*, ``K x P x C`` with the P positions of the grid row by row. K may be 0."""
        deepest = regions.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)  # K x C x g x g
        maps = [deepest]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return StudentOutput(maps[::-1], self.to_image(maps[-1]))


class _TransposedConv(nn.ConvTranspose2d):
    """A transposed convolution that multiplies the side by *stride*, then crops or pads it to *side*."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        side: int,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        padding = max(0, (kernel - stride + 1) // 2)
        super().__init__(
            inputs,
            outputs,
            kernel,
            stride,
            padding,
            output_padding=stride - kernel + 2 * padding,
            groups=groups,
            bias=bias,
        )
        self.side = side

    def forward(self, input: Tensor) -> Tensor:
        return _fit(super().forward(input), self.side)


class _Unpool(nn.Module):
    """Puts each value top left in a square of *factor* x *factor* zeros: a max pooling undone."""

    def __init__(self, factor: int, side: int) -> None:
        super().__init__()
        self.factor = factor
        self.side = side

    def forward(self, input: Tensor) -> Tensor:
        count, channels, height, width = input.shape
        shape = (count, height * self.factor, width * self.factor, channels)
        output = input.new_zeros(shape).permute(0, 3, 1, 2)  # channels-last
        output[:, :, :: self.factor, :: self.factor] = input
        return _fit(output, self.side)


class _Bottleneck(nn.Module):
    """ResNet's bottleneck block reversed: 1x1, 3x3 (transposed where it grows), 1x1, and a shortcut.

    Args:
        inputs, width, outputs: channels before, inside and after.
        kernel: side of the middle convolution.
        stride: factor by which the map grows.
        side: side of the output; needed where stride > 1.
    """

    def __init__(
        self, inputs: int, width: int, outputs: int, kernel: int = 3, stride: int = 1, side: int = 0
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(inputs, width, 1),
            SyncedBatchNorm(width),
            nn.ReLU(inplace=True),
            _conv(width, width, kernel, stride, side),
            SyncedBatchNorm(width),
            nn.ReLU(inplace=True),
            _conv(width, outputs, 1),
            SyncedBatchNorm(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(_conv(inputs, outputs, 1, stride, side), SyncedBatchNorm(outputs))

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(self.body(input) + self.shortcut(input))


class _InvertedBottleneck(nn.Module):
    """EfficientNet-Lite's block reversed: 1x1 to *width*, depthwise (transposed where it grows), linear 1x1.

    Like the teacher's, it has a shortcut only where size and channels stay, and no activation at its end.
    Arguments as for :class:`_Bottleneck`.
    """

    def __init__(
        self, inputs: int, width: int, outputs: int, kernel: int = 3, stride: int = 1, side: int = 0
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(inputs, width, 1),
            SyncedBatchNorm(width),
            nn.ReLU6(inplace=True),
            _conv(width, width, kernel, stride, side, groups=width),
            SyncedBatchNorm(width),
            nn.ReLU6(inplace=True),
            _conv(width, outputs, 1),
            SyncedBatchNorm(outputs),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, input: Tensor) -> Tensor:
        output = self.body(input)
        return output + input if self.has_shortcut else output


BLOCKS: Dict[str, Type[nn.Module]] = {"bottleneck": _Bottleneck, "inverted_bottleneck": _InvertedBottleneck}


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, side: int = 0, groups: int = 1
) -> nn.Module:
    """A convolution that keeps the size, or for stride > 1 a transposed one that grows it to *side*."""
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return _TransposedConv(inputs, outputs, kernel, stride, side, groups)


def _fit(maps: Tensor, side: int) -> Tensor:
    """Crops *maps* to *side*, or pads them with zeros, at the bottom and right."""
    missing = side - maps.size(-1)
    return F.pad(maps, (0, missing, 0, missing)) if missing else maps


def _initialise(module: nn.Module) -> None:
    """He et al. 2015: each output's variance is kept by the number of inputs that it sums, through a ReLU."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        summed = module.in_channels // module.groups * math.prod(module.kernel_size)
        if isinstance(module, nn.ConvTranspose2d):
            summed = max(1, summed // math.prod(module.stride))  # the zeros between the inputs add nothing
        nn.init.normal_(module.weight, std=math.sqrt(2 / summed))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
