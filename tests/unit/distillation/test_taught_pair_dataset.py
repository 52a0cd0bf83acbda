"""Cached answers stay with their sentences and tokens, whatever order fairseq batches them in."""

import numpy as np
import pytest
import torch
from fairseq.data import LanguagePairDataset

from ikd_fairseq.distillation.taught_pair_dataset import TaughtPairDataset
from ikd_fairseq.errors import IkdError
from tests import toy

LENGTHS = [3, 6, 2, 5]
K = 2


def pairs(left_pad_target=False):
    sentences = [torch.arange(5, 5 + length) for length in LENGTHS]
    words = toy.dictionary()
    return LanguagePairDataset(
        sentences, LENGTHS, words, sentences, LENGTHS, words, left_pad_target=left_pad_target
    )


def answers(lengths):
    """Token j of sentence i is answered with the words 10 i + j and 10 i + j + 100."""
    found = []
    for sentence, length in enumerate(lengths):
        ids = (10 * sentence + np.arange(length)).astype(np.uint16)
        found.append((np.stack([ids, ids + 100], axis=1), np.tile(np.float16([0.75, 0.125]), (length, 1))))
    return found


@pytest.mark.parametrize("left_pad", [False, True])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0]])
def test_every_answer_meets_its_token_after_fairseqs_sort(order, left_pad):
    dataset = TaughtPairDataset(pairs(left_pad), answers(LENGTHS), toy.dictionary().pad())
    batch = dataset.collater([dataset[i] for i in order])
    ids, probs = batch["teacher_ids"], batch["teacher_probs"]
    assert ids.dtype == torch.int64 and probs.dtype == torch.float16
    assert ids.shape == probs.shape == (*batch["target"].shape, K)
    for row, sentence in enumerate(batch["id"].tolist()):
        token = 0
        for column, word in enumerate(batch["target"][row].tolist()):
            if word == toy.dictionary().pad():
                assert not ids[row, column].any() and not probs[row, column].any()
                continue
            assert ids[row, column].tolist() == [10 * sentence + token, 10 * sentence + token + 100]
            assert probs[row, column].tolist() == [0.75, 0.125]
            token += 1
        assert token == LENGTHS[sentence]


def test_answers_for_another_number_of_tokens_are_refused():
    dataset = TaughtPairDataset(pairs(), answers([3, 0, 2, 5]), toy.dictionary().pad())
    dataset.collater([dataset[0], dataset[2]])
    with pytest.raises(IkdError, match="answers 0 of the 6 target tokens of sentence 1 "):
        dataset.collater([dataset[0], dataset[1]])
