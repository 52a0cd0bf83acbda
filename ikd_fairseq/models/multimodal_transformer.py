"""The image-must upper bound: the same encoder, fed by the real image (Yao & Wan 2020).

Yao and Wan: "Multimodal Transformer for Multimodal Machine Translation", ACL 2020. Text and regions are
queries, the text alone is keys and values, and the decoder attends to all.

Deviations:

- Keys and values are the text positions of each layer's input. In their code, and in Peng et al.'s, they are
  the text embeddings in every layer, which is ``--text-memory embedding``.
- Theirs has six layers, a learning rate by Vaswani et al.'s schedule, and GloVe vectors to start from.
- The CNN is any of ``--backbone``; theirs is 7 x 7 regions of 2,048 channels of a ResNet-50, as is ours by
  default at 224 pixels.
- A sentence without an image has its regions masked; the paper has an image for every sentence.
"""

from dataclasses import dataclass

from fairseq.models import register_model

from ..contracts import TaskContract
from ..errors import check
from ..modules.image_regions import ImageRegions
from ..modules.multimodal_encoder import MultimodalEncoder
from .base import ImageMustModel
from .config import ImageMustConfig, MultimodalTransformerConfig
from .presets import register_preset


@dataclass
class ImageMustTransformerConfig(ImageMustConfig, MultimodalTransformerConfig):
    """Options of the image-must model."""


class ImageRegionsEncoder(ImageRegions, MultimodalEncoder):
    """The encoder of the image-must upper bound: regions are a real image's last convolutional map."""

    def regions(self, text, padding_mask, **images):
        """As :meth:`ImageRegions.regions`; without text, every sentence must have an image.

        Raises:
            IkdError: ``no_text``, and a sentence without an image: nothing is left to encode.
        """
        found = super().regions(text, padding_mask, **images)
        check(
            not self.no_text or (found is not None and not found[1].any()),
            "--no-text leaves an image-must model nothing but the image, and a sentence of this batch has "
            "none: use data with an image for every sentence (--require-images checks that at the start)",
        )
        return found


@register_model("multimodal_transformer", dataclass=ImageMustTransformerConfig)
class MultimodalTransformerModel(ImageMustModel):
    """Multimodal Transformer whose regions are a frozen CNN's last map of the sentence's image.

    It differs from :class:`~ikd_fairseq.models.ikd_transformer.IKDTransformerModel` only in where the regions
    come from. A sentence without an image has its regions masked, in training and at test; with ``no_text``
    it would have nothing left, and is refused.
    """

    encoder_class = ImageRegionsEncoder

    @classmethod
    def build_model(cls, cfg, task):
        check(
            not (cfg.no_text and isinstance(task, TaskContract) and task.cfg.image_free),
            "--no-text hides the text from an image-must model and --image-free the image: give one of "
            "the two",
        )
        return super().build_model(cfg, task)


register_preset("multimodal_transformer", "tiny")
