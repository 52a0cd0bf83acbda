"""The image-must upper bound: the same encoder, fed by the real image (Yao & Wan 2020)."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.models import register_model
from torch import Tensor

from ..errors import check
from ..modules.multimodal_config import MultimodalTransformerConfig
from ..modules.multimodal_encoder import ImageRegionsEncoder
from ..modules.transformer_config import TINY, FlatTransformerModel, register_preset
from ..vision.backbones import get_backbone


@dataclass
class ImageMustTransformerConfig(MultimodalTransformerConfig):
    """Options of the image-must model."""

    backbone_weights: str = field(
        default="imagenet",
        metadata={"help": "weights of the frozen CNN that reads the images: imagenet, random or a file; not needed "
                          "with --image-features"},
    )


@register_model("multimodal_transformer", dataclass=ImageMustTransformerConfig)
class MultimodalTransformerModel(FlatTransformerModel):
    """Multimodal Transformer whose regions are a frozen CNN's last map of the sentence's image.

    It differs from :class:`~ikd_fairseq.models.ikd_transformer.IKDTransformerModel` only in where the regions come
    from. A sentence without an image has its regions masked, in training and at test; a batch without any image
    input is translated by the text path alone.
    """

    requires_images = True

    def __init__(self, cfg, encoder, decoder):
        super().__init__(cfg, encoder, decoder)
        self.image_size = cfg.image_size
        self.feature_channels = get_backbone(str(cfg.backbone)).channels

    @classmethod
    def build_model(cls, cfg, task):
        check(
            hasattr(task.cfg, "image_free"),
            "an image-must model reads its images through --task multimodal_translation: add that option",
        )
        get_backbone(str(cfg.backbone)).check_image_size(cfg.image_size)
        model = super().build_model(cfg, task)
        if not (task.cfg.image_free or task.cfg.image_features):
            model.encoder.load_cnn()  # now, so that weights that do not fit are refused before data are read
        return model

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        return ImageRegionsEncoder(cfg, src_dict, embed_tokens, get_backbone(str(cfg.backbone)))

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        return_all_hiddens: bool = True,
        features_only: bool = False,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
        images: Optional[Tensor] = None,
        features: Optional[Tensor] = None,
        image_positions: Optional[Tensor] = None,
    ):
        """
        Args:
            src_tokens: int64 ``B x I``.
            src_lengths: int64 ``B``.
            prev_output_tokens: int64 ``B x J``, the target shifted right.
            images: uint8 ``K x H x W x 3``.
            features: ``K x P x C``, used instead of images.
            image_positions: int64 ``K``, the sentence that each of them belongs to.

        Returns:
            ``(logits B x J x V, extra)`` as fairseq's decoder.
        """
        encoder_out = self.encoder(
            src_tokens,
            src_lengths,
            return_all_hiddens=return_all_hiddens,
            images=images,
            features=features,
            image_positions=image_positions,
        )
        return self.decoder(
            prev_output_tokens,
            encoder_out=encoder_out,
            features_only=features_only,
            alignment_layer=alignment_layer,
            alignment_heads=alignment_heads,
            src_lengths=src_lengths,
            return_all_hiddens=return_all_hiddens,
        )


register_preset("multimodal_transformer", "multimodal_transformer_tiny", ImageMustTransformerConfig, TINY)
