"""Base of the models that translate from text alone and learn from the images of their training sentences."""

from torch import Tensor

from ..auxiliary import Entry
from ..constants import AUXILIARY
from ..vision.backbones import get_backbone
from .transformer_config import FlatTransformerModel


class AuxiliaryTransformerModel(FlatTransformerModel):
    """fairseq's Transformer with further terms of the loss, for the criterion ``auxiliary_losses``.

    The criterion owns the frozen CNN and hands over features, so that the model holds no CNN at any time. A
    subclass sets ``auxiliary_weights`` and says in :meth:`auxiliary_terms` what each term is; its
    configuration has ``backbone`` and ``image_size``.

    Attributes:
        auxiliary_weights: the terms by name, with their default weights.
        backbone: the CNN whose last convolutional map, ``P x C``, the features are.
    """

    requires_images = False
    auxiliary_weights: dict[str, float]

    def __init__(self, cfg, encoder, decoder):
        super().__init__(cfg, encoder, decoder)
        self.backbone = get_backbone(str(cfg.backbone))
        self.image_size = cfg.image_size
        self.feature_channels = self.backbone.channels

    @classmethod
    def build_model(cls, cfg, task):
        get_backbone(str(cfg.backbone)).check_image_size(cfg.image_size)
        return super().build_model(cfg, task)

    def auxiliary_terms(
        self,
        encoder_out: dict[str, list[Tensor]],
        logits: Tensor,
        src_tokens: Tensor,
        prev_output_tokens: Tensor,
        features: Tensor,
        image_positions: Tensor,
    ) -> dict[str, Entry]:
        """The terms of a batch, in the order of ``auxiliary_weights``.

        Args:
            encoder_out: of all B sentences.
            logits: ``B x J x V``.
            src_tokens: int64 ``B x I``.
            prev_output_tokens: int64 ``B x J``, the target shifted right.
            features: real image features, ``K x P x C``; K may be 0, and P is then arbitrary.
            image_positions: int64 ``K``, the sentence that each of them belongs to.
        """
        raise NotImplementedError

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        return_all_hiddens: bool = True,
        images: Tensor | None = None,
        features: Tensor | None = None,
        image_positions: Tensor | None = None,
        auxiliary: bool = False,
        **decoding,
    ):
        """
        Args:
            src_tokens: int64 ``B x I``.
            src_lengths: int64 ``B``.
            prev_output_tokens: int64 ``B x J``, the target shifted right.
            images: what a batch may carry; not looked at.
            features, image_positions: see :meth:`auxiliary_terms`; translation does not look at them.
            auxiliary: also return the auxiliary terms; features must be given then.
            decoding: ``features_only`` and the alignment options of fairseq's decoder.

        Returns:
            ``(logits B x J x V, extra)`` as fairseq's decoder; with *auxiliary*, ``extra["auxiliary"]`` holds
            what :meth:`auxiliary_terms` says.
        """
        encoder_out = self.encoder(src_tokens, src_lengths, return_all_hiddens=return_all_hiddens)
        logits, extra = self.decoder(
            prev_output_tokens,
            encoder_out=encoder_out,
            src_lengths=src_lengths,
            return_all_hiddens=return_all_hiddens,
            **decoding,
        )
        if auxiliary:
            extra[AUXILIARY] = self.auxiliary_terms(
                encoder_out, logits, src_tokens, prev_output_tokens, features, image_positions
            )
        return logits, extra
