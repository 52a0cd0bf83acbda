"""What every image-must model shares: its options, the images that it demands, and its forward pass."""

from dataclasses import dataclass, field

from torch import Tensor

from ..constants import LOGGED
from ..errors import check
from ..vision.backbones import get_backbone
from .multimodal_config import BackboneConfig
from .transformer_config import FlatTransformerModel


@dataclass
class ImageMustConfig(BackboneConfig):
    """fairseq's Transformer options, and the CNN that reads the images."""

    backbone_weights: str = field(
        default="imagenet",
        metadata={
            "help": "weights of the frozen CNN that reads the images: imagenet, random or a file; not "
            "needed with --image-features"
        },
    )


class ImageMustModel(FlatTransformerModel):
    """A Transformer whose encoder is an :class:`~ikd_fairseq.modules.image_regions.ImageRegions`.

    A sentence without an image is a text-only one, in training and at test; a batch without any image input
    is translated by the text path alone. The task refuses a split without images unless ``--image-free`` asks
    for that.
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

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        return_all_hiddens: bool = True,
        images: Tensor | None = None,
        features: Tensor | None = None,
        image_positions: Tensor | None = None,
        **decoding,
    ):
        """
        Args:
            src_tokens: int64 ``B x I``.
            src_lengths: int64 ``B``.
            prev_output_tokens: int64 ``B x J``, the target shifted right.
            images: uint8 ``K x H x W x 3``.
            features: ``K x P x C``, used instead of images.
            image_positions: int64 ``K``, the sentence that each of them belongs to.
            decoding: ``features_only`` and the alignment options of fairseq's decoder.

        Returns:
            ``(logits B x J x V, extra)`` as fairseq's decoder; ``extra["logged"]`` holds what the encoder
            logs.
        """
        encoder_out = self.encoder(
            src_tokens,
            src_lengths,
            return_all_hiddens=return_all_hiddens,
            images=images,
            features=features,
            image_positions=image_positions,
        )
        logits, extra = self.decoder(
            prev_output_tokens,
            encoder_out=encoder_out,
            src_lengths=src_lengths,
            return_all_hiddens=return_all_hiddens,
            **decoding,
        )
        return logits, {**extra, LOGGED: encoder_out.get(LOGGED, {})}
