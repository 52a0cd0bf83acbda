"""Imagination: the encoder also learns to predict the vector of the image (Elliott & Kádár 2017).

"Imagination improves Multimodal Translation". With h_i the encoder's states of the N source tokens, v the
image's vector, v' that of another image, d the cosine similarity, alpha the margin, their imagination decoder
and its loss:

- ``v^ = tanh(W_vis (1/N) sum_i h_i)``
- ``J_vis = sum over v' != v of max{0, alpha - d(v^, v) + d(v^, v')}``
- ``J = w J_translation + (1 - w) J_vis``

In their code the loss has the other direction too, ``max{0, alpha - d(v^, v) + d(v^', v)}`` with the
predictions v^' of other sentences, and is the mean over all pairs; w, a half, is the share of updates that a
task gets.

Deviations:

- The encoder is a Transformer's, as for every system here, not a bidirectional GRU.
- v is the mean over the regions of this plugin's CNN, not InceptionV3's pooled vector.
- The contrastive images v' are the batch's other images; the same image under another sentence is not one of
  them. Hence the mean, as in their code, is over pairs of different images.
- Updates are not of one task each: the loss is ``J_translation + weight * J_vis`` of the same batch, so that
  every update is translation's, as for every other system. Sentences without an image have the first part
  alone. For half of the updates, which Adam makes equally long whatever the loss, stands a weight of 1. With
  it J_vis pulls at the encoder about as hard as J_translation: the norm of the latter's gradient on the
  encoder's layers was 0.8 of the former's, the median over every tenth of 300 updates of a nano model on
  Multi30K en-de (1,024 tokens, a quarter of the sentences with images, EfficientNet-Lite0's vectors).
- Their released loss has its sign reversed (``imaginet/model.py``); ours has the paper's.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fairseq.models import register_model
from torch import Tensor, nn

from ..contracts import Term
from ..modules.feature_generator import masked_mean
from ..modules.options import option
from .base import AuxiliaryTransformerModel, ForwardPass
from .config import RegionConfig
from .presets import register_preset


@dataclass
class ImaginationTransformerConfig(RegionConfig):
    """Options of the imagination model."""

    margin: float = option(
        0.1, "by how much the predicted vector is to be nearer to its image than to another (in cosines)"
    )
    no_imagination: bool = option(
        False, "build without the prediction of the image, which only training uses (ikd-export sets this)"
    )


class ImageVectorPredictor(nn.Module):
    """``tanh(W mean(h))``: the image's vector from the mean of a sentence's encoder states.

    Args:
        embed_dim: d, width of the states.
        channels: C, width of the vector.
    """

    def __init__(self, embed_dim: int, channels: int):
        super().__init__()
        self.projection = nn.Linear(embed_dim, channels)

    def forward(self, states: Tensor, padding_mask: Tensor) -> Tensor:
        """
        Args:
            states: ``K x I x d``.
            padding_mask: bool ``K x I``, True for padding.

        Returns:
            ``K x C``.
        """
        return torch.tanh(self.projection(masked_mean(states, padding_mask)))


def margin_loss(predicted: Tensor, real: Tensor, margin: float) -> Tensor:
    """How far each prediction is from being nearer to its image than others are, in both directions.

    ``max(0, margin - cos(v^, v) + cos(v^, v')) + max(0, margin - cos(v^, v) + cos(v^', v))``, the mean over
    the batch's other images v' and the predictions v^' made for them.

    Equal rows of *real* are one image, which is no contrast to itself. Without any other image the loss is 0.

    Args:
        predicted: v^, ``K x C``. K may be 0.
        real: v, ``K x C``.
        margin: difference of cosines.

    Returns:
        float32 ``K``.
    """
    predicted, real = predicted.float(), real.float()
    with torch.autocast(real.device.type, enabled=False):  # bfloat16 knows cosines near 1 to .004
        cosines = F.normalize(predicted, dim=1) @ F.normalize(real, dim=1).T  # prediction x image
    own = margin - cosines.diagonal().unsqueeze(1)
    hinges = (own + cosines).clamp(min=0) + (own + cosines.T).clamp(min=0)
    _, image = torch.unique(real, dim=0, return_inverse=True)
    others = (image.unsqueeze(1) != image.unsqueeze(0)).to(hinges)
    return (hinges * others).sum(dim=1) / others.sum(dim=1).clamp(min=1)


@register_model("imagination_transformer", dataclass=ImaginationTransformerConfig)
class ImaginationTransformerModel(AuxiliaryTransformerModel):
    """The text-only Transformer, and a prediction of the image from its encoder that only training uses."""

    auxiliary_weights = {"margin": 1.0}
    training_only = ("imagination.",)

    def __init__(self, cfg, encoder, decoder):
        super().__init__(cfg, encoder, decoder)
        self.margin = cfg.margin
        self.imagination = None
        if not cfg.no_imagination:
            self.imagination = ImageVectorPredictor(cfg.encoder.embed_dim, self.feature_channels)

    def auxiliary_terms(self, run: ForwardPass, wanted):
        states = run.encoder_out["encoder_out"][0].transpose(0, 1)[run.image_positions]  # K x I x d
        padding_mask = run.encoder_out["encoder_padding_mask"][0][run.image_positions]
        losses = margin_loss(self.imagination(states, padding_mask), run.features.mean(dim=1), self.margin)
        return {"margin": Term(losses.sum(), len(losses))}


register_preset("imagination_transformer", "tiny")
