"""Which maps of teacher and student are compared (Peng et al. 2022, Table 2, rows B).

``model`` compares the last convolutional map alone, ``block`` the map at the end of every stage of the CNN,
and ``layer`` that of every layer: convolution or pooling, with the normalisation, activation and residual sum
behind it.

A layer's map is what the next layer reads. So no list of layers is needed: the teacher's maps are those that
its convolutions and poolings read, and the student's those that its convolutions and unpoolings read,
backwards. The map T_l that layer l of the teacher makes thus meets the one that the mirror of layer l reads,
made by the mirror of layer l+1: the pair of equation 7, and the two have the same shape. A projection
shortcut reads what its block reads and adds to what its block makes, so it has no map of its own: ResNet-50
has the 49 convolutions of Table 7, and a pooling. By ``block`` the released code compares the maps before and
behind a pooling both; the stages of Table 7 have one.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

GRANULARITIES = ("model", "block", "layer")


@contextmanager
def maps_read_by(kinds: tuple[type[nn.Module], ...], network: nn.Module) -> Iterator[list[Tensor]]:
    """Collects, while the ``with`` block lasts, each map that modules of *kinds* in *network* read.

    A map that several of them read is collected once, when it is first read. No copies are made: the network
    must not overwrite such a map later on.
    """
    maps: list[Tensor] = []

    def keep(module, inputs) -> None:
        if not any(inputs[0] is known for known in maps):
            maps.append(inputs[0])

    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, kinds):
                hooks.callback(module.register_forward_pre_hook(keep).remove)
        yield maps
