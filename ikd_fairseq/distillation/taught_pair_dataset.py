"""Sentence pairs with the cached answers of a teacher."""

from typing import Any, Protocol

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, FairseqDataset

from ..constants import TEACHER_IDS, TEACHER_PROBS
from ..errors import check


class AnswersBySentence(Protocol):
    """What a teacher cache looks like from here: words and probabilities by sentence, ``tokens x k``."""

    def __len__(self) -> int: ...

    def __getitem__(self, sentence: int) -> tuple[np.ndarray, np.ndarray]: ...


class TaughtPairDataset(BaseWrapperDataset):
    """Adds what a teacher answers to the batches of sentence pairs, with or without images.

    Args:
        pairs: the sentence pairs.
        answers: words (integers) and probabilities (float16), each ``tokens x k``, by sentence.
        padding: index of the padding word.

    A batch of B sentences whose targets are padded to J tokens gets

    - ``teacher_ids``: int64 ``B x J x k``
    - ``teacher_probs``: float16 ``B x J x k``

    in the order of the collated batch (which fairseq sorts by length), both zero where the target is padding.
    """

    def __init__(self, pairs: FairseqDataset, answers: AnswersBySentence, padding: int):
        super().__init__(pairs)
        self.answers = answers
        self.padding = padding

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.dataset[index], "answers": self.answers[index]}

    def collater(self, samples: list[dict[str, Any]], pad_to_length: dict[str, int] | None = None):
        """Batches *samples*. Raises :class:`IkdError` for a sentence whose answers do not fit its target."""
        batch = self.dataset.collater(samples, pad_to_length)
        if not batch:
            return batch
        by_sentence = {sample["id"]: sample["answers"] for sample in samples}
        target = batch["target"]
        real = target.ne(self.padding)
        sentences = batch["id"].tolist()
        for sentence, tokens in zip(sentences, real.sum(dim=1).tolist()):
            found = len(by_sentence[sentence][0])
            check(
                found == tokens,
                f"the teacher cache answers {found} of the {tokens} target tokens of sentence {sentence} "
                "(from 0): it is too long for the teacher or was read in another way; leave it out of "
                "training",
            )
        for place, (key, dtype) in enumerate(((TEACHER_IDS, torch.int64), (TEACHER_PROBS, torch.float16))):
            rows = np.concatenate([by_sentence[sentence][place] for sentence in sentences])
            if key == TEACHER_IDS:
                rows = rows.astype(np.int64)
            batch[key] = torch.zeros(*target.shape, rows.shape[1], dtype=dtype)
            batch[key][real] = torch.from_numpy(rows)  # row by row, as the sentences stand
        return batch

    def num_tokens_vec(self, indices):
        return self.dataset.num_tokens_vec(indices)
