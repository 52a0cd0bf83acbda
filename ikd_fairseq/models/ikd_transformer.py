"""IKD-MMT: a multimodal Transformer that needs no image to translate (Peng et al. 2022)."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from torch import Tensor

from ..constants import STUDENT
from ..modules.feature_generator import UNPOOLS
from ..modules.multimodal_config import MultimodalTransformerConfig
from ..modules.multimodal_encoder import GeneratedRegionsEncoder
from ..modules.transformer_config import NANO, TINY, FlatTransformerModel, register_preset
from ..vision.backbones import get_backbone
from ..vision.inverse_cnn import InverseCNN


@dataclass
class IKDTransformerConfig(MultimodalTransformerConfig):
    """Options of the image-free model."""

    unpool: ChoiceEnum(list(UNPOOLS)) = field(
        default="conv",
        metadata={
            "help": "how the generator spreads the text's vector over the regions: a learned transposed "
            "convolution, one learned profile a channel, or the same value everywhere"
        },
    )
    no_student: bool = field(
        default=False,
        metadata={
            "help": "build without the student network, which only inversion distillation uses "
            "(ikd-export sets this)"
        },
    )


@register_model("ikd_transformer", dataclass=IKDTransformerConfig)
class IKDTransformerModel(FlatTransformerModel):
    """Encoder with a multimodal feature generator, fairseq's decoder, and the student network.

    The student (an inverted CNN) turns the generated feature back into an image. It is a part of the model, so that
    it learns, moves, saves and loads with it, but only training runs it. The teacher that it learns from belongs to
    the criterion ``inversion_distillation``.
    """

    requires_images = False

    def __init__(self, cfg, encoder, decoder):
        super().__init__(cfg, encoder, decoder)
        self.backbone = get_backbone(str(cfg.backbone))
        self.image_size = cfg.image_size
        self.student = None if cfg.no_student else InverseCNN(self.backbone, cfg.image_size)

    @classmethod
    def build_model(cls, cfg, task):
        get_backbone(str(cfg.backbone)).check_image_size(cfg.image_size)
        return super().build_model(cfg, task)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        return GeneratedRegionsEncoder(cfg, src_dict, embed_tokens, get_backbone(str(cfg.backbone)))

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        return_all_hiddens: bool = True,
        images: Optional[Tensor] = None,
        features: Optional[Tensor] = None,
        image_positions: Optional[Tensor] = None,
        student_positions: Optional[Tensor] = None,
        **decoding,
    ):
        """
        Args:
            src_tokens: int64 ``B x I``.
            src_lengths: int64 ``B``.
            prev_output_tokens: int64 ``B x J``, the target shifted right.
            images, features, image_positions: what the batch carries; translation does not look at them.
            student_positions: int64, the sentences whose feature the student is to turn back into an image. May be
                empty: the student then takes part with zero gradients, which distributed training needs.
            decoding: ``features_only`` and the alignment options of fairseq's decoder.

        Returns:
            ``(logits B x J x V, extra)`` as fairseq's decoder; with *student_positions*, ``extra["student"]`` is the
            :class:`~ikd_fairseq.vision.inverse_cnn.InverseOutput` of those sentences, in their order.
        """
        encoder_out = self.encoder(src_tokens, src_lengths, return_all_hiddens=return_all_hiddens)
        logits, extra = self.decoder(
            prev_output_tokens,
            encoder_out=encoder_out,
            src_lengths=src_lengths,
            return_all_hiddens=return_all_hiddens,
            **decoding,
        )
        if student_positions is not None:
            extra[STUDENT] = self.student(encoder_out["regions"][0][student_positions])
        return logits, extra

    def upgrade_state_dict_named(self, state_dict, name):
        """Lets a model built with ``no_student`` load a checkpoint that has one."""
        super().upgrade_state_dict_named(state_dict, name)
        if self.student is None:
            prefix = f"{name}.student." if name else "student."
            for key in [key for key in state_dict if key.startswith(prefix)]:
                del state_dict[key]


register_preset("ikd_transformer", "ikd_transformer_tiny", IKDTransformerConfig, TINY)
register_preset("ikd_transformer", "ikd_transformer_nano", IKDTransformerConfig, NANO)
