"""IKD-MMT: a multimodal Transformer that needs no image to translate (Peng et al. 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from torch import Tensor

from ..constants import STUDENT
from ..contracts import InvertingModel
from ..errors import check
from ..modules.feature_generator import GENERATORS, NORMS, UNPOOLS
from ..modules.folded_generator import fold
from ..modules.multimodal_encoder import MultimodalEncoder
from ..modules.options import option
from ..vision.inverse_cnn import KERNELS, InverseCNN
from .base import BackboneModel, ForwardPass
from .config import MultimodalTransformerConfig
from .presets import register_preset


@dataclass
class IKDTransformerConfig(MultimodalTransformerConfig):
    """Options of the image-free model."""

    unpool: ChoiceEnum(list(UNPOOLS)) = option(
        "conv",
        "how the generator spreads the text's vector over the regions: a learned transposed "
        "convolution, one learned profile a channel, or the same value everywhere",
    )
    generator: ChoiceEnum(list(GENERATORS)) = option(
        "trained",
        "the generator of the regions; frozen: random, never trained and drawn anew when decoding, which is "
        "what the code released with the paper does, the student included. A curiosity",
    )
    generator_norm: ChoiceEnum(list(NORMS)) = option(
        "channel",
        "batch norm of the generated regions: statistics by channel, over sentences and regions, as in the "
        "released code; or by region and channel, over sentences alone, which takes out what is the same for "
        "every sentence (the paper's equation has no batch norm)",
    )
    kd_gradient: ChoiceEnum(["embeddings", "generator"]) = option(
        "embeddings",
        "where the gradient of the distillation ends: it reaches the word embeddings, as in the paper, or "
        "ends in the generator, which then runs twice where something is distilled (not in the paper)",
    )
    student_kernels: ChoiceEnum(list(KERNELS)) = option(
        "odd",
        "sides of the student's kernels where its maps grow: even, 4x4, with 2x2 shortcuts and a learned 2x2 "
        "unpooling, as in the released code; or odd, those of the CNN, as version 0.1 had them",
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
        self.generator = GENERATORS[str(cfg.generator)](
            *sizes, str(cfg.unpool), self.backbone.signed, str(cfg.generator_norm)
        )
        self.kd_reaches_text = str(cfg.kd_gradient) == "embeddings"

    def regions(self, text, padding_mask, **images):
        """As :meth:`MultimodalEncoder.regions`."""
        m = self.generator(text, padding_mask)
        return m, padding_mask.new_zeros(m.shape[:2])

    def regions_for_student(self, src_tokens: Tensor, encoder_out: dict[str, list[Tensor]]) -> Tensor:
        """m, ``B x P x C``; in training, with ``kd_gradient="generator"``, by a graph that ends there.

        *src_tokens*, int64 ``B x I``, is what *encoder_out* was made of.
        """
        if self.kd_reaches_text or not self.training:
            return encoder_out["regions"][0]
        return self.generator.again(encoder_out["text"][0].detach(), src_tokens.eq(self.padding_idx))

    def make_generation_fast_(self, **options) -> None:
        """What fairseq's commands and hub call before they decode."""
        self.generator = fold(self.generator)


def _told_by(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the shapes of a model's weights tell of its options, those of parts that are there."""
    part = "encoder.generator."
    rows = {key.removeprefix(part): len(w) for key, w in state.items() if key.startswith(part) and w.dim()}
    channels = rows.get("projection.weight", 1)
    normed = rows.get("batch_norm.weight", channels)  # C, or P * C by region
    regions = rows.get("unpool.profile") or rows.get("unpool.linear.weight", normed) // channels
    told: dict[str, Any] = {"channels of a region": channels}
    if regions > 1:  # none of the weights need to tell
        told["regions"] = regions
    told["region_bias"] = "learned" if any(".region_bias." in key for key in state) else "none"
    told["generator_norm"] = "channel" if normed == channels else "region"
    sides = [w.size(-1) for key, w in state.items() if key.startswith("student.stages.") and w.dim() == 4]
    if sides:
        told["student_kernels"] = "odd" if all(side % 2 for side in sides) else "even"
    return told


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
        self.student = None
        if not cfg.no_student:
            self.student = InverseCNN(self.backbone, cfg.image_size, str(cfg.student_kernels))
            if str(cfg.generator) == "frozen":
                self.rest_student()

    def upgrade_state_dict(self, state_dict) -> None:
        """Raises :class:`IkdError` for a checkpoint of a model that other options made."""
        super().upgrade_state_dict(state_dict)
        if not any(key.startswith("encoder.generator.") for key in state_dict):
            return  # of another architecture, as fairseq will find
        theirs = _told_by(state_dict)
        for name, here in _told_by(self.state_dict()).items():
            there = theirs.get(name, here)  # not told: fairseq finds what else does not fit
            misfit = f"not of a model with --{name.replace('_', '-')} {here}: give {there}"
            if isinstance(here, int):
                cnn = f"--backbone {self.backbone.name} at --image-size {self.image_size}"
                misfit = f"of a model with {there} {name}, and {cnn} has {here}: give those"
            again = "which it was trained with, or start anew in another folder"
            check(here == there, f"the checkpoint is {misfit}, {again}")

    def extra_outputs(
        self, run: ForwardPass, student_positions: Optional[Tensor] = None, student_maps: str = "model"
    ) -> dict[str, Any]:
        """As :class:`InvertingModel` says, a :class:`~ikd_fairseq.vision.inverse_cnn.InverseOutput`.

        Of no sentences too: the student then gets zero gradients, which distributed training needs.
        """
        if student_positions is None:
            return {}
        m = self.encoder.regions_for_student(run.src_tokens, run.encoder_out)
        return {STUDENT: self.student(m[student_positions], student_maps)}

    def rest_student(self) -> None:
        """Freezes the student: neither optimizer nor DDP is to meet parameters that get no gradient."""
        self.student.requires_grad_(False)


# Chosen on the validation set, see docs/results-small-budget.md. What of it leaves the paper says so above.
OURS = {
    "region_bias": "learned",
    "generator_norm": "region",
    "kd_gradient": "generator",
    "student_kernels": "even",
}
register_preset("ikd_transformer", "tiny", **OURS)
register_preset("ikd_transformer", "nano", **OURS)
# As the released code has it: the text embeddings answer in every layer.
register_preset("ikd_transformer", "tiny", "_paper", text_memory="embedding", student_kernels="even")
