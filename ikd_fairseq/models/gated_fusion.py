"""Gated Fusion: a global image vector, gated into the encoder's output (Wu et al. 2021).

Wu, Kong, Bi, Li and Kao: "Good for Misconceived Reasons: An Empirical Revisiting on the Need for Visual
Context in Multimodal Machine Translation", ACL 2021; their model Gated Fusion:

- ``z = W_z pool(CNN(image))``: the CNN's last map, averaged over its regions and projected to the model's
  width
- ``gate = sigmoid(W z + U H_text)``, a value for every text position and dimension
- ``H = H_text + gate * z``, which the decoder attends to

The mean of the gate, by which the paper judges whether an image is looked at, is logged as ``gate`` in
training and validation.

Deviations:

- The CNN is any of ``--backbone``, reading images as they were packed. The paper's are vectors that a
  ResNet-50 gave; ``--image-features`` takes those.
- The projections have biases, and where layer normalisation stands is an option of the Transformer (first in
  every block in the preset).
- A sentence without an image keeps its H_text; the paper has an image for every sentence.
"""

from fairseq.models import register_model

from ..modules.image_must import ImageMustConfig, ImageMustModel
from ..modules.transformer_config import TINY, register_preset
from ..modules.visual_fusion import FusionEncoder, GlobalImageFusion
from ..vision.backbones import get_backbone


@register_model("gated_fusion", dataclass=ImageMustConfig)
class GatedFusionModel(ImageMustModel):
    """fairseq's Transformer with a global image vector gated into the encoder's output."""

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        backbone = get_backbone(str(cfg.backbone))
        fusion = GlobalImageFusion(embed_tokens.embedding_dim, backbone.channels)
        return FusionEncoder(cfg, src_dict, embed_tokens, backbone, fusion)


register_preset("gated_fusion", "gated_fusion_tiny", ImageMustConfig, TINY)
