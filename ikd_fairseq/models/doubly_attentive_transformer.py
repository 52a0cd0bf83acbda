"""The doubly-attentive decoder in its Transformer form (Calixto et al. 2017).

Calixto, Liu and Campbell: "Doubly-Attentive Decoder for Multi-modal Neural Machine Translation", ACL 2017. At
every step their decoder attends to the source words and, by a second attention of its own, to the regions of
the last convolutional map of a CNN. What the image gives is weighted by a gating scalar,
``beta = sigmoid(W s + b)`` of the decoder's state s.

Deviations:

- Their decoder is a recurrent network. Here, as in later Transformer forms, each decoder layer has a second
  cross-attention of several heads, on the regions, as a sub-layer between the one on the text and the
  feed-forward network, so that its query has seen the text; beta is computed from that query. Their two
  attentions have the same query.
- Regions are projected to the model's width before all layers, with dropout; no encoder runs over them.
- The CNN is any of ``--backbone``, at the image size that was packed. The paper's are 14 x 14 regions of
  1,024 channels of a ResNet-50.
- A sentence without an image passes the visual sub-layers by; the paper has an image for every sentence.
"""

from fairseq.models import register_model

from ..errors import check
from ..modules.doubly_attentive import DoublyAttentiveDecoder, RegionMemoryEncoder
from ..modules.image_must import ImageMustConfig, ImageMustModel
from ..modules.transformer_config import TINY, register_preset
from ..vision.backbones import get_backbone


@register_model("doubly_attentive_transformer", dataclass=ImageMustConfig)
class DoublyAttentiveModel(ImageMustModel):
    """fairseq's Transformer whose decoder layers attend to the text and then to the image's regions."""

    @classmethod
    def build_model(cls, cfg, task):
        for option in ("no_cross_attention", "cross_self_attention"):
            check(
                not getattr(cfg, option),
                f"--{option.replace('_', '-')} leaves out an attention that doubly_attentive_transformer is "
                "made of: drop that option",
            )
        return super().build_model(cfg, task)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        return RegionMemoryEncoder(cfg, src_dict, embed_tokens, get_backbone(str(cfg.backbone)))

    @classmethod
    def build_decoder(cls, cfg, tgt_dict, embed_tokens):
        return DoublyAttentiveDecoder(cfg, tgt_dict, embed_tokens)


register_preset("doubly_attentive_transformer", "doubly_attentive_transformer_tiny", ImageMustConfig, TINY)
