"""Dropout with a quarter of the random numbers: on a processor, drawing them is most of its time."""

import torch
from fairseq.modules import FairseqDropout
from torch import Tensor, nn

_LEVELS = 1 << 16  # of 16 random bits, which decide about one element


class FastDropout(FairseqDropout):
    """fairseq's dropout. PyTorch draws 64 random bits for an element, this one 16.

    An element is kept with probability ``1 - p`` rounded to a multiple of 2^-16, and scaled by the inverse of
    just that probability, so that its expectation is what it was. Draws come from torch's generator: seeds
    and resumed runs mean what they did, though the masks are others than PyTorch's. Elsewhere than on a
    processor it is PyTorch's.
    """

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        drops = 0 < self.p < 1 and (self.training or self.apply_during_inference)
        if not drops or x.device.type != "cpu":
            return super().forward(x, inplace)
        kept = min(max(1, round((1 - self.p) * _LEVELS)), _LEVELS - 1)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = bits.view(torch.int16)[: x.numel()].view(x.shape)  # each from -2^15 to 2^15 - 1
        return x * bits.lt(kept - _LEVELS // 2).to(x.dtype).mul_(_LEVELS / kept)


def draw_faster(model: nn.Module) -> None:
    """Makes every dropout of fairseq in *model* a :class:`FastDropout`, wherever fairseq has built it."""
    for module in model.modules():
        if type(module) is FairseqDropout:
            module.__class__ = FastDropout
