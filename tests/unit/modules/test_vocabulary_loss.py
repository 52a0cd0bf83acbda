"""The loss in blocks against the same written out over all logits at once."""

import pytest
import torch

from ikd_fairseq.modules.vocabulary_loss import Agreement, SmoothedLikelihood, vocabulary_loss
from tests.closeness import assert_close_to_scale

TYPES, WIDTH = 30, 8


def inputs(passes=1, positions=11, dtype=torch.float32, spread=3.0):
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(passes, positions, WIDTH, generator=generator).to(dtype).requires_grad_()
    weight = (spread * torch.randn(TYPES, WIDTH, generator=generator)).to(dtype).requires_grad_()
    return features, weight, torch.randint(TYPES, (positions,), generator=generator)


def reference(logits, target, epsilon, weight=0.0):
    """Loss, negative log-likelihood, matches and divergence over ``M x N x V``, by their definitions."""
    log_p = logits.double().log_softmax(-1)
    at_target = log_p.gather(-1, target.expand(len(logits), -1)[..., None]).squeeze(-1)
    others = (log_p.sum(-1) - at_target) / (TYPES - 1)
    smoothed = -((1 - epsilon) * at_target + epsilon * others).sum(-1).mean()
    first, second = log_p[0], log_p[-1]
    apart = (first.exp() * (first - second) + second.exp() * (second - first)).sum() / 2
    correct = logits[0].argmax(-1).eq(target).sum()
    return smoothed + weight / 2 * apart, -at_target.sum(-1).mean(), correct, apart


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 4, 11, 100])
def test_loss_and_gradients_do_not_depend_on_the_blocks(epsilon, rows):
    features, weight, target = inputs()
    sums = vocabulary_loss(features, weight, SmoothedLikelihood(target, epsilon, True), rows)
    loss, nll, correct, _ = reference(features @ weight.T, target, epsilon)
    assert_close_to_scale(sums["loss"].double(), loss)
    assert_close_to_scale(sums["nll_loss"].double(), nll)
    assert sums["n_correct"] == correct and not sums["nll_loss"].requires_grad
    scaled = (7 * sums["loss"], 7 * loss)
    found, wanted = (torch.autograd.grad(one, (features, weight)) for one in scaled)
    for name, one, other in zip(("features", "weight"), found, wanted):
        assert_close_to_scale(one, other, what=name)


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_agreement_of_two_passes_is_the_papers(rows):
    features, weight, target = inputs(passes=2)
    objective = Agreement(SmoothedLikelihood(target, 0.1), 5.0)
    sums = vocabulary_loss(features, weight, objective, rows)
    loss, nll, _, apart = reference(features @ weight.T, target, 0.1, weight=5.0)
    assert apart > 1
    for name, expected in (("loss", loss), ("nll_loss", nll), ("consistency", apart)):
        assert_close_to_scale(sums[name].double(), expected, what=name)
    found, wanted = (torch.autograd.grad(one, (features, weight)) for one in (sums["loss"], loss))
    for name, one, other in zip(("features", "weight"), found, wanted):
        assert_close_to_scale(one, other, what=name)


def test_passes_that_agree_cost_what_one_does():
    features, weight, target = inputs()
    twice = features.detach().repeat(2, 1, 1)
    sums = vocabulary_loss(twice, weight, Agreement(SmoothedLikelihood(target, 0.1), 5.0))
    alone = vocabulary_loss(features, weight, SmoothedLikelihood(target, 0.1))
    assert sums["consistency"].abs() < 1e-5
    assert_close_to_scale(sums["loss"], alone["loss"])


@pytest.mark.parametrize("passes", [1, 2])
def test_logits_may_be_given_themselves(passes):
    features, weight, target = inputs(passes)
    objective = SmoothedLikelihood(target, 0.1)
    objective = objective if passes == 1 else Agreement(objective, 2.0)
    logits = (features @ weight.T).detach().requires_grad_()
    before = logits.detach().clone()
    loss = vocabulary_loss(logits, None, objective, rows=4)["loss"]
    expected = reference(logits, target, 0.1, weight=2.0)[0]
    assert torch.equal(logits, before)
    assert_close_to_scale(loss.double(), expected)
    assert_close_to_scale(*(torch.autograd.grad(one, logits)[0] for one in (loss, expected)))


def test_no_positions_have_a_loss_of_zero_and_gradients_of_zero():
    features, weight, target = inputs(positions=0)
    sums = vocabulary_loss(features, weight, SmoothedLikelihood(target, 0.1, True))
    assert not any(sums.values())
    to_features, to_weight = torch.autograd.grad(sums["loss"], (features, weight))
    assert to_features.shape == features.shape and not to_weight.any()


def test_without_gradients_none_are_computed_and_a_frozen_side_gets_none():
    features, weight, target = inputs()
    objective = SmoothedLikelihood(target, 0.1)
    wanted = torch.autograd.grad(vocabulary_loss(features, weight, objective)["loss"], (features, weight))
    with torch.no_grad():
        assert not vocabulary_loss(features, weight, objective)["loss"].requires_grad
    frozen = vocabulary_loss(features, weight.detach(), objective)["loss"]
    assert torch.equal(torch.autograd.grad(frozen, features)[0], wanted[0])
    fixed = vocabulary_loss(features.detach(), weight, objective)["loss"]
    assert torch.equal(torch.autograd.grad(fixed, weight)[0], wanted[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("way", ["parameters", "autocast"])
def test_half_precision_multiplies_in_it_and_sums_in_float32(dtype, way):
    features, weight, target = inputs(positions=300, spread=0.5)
    objective = SmoothedLikelihood(target, 0.1)
    expected = vocabulary_loss(features, weight, objective)["loss"]
    wanted = torch.autograd.grad(expected, (features, weight))
    if way == "parameters":
        features, weight = (one.detach().to(dtype).requires_grad_() for one in (features, weight))
    with torch.autocast("cpu", dtype, enabled=way == "autocast"):
        loss = vocabulary_loss(features, weight, objective)["loss"]
    assert loss.dtype == torch.float32
    tolerance = 2 * torch.finfo(dtype).eps
    assert_close_to_scale(loss, expected, tolerance)
    for one, other, given in zip(torch.autograd.grad(loss, (features, weight)), wanted, (features, weight)):
        assert one.dtype == given.dtype
        assert_close_to_scale(one.float(), other, 2 * tolerance)


def test_probabilities_that_underflow_keep_their_logarithm():
    logits = torch.tensor([[[0.0, 300.0, -300.0]]], requires_grad=True)
    sums = vocabulary_loss(logits, None, SmoothedLikelihood(torch.tensor([2]), 0.0))
    assert sums["loss"] == 600
    torch.testing.assert_close(
        torch.autograd.grad(sums["loss"], logits)[0], torch.tensor([[[0.0, 1.0, -1.0]]])
    )
