"""A small dual encoder of captions and image vectors, from which dense image indices are made.

It stands for the text-image retriever of Wu et al. 2021, whose text encoder is BERT.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DualEncoder(nn.Module):
    """Words and images in one space: a sentence is the sum of its words, an image a linear map of its vector.

    Args:
        words: V, size of the vocabulary.
        channels: C, width of an image's vector.
        width: e.
    """

    def __init__(self, words: int, channels: int, width: int):
        super().__init__()
        self.words = nn.EmbeddingBag(words, width, mode="sum")
        self.images = nn.Linear(channels, width)

    def embed_images(self, vectors: Tensor) -> Tensor:
        """``K x C`` to ``K x e``, of length 1."""
        return F.normalize(self.images(vectors), dim=1)

    def similarities(self, sentences: Sequence[Sequence[int]], vectors: Tensor) -> Tensor:
        """Cosine of each sentence with each image: ``K x K``."""
        flat = torch.tensor([word for sentence in sentences for word in sentence])
        lengths = torch.tensor([0] + [len(sentence) for sentence in sentences])
        embedded = F.normalize(self.words(flat, lengths.cumsum(0)[:-1]), dim=1)
        return embedded @ self.embed_images(vectors).T


def contrastive_loss(similarities: Tensor, images: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of picking each caption's image among the batch's, and each image's caption: a scalar.

    Args:
        similarities: caption x image, ``K x K``.
        images: int64 ``K``: captions of one image are no contrast to each other.
        temperature: what similarities are divided by.
    """
    same = (images.unsqueeze(1) == images.unsqueeze(0)).fill_diagonal_(False)
    logits = (similarities / temperature).masked_fill(same, float("-inf"))
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
