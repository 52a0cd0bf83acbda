"""Options that several models share: those of all that have a backbone, and those of the multimodal encoder."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum

from ..vision.backbones import BACKBONES
from .transformer_config import FlatTransformerConfig


@dataclass
class BackboneConfig(FlatTransformerConfig):
    """fairseq's Transformer options and the image CNN's."""

    backbone: ChoiceEnum(list(BACKBONES)) = field(
        default="resnet50",
        metadata={
            "help": "CNN whose last convolutional map the regions stand for: it sets their number and width"
        },
    )
    image_size: int = field(
        default=224,
        metadata={"help": "side of the images in pixels, as packed by ikd-pack-images --image-size"},
    )


@dataclass
class MultimodalTransformerConfig(BackboneConfig):
    """fairseq's Transformer options and those of the multimodal encoder."""

    text_memory: ChoiceEnum(["layer", "embedding"]) = field(
        default="layer",
        metadata={
            "help": "keys and values of the encoder's attention: the text positions of each layer's input, or "
            "the text embeddings in every layer (as in the code released with IKD-MMT)"
        },
    )
    no_text: bool = field(
        default=False,
        metadata={
            "help": "let the encoder see the multimodal feature alone: its regions are queries, keys and values, "
            "and all that the decoder attends to; the text only generates the feature. An image-must "
            "model then needs an image for every sentence"
        },
    )
