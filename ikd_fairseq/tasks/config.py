"""The options of the task."""

from dataclasses import dataclass
from typing import Optional

from fairseq.tasks.translation import TranslationConfig
from omegaconf import II

from ..modules.options import option


@dataclass
class MultimodalTranslationConfig(TranslationConfig):
    """fairseq's translation options, and where images come in."""

    image_free: bool = option(
        False,
        "never read images or features, even where they are; an image-must model then translates "
        "by its text path alone",
    )
    require_images: bool = option(
        False,
        "refuse a split in which some sentence has no image, instead of training that sentence on "
        "translation alone",
    )
    image_features: Optional[str] = option(
        None,
        "read SPLIT.features.NAME.npy (written by ikd-extract-features) instead of images, by NAME, whatever "
        "width and number of regions they have; for models that look at features alone",
    )
    image_share: float = option(
        1.0,
        "train with the images, or features, of some of the sentences that have one: each is kept with this "
        "probability, drawn by --seed. To study what coverage does",
    )
    init_from: Optional[str] = option(
        None,
        "begin training with the weights of this checkpoint, of any architecture: every tensor that fits by "
        "name and shape is taken (text, then IKD, for example). A training that goes on ignores it",
    )
    bf16_autocast: bool = option(
        False,
        "train in mixed precision, weights and gradients in float32: for wide models and large CNNs, on GPUs "
        "and processors with AVX512-BF16 or AMX; others refuse it",
    )
    cpu: bool = II("common.cpu")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    update_ordered_indices_seed: bool = II("dataset.update_ordered_indices_seed")
    bpe_dropout: float = option(
        0.0,
        "BPE-dropout: segment the source of the training sentences anew in every epoch, leaving out each "
        "merge with this probability, such as 0.1; batches are made by the text as it is",
    )
    bpe_dropout_target: bool = option(False, "with --bpe-dropout: that of their target too")
    bpe_dropout_codes: Optional[str] = option(
        None, "with --bpe-dropout: the BPE merges that the text was segmented by (default: DATA/code)"
    )
    seed: int = II("common.seed")
