"""The criterion against fairseq's own on the same model, batch and random numbers."""

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

from ikd_fairseq.criterions.translation_criterion import PlainTranslationCriterion, TranslationCriterionConfig
from ikd_fairseq.models.config import FlatTransformerConfig
from ikd_fairseq.models.text_baseline import TextTransformerModel
from tests import toy
from tests.closeness import assert_close_to_scale

SOURCES = toy.tokens([1, 2, 3], [4, 5], [6], [7, 8, 9, 10])
TARGETS = toy.tokens([3, 2, 1, 1], [5, 4], [6, 6], [9, 8, 7])
SIZES = {name: value for name, value in toy.SIZES.items() if name not in ("backbone", "image_size")}


def text_model(**options):
    torch.manual_seed(1)
    cfg = FlatTransformerConfig(**{**SIZES, "dropout": 0.3, **options})
    return TextTransformerModel.build_model(cfg, toy.toy_task()).train()


def criterion_of(model, **options):
    options = {"label_smoothing": 0.1, "sentence_avg": False, **options}
    return PlainTranslationCriterion(TranslationCriterionConfig(**options), toy.toy_task(models=[model]))


def fairseqs(model, **options):
    options = {"label_smoothing": 0.1, "sentence_avg": False, **options}
    return LabelSmoothedCrossEntropyCriterion(toy.toy_task(models=[model]), **options)


def of_a_batch(criterion, model, sample, learns=True, **asked):
    """What a criterion returns, with gradients of the parameters, from one seed."""
    torch.manual_seed(7)
    loss, size, logged = criterion(model, sample, **asked)
    gradients = {}
    if learns:
        parameters = dict(model.named_parameters())
        gradients = dict(zip(parameters, torch.autograd.grad(loss.sum(), list(parameters.values()))))
    return loss, size, logged, gradients


def assert_the_same(found, wanted, tolerance=1e-5):
    assert_close_to_scale(found[0], wanted[0], tolerance)
    assert found[1] == wanted[1] and found[2].keys() == wanted[2].keys()
    for name, value in wanted[2].items():
        value, other = torch.as_tensor(value), torch.as_tensor(found[2][name])
        assert_close_to_scale(other.double(), value.double(), tolerance, name)
    largest = max((gradient.abs().max().item() for gradient in wanted[3].values()), default=0)
    for name, gradient in wanted[3].items():
        assert_close_to_scale(found[3][name], gradient, tolerance, name, scale=largest)


@pytest.mark.parametrize("options", [{}, {"share_all_embeddings": False}])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"label_smoothing": 0.0, "report_accuracy": True},
        {"sentence_avg": True, "ignore_prefix_size": 1, "report_accuracy": True},
    ],
)
def test_loss_log_and_gradients_are_fairseqs(options, settings):
    model, sample = text_model(**options), toy.batch(SOURCES, TARGETS)
    results = [of_a_batch(make(model, **settings), model, sample) for make in (criterion_of, fairseqs)]
    assert_the_same(*results)
    assert results[0][0] > 1


def test_logits_of_a_batch_are_never_made(monkeypatch):
    model = text_model()
    monkeypatch.setattr(model.decoder, "output_layer", None)
    assert criterion_of(model)(model, toy.batch(SOURCES, TARGETS))[0] > 1


@pytest.mark.parametrize("options", [{}, {"adaptive_softmax_cutoff": "5,9"}])  # which fairseq cannot train so
def test_validation_has_fairseqs_loss_and_no_graph(options):
    model, sample = text_model(**options).eval(), toy.batch(SOURCES, TARGETS)
    with torch.no_grad():
        results = [of_a_batch(make(model), model, sample, learns=False) for make in (criterion_of, fairseqs)]
    assert_the_same(*results)
    assert not results[0][0].requires_grad


def test_unreduced_losses_are_fairseqs():
    model, sample = text_model(), toy.batch(SOURCES, TARGETS)
    results = [
        of_a_batch(make(model), model, sample, learns=False, reduce=False)
        for make in (criterion_of, fairseqs)
    ]
    assert results[0][0].shape == (TARGETS.numel(), 1)
    for one, other in zip(*(result[:1] for result in results)):
        assert_close_to_scale(one, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_near_to_float32_as_fairseqs(dtype):
    model, sample = text_model(dropout=0.0), toy.batch(SOURCES, TARGETS)
    exact = of_a_batch(fairseqs(model), model, sample)
    half = text_model(dropout=0.0).to(dtype)
    results = [of_a_batch(make(half), half, sample) for make in (criterion_of, fairseqs)]
    assert results[0][0].dtype == torch.float32

    def error(result):
        return max((result[3][name].float() - gradient).abs().max() for name, gradient in exact[3].items())

    assert abs(results[0][0] - exact[0]) <= 2 * abs(results[1][0] - exact[0]) + 1e-5 * exact[0]
    assert error(results[0]) <= 2 * error(results[1])
    assert all(gradient.dtype == dtype for gradient in results[0][3].values())


def test_a_wrapper_that_looks_for_unused_parameters_gets_logits():
    class Wrapper(torch.nn.Module):
        find_unused_parameters = True

        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, **inputs):
            self.asked = set(inputs)
            return self.module(**inputs)

        def get_normalized_probs(self, *args, **kwargs):
            return self.module.get_normalized_probs(*args, **kwargs)

    model, sample = text_model(), toy.batch(SOURCES, TARGETS)
    wrapper = Wrapper(model)
    torch.manual_seed(7)
    loss = criterion_of(model)(wrapper, sample)[0]
    assert "features_only" not in wrapper.asked
    assert_close_to_scale(loss, of_a_batch(fairseqs(model), model, sample)[0])


def test_runs_of_fairseqs_criterion_go_on_with_this_one():
    """fairseq's trainer compares the names of the classes."""
    assert PlainTranslationCriterion.__name__ == LabelSmoothedCrossEntropyCriterion.__name__
