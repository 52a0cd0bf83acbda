"""A folded generator against the one that it was made from, and a model that has one."""

from types import SimpleNamespace

import pytest
import torch

from ikd_fairseq.modules.feature_generator import UNPOOLS, FeatureGenerator
from ikd_fairseq.modules.folded_generator import FoldedGenerator, fold
from tests import toy
from tests.closeness import assert_close_to_scale


@pytest.mark.parametrize("unpool", UNPOOLS)
@pytest.mark.parametrize("signed", [True, False])
def test_folding_changes_no_value(unpool, signed):
    torch.manual_seed(2)
    generator = FeatureGenerator(6, 5, 4, unpool, signed)
    text, padding = torch.randn(3, 7, 6), torch.zeros(3, 7, dtype=torch.bool)
    padding[0, 4:] = True
    for _ in range(3):  # running statistics that are not those of the start
        generator(text + 1, padding)
    torch.nn.init.normal_(generator.batch_norm.weight)
    torch.nn.init.normal_(generator.batch_norm.bias)
    folded = fold(generator)
    assert isinstance(folded, FoldedGenerator)
    assert not folded.state_dict()
    with torch.no_grad():
        expected, found = generator(text, padding), folded(text, padding)
    assert_close_to_scale(found, expected)
    assert (found < 0).any() == signed


def test_statistics_of_the_batch_at_hand_cannot_be_folded():
    generator = FeatureGenerator(6, 5, 4, "conv")
    generator.batch_norm.train = lambda mode=True: generator.batch_norm
    assert fold(generator) is generator


def test_a_model_prepared_for_decoding_encodes_as_before():
    model = toy.trained(toy.ikd_model()).eval()
    source = toy.tokens([1, 2, 3], [4, 5], [6, 7, 8, 9, 10])
    with torch.no_grad():
        before = model.encoder(source)
        model.prepare_for_inference_(SimpleNamespace(generation=SimpleNamespace(beam=5)))
        after = model.encoder(source)
    assert isinstance(model.encoder.generator, FoldedGenerator)
    for key in ("encoder_out", "regions"):
        assert_close_to_scale(after[key][0], before[key][0])
