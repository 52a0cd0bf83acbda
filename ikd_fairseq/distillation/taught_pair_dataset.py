"""Sentence pairs with the cached answers of their teachers."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from fairseq.data import ConcatDataset, FairseqDataset

from ..constants import TEACHER_IDS, TEACHER_PROBS
from ..contracts import CriterionContract
from ..data.pairs.image_pair_dataset import PairsWithEntries
from ..data.pairs.split_images import Part
from ..errors import check
from .teacher_cache import TeacherCache

logger = logging.getLogger(__name__)


class CachedAnswers(Protocol):
    """A teacher cache, or several, one after the other."""

    def __getitem__(self, sentence: int) -> tuple[np.ndarray, np.ndarray]: ...


class TaughtPairDataset(PairsWithEntries):
    """Adds what a teacher answers to the batches of sentence pairs, with or without images.

    Args:
        pairs: the sentence pairs.
        answers: words (integers) and probabilities (float16), each ``tokens x k``, by sentence.
        padding: index of the padding word.

    A batch of B sentences whose targets are padded to J tokens gets

    - ``teacher_ids``: int64 ``B x J x k``
    - ``teacher_probs``: float16 ``B x J x k``

    in the order of the collated batch, both zero where the target is padding.
    """

    def __init__(self, pairs: FairseqDataset, answers: CachedAnswers, padding: int):
        super().__init__(pairs)
        self.answers, self.padding = answers, padding

    def add_entries(self, batch: dict[str, Any], sentences: np.ndarray) -> None:
        """Adds the answers. Raises :class:`IkdError` for a sentence whose answers do not fit its target."""
        real, entries = batch["target"].ne(self.padding), [self.answers[number] for number in sentences]
        for sentence, tokens, (ids, _) in zip(sentences, real.sum(dim=1).tolist(), entries):
            few = f"the teacher cache answers {len(ids)} of the {tokens} target tokens of sentence {sentence}"
            cause = "it is too long for the teacher or was read otherwise"
            check(len(ids) == tokens, f"{few} (from 0): {cause}; leave it out of training")
        for key, dtype, answers in zip((TEACHER_IDS, TEACHER_PROBS), (np.int64, np.float16), zip(*entries)):
            rows = torch.from_numpy(np.concatenate(answers).astype(dtype))
            batch[key] = torch.zeros(*real.shape, rows.shape[1], dtype=rows.dtype)
            batch[key][real] = rows  # row by row, as the sentences stand


def open_answers(
    parts: Sequence[Part], criterion: CriterionContract, words: Sequence[str], training: bool, times: int = 1
) -> CachedAnswers | None:
    """What the teachers of *criterion* answer to the *parts* of a split; None if there is no cache.

    Args:
        words: of the target dictionary.
        training: whether the split is trained on, and cannot do without.
        times: how often the first part counts.

    Raises:
        IkdError: a cache is missing in training, or is of other text, words or teachers.
    """
    name = criterion.teacher_cache
    if not name:
        return None
    caches: list[TeacherCache] = []
    for part in parts:
        if not TeacherCache.exists(part.prefix, name):
            check(
                not training,
                f"teacher cache {TeacherCache.paths(part.prefix, name)[-1]} is missing: run "
                f"ikd-cache-teacher {part.folder} --split {part.name} --name {name}, or train "
                "without --teacher-cache",
            )
            logger.info("%s: no teacher cache %s", part.prefix, name)
            return None
        cache = TeacherCache.open(part.prefix, name)
        cache.check_text(part.folder, part.name)
        cache.check_words(words)
        if criterion.teacher_paths:
            cache.check_teachers(criterion.teacher_paths)
        logger.info("%s: teacher cache %s, top %d words", part.prefix, name, cache.top_k)
        caches.append(cache)
    return ConcatDataset(caches, [times] + [1] * (len(caches) - 1))
