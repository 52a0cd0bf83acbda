"""Options that several architectures share, and fairseq's Transformer configuration as one flat dataclass.

fairseq 0.12 keeps the Transformer's options in nested dataclasses that its classic command line cannot fill
(``--encoder-embed-dim`` would have to become ``encoder.embed_dim``) and registers ``transformer`` without
any, so that ``fairseq-hydra-train`` cannot build it. Flat names serve both command lines, and checkpoints
hold them too.
"""

from argparse import Namespace
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from typing import Any

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models.transformer import TransformerConfig
from omegaconf import DictConfig, OmegaConf

from ..modules.multimodal_encoder import REGIONS_AT_TEST
from ..modules.options import BACKBONE_WEIGHTS_HELP, option
from ..vision.backbones import BACKBONES


def _flat_fields() -> list[tuple[str, Any, Any]]:
    """(name, type, field) of each option of :class:`TransformerConfig`, nested ones as ``encoder_embed_dim``.

    Options whose default is an interpolation of another (the decoder's input and output width) are left to
    :func:`nested_config`.
    """
    flat, defaults = [], TransformerConfig()
    for outer in fields(TransformerConfig):
        nested = getattr(defaults, outer.name)
        for inner in fields(nested) if is_dataclass(nested) else [outer]:
            name = outer.name if inner is outer else f"{outer.name}_{inner.name}"
            default = getattr(defaults if inner is outer else nested, inner.name)
            interpolated = isinstance(default, str) and default.startswith("${")
            if not (inner.name.startswith("_") or interpolated):
                flat.append((name, inner.type, field(default=default, metadata=inner.metadata)))
    separate = "give source and target embeddings of their own, also where the architecture shares them all: "
    separate += "for dictionaries that are not joined"
    return [*flat, ("separate_embeddings", bool, option(False, separate))]


FlatTransformerConfig: type[FairseqDataclass] = make_dataclass(
    "FlatTransformerConfig",
    _flat_fields(),
    bases=(FairseqDataclass,),
    namespace={
        "__module__": __name__,
        "__doc__": "Every option of fairseq's Transformer under its flat name.",
    },
)


def nested_config(flat) -> TransformerConfig:
    """*flat* (dataclass, ``DictConfig`` or namespace) as the nested configuration of fairseq's modules.

    Options that are not the Transformer's (those of a plugin model) are carried over as attributes.
    """
    values: Any = OmegaConf.to_container(flat, resolve=True) if isinstance(flat, DictConfig) else vars(flat)
    if values.get("separate_embeddings"):
        values = {**values, "share_all_embeddings": False}
    config = TransformerConfig.from_namespace(Namespace(**values))
    config.decoder.input_dim = config.decoder.output_dim = config.decoder.embed_dim
    return config


@dataclass
class BackboneConfig(FlatTransformerConfig):
    """fairseq's Transformer options and the image CNN's."""

    # Not a ChoiceEnum: other names are refused in a sentence that tells what to do with them.
    backbone: str = option(
        "resnet50",
        "CNN whose last convolutional map an image's regions are, or stand for, in number and width: "
        f"{', '.join(BACKBONES)}",
    )
    image_size: int = option(224, "side of the images in pixels, as packed by ikd-pack-images --image-size")


@dataclass
class RegionConfig(BackboneConfig):
    """Options of models that can look at features instead of images.

    Checkpoints know these two; for training, the task reads them from a pack and refuses others.
    """

    feature_channels: int = option(
        0, "not to be given: channels of a region, those of --image-features or, for images, of --backbone"
    )
    feature_regions: int = option(
        0,
        "not to be given: regions of an image, those of --image-features or, for images, of --backbone at "
        "--image-size",
    )


@dataclass
class MultimodalTransformerConfig(BackboneConfig):
    """fairseq's Transformer options and those of the multimodal encoder."""

    text_memory: ChoiceEnum(["layer", "embedding"]) = option(
        "layer",
        "keys and values of the encoder's attention: the text positions of each layer's input, or the text "
        "embeddings in every layer (as in the code released with IKD-MMT)",
    )
    no_text: bool = option(
        False,
        "let the encoder see the multimodal feature alone: its regions are queries, keys and values, and all "
        "that the decoder attends to; the text only generates the feature. An image-must model then needs an "
        "image for every sentence. With --text-memory embedding, as in the code released with IKD-MMT, "
        "regions alone are queries and go to the decoder, and the text embeddings answer them",
    )
    region_bias: ChoiceEnum(["none", "learned"]) = option(
        "none",
        "add a learned number, at first -log P, to the logits of the P regions in every attention of the "
        "decoder on text and regions: all of them then weigh as one word (not in the paper)",
    )
    region_dropout: float = option(
        0.0,
        "in training, hide all regions of a sentence from the decoder with this probability, so that it "
        "does not lean on them; distillation sees them all the same (not in the paper)",
    )
    region_warmup: int = option(
        0,
        "hide the regions of all sentences from the decoder for so many updates (not in the paper)",
    )
    regions_at_test: ChoiceEnum(list(REGIONS_AT_TEST)) = option(
        "shown",
        "regions in validation and decoding: shown to the decoder, hidden from it, or, in decoding, the "
        "ensemble of both. Of a trained model: --model-overrides \"{'regions_at_test': 'hidden'}\"; worth "
        "a try after --region-dropout (not in the paper)",
    )


@dataclass
class ImageMustConfig(RegionConfig):
    """fairseq's Transformer options, and the CNN that reads the images."""

    backbone_weights: str = option("imagenet", BACKBONE_WEIGHTS_HELP)
