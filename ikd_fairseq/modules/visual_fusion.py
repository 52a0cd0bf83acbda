"""Fusing a text encoder's output with an image by a learned gate, position by position."""

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn

from ..constants import LOGGED
from ..vision.backbones import Backbone
from .image_regions import TextWithImageEncoder


class FusionGate(nn.Module):
    """``sigmoid(W [text ; image] + b)``: one value between 0 and 1 for every position and dimension."""

    def __init__(self, embed_dim: int):
        super().__init__()
        self.projection = nn.Linear(2 * embed_dim, embed_dim)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Both ``I x B x d``; returns ``I x B x d``."""
        return torch.sigmoid(self.projection(torch.cat([text, image], dim=-1)))


class GlobalImageFusion(nn.Module):
    """One vector z for the whole image, added through a gate: ``H = H_text + gate * z`` (Wu et al. 2021).

    Args:
        embed_dim: d, width of the text.
        channels: C, channels of a region.
    """

    def __init__(self, embed_dim: int, channels: int):
        super().__init__()
        self.projection = nn.Linear(channels, embed_dim)
        self.gate = FusionGate(embed_dim)

    def forward(self, text: Tensor, regions: Tensor, no_image: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            text: H_text, ``I x B x d``.
            regions: ``P x B x C``; z is the projection of their mean.
            no_image: bool ``B``, True for a sentence without an image, whose text is returned as it is.

        Returns:
            H, ``I x B x d``, and the gate, ``I x B x d``, zero for a sentence without an image.
        """
        image = self.projection(regions.mean(dim=0)).expand_as(text)
        gate = self.gate(text, image).masked_fill(no_image.view(1, -1, 1), 0)
        return text + gate * image, gate


class SelectiveAttentionFusion(nn.Module):
    """Each text position picks regions, and a gate mixes in what it picked (Li et al. 2022).

    ``H = (1 - gate) * H_text + gate * H_img``, where H_img is a single head's attention of the text on the
    regions.

    Args:
        embed_dim: d, width of the text.
        channels: C, channels of a region.
        dropout: of the attention weights.
    """

    def __init__(self, embed_dim: int, channels: int, dropout: float = 0.0):
        super().__init__()
        self.projection = nn.Linear(channels, embed_dim)
        self.attention = MultiheadAttention(embed_dim, num_heads=1, dropout=dropout)
        self.gate = FusionGate(embed_dim)

    def forward(self, text: Tensor, regions: Tensor, no_image: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`GlobalImageFusion.forward`."""
        # No mask: a sentence has all of its regions or none, and masking all of them would divide zero by
        # zero. What attention on zeros gives is shut out by the gate.
        memory = self.projection(regions)
        image, _ = self.attention(query=text, key=memory, value=memory, need_weights=False)
        gate = self.gate(text, image).masked_fill(no_image.view(1, -1, 1), 0)
        return (1 - gate) * text + gate * image, gate


class FusionEncoder(TextWithImageEncoder):
    """fairseq's text encoder, whose output is fused with the image.

    What is logged as ``gate`` is its mean over dimensions and the words of sentences that have an image.

    Args:
        cfg, dictionary, embed_tokens, backbone: see :class:`TextWithImageEncoder`.
        fusion: :class:`GlobalImageFusion`, or another module that is called as it is.
    """

    def __init__(self, cfg, dictionary, embed_tokens, backbone: Backbone, fusion: nn.Module):
        super().__init__(cfg, dictionary, embed_tokens, backbone)
        self.fusion = fusion

    def add_image(self, encoder_out: dict[str, list[Tensor]], regions: Tensor, no_image: Tensor) -> None:
        fused, gate = self.fusion(encoder_out["encoder_out"][0], regions, no_image)
        encoder_out["encoder_out"] = [fused]
        counted = ~(encoder_out["encoder_padding_mask"][0].T | no_image)  # I x B
        total = (gate.detach().float() * counted.unsqueeze(-1)).sum()
        encoder_out[LOGGED] = {"gate": (total, counted.sum() * gate.size(-1))}
