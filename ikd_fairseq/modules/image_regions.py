"""The regions of real images: what every image-must encoder reads, sentence by sentence."""

from fairseq.models.transformer import TransformerEncoderBase
from torch import Tensor

from ..vision.backbones import get_backbone
from ..vision.frozen_cnn import UnregisteredCNN


def region_channels(cfg) -> int:
    """C that a model is built for: of the features that it learns from, or of the CNN's last map."""
    return getattr(cfg, "feature_channels", 0) or get_backbone(str(cfg.backbone)).channels


def region_shape(cfg) -> tuple[int, int]:
    """P and C that a model is built for, as :func:`region_channels` says."""
    regions = getattr(cfg, "feature_regions", 0)
    return regions or get_backbone(str(cfg.backbone)).grid(cfg.image_size) ** 2, region_channels(cfg)


class ImageRegions(TransformerEncoderBase):
    """Mixin of an encoder: regions of a batch, made from its images or given as features that stand for them.

    Its configuration names ``backbone`` and ``backbone_weights``. Its constructor loads nothing.

    Attributes:
        backbone: the CNN whose last convolutional map the regions are.
        channels: C.
        cnn: the frozen CNN, no part of the model's state; None until :meth:`load_cnn`.
    """

    cnn: UnregisteredCNN | None = None

    def __init__(self, cfg, dictionary, embed_tokens):
        super().__init__(cfg, dictionary, embed_tokens)
        self.backbone = get_backbone(str(cfg.backbone))
        self.channels = region_channels(cfg)
        self.weights = cfg.backbone_weights

    def load_cnn(self) -> None:
        """Loads the frozen CNN, which features make unnecessary.

        Raises:
            IkdError: its weights cannot be had or used.
        """
        self.cnn = UnregisteredCNN(self.backbone, self.weights)

    def regions(
        self,
        text: Tensor,
        padding_mask: Tensor,
        images: Tensor | None = None,
        features: Tensor | None = None,
        image_positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor] | None:
        """The regions of every sentence: all P of its image, or none.

        Args:
            text: ``B x I x d``, for its sizes, type and device.
            padding_mask: bool ``B x I``, likewise.
            images: uint8 ``K x H x W x 3``. K may be 0.
            features: ``K x P x C``, used instead of images.
            image_positions: int64 ``K``, the sentence that each image or feature map belongs to; ``r K`` in a
                batch that holds its sentences r times in a row.

        Returns:
            Regions ``B x P x C``, zeros for a sentence without an image, and a bool mask ``B x P``, True
            where a sentence has no region. For a batch without ``images`` and ``features`` (not even empty
            ones) None, or in training one masked region, so that every weight has a gradient.
        """
        if images is None and features is None:
            if not self.training:
                return None
            return text.new_zeros(len(text), 1, self.channels), padding_mask.new_ones(len(text), 1)
        if features is None:
            if self.cnn is None:
                self.load_cnn()
            features = self.cnn.regions(images, text.dtype)
        m = text.new_zeros(len(text), *features.shape[1:])  # B x P x C
        times = len(image_positions) // max(len(features), 1)
        m[image_positions] = features.to(text.dtype).expand(times, *features.shape).flatten(0, 1)
        mask = padding_mask.new_ones(m.shape[:2])
        mask[image_positions] = False
        return m, mask


class TextWithImageEncoder(ImageRegions):
    """fairseq's text encoder, to whose output an image is added. How, is what the subclasses decide."""

    def add_image(self, encoder_out: dict[str, list[Tensor]], regions: Tensor, no_image: Tensor) -> None:
        """Changes the text encoder's output in place. A sentence without an image must keep its own exactly.

        Args:
            encoder_out: fairseq's encoder output.
            regions: ``P x B x C``, zeros for a sentence without an image.
            no_image: bool ``B``, True for a sentence without an image.
        """
        raise NotImplementedError

    def forward(
        self, src_tokens, src_lengths=None, return_all_hiddens=False, token_embeddings=None, **images
    ) -> dict[str, list[Tensor]]:
        """As fairseq's encoder; *images* are what :meth:`regions` takes."""
        encoder_out = super().forward(src_tokens, src_lengths, return_all_hiddens, token_embeddings)
        text = encoder_out["encoder_out"][0].transpose(0, 1)
        found = self.regions(text, encoder_out["encoder_padding_mask"][0], **images)
        if found is not None:
            m, mask = found
            self.add_image(encoder_out, m.transpose(0, 1), mask[:, 0])
        return encoder_out
