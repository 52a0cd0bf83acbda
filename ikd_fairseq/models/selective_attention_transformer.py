"""Selective attention: every word picks image regions, gated into the encoder's output (Li et al. 2022).

Li, Lv, Zhou, Zhou, Xiao, Ma and Zhu: "On Vision Features in Multimodal Machine Translation", ACL 2022, the
model called selective attention in their section on the method:

- ``H_img = attention(Q, K, V)`` of a single head, Q from the text encoder's output H_text, K and V from the
  image's patches, projected to the model's width
- ``gate = sigmoid(U H_text + V H_img)``, a value for every text position and dimension
- ``H = (1 - gate) * H_text + gate * H_img``, which the decoder attends to

The mean of the gate is logged as ``gate`` in training and validation.

Deviations:

- The regions of a CNN's last map stand for the patches of the paper's vision Transformers;
  ``--image-features`` takes patches that one of those gave, if their width is that of ``--backbone``.
- Attention weights are dropped out as the Transformer's are (``--attention-dropout``, 0 by default), and the
  image's projection is not. fairseq's attention projects its output too.
- A sentence without an image keeps its H_text; the paper has an image for every sentence.
"""

from fairseq.models import register_model
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn

from ..modules.visual_fusion import FusionEncoder, FusionGate
from ..vision.backbones import get_backbone
from .base import ImageMustModel, register_preset
from .config import ImageMustConfig


class SelectiveAttentionFusion(nn.Module):
    """``H = (1 - gate) * H_text + gate * H_img``, H_img being what each text position picks of the regions.

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
        """H and the gate; shapes as for :class:`FusionEncoder`."""
        # No mask: a sentence has all of its regions or none, and masking all of them would divide zero by
        # zero. What attention on zeros gives is shut out by the gate.
        memory = self.projection(regions)
        image, _ = self.attention(query=text, key=memory, value=memory, need_weights=False)
        gate = self.gate(text, image).masked_fill(no_image.view(1, -1, 1), 0)
        return (1 - gate) * text + gate * image, gate


@register_model("selective_attention_transformer", dataclass=ImageMustConfig)
class SelectiveAttentionModel(ImageMustModel):
    """fairseq's Transformer with image regions, picked by the text, gated into the encoder's output."""

    logged = ("gate",)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        channels = get_backbone(str(cfg.backbone)).channels
        fusion = SelectiveAttentionFusion(embed_tokens.embedding_dim, channels, cfg.attention_dropout)
        return FusionEncoder(cfg, src_dict, embed_tokens, fusion)


register_preset("selective_attention_transformer", "tiny")
