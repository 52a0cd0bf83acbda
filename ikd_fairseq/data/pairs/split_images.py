"""The images, or features, of a split: found beside its text, held against it and against the models."""

import itertools
import logging
import os
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from fairseq.data import Dictionary, data_utils, indexed_dataset

from ...constants import FEATURES_SUFFIX, IMAGES_SUFFIX, NO_IMAGE
from ...errors import check
from ...io.text_index import sentence_count
from ..by_sentence import BySentence
from ..feature_pack import FeaturePack
from ..image_pack import ImagePack

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """What a split is made of: ``train``, and where fairseq combines them ``train1``, … behind it."""

    folder: str
    name: str
    sentences: int

    @property
    def prefix(self) -> str:
        return os.path.join(self.folder, self.name)


class Demands(NamedTuple):
    """What a split's images have to be.

    *sizes* and *regions* are what the models were built for: sides of images in pixels or channels of
    features, and how many regions of features.
    """

    features: str | None  # name of the features that are read instead of images
    sizes: Collection[int]
    asked_by: str | None  # who cannot do without a pack, as a message names it; None if a part may lack it
    every_sentence: bool  # whether each must have an image
    regions: Collection[int] = ()


def split_parts(
    folder: str,
    split: str,
    pair: tuple[str, str],
    words: Dictionary,
    dataset_impl: str | None,
    combine: bool,
    translated: bool,
) -> list[Part]:
    """The binarised files of *split* in *folder*: one, or all with *combine*; empty if there are none.

    Args:
        pair: source and target language.
        words: the source dictionary.
        translated: whether the sentences need their translations.

    Raises:
        IkdError: a file is damaged, the two sides hold different numbers of sentences, or there are no
            translations where they are needed.
    """
    source, target = pair
    parts: list[Part] = []
    for k in itertools.count():
        name = f"{split}{k or ''}"
        for files in (f"{source}-{target}", f"{target}-{source}"):
            stem = os.path.join(folder, f"{name}.{files}")
            indexes = [path for language in pair if os.path.exists(path := f"{stem}.{language}.idx")]
            counts = [sentence_count(path) for path in indexes]
            equal = f"{' and '.join(indexes)} hold {' and '.join(map(str, counts))} sentences"
            check(len(set(counts)) <= 1, f"{equal} instead of one number: run fairseq-preprocess again")
            prefix = f"{stem}.{source}"
            if indexed_dataset.dataset_exists(prefix, impl=dataset_impl):
                check(
                    not translated or f"{stem}.{target}.idx" in indexes,
                    f"{stem}.{target}.idx is missing, and training and validation need translations: run "
                    "fairseq-preprocess again",
                )
                text = data_utils.load_indexed_dataset(prefix, words, dataset_impl)
                parts.append(Part(folder, name, len(text)))
                break
        else:
            break
        if not combine:
            break
    return parts


def open_split_images(parts: Sequence[Part], demands: Demands) -> BySentence | None:
    """Images or features of the *parts* of a split, one entry a sentence; None if no part has any.

    Raises:
        IkdError: a pack is missing where it is demanded, or does not fit the text or the models.
    """
    packs: list[BySentence] = []
    for part in parts:
        folder, name, sentences = part
        pack, file = _open_pack(part, demands), _file_of(part, demands)
        if pack is None:
            command = "ikd-extract-features" if demands.features else "ikd-pack-images"
            without = "translate by the text path alone with --image-free"
            if demands.every_sentence:
                without = "leave that option out"
            check(
                demands.asked_by is None,
                f"{file} is missing, and {demands.asked_by} needs it: run {command} --data {folder} --split "
                f"{name}, or {without}",
            )
            packs.append(BySentence(np.full(sentences, NO_IMAGE, np.int32)))
            continue
        check(
            len(pack) == sentences,
            f"{file} was made for {len(pack)} sentences, but {name} in {folder} has {sentences}: they come "
            "from different preparations, so pack the images again",
        )
        with_image = pack.coverage
        check(
            with_image == sentences or not demands.every_sentence,
            f"--require-images: {sentences - with_image} of the {sentences} sentences of {name} in {folder} "
            "have no image",
        )
        logger.info("%s %s: %d of %d sentences have an image", folder, name, with_image, sentences)
        if (variety := pack.variety).suspicious:
            logger.warning("%s: %s", file, variety)
        packs.append(pack)
    if not any(pack.coverage for pack in packs):
        logger.info("%s %s: no images, text only", parts[0].folder, parts[0].name)
        return None
    return BySentence.joined(packs)


def upsampled(entries: BySentence, parts: Sequence[Part], times: int) -> BySentence:
    """*entries* of a split's *parts* as fairseq upsamples text: the first of several parts *times* times."""
    rows = np.arange(len(entries))
    first, others = np.split(rows, [parts[0].sentences if len(parts) > 1 else 0])
    return entries.reordered(np.concatenate([np.tile(first, times), others]))


def _file_of(part: Part, demands: Demands) -> str:
    name = demands.features
    return part.prefix + (FEATURES_SUFFIX.format(name=name) if name else IMAGES_SUFFIX)


def _open_pack(part: Part, demands: Demands) -> ImagePack | FeaturePack | None:
    """The pack of *part*, held against what models were built for; None if there is none."""
    pack: ImagePack | FeaturePack
    file, name = _file_of(part, demands), demands.features
    if not (FeaturePack.exists(part.prefix, name) if name else ImagePack.exists(part.prefix)):
        return None
    if name:
        pack = FeaturePack.open(part.prefix, name)
        found = [(pack.regions, "regions", demands.regions), (pack.channels, "channels", demands.sizes)]
        misfits = [
            f"{file} has {number} {what}, but the model was built for {wanted}: give features as those that "
            "it was trained on, or train it on these"
            for number, what, built_for in found
            for wanted in built_for
            if wanted != number
        ]
    else:
        pack = ImagePack.open(part.prefix)
        size = pack.image_size
        misfits = [
            f"{file} holds images of {size} px, but the model was built for --image-size {wanted}: pack them "
            f"at that size, or train with --image-size {size}"
            for wanted in demands.sizes
            if wanted != size
        ]
    pack.check_text(part.folder, part.name)
    check(not misfits, " ".join(misfits[:1]))
    return pack
