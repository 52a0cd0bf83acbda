"""Sentence pairs with the images or image features that some of them have."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, ConcatDataset, LanguagePairDataset

from ..constants import IMAGE_POSITIONS


class BySentence(Protocol):
    """What a pack looks like from here: an entry a sentence, ``None`` for no image."""

    def __len__(self) -> int: ...

    def __getitem__(self, sentence: int) -> np.ndarray | None: ...


def concatenate(packs: Sequence[BySentence], upsample_primary: int = 1) -> BySentence:
    """Packs of ``train``, ``train1``, … one after the other, the first repeated as fairseq does its text."""
    if len(packs) == 1:
        return packs[0]
    return ConcatDataset(list(packs), [upsample_primary] + [1] * (len(packs) - 1))


class ImagePairDataset(BaseWrapperDataset):
    """Adds the images, or the image features, to the batches of fairseq's :class:`LanguagePairDataset`.

    Args:
        pairs: the sentence pairs.
        key: ``images`` or ``features``.
        pack: uint8 ``H x W x 3`` or float16 ``P x C`` by sentence.

    A batch of B sentences, K of which have an image, gets in its ``net_input``:

    - ``images``: uint8 ``K x H x W x 3``, or ``features``: float16 ``K x P x C``
    - ``image_positions``: int64 ``K``, the row of the collated batch (which fairseq sorts by length) that
      each of them belongs to, in ascending order

    K may be 0. The sentences without an image carry nothing.
    """

    def __init__(self, pairs: LanguagePairDataset, key: str, pack: BySentence):
        super().__init__(pairs)
        self.key = key
        self.pack = pack
        self.no_entries = _no_entries(pack)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.dataset[index]
        sample[self.key] = self.pack[index]
        return sample

    def collater(self, samples: list[dict[str, Any]], pad_to_length: dict[str, int] | None = None):
        batch = self.dataset.collater(samples, pad_to_length)
        if not batch:
            return batch
        by_sentence = {sample["id"]: sample[self.key] for sample in samples}
        entries = [by_sentence[sentence] for sentence in batch["id"].tolist()]
        positions = [row for row, entry in enumerate(entries) if entry is not None]
        net_input = batch["net_input"]
        net_input[IMAGE_POSITIONS] = torch.tensor(positions, dtype=torch.long)
        net_input[self.key] = (
            torch.from_numpy(np.stack([entries[row] for row in positions])) if positions else self.no_entries
        )
        return batch

    def num_tokens_vec(self, indices):
        return self.dataset.num_tokens_vec(indices)

    @property
    def src(self):
        """Source sentences; fairseq-generate reads them for ``--replace-unk``."""
        return self.dataset.src

    @property
    def tgt(self):
        """Target sentences."""
        return self.dataset.tgt


def _no_entries(pack: BySentence) -> torch.Tensor:
    """``0 x …`` tensor with the shape and type of *pack*'s entries, for batches that have none."""
    entry = next(entry for entry in (pack[sentence] for sentence in range(len(pack))) if entry is not None)
    return torch.from_numpy(np.empty((0,) + entry.shape, entry.dtype))
