"""Sentence pairs with the images or image features that some of them have."""

from typing import Any

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, LanguagePairDataset

from ...constants import IMAGE_POSITIONS
from ..by_sentence import BySentence


class PairsWrapper(BaseWrapperDataset):
    """Sentence pairs with a change, and what fairseq asks of pairs beyond its wrapper's own."""

    def collater(self, samples: list[dict[str, Any]], pad_to_length: dict[str, int] | None = None):
        return self.dataset.collater(samples, pad_to_length)

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
    """Sentence pairs to whose batches is added what stands beside their sentences."""

    def collater(self, samples: list[dict[str, Any]], pad_to_length: dict[str, int] | None = None):
        batch = super().collater(samples, pad_to_length)
        if batch:
            self.add_entries(batch, batch["id"].numpy())
        return batch

    def add_entries(self, batch: dict[str, Any], sentences: np.ndarray) -> None:
        """Adds to a batch what belongs to its *sentences*, in its order (fairseq sorts it by length)."""
        raise NotImplementedError


class ImagePairDataset(PairsWithEntries):
    """Adds the images, or the image features, to the batches of fairseq's :class:`LanguagePairDataset`.

    Args:
        pairs: the sentence pairs.
        key: ``images`` or ``features``.
        images: uint8 ``H x W x 3`` or float16 ``P x C`` by sentence.

    A batch of B sentences, K of which have an image, gets in its ``net_input``:

    - ``images``: uint8 ``K x H x W x 3``, or ``features``: float16 ``K x P x C``
    - ``image_positions``: int64 ``K``, the row of the collated batch that each of them belongs to, ascending

    K may be 0. The sentences without an image carry nothing.
    """

    def __init__(self, pairs: LanguagePairDataset, key: str, images: BySentence):
        super().__init__(pairs)
        self.key, self.images = key, images

    def add_entries(self, batch: dict[str, Any], sentences: np.ndarray) -> None:
        positions, entries = self.images.take(sentences)
        batch["net_input"][IMAGE_POSITIONS] = torch.from_numpy(positions)
        batch["net_input"][self.key] = torch.from_numpy(entries)
