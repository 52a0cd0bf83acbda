"""Images stay with their sentences, whatever order fairseq batches them in."""

import pickle

import numpy as np
import pytest
import torch
from fairseq.data import LanguagePairDataset

from ikd_fairseq.data.by_sentence import BySentence
from ikd_fairseq.data.pairs.image_pair_dataset import ImagePairDataset
from tests import toy

LENGTHS = [3, 6, 2, 5]


def pictures(sentences, without=()):
    """Image i is filled with value i; the sentences in *without* have none."""
    entries = [None if i in without else np.full((2, 2, 3), i, dtype=np.uint8) for i in range(sentences)]
    return BySentence.of(entries, (2, 2, 3), np.uint8)


def pairs():
    sentences = [torch.arange(5, 5 + length) for length in LENGTHS]
    words = toy.dictionary()
    return LanguagePairDataset(sentences, LENGTHS, words, sentences, LENGTHS, words)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0]])
def test_every_image_meets_its_sentence_after_fairseqs_sort(order):
    dataset = ImagePairDataset(pairs(), "images", pictures(4, without=[0]))
    batch = dataset.collater([dataset[i] for i in order])
    net_input = batch["net_input"]
    ids = batch["id"].tolist()
    assert ids == sorted(order, key=lambda i: -LENGTHS[i])
    with_image = [row for row, sentence in enumerate(ids) if sentence != 0]
    assert net_input["image_positions"].tolist() == with_image
    assert (
        net_input["images"].shape == (len(with_image), 2, 2, 3) and net_input["images"].dtype == torch.uint8
    )
    assert [int(image[0, 0, 0]) for image in net_input["images"]] == [ids[row] for row in with_image]


def test_batch_without_any_image_carries_none():
    dataset = ImagePairDataset(pairs(), "images", pictures(4, without=[0, 2]))
    net_input = dataset.collater([dataset[0], dataset[2]])["net_input"]
    assert net_input["images"].shape == (0, 2, 2, 3) and net_input["images"].dtype == torch.uint8
    assert net_input["image_positions"].shape == (0,)


def test_padding_to_a_length_is_handed_on():
    dataset = ImagePairDataset(pairs(), "images", pictures(4))
    batch = dataset.collater([dataset[0]], pad_to_length={"source": 9, "target": 8})
    assert batch["net_input"]["src_tokens"].shape == (1, 9)


def test_dataset_travels_to_worker_processes():
    dataset = pickle.loads(pickle.dumps(ImagePairDataset(pairs(), "images", pictures(4))))
    assert int(dataset.collater([dataset[2]])["net_input"]["images"][0, 0, 0, 0]) == 2
