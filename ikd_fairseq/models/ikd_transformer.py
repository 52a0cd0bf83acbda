"""IKD-MMT: a multimodal Transformer that needs no image to translate (Peng et al. 2022)."""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from torch import Tensor

from ..constants import STUDENT
from ..contracts import InvertingModel
from ..modules.feature_generator import UNPOOLS, FeatureGenerator
from ..modules.folded_generator import fold
from ..modules.multimodal_encoder import MultimodalEncoder
from ..modules.options import option
from ..vision.inverse_cnn import InverseCNN
from .base import BackboneModel, ForwardPass, register_preset
from .config import MultimodalTransformerConfig


@dataclass
class IKDTransformerConfig(MultimodalTransformerConfig):
    """Options of the image-free model."""

    unpool: ChoiceEnum(list(UNPOOLS)) = option(
        "conv",
        "how the generator spreads the text's vector over the regions: a learned transposed "
        "convolution, one learned profile a channel, or the same value everywhere",
    )
    no_student: bool = option(
        False,
        "build without the student network, which only inversion distillation uses (ikd-export sets this)",
    )


class GeneratedRegionsEncoder(MultimodalEncoder):
    """The multimodal encoder whose regions come from the text, so that no image is needed, ever."""

    def __init__(self, cfg, dictionary, embed_tokens):
        super().__init__(cfg, dictionary, embed_tokens)
        sizes = embed_tokens.embedding_dim, self.backbone.channels, self.backbone.grid(cfg.image_size) ** 2
        self.generator = FeatureGenerator(*sizes, str(cfg.unpool), self.backbone.signed)

    def regions(self, text, padding_mask, **images):
        m = self.generator(text, padding_mask)
        return m, padding_mask.new_zeros(m.shape[:2])

    def make_generation_fast_(self, **options) -> None:
        """What fairseq's commands and hub call before they decode."""
        self.generator = fold(self.generator)


@register_model("ikd_transformer", dataclass=IKDTransformerConfig)
class IKDTransformerModel(InvertingModel, BackboneModel):
    """Encoder with a multimodal feature generator, fairseq's decoder, and the student network.

    The student (an inverse CNN) turns the generated feature back into an image. It is a part of the model, so
    that it learns, moves, saves and loads with it, but only training runs it. The teacher that it learns from
    belongs to the criterion ``inversion_distillation``.
    """

    encoder_class = GeneratedRegionsEncoder
    training_only = ("student.",)

    def __init__(self, cfg, encoder, decoder):
        super().__init__(cfg, encoder, decoder)
        self.feature_channels = None  # the student paints images, and the encoder looks at neither
        self.student = None if cfg.no_student else InverseCNN(self.backbone, cfg.image_size)

    def extra_outputs(
        self, run: ForwardPass, student_positions: Optional[Tensor] = None, student_maps: str = "model"
    ) -> dict[str, Any]:
        """As :class:`InvertingModel` says, a :class:`~ikd_fairseq.vision.inverse_cnn.InverseOutput`.

        Of no sentences too: the student then gets zero gradients, which distributed training needs.
        """
        if student_positions is None:
            return {}
        return {STUDENT: self.student(run.encoder_out["regions"][0][student_positions], student_maps)}

    def rest_student(self) -> None:
        """Freezes the student: neither optimizer nor DDP is to meet parameters that get no gradient."""
        self.student.requires_grad_(False)


register_preset("ikd_transformer", "tiny")
register_preset("ikd_transformer", "nano")
