"""Sentences in batches, features in the order asked for, and the refusals of checkpoints and sentences."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ikd_fairseq.analysis.features import (
    GENERATING,
    batches,
    generated_features,
    load_trained,
    visual_features,
)
from ikd_fairseq.analysis.output import check_sentences
from ikd_fairseq.errors import IkdError
from ikd_fairseq.vision.backbones import get_backbone
from ikd_fairseq.vision.frozen_cnn import FrozenCNN
from tests import toy
from tests.closeness import assert_close_to_scale


def test_batches_hold_the_sentences_asked_for_and_no_more_tokens_than_allowed(dataset):
    found = list(batches(dataset, [3, 0, 4, 1], 6, 1024))
    assert sorted(number for batch in found for number in batch["id"].tolist()) == [0, 1, 3, 4]
    assert len(found) > 1
    assert all(batch["net_input"]["src_tokens"].numel() <= 6 for batch in found)


def test_sentence_longer_than_a_batch_or_than_the_model_is_refused(dataset):
    with pytest.raises(IkdError, match="--max-tokens 4: sentence 3 alone has 5"):
        list(batches(dataset, [0, 3], 4, 1024))
    with pytest.raises(IkdError, match="sentence 3 has 5 tokens, more than the 4 positions"):
        list(batches(dataset, [0, 3], 100, 4))


@pytest.mark.parametrize("max_tokens", [6, 4096])
def test_generated_features_stand_in_the_order_asked_for_whatever_the_batches(trained, dataset, max_tokens):
    order = [3, 0, 4, 1]
    found = generated_features(trained, dataset, order, max_tokens)
    encoder = trained.model.encoder
    for row, sentence in zip(found, order):
        source = dataset.src[sentence].unsqueeze(0)
        text, _ = encoder.forward_embedding(source)
        no_padding = torch.zeros_like(source, dtype=torch.bool)
        expected = encoder.generator(text, no_padding)[0].mean(dim=0)
        assert_close_to_scale(row, expected)
    assert not found.requires_grad


def test_visual_features_are_means_of_the_frozen_cnns_last_map_row_by_row(trained):
    images = toy.images(3)
    pack = SimpleNamespace(images=images.numpy(), image_size=images.shape[1])
    found = visual_features(trained, pack, np.array([2, 0]))
    backbone = get_backbone("efficientnet_lite0")
    expected = FrozenCNN(backbone, "random")(backbone.normalise(images[[2, 0]]))[-1].mean(dim=(2, 3))
    assert_close_to_scale(found, expected)


def test_sentences_outside_of_the_split_or_without_an_image_are_refused():
    pack = SimpleNamespace(index=np.array([0, -1, 0, 1]))
    check_sentences([0, 3], "valid", 4, pack)
    check_sentences([1], "valid", 4)
    with pytest.raises(IkdError, match="--sentences 4: valid has 4 sentences, numbered 0 to 3"):
        check_sentences([0, 4], "valid", 4)
    with pytest.raises(IkdError, match="--sentences 1: this sentence of valid has no image"):
        check_sentences([1], "valid", 4, pack)


def write_checkpoint(path, architecture, keys):
    state = {
        "cfg": {"model": {"_name": architecture}, "task": {}},
        "model": {key: torch.zeros(3, 2) for key in keys},
        "optimizer_history": [{}],
        "extra_state": {},
    }
    torch.save(state, path)
    return str(path)


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    path = write_checkpoint(tmp_path / "text.pt", "transformer_mmt_tiny", ["encoder.embed_tokens.weight"])
    with pytest.raises(IkdError, match="text.pt is of architecture transformer_mmt_tiny"):
        load_trained(path, str(tmp_path), architecture=GENERATING)


def test_checkpoint_without_a_student_is_refused_where_one_is_needed(tmp_path):
    path = write_checkpoint(tmp_path / "free.pt", "ikd_transformer_tiny", ["encoder.embed_tokens.weight"])
    with pytest.raises(IkdError, match="free.pt has no student to paint with"):
        load_trained(path, str(tmp_path), architecture=GENERATING, student=True)
    with pytest.raises(IkdError, match="infer|binarised pair"):  # where it is not, loading goes on
        load_trained(path, str(tmp_path), architecture=GENERATING)


def test_data_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(IkdError, match="is no folder"):
        load_trained(str(tmp_path / "any.pt"), str(tmp_path / "nowhere"))
