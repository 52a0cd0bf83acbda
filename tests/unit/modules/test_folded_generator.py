"""A folded generator against the one that it was made from, and a model that has one."""

from types import SimpleNamespace

import pytest
import torch

from ikd_fairseq.modules.feature_generator import NORMS, UNPOOLS, FeatureGenerator
from ikd_fairseq.modules.folded_generator import FoldedGenerator, fold
from tests import toy
from tests.closeness import assert_close_to_scale


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("unpool", UNPOOLS)
@pytest.mark.parametrize("signed", [True, False])
def test_folding_changes_no_value(unpool, signed, norm):
    torch.manual_seed(2)
    generator = FeatureGenerator(6, 5, 4, unpool, signed, norm)
    text, padding = torch.randn(3, 7, 6), torch.zeros(3, 7, dtype=torch.bool)
    padding[0, 4:] = True
    for _ in range(3):  # running statistics that are not those of the start
        generator(text + 1, padding)
    torch.nn.init.normal_(generator.batch_norm.weight)
    torch.nn.init.normal_(generator.batch_norm.bias)
    # Where each channel is spread by itself, the one matrix would be larger.
    assert isinstance(fold(generator), FoldedGenerator) == (unpool == "conv")
    folded = FoldedGenerator(generator)
    assert not folded.state_dict()
    with torch.no_grad():
        expected, found = generator(text, padding), folded(text, padding)
    assert_close_to_scale(found, expected)
    assert (found < 0).any() == signed


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_folding_in_half_precision_adds_no_error(norm, dtype):
    torch.manual_seed(2)
    generator = FeatureGenerator(64, 40, 4, "conv", norm=norm)
    # What sentences have in common is large beside what tells them apart, which batch norm makes large.
    text, padding = torch.randn(64) + 0.3 * torch.randn(300, 5, 64), torch.zeros(300, 5, dtype=torch.bool)
    for _ in range(60):
        generator(text, padding)
    with torch.no_grad():
        exact = generator.eval()(text, padding)
        half, given = generator.to(dtype), text.to(dtype)
        alone = (half(given, padding) - exact).square().mean().sqrt()
        folded = FoldedGenerator(half)
        assert folded.weight.dtype == folded.bias.dtype == half.projection.weight.dtype == dtype
        assert (folded(given, padding) - exact).square().mean().sqrt() < 1.5 * alone


def test_statistics_of_the_batch_at_hand_cannot_be_folded():
    generator = FeatureGenerator(6, 5, 4, "conv")
    generator.batch_norm.train = lambda mode=True: generator.batch_norm
    assert fold(generator) is generator


def test_a_model_prepared_for_decoding_encodes_as_before():
    model = toy.trained(toy.ikd_model(unpool="conv")).eval()
    source = toy.tokens([1, 2, 3], [4, 5], [6, 7, 8, 9, 10])
    with torch.no_grad():
        before = model.encoder(source)
        model.prepare_for_inference_(SimpleNamespace(generation=SimpleNamespace(beam=5)))
        after = model.encoder(source)
    assert isinstance(model.encoder.generator, FoldedGenerator)
    for key in ("encoder_out", "regions"):
        assert_close_to_scale(after[key][0], before[key][0])
