"""The image-must upper bound: the same encoder, fed by the real image (Yao & Wan 2020)."""

from dataclasses import dataclass

from fairseq.models import register_model

from ..errors import check
from ..modules.image_must import ImageMustConfig, ImageMustModel
from ..modules.multimodal_config import MultimodalTransformerConfig
from ..modules.multimodal_encoder import ImageRegionsEncoder
from ..modules.transformer_config import TINY, register_preset
from ..vision.backbones import get_backbone


@dataclass
class ImageMustTransformerConfig(ImageMustConfig, MultimodalTransformerConfig):
    """Options of the image-must model."""


@register_model("multimodal_transformer", dataclass=ImageMustTransformerConfig)
class MultimodalTransformerModel(ImageMustModel):
    """Multimodal Transformer whose regions are a frozen CNN's last map of the sentence's image.

    It differs from :class:`~ikd_fairseq.models.ikd_transformer.IKDTransformerModel` only in where the regions come
    from. A sentence without an image has its regions masked, in training and at test; with ``no_text`` it would
    have nothing left, and is refused.
    """

    @classmethod
    def build_model(cls, cfg, task):
        check(
            not (cfg.no_text and getattr(task.cfg, "image_free", False)),
            "--no-text hides the text from an image-must model and --image-free the image: give one of the two",
        )
        return super().build_model(cfg, task)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        return ImageRegionsEncoder(cfg, src_dict, embed_tokens, get_backbone(str(cfg.backbone)))


register_preset("multimodal_transformer", "multimodal_transformer_tiny", ImageMustTransformerConfig, TINY)
