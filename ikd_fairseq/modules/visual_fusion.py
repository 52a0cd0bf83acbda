"""Fusing a text encoder's output with an image by a learned gate, position by position."""

import torch
from torch import Tensor, nn

from .image_regions import TextWithImageEncoder


class FusionGate(nn.Module):
    """``sigmoid(W [text ; image] + b)``: one value between 0 and 1 for every position and dimension."""

    def __init__(self, embed_dim: int):
        super().__init__()
        self.projection = nn.Linear(2 * embed_dim, embed_dim)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Both ``I x B x d``; returns ``I x B x d``."""
        return torch.sigmoid(self.projection(torch.cat([text, image], dim=-1)))


def gate_for_log(gate: Tensor, counted: Tensor) -> list[Tensor]:
    """Sum and number of the values of *gate*, ``... x d``, where *counted*, bool ``...``, is True."""
    return [(gate.detach().float() * counted.unsqueeze(-1)).sum(), counted.sum() * gate.size(-1)]


class FusionEncoder(TextWithImageEncoder):
    """fairseq's text encoder, whose output is fused with the image.

    In ``gate`` its output has the sum and the number of the gate's values at the words of sentences that have
    an image.

    Args:
        cfg, dictionary, embed_tokens: as fairseq's encoder.
        fusion: called with the text, ``I x B x d``, regions ``P x B x C``, and ``no_image``, bool ``B``, True
            for a sentence without an image; returns the fused text ``I x B x d``, in which such a sentence is
            as it was, and the gate, ``I x B x d``, zero for such a sentence.
    """

    def __init__(self, cfg, dictionary, embed_tokens, fusion: nn.Module):
        super().__init__(cfg, dictionary, embed_tokens)
        self.fusion = fusion

    def add_image(self, encoder_out: dict[str, list[Tensor]], regions: Tensor, no_image: Tensor) -> None:
        fused, gate = self.fusion(encoder_out["encoder_out"][0], regions, no_image)
        encoder_out["encoder_out"] = [fused]
        encoder_out["gate"] = gate_for_log(gate, ~(encoder_out["encoder_padding_mask"][0].T | no_image))
