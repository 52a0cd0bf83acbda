"""Translations by any checkpoint of the plugin: with the images as they are, without, or with others' images.

Search and batches are fairseq's own, as in ``fairseq-generate``, but in this process, so that a model is
loaded once for all the conditions that an analysis compares.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fairseq.data import LanguagePairDataset
from fairseq.dataclass.configs import GenerationConfig

from ..data.pairs.image_pair_dataset import ImagePairDataset
from ..errors import check
from ..evaluation.references import read_references, references_file
from ..evaluation.translations import BPE_MARK, agreed_count
from ..io.progress import progress
from ..modules.search import search
from .features import Trained

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

    They stand in ``SPLIT.LANGUAGE`` in *folder*, by default where :func:`.references_file` finds them, as for
    a run's record. If nothing is there, they are the binarised targets, in which an unknown word matches no
    translation.

    Raises:
        IkdError: there is no such file, it has another number of lines, or the split has no targets.
    """
    language = trained.task.cfg.target_lang
    name = f"{split}.{language}"
    path = Path(folder, name) if folder else references_file(trained.data, split, language)
    if path is not None:
        lines = read_references(path)
        agreed_count({str(path): len(lines), f"{split} in {trained.data}": len(dataset)})
        return lines
    check(
        dataset.tgt is not None,
        f"{split} in {trained.data} has no translations to score against: give --references FOLDER with "
        f"{name}",
    )
    logger.info("%s has no text of %s, so the binarised targets are the references", trained.data, name)
    dictionary = trained.task.target_dictionary
    targets = (dataset.tgt[number] for number in range(len(dataset)))
    return [dictionary.string(target, BPE_MARK, escape_unk=True) for target in targets]
