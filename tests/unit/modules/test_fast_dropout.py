"""What dropout must keep, whatever its masks."""

import pytest
import torch
from fairseq.modules import FairseqDropout

from ikd_fairseq.modules.fast_dropout import FastDropout, draw_faster
from tests import toy
from tests.closeness import assert_close_to_scale


@pytest.mark.parametrize("p", [0.1, 0.3, 0.999, 1e-6])
def test_elements_are_dropped_at_random_and_the_mean_is_kept(p):
    torch.manual_seed(3)
    dropout, size = FastDropout(p).train(), 400_003
    x = torch.ones(size)
    y = dropout(x)
    assert len(y.unique()) <= 2
    standard_error = (p * (1 - p) / size) ** 0.5
    assert abs(y.eq(0).float().mean().item() - p) < 5 * standard_error + 2**-16
    assert abs(y.mean().item() - 1) < 5 * (p / (1 - p) / size) ** 0.5 + 1e-6
    for distance in (1, 2, 3, 4, 8):  # neighbours, which share a draw, are independent
        together = (y[:-distance].eq(0) & y[distance:].eq(0)).float().mean().item()
        assert abs(together - p**2) < 5 * (p**2 / size) ** 0.5 + 2**-15
    for lane in range(4):
        assert abs(y[lane::4].eq(0).float().mean().item() - p) < 10 * standard_error + 2**-15


def test_gradient_goes_where_the_values_went_and_a_seed_repeats_them():
    dropout, x = FastDropout(0.3).train(), torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    y = dropout(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert 0 < y.eq(0).sum() < 35
    assert_close_to_scale(gradient * x, y)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), y) and not torch.equal(dropout(x), y)


def test_without_training_or_probability_nothing_happens():
    x = torch.randn(7, 5)
    assert torch.equal(FastDropout(0.3).eval()(x), x)
    assert torch.equal(FastDropout(0.0).train()(x), x)
    assert not FastDropout(1.0).train()(x).any()
    assert FastDropout(0.5).train()(x.bfloat16()).dtype == torch.bfloat16


def test_every_model_of_the_plugin_has_it_and_fairseqs_class_stays_as_it_is():
    model = toy.ikd_model(dropout=0.3, activation_dropout=0.1)
    kinds = {type(module) for module in model.modules() if isinstance(module, FairseqDropout)}
    assert kinds == {FastDropout}
    other = torch.nn.ModuleList([FairseqDropout(0.3), torch.nn.Dropout(0.3)])
    draw_faster(other)
    assert [type(module) for module in other] == [FastDropout, torch.nn.Dropout]
    assert other[0].p == 0.3 and type(FairseqDropout(0.3)) is FairseqDropout
