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

from ..modules.image_must import ImageMustConfig, ImageMustModel
from ..modules.transformer_config import TINY, register_preset
from ..modules.visual_fusion import FusionEncoder, SelectiveAttentionFusion
from ..vision.backbones import get_backbone


@register_model("selective_attention_transformer", dataclass=ImageMustConfig)
class SelectiveAttentionModel(ImageMustModel):
    """fairseq's Transformer with image regions, picked by the text, gated into the encoder's output."""

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        backbone = get_backbone(str(cfg.backbone))
        width = embed_tokens.embedding_dim
        fusion = SelectiveAttentionFusion(width, backbone.channels, cfg.attention_dropout)
        return FusionEncoder(cfg, src_dict, embed_tokens, backbone, fusion)


register_preset(
    "selective_attention_transformer", "selective_attention_transformer_tiny", ImageMustConfig, TINY
)
