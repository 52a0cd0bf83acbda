"""A frozen image CNN, whose maps are features of images or, as a teacher's, what an inverse CNN learns.

The latter is inversion knowledge distillation (Peng et al. 2022, section 3.2.3).
"""

import copy
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..errors import check
from .backbones import Backbone
from .granularity import GRANULARITIES, maps_read_by
from .weights import IMAGENET, load_weights

# Images that a processor is given at a time: what a layer hands on stays in its cache, and memory is small.
_AT_ONCE = 32

# Every layer of a CNN that has a mirror in its inverse.
_LAYERS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


class FrozenCNN(nn.Module):
    """An image CNN that never learns: parameters without gradients, eval mode for good.

    Gradients flow through it to its input, which is how an inverse image learns. Its batch norms, which in
    eval mode are linear, are part of the convolutions before them: the same maps in fewer steps.

    Args:
        backbone: which CNN.
        weights: ``imagenet``, ``random`` or a file, see :func:`~ikd_fairseq.vision.weights.load_weights`.
        granularity: ``model`` gives the last convolutional map only, ``block`` the map of every tap,
            ``layer`` that of every layer, see :mod:`~ikd_fairseq.vision.granularity`.

    Raises:
        IkdError: unknown granularity, or weights that cannot be had or used.
    """

    def __init__(self, backbone: Backbone, weights: str = IMAGENET, granularity: str = "model") -> None:
        super().__init__()
        check(
            granularity in GRANULARITIES,
            f"--granularity {granularity}: unknown; choose from {', '.join(GRANULARITIES)}",
        )
        self.backbone = backbone
        self.granularity = granularity
        self.taps = backbone.taps if granularity == "block" else backbone.taps[-1:]
        self.cnn = load_weights(backbone, weights)
        for name in backbone.head:
            setattr(self.cnn, name, nn.Identity())
        _fold_batch_norms(self.cnn)
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenCNN":
        """Stays in eval mode whatever *mode* says: batch statistics, as released, would change its maps."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of *images*.

        Args:
            images: ``K x 3 x H x W``, normalised by ``backbone.normalise``. K may be 0.

        Returns:
            One ``K x C_l x side_l x side_l`` a map, shallow to deep.
        """
        maps: list[Tensor] = []
        images = images.contiguous(memory_format=torch.channels_last)

        def keep(module, inputs, output) -> None:
            maps.append(output.clone())  # a later activation may overwrite the original in place

        with ExitStack() as hooks:
            for tap in self.taps:
                hooks.callback(self.cnn.get_submodule(tap.path).register_forward_hook(keep).remove)
            if self.granularity != "layer":
                self.cnn(images)
                return maps
            with maps_read_by(_LAYERS, self.cnn) as read:
                self.cnn(images)
            return read[1:] + maps  # what the first layer reads is the images

    def regions(self, images: Tensor) -> Tensor:
        """The last map of *images*, which are as a call takes them, row by row: ``K x P x C``."""
        return self(images)[-1].flatten(2).transpose(1, 2)


def _fold_batch_norms(cnn: nn.Module) -> None:
    """Gives every batch norm to the convolution that is registered right before it.

    What stays in its place is the activation that timm's batch norms have in them, or nothing.
    """
    conv = None
    for name, module in list(cnn.named_modules()):
        if conv is not None and isinstance(module, nn.BatchNorm2d):
            statistics = module.running_mean, module.running_var, module.eps
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, *statistics, module.weight, module.bias
            )
            cnn.set_submodule(name, getattr(module, "act", nn.Identity()))
        conv = module if isinstance(module, nn.Conv2d) else None


class UnregisteredCNN:
    """Holds a :class:`FrozenCNN` where no optimizer, checkpoint, DDP or ``train()`` finds it.

    Deliberately no ``nn.Module``: as an attribute of one it is not registered. fairseq hands a criterion's
    registered parameters to optimizer, DDP and checkpoint; the CNN belongs to none of them.
    Arguments and errors are those of :class:`FrozenCNN`.

    It is kept in float32 on the CPU. Images elsewhere or of another type get a copy made from there, the last
    of which is kept, so that no number of changes of precision wears its weights down.

    Attributes:
        backbone: which CNN it is.
    """

    def __init__(self, backbone: Backbone, weights: str = IMAGENET, granularity: str = "model") -> None:
        self.backbone = backbone
        self._original = FrozenCNN(backbone, weights, granularity)  # never moved nor cast
        self._copy: FrozenCNN | None = None
        self._copy_is_for: tuple[torch.device, torch.dtype] | None = None

    def __call__(self, images: Tensor) -> list[Tensor]:
        """``FrozenCNN.forward``, on the device and in the type of *images*.

        Under autocast weights and images are float32 whatever the type of *images*, and autocast picks the
        type of each operation.
        """
        if torch.is_autocast_enabled(images.device.type):
            images = images.float()
        return self._placed(images.device, images.dtype)(images)

    def regions(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """The last maps of uint8 images ``K x H x W x 3``, row by row and without gradient: ``K x P x C``.

        *dtype* is the type in which the CNN computes.
        """
        pieces = -(-len(images) // _AT_ONCE) if images.device.type == "cpu" else 1
        with torch.no_grad():
            maps = [
                self(self.backbone.normalise(piece).to(dtype))[-1] for piece in images.chunk(max(pieces, 1))
            ]
        return torch.cat(maps).flatten(2).transpose(1, 2)  # of K x C x side x side

    def _placed(self, device: torch.device, dtype: torch.dtype) -> FrozenCNN:
        if device.type == "cpu" and dtype == torch.float32:
            return self._original
        if self._copy_is_for != (device, dtype):
            self._copy = None  # frees its memory before the next one takes some
            self._copy = copy.deepcopy(self._original).to(device=device, dtype=dtype)
            self._copy_is_for = device, dtype
        return self._copy
