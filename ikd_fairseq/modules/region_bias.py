"""How much the regions of a sentence weigh beside its words in the decoder's attention: a learned number.

Outside Peng et al. 2022. Of I words and P regions with equal logits the regions take P/(I+P) of the
attention, and at first layer normalisation makes all logits about equal: with 49 regions and 15 words three
quarters go to what knows nothing of the order of words. With -log P added to their logits, all regions
together weigh as one word; from there on training decides.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn


def regions_of(encoder_out: dict[str, list[Tensor]]) -> int:
    """P, the number of regions that stand last among the positions of an encoder's output; 0 if none do."""
    regions = encoder_out.get("regions")  # B x P x C
    return regions[0].size(1) if regions else 0


class RegionBias(nn.Module):
    """Adds ``offset - log P`` to the logits of the last P keys of a fairseq attention; offset is learned.

    A part of the attention that it is attached to: it goes in as an additive mask, on every path through
    fairseq's attention, with and without an incremental state, and with or without weights asked for.

    Attributes:
        regions: P of the batch at hand, set by :meth:`tell`. 0: nothing to weigh against each other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))
        self.regions = 0

    def tell(self, encoder_out: dict[str, list[Tensor]]) -> None:
        """Says whose output the keys are. Regions without words beside them (``no_text``) are not weighed."""
        regions = regions_of(encoder_out)
        self.regions = regions if encoder_out["encoder_out"][0].size(0) > regions else 0

    @classmethod
    def attach(cls, attention: nn.Module) -> None:
        """Gives *attention*, called by names, a bias of its own, ``attention.region_bias``."""
        attention.region_bias = cls()
        attention.register_forward_pre_hook(attention.region_bias, with_kwargs=True)

    def mask(self, queries: Tensor, keys: int) -> Tensor:
        """``J x keys``, to be added to logits: 0 for words, which come first. *queries* is ``J x ...``."""
        bias = (self.offset - math.log(max(self.regions, 1))).to(queries)
        row = torch.cat([bias.new_zeros(keys - self.regions), bias.expand(self.regions)])
        return row.expand(queries.size(0), -1)

    def forward(
        self, attention: nn.Module, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[tuple, dict[str, Any]]:
        """The hook: arguments of a call of *attention* to those with the mask."""
        if self.regions:
            kwargs = {**kwargs, "attn_mask": self.mask(kwargs["query"], kwargs["key"].size(0))}
        return args, kwargs
