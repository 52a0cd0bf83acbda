"""An image CNN upside down, from regions to an image: the student of Peng et al. 2022, Table 7.

Stage by stage it walks the CNN's taps from deep to shallow. Blocks come in reverse, inside a block the
channels run backwards, and a transposed convolution grows what the CNN's stride shrank.

Where maps grow, its kernels have *even* sides, as in the released code: 4x4 where a 3x3 convolution of the
CNN strides, 2x2 in shortcuts and in place of a pooling; in general a multiple of the stride. So every
position of the larger map is painted by equally many of the smaller one. With the *odd* sides of the CNN's
own kernels, which Table 7 prints (but for 8x8 in its last layer, and a max unpooling without weights), a
shortcut reaches one position of four and an unpooling leaves zeros in the other three, which shows in what is
painted. At the heads of S-conv5_x and S-conv4_x the table has half of the channels that the maps need; the
released code, and this, have all of them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check
from .backbones import BACKBONES, Backbone
from .batch_norm import SyncedBatchNorm
from .granularity import maps_read_by

KERNELS = ("odd", "even")


class InverseOutput(NamedTuple):
    """What an inverse CNN makes of the regions of K sentences.

    Attributes:
        maps: shallow to deep, each of the shape of the CNN's map in the same place. The last one is the
            input itself, ``K x C x g x g``.
        image: ``K x 3 x H x W``, normalised like the CNN's input.
    """

    maps: list[Tensor]
    image: Tensor


class InverseCNN(nn.Module):
    """The inverse of a backbone, trained from scratch.

    Its parameters lie in memory in PyTorch's default order on purpose: fairseq flattens parameters and
    gradients with ``view(-1)``, which channels-last ones refuse. The activations alone are channels-last.

    Args:
        backbone: the CNN to mirror.
        image_size: side of the image in pixels.
        kernels: one of :data:`KERNELS`.

    Raises:
        IkdError: the backbone has no inverse, or the image is too small, see
            :meth:`Backbone.check_image_size`.
    """

    def __init__(self, backbone: Backbone, image_size: int, kernels: str = "even") -> None:
        super().__init__()
        inverted = [name for name, known in BACKBONES.items() if known.stages]
        check(
            bool(backbone.stages),
            f"--backbone {backbone.name} has no inverse CNN, so that no image can be made of its regions: "
            f"choose one of {', '.join(inverted)}",
        )
        backbone.check_image_size(image_size)
        self.grid = backbone.grid(image_size)
        stages, channels, stride = [], backbone.channels, backbone.taps[-1].stride
        even = kernels == "even"
        for stage in backbone.stages:
            blocks: list[nn.Module] = []
            for block in stage:
                make, before = BLOCKS[block.kind], backbone.side(stride, image_size)
                for _ in range(block.count - 1):
                    blocks.append(make(channels, block.width, channels, block.kernel, _SAME_SIZE))
                stride //= block.grow
                growth = _Growth(block.grow, before, backbone.side(stride, image_size), even)
                blocks.append(make(channels, block.width, block.outputs, block.kernel, growth))
                channels = block.outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages[:-1])
        self.to_image = stages[-1]
        self.apply(_initialise)

    def forward(self, regions: Tensor, granularity: str = "block") -> InverseOutput:
        """Inverts *regions*.

        Args:
            regions: ``K x P x C`` with the P positions of the grid row by row. K may be 0.
            granularity: which maps are handed out beside the image, see
                :mod:`~ikd_fairseq.vision.granularity`; no other map is kept.
        """
        deepest = regions.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)  # K x C x g x g
        if granularity == "layer":
            with maps_read_by((nn.Conv2d, nn.ConvTranspose2d, _Unpool), self) as maps:
                _, image = self._invert(deepest)
        else:
            maps, image = self._invert(deepest, between_stages=granularity == "block")
        return InverseOutput(maps[::-1], image)

    def _invert(self, deepest: Tensor, between_stages: bool = False) -> tuple[list[Tensor], Tensor]:
        """The deepest map and, if asked for, those between stages, deep to shallow; and the image."""
        maps, current = [deepest], deepest
        for stage in self.stages:
            current = stage(current)
            if between_stages:
                maps.append(current)
        return maps, self.to_image(current)


class _Growth(NamedTuple):
    """By which factor a map grows, and its side before and after, whose ratio rounding may change."""

    factor: int
    before: int
    after: int
    even: bool = False

    def kernel(self, side: int) -> int:
        """The side of the kernel that grows a map where the CNN's own has *side*."""
        return -(-side // self.factor) * self.factor if self.even else side


class _TransposedConv(nn.ConvTranspose2d):
    """A transposed convolution of stride *growth.factor*, padded to give a side of *growth.after*.

    Where its kernel cannot reach so far, the rest, at the bottom and right, is zeros.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, growth: _Growth, groups: int = 1, bias: bool = False
    ) -> None:
        surplus = (growth.before - 1) * growth.factor + kernel - growth.after
        padding = max(0, (surplus + 1) // 2)
        grown = min(2 * padding - surplus, growth.factor - 1)  # PyTorch takes no more than that
        super().__init__(inputs, outputs, kernel, growth.factor, padding, grown, groups, bias)
        self.rest = 2 * padding - surplus - grown

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        return F.pad(output, (0, self.rest, 0, self.rest)) if self.rest else output


class _Unpool(nn.Module):
    """Puts each value top left in a square of *factor* x *factor* zeros: a max pooling undone.

    Where the pooling lost a row and a column, they are zeros.
    """

    def __init__(self, growth: _Growth) -> None:
        super().__init__()
        self.growth = growth

    def forward(self, input: Tensor) -> Tensor:
        factor, before, after, _ = self.growth
        output = input.new_zeros(len(input), after, after, input.size(1)).permute(0, 3, 1, 2)  # channels-last
        inside = before * factor  # may be beyond the map, where the pooling rounded upwards
        output[:, :, :inside:factor, :inside:factor] = input
        return output


class _Residual(nn.Module):
    """The body's output, plus the shortcut's where there is one, behind which a ReLU may stand."""

    def __init__(self, body: list[nn.Module], shortcut: nn.Module | None, relu: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.shortcut = shortcut
        self.relu = relu

    def forward(self, input: Tensor) -> Tensor:
        output = self.body(input)
        if self.shortcut is not None:
            output = output + self.shortcut(input)
        return F.relu(output) if self.relu else output


def _resnet_block(inputs: int, outputs: int, growth: _Growth, body: list[nn.Module]) -> nn.Module:
    """A ResNet block reversed, whose shortcut is projected where channels or size change."""
    shortcut: nn.Module = nn.Identity()
    if growth.factor > 1 or inputs != outputs:
        shortcut = nn.Sequential(*_conv_unit(inputs, outputs, 1, growth, activation=None))
    return _Residual(body, shortcut, relu=True)


# Makers of blocks: channels before, inside and after, the side of convolutions that are not 1x1, the growth.


def _bottleneck(inputs: int, width: int, outputs: int, kernel: int, growth: _Growth) -> nn.Module:
    """1x1, 3x3 (transposed where it grows), 1x1."""
    body = [
        *_conv_unit(inputs, width, 1),
        *_conv_unit(width, width, kernel, growth),
        *_conv_unit(width, outputs, 1, activation=None),
    ]
    return _resnet_block(inputs, outputs, growth, body)


def _basic(inputs: int, width: int, outputs: int, kernel: int, growth: _Growth) -> nn.Module:
    """3x3, 3x3 (transposed where it grows): the CNN's first convolution is the one that strides."""
    body = [
        *_conv_unit(inputs, width, kernel),
        *_conv_unit(width, outputs, kernel, growth, activation=None),
    ]
    return _resnet_block(inputs, outputs, growth, body)


def _inverted_bottleneck(inputs: int, width: int, outputs: int, kernel: int, growth: _Growth) -> nn.Module:
    """EfficientNet-Lite's block reversed: 1x1 to *width*, depthwise (transposed where it grows), linear 1x1.

    Like the original, it has a shortcut only where size and channels stay, and no activation at its end.
    """
    body = [
        *_conv_unit(inputs, width, 1, activation=nn.ReLU6),
        *_conv_unit(width, width, kernel, growth, groups=width, activation=nn.ReLU6),
        *_conv_unit(width, outputs, 1, activation=None),
    ]
    stays = growth.factor == 1 and inputs == outputs
    return _Residual(body, nn.Identity() if stays else None, relu=False)


def _separable(inputs: int, width: int, outputs: int, kernel: int, growth: _Growth) -> nn.Module:
    """EfficientNet-Lite's first block reversed: 1x1, then depthwise."""
    return nn.Sequential(
        *_conv_unit(inputs, outputs, 1, activation=nn.ReLU6),
        *_conv_unit(outputs, outputs, kernel, growth, groups=outputs, activation=nn.ReLU6),
    )


def _plain(inputs: int, width: int, outputs: int, kernel: int, growth: _Growth) -> nn.Module:
    return nn.Sequential(*_conv_unit(inputs, outputs, kernel, growth))


def _unpooling(inputs: int, width: int, outputs: int, kernel: int, growth: _Growth) -> nn.Module:
    """Table 7's unpooling, learned where kernels are even, as released; batch norm and ReLU behind it."""
    unpool = _TransposedConv(inputs, outputs, growth.factor, growth) if growth.even else _Unpool(growth)
    return nn.Sequential(unpool, SyncedBatchNorm(outputs), nn.ReLU(inplace=True))


def _image(inputs: int, width: int, outputs: int, kernel: int, growth: _Growth) -> nn.Module:
    """The mirror of the CNN's first convolution: no activation, as an image has values of both signs."""
    return _conv(inputs, outputs, kernel, growth, bias=True)


BLOCKS: dict[str, Callable[[int, int, int, int, _Growth], nn.Module]] = {
    "conv": _plain,
    "basic": _basic,
    "bottleneck": _bottleneck,
    "inverted_bottleneck": _inverted_bottleneck,
    "separable": _separable,
    "unpool": _unpooling,
    "image": _image,
}

_SAME_SIZE = _Growth(1, 0, 0)


def _conv(
    inputs: int, outputs: int, kernel: int, growth: _Growth, groups: int = 1, bias: bool = False
) -> nn.Module:
    """A convolution that keeps the size, or a transposed one where the map grows.

    With a stride of 1 the two are the same family of functions, the kernel turned around.
    """
    if growth.factor == 1:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)
    return _TransposedConv(inputs, outputs, growth.kernel(kernel), growth, groups, bias)


def _conv_unit(
    inputs: int,
    outputs: int,
    kernel: int,
    growth: _Growth = _SAME_SIZE,
    groups: int = 1,
    activation: Callable[..., nn.Module] | None = nn.ReLU,
) -> list[nn.Module]:
    """A convolution with batch norm and, unless it is linear, activation."""
    unit = [_conv(inputs, outputs, kernel, growth, groups), SyncedBatchNorm(outputs)]
    return unit if activation is None else [*unit, activation(inplace=True)]


def _initialise(module: nn.Module) -> None:
    """He et al. 2015: each output's variance is kept by the number of inputs that it sums, through a ReLU."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        summed = module.in_channels // module.groups * math.prod(module.kernel_size)
        if isinstance(module, nn.ConvTranspose2d):
            summed = max(1, summed // math.prod(module.stride))  # the zeros between the inputs add nothing
        nn.init.normal_(module.weight, std=math.sqrt(2 / summed))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
