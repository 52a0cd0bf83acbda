"""The dual encoder's similarities and its contrastive loss, written out by hand."""

import math

import pytest
import torch

from ikd_fairseq.modules.dual_encoder import DualEncoder, contrastive_loss


def test_similarity_is_the_cosine_of_summed_words_and_mapped_image():
    torch.manual_seed(1)
    encoder, vectors = DualEncoder(9, 5, 4), torch.randn(2, 5)
    found = encoder.similarities([[1, 3, 3], [8]], vectors)
    for row, words in enumerate(([1, 3, 3], [8])):
        text = sum(encoder.words.weight[word] for word in words)
        for column in range(2):
            image = encoder.images.weight @ vectors[column] + encoder.images.bias
            expected = text @ image / (text.norm() * image.norm())
            assert float(found[row, column]) == pytest.approx(float(expected), abs=1e-6)


def test_contrastive_loss_picks_images_and_captions_among_those_of_other_images():
    similarities = torch.tensor([[0.9, 0.2, 0.8], [0.1, 0.7, 0.3], [0.8, 0.4, 0.6]])
    images = torch.tensor([5, 2, 5])  # the first and the last caption have the same image

    def pick(row, others):  # cross-entropy of the own one at temperature 0.5
        return -math.log(math.exp(row / 0.5) / (math.exp(row / 0.5) + sum(math.exp(o / 0.5) for o in others)))

    by_caption = pick(0.9, [0.2]) + pick(0.7, [0.1, 0.3]) + pick(0.6, [0.4])
    by_image = pick(0.9, [0.1]) + pick(0.7, [0.2, 0.4]) + pick(0.6, [0.3])
    assert float(contrastive_loss(similarities, images, 0.5)) == pytest.approx(
        (by_caption + by_image) / 6, rel=1e-5
    )
