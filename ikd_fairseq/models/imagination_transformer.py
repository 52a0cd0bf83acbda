"""Imagination: the encoder also learns to predict the vector of the image (Elliott & Kádár 2017).

"Imagination improves Multimodal Translation". With h_i the encoder's states of the N source tokens, v the
image's vector, v' that of another image, d the cosine similarity, alpha the margin, their imagination decoder
and its loss:

- ``v^ = tanh(W_vis (1/N) sum_i h_i)``
- ``J_vis = sum over v' != v of max{0, alpha - d(v^, v) + d(v^, v')}``
- ``J = w J_translation + (1 - w) J_vis``

Deviations:

- The encoder is a Transformer's, as for every system here, not a bidirectional GRU.
- v is the mean over the regions of this plugin's CNN, not InceptionV3's pooled vector.
- The contrastive images v' are the batch's other images; the same image under another sentence is not one of
  them. J_vis is the mean over them, not the sum, so that its weight does not depend on the batch size.
- The loss is ``J_translation + weight * J_vis`` of the same batch, so that the translation loss is that of
  every other system; sentences without an image have the first part alone.
"""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model

from ..auxiliary import Term
from ..modules.auxiliary_model import AuxiliaryTransformerModel
from ..modules.imagination import ImageVectorPredictor, margin_loss
from ..modules.transformer_config import TINY, FlatTransformerConfig, register_preset
from ..vision.backbones import BACKBONES
from .text_baseline import TextEncoder


@dataclass
class ImaginationTransformerConfig(FlatTransformerConfig):
    """Options of the imagination model."""

    backbone: ChoiceEnum(list(BACKBONES)) = field(
        default="resnet50", metadata={"help": "CNN whose pooled features the encoder learns to predict"}
    )
    image_size: int = field(
        default=224,
        metadata={"help": "side of the images in pixels, as packed by ikd-pack-images --image-size"},
    )
    margin: float = field(
        default=0.1,
        metadata={
            "help": "by how much the predicted vector is to be nearer to its image than to another, as "
            "a difference of cosines"
        },
    )


@register_model("imagination_transformer", dataclass=ImaginationTransformerConfig)
class ImaginationTransformerModel(AuxiliaryTransformerModel):
    """The text-only Transformer, and a prediction of the image from its encoder that only training uses."""

    auxiliary_weights = {"margin": 1.0}

    def __init__(self, cfg, encoder, decoder):
        super().__init__(cfg, encoder, decoder)
        self.margin = cfg.margin
        self.imagination = ImageVectorPredictor(cfg.encoder.embed_dim, self.backbone.channels)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        return TextEncoder(cfg, src_dict, embed_tokens)

    def auxiliary_terms(self, encoder_out, logits, src_tokens, prev_output_tokens, features, image_positions):
        states = encoder_out["encoder_out"][0].transpose(0, 1)[image_positions]  # K x I x d
        predicted = self.imagination(states, encoder_out["encoder_padding_mask"][0][image_positions])
        losses = margin_loss(predicted, features.mean(dim=1), self.margin)
        return {"margin": Term(losses.sum(), len(losses))}


register_preset("imagination_transformer", "imagination_transformer_tiny", ImaginationTransformerConfig, TINY)
