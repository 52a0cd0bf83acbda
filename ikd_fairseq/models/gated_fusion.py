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
- Layer normalisation comes first in every block of ``gated_fusion_tiny``. In their code it comes last, which
  is ``gated_fusion_tiny_postnorm``.
- A sentence without an image keeps its H_text; the paper has an image for every sentence.
"""

from fairseq.models import register_model
from torch import Tensor, nn

from ..modules.image_regions import region_channels
from ..modules.visual_fusion import FusionEncoder, FusionGate
from .base import ImageMustModel
from .config import ImageMustConfig
from .presets import register_preset


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
        """H and the gate; shapes as for :class:`FusionEncoder`. z is the projection of the regions' mean."""
        image = self.projection(regions.mean(dim=0)).expand_as(text)
        gate = self.gate(text, image).masked_fill(no_image.view(1, -1, 1), 0)
        return text + gate * image, gate


@register_model("gated_fusion", dataclass=ImageMustConfig)
class GatedFusionModel(ImageMustModel):
    """fairseq's Transformer with a global image vector gated into the encoder's output."""

    logged = ("gate",)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        fusion = GlobalImageFusion(embed_tokens.embedding_dim, region_channels(cfg))
        return FusionEncoder(cfg, src_dict, embed_tokens, fusion)


register_preset("gated_fusion", "tiny")
register_preset("gated_fusion", "tiny_postnorm")
