"""Translations by any checkpoint of the plugin: with the images as they are, without, or with others' images.

Search and batches are fairseq's own, as in ``fairseq-generate``, but in this process, so that a model is
loaded once for all the conditions that an analysis compares.
"""

import logging
import os
from collections.abc import Sequence

import numpy as np
from fairseq.data import LanguagePairDataset
from fairseq.dataclass.configs import GenerationConfig

from ..data.pairs.image_pair_dataset import ImagePairDataset
from ..distillation.search import search
from ..errors import check
from ..evaluation.translations import BPE_MARK, agreed_count
from ..io.progress import progress
from ..io.text_lines import read_lines
from .features import Trained

REFERENCE_FOLDER = "reference"  # in the data folder, where examples/multi30k/prepare.sh leaves the test sets'

logger = logging.getLogger(__name__)


def with_images_of(dataset: ImagePairDataset, order: np.ndarray) -> ImagePairDataset:
    """The sentences of *dataset* with each other's images: i gets that of ``order[i]``, int64 ``N``."""
    return ImagePairDataset(dataset.dataset, dataset.key, dataset.images.reordered(order))


def translate(
    trained: Trained,
    dataset: LanguagePairDataset,
    sentences: Sequence[int],
    beam: int = 5,
    max_tokens: int = 4096,
    what: str = "translate",
) -> list[str]:
    """The best translation of each of *sentences*, subwords joined, in the order of *sentences*.

    Args:
        trained: the model and the task whose search translates.
        dataset: with the images that the model is to see, if any.
        sentences: distinct numbers.
        beam, max_tokens: of the search and of a batch; all else is as ``fairseq-generate`` has it.
        what: stands before the progress bar.

    Raises:
        IkdError: a sentence is too long, or lacks an image that the model cannot do without.
    """
    config, dictionary = GenerationConfig(beam=beam), trained.task.target_dictionary
    answers = search(trained.task, [trained.model], dataset, sentences, config, max_tokens)
    found = {
        number: dictionary.string(best["tokens"].cpu(), BPE_MARK)
        for number, (best, *_) in progress(answers, total=len(sentences), desc=what, unit=" sentences")
    }
    return [found[sentence] for sentence in sentences]


def references_of(
    trained: Trained, dataset: LanguagePairDataset, split: str, folder: str | None = None
) -> list[str]:
    """A reference for every sentence of *split*, tokenised, subwords joined.

    They stand in ``SPLIT.LANGUAGE`` in *folder*, by default :data:`REFERENCE_FOLDER` in the data folder. If
    that is not there, they are the binarised targets, in which an unknown word matches no translation.

    Raises:
        IkdError: there is no such file, it has another number of lines, or the split has no targets.
    """
    name = f"{split}.{trained.task.cfg.target_lang}"
    path = os.path.join(folder or os.path.join(trained.data, REFERENCE_FOLDER), name)
    if folder or os.path.isfile(path):
        lines = read_lines(path)
        agreed_count({path: len(lines), f"{split} in {trained.data}": len(dataset)})
        return lines
    check(
        dataset.tgt is not None,
        f"{split} in {trained.data} has no translations to score against: give --references FOLDER with "
        f"{name}",
    )
    logger.info("%s: there is no %s, so the binarised targets are the references", split, path)
    dictionary = trained.task.target_dictionary
    targets = (dataset.tgt[number] for number in range(len(dataset)))
    return [dictionary.string(target, BPE_MARK, escape_unk=True) for target in targets]
