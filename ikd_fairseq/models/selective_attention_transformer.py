"""Selective attention: every word picks image regions, gated into the encoder's output (Li et al. 2022).

Li, Lv, Zhou, Zhou, Xiao, Ma and Zhu: "On Vision Features in Multimodal Machine Translation", ACL 2022, the
model called selective attention in their section on the method:

- ``H_img = attention(Q, K, V)`` of a single head, Q from the text encoder's output H_text, K and V from the
  image's patches, of the width that these have
- ``gate = sigmoid(U H_text + V H_img)``, a value for every text position and dimension
- ``H = (1 - gate) * H_text + gate * H_img``, which the decoder attends to

The mean of the gate is logged as ``gate`` in training and validation.

As in their code (``fairseq_mmt``, ``image_multimodal_transformer_SA_top``), the attention projects its
output, and a tenth of its weights and a tenth of the patches' values are dropped out in training.

Deviations:

- Without ``--image-features`` the regions of a CNN's last map stand for the patches of a vision Transformer.
  ``ikd-extract-features --backbone timm:vit_base_patch16_384`` makes the paper's: 577 of 768 values, the
  class token first.
- Layer normalisation comes first in every block of ``selective_attention_transformer_tiny``. In their code it
  comes last, which is ``selective_attention_transformer_tiny_postnorm``.
- A sentence without an image keeps its H_text; the paper has an image for every sentence.
"""

import logging
from dataclasses import dataclass

import torch
from fairseq.models import register_model
from fairseq.modules import FairseqDropout, MultiheadAttention
from torch import Tensor, nn

from ..compression.pruning import MASK_SUFFIX
from ..errors import check
from ..modules.image_regions import region_channels
from ..modules.options import option
from ..modules.visual_fusion import FusionEncoder, FusionGate
from .base import ImageMustModel
from .config import ImageMustConfig
from .presets import register_preset

logger = logging.getLogger(__name__)


@dataclass
class SelectiveAttentionConfig(ImageMustConfig):
    """Options of selective attention."""

    visual_attention_dropout: float = option(0.1, "dropout of the weights of the attention on the image")
    image_dropout: float = option(0.1, "dropout of the image's regions")


class SelectiveAttentionFusion(nn.Module):
    """``H = (1 - gate) * H_text + gate * H_img``, H_img being what each text position picks of the regions.

    Args:
        embed_dim: d, width of the text.
        channels: C, channels of a region.
        attention_dropout: of the attention weights.
        image_dropout: of the regions.
    """

    def __init__(
        self, embed_dim: int, channels: int, attention_dropout: float = 0.1, image_dropout: float = 0.1
    ):
        super().__init__()
        self.image_dropout = FairseqDropout(image_dropout)
        self.attention = MultiheadAttention(
            embed_dim, num_heads=1, kdim=channels, vdim=channels, dropout=attention_dropout
        )
        self.gate = FusionGate(embed_dim)

    def forward(self, text: Tensor, regions: Tensor, no_image: Tensor) -> tuple[Tensor, Tensor]:
        """H and the gate; shapes as for :class:`FusionEncoder`."""
        # No mask: a sentence has all of its regions or none, and masking all of them would divide zero by
        # zero. What attention on zeros gives is shut out by the gate.
        memory = self.image_dropout(regions)
        image, _ = self.attention(query=text, key=memory, value=memory, need_weights=False)
        gate = self.gate(text, image).masked_fill(no_image.view(1, -1, 1), 0)
        return (1 - gate) * text + gate * image, gate

    def upgrade_state_dict_named(self, state_dict, name: str) -> None:
        """Takes in a checkpoint of 0.1.0, which projected the regions to the text's width before.

        Two linear maps in a row are one: keys and values come out as they did.
        """
        old = f"{name}.projection."
        if old + "weight" not in state_dict:
            return
        check(
            old + "weight" + MASK_SUFFIX not in state_dict,
            "the pruned checkpoint of selective_attention_transformer is of version 0.1.0, which projected "
            "regions first: train a new one with this version, and prune that",
        )
        logger.warning(
            "the checkpoint is of version 0.1.0, which projected regions first: it translates as it did, and "
            "training goes on from it with --reset-optimizer alone"
        )
        weight, bias = state_dict.pop(old + "weight"), state_dict.pop(old + "bias")
        for part in (f"{name}.attention.k_proj.", f"{name}.attention.v_proj."):
            after = state_dict[part + "weight"]
            state_dict[part + "bias"] = torch.addmv(state_dict[part + "bias"], after, bias)
            state_dict[part + "weight"] = after @ weight


@register_model("selective_attention_transformer", dataclass=SelectiveAttentionConfig)
class SelectiveAttentionModel(ImageMustModel):
    """fairseq's Transformer with image regions, picked by the text, gated into the encoder's output."""

    logged = ("gate",)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        sizes = embed_tokens.embedding_dim, region_channels(cfg)
        fusion = SelectiveAttentionFusion(*sizes, cfg.visual_attention_dropout, cfg.image_dropout)
        return FusionEncoder(cfg, src_dict, embed_tokens, fusion)


register_preset("selective_attention_transformer", "tiny")
register_preset("selective_attention_transformer", "tiny_postnorm")
