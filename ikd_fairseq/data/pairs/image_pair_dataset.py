"""Sentence pairs with the images or image features that some of them have."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, ConcatDataset, FairseqDataset, LanguagePairDataset

from ...constants import IMAGE_POSITIONS


class BySentence(Protocol):
    """What a pack or a cache looks like from here: an entry a sentence, ``None`` for no image."""

    def __len__(self) -> int: ...

    def __getitem__(self, sentence: int) -> Any: ...


def concatenate(packs: Sequence[BySentence], upsample_primary: int = 1) -> BySentence:
    """Packs of ``train``, ``train1``, … one after the other, the first repeated as fairseq does its text."""
    if len(packs) == 1:
        return packs[0]
    return ConcatDataset(list(packs), [upsample_primary] + [1] * (len(packs) - 1))


class PairsWrapper(BaseWrapperDataset):
    """Sentence pairs with a change, and what fairseq asks of pairs beyond its wrapper's own."""

    def num_tokens_vec(self, indices):
        return self.dataset.num_tokens_vec(indices)

    @property
    def src(self):
        """Source sentences as they are in the folder; fairseq-generate reads them for ``--replace-unk``."""
        return self.dataset.src

    @property
    def tgt(self):
        """Target sentences, likewise."""
        return self.dataset.tgt


class PairsWithEntries(PairsWrapper):
    """Sentence pairs, each with its entry of *pack* under *key* in its sample."""

    def __init__(self, pairs: FairseqDataset, key: str, pack: BySentence):
        super().__init__(pairs)
        self.key = key
        self.pack = pack

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.dataset[index], self.key: self.pack[index]}

    def collater(self, samples: list[dict[str, Any]], pad_to_length: dict[str, int] | None = None):
        batch = self.dataset.collater(samples, pad_to_length)
        if batch:
            by_sentence = {sample["id"]: sample[self.key] for sample in samples}
            self.add_entries(batch, [by_sentence[sentence] for sentence in batch["id"].tolist()])
        return batch

    def add_entries(self, batch: dict[str, Any], entries: list[Any]) -> None:
        """Adds to a batch the *entries* of its sentences, in its order (fairseq sorts it by length)."""
        raise NotImplementedError


class ImagePairDataset(PairsWithEntries):
    """Adds the images, or the image features, to the batches of fairseq's :class:`LanguagePairDataset`.

    Args:
        pairs: the sentence pairs.
        key: ``images`` or ``features``.
        pack: uint8 ``H x W x 3`` or float16 ``P x C`` by sentence.

    A batch of B sentences, K of which have an image, gets in its ``net_input``:

    - ``images``: uint8 ``K x H x W x 3``, or ``features``: float16 ``K x P x C``
    - ``image_positions``: int64 ``K``, the row of the collated batch that each of them belongs to, ascending

    K may be 0. The sentences without an image carry nothing.
    """

    def __init__(self, pairs: LanguagePairDataset, key: str, pack: BySentence):
        super().__init__(pairs, key, pack)
        some = next(entry for entry in map(pack.__getitem__, range(len(pack))) if entry is not None)
        self.no_entries = torch.from_numpy(np.empty((0,) + some.shape, some.dtype))  # of a batch without any

    def add_entries(self, batch: dict[str, Any], entries: list[Any]) -> None:
        positions = [row for row, entry in enumerate(entries) if entry is not None]
        batch["net_input"][IMAGE_POSITIONS] = torch.tensor(positions, dtype=torch.long)
        batch["net_input"][self.key] = (
            torch.from_numpy(np.stack([entries[row] for row in positions])) if positions else self.no_entries
        )
