"""The criterion against fairseq's own on the same model, batch and random numbers."""

import math

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.logging import metrics

from ikd_fairseq.criterions.translation_criterion import PlainTranslationCriterion, TranslationCriterionConfig
from ikd_fairseq.errors import IkdError
from ikd_fairseq.modules.vocabulary_loss import Agreement, SmoothedLikelihood, vocabulary_loss
from tests import toy
from tests.closeness import assert_close_to_scale

SOURCES = toy.tokens([1, 2, 3], [4, 5], [6], [7, 8, 9, 10])
TARGETS = toy.tokens([3, 2, 1, 1], [5, 4], [6, 6], [9, 8, 7])


def text_model(**options):
    return toy.text_model(**{"dropout": 0.3, **options}).train()


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


@pytest.mark.parametrize("attribute", ["find_unused_parameters", "reshard_after_forward"])
def test_a_wrapper_that_must_see_all_parameters_used_gets_logits(attribute):
    class Wrapper(torch.nn.Module):
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
    setattr(wrapper, attribute, True)
    torch.manual_seed(7)
    loss = criterion_of(model)(wrapper, sample)[0]
    assert "features_only" not in wrapper.asked
    assert_close_to_scale(loss, of_a_batch(fairseqs(model), model, sample)[0])


# ------------------------------------------------------------------ two passes


def consistent_loss(model, sample, weight, epsilon=0.1):
    """(Loss, divergence) of a batch shown twice, written out over all logits. R-Drop's, halved."""
    net_input, half = sample["net_input"], len(sample["target"])
    doubled = {
        name: torch.cat([value, value + half if name == "image_positions" else value])
        for name, value in net_input.items()
    }
    log_p = model(**doubled)[0].double().log_softmax(-1).view(2, *sample["target"].shape, -1)
    real = sample["target"].ne(toy.dictionary().pad())
    nll = -log_p.gather(-1, sample["target"].expand(2, -1, -1)[..., None]).squeeze(-1)
    others = -(log_p.sum(-1) + nll) / (log_p.shape[-1] - 1)
    cross_entropy = ((1 - epsilon) * nll + epsilon * others).mul(real).sum() / 2
    first, second = log_p
    both = (first.exp() * (first - second)).sum(-1) + (second.exp() * (second - first)).sum(-1)
    apart = both.mul(real).sum() / 2
    return cross_entropy + weight / 2 * apart, apart


IMAGES = {"images": toy.images(2), "image_positions": torch.tensor([3, 1])}


@pytest.mark.parametrize(
    "make, images",
    [
        (lambda: text_model(), {}),
        (lambda: text_model(share_all_embeddings=False), {}),
        (lambda: toy.image_must_model(dropout=0.3), IMAGES),
        (lambda: toy.image_must_model(dropout=0.3), {}),
    ],
)
def test_two_passes_have_the_loss_and_gradients_written_out(make, images):
    model, sample = make().train(), toy.batch(SOURCES, TARGETS, **images)
    criterion = criterion_of(model, consistency_weight=3.0)
    loss, size, logged, gradients = of_a_batch(criterion, model, sample)
    torch.manual_seed(7)
    expected, apart = consistent_loss(model, sample, 3.0)
    assert apart > 1 and size == logged["consistency_tokens"] == TARGETS.ne(toy.dictionary().pad()).sum()
    assert_close_to_scale(loss.double(), expected)
    assert_close_to_scale(logged["consistency"].double(), apart)
    parameters = dict(model.named_parameters())
    wanted = torch.autograd.grad(expected, list(parameters.values()))
    largest = max(gradient.abs().max().item() for gradient in wanted)
    for name, gradient in zip(parameters, wanted):
        assert_close_to_scale(gradients[name], gradient, what=name, scale=largest)


def test_without_dropout_and_in_validation_one_pass_is_enough():
    model, sample = text_model(dropout=0.0), toy.batch(SOURCES, TARGETS)
    plain = of_a_batch(criterion_of(model), model, sample)
    twice = of_a_batch(criterion_of(model, consistency_weight=3.0), model, sample)
    assert twice[2]["consistency"].abs() < 1e-4
    assert_close_to_scale(twice[0], plain[0])
    for name, gradient in plain[3].items():
        assert_close_to_scale(twice[3][name], gradient, what=name, scale=10.0)
    model.eval()
    valid = criterion_of(model, consistency_weight=3.0).eval()(model, sample)
    assert "consistency" not in valid[2] and torch.equal(valid[0], criterion_of(model)(model, sample)[0])


def test_the_second_pass_may_hide_the_regions():
    model, sample = toy.ikd_model(no_student=True).eval(), toy.batch(SOURCES, TARGETS)
    criterion = criterion_of(model, consistency_weight=3.0, consistency_hides_regions=True)
    loss, _, logged = criterion(model, sample)
    inputs = sample["net_input"]
    views = torch.stack([model(**inputs, hide_regions=hidden)[0] for hidden in (False, True)])
    real = sample["target"].ne(toy.dictionary().pad())
    objective = Agreement(SmoothedLikelihood(sample["target"][real], 0.1), 3.0)
    expected = vocabulary_loss(views[:, real], None, objective)
    assert expected["consistency"] > 1e-3
    assert_close_to_scale(logged["consistency"], expected["consistency"])
    assert_close_to_scale(loss, expected["loss"])
    with pytest.raises(IkdError, match="TextTransformerModel has no regions that it can do without"):
        criterion_of(text_model(), consistency_weight=1.0, consistency_hides_regions=True)
    with pytest.raises(IkdError, match="needs a --consistency-weight"):
        criterion_of(model, consistency_hides_regions=True)


def test_padding_and_the_other_sentences_of_a_batch_do_not_count():
    """What lets the sums of batches and workers be added up, as fairseq does."""
    model = text_model(dropout=0.0)
    criterion = criterion_of(model, consistency_weight=3.0)
    model.decoder.layer_norm.register_forward_hook(  # a second pass that differs without chance
        lambda module, inputs, x: torch.cat([x[:, : x.size(1) // 2], 2 * x[:, x.size(1) // 2 :]], dim=1)
    )
    whole = criterion(model, toy.batch(SOURCES, TARGETS))[2]
    rows = [
        (SOURCES[i : i + 1, : n + 1], TARGETS[i : i + 1, : m + 1])
        for i, (n, m) in enumerate([(3, 4), (2, 2), (1, 2), (4, 3)])
    ]
    alone = [criterion(model, toy.batch(*row))[2] for row in rows]
    assert whole["consistency"] > 1
    for name in ("loss", "nll_loss", "consistency"):
        assert_close_to_scale(sum(log[name] for log in alone), whole[name], what=name)


def test_the_divergence_is_logged_by_token_in_bits():
    shared = {"loss": 1.0, "nll_loss": 1.0, "ntokens": 4, "sample_size": 4}
    logs = [{**shared, "consistency": 2.0, "consistency_tokens": n} for n in (3, 5)]
    with metrics.aggregate(new_root=True) as log:
        PlainTranslationCriterion.reduce_metrics(logs)
    assert log.get_smoothed_values()["consistency"] == pytest.approx(0.5 / math.log(2), abs=1e-4)
    with metrics.aggregate(new_root=True) as log:
        PlainTranslationCriterion.reduce_metrics([shared])
    assert "consistency" not in log.get_smoothed_values()


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(IkdError, match=f"--consistency-weight {weight}: give a number"):
        criterion_of(text_model(), consistency_weight=weight)


def test_runs_of_fairseqs_criterion_go_on_with_this_one():
    """fairseq's trainer compares the names of the classes."""
    assert PlainTranslationCriterion.__name__ == LabelSmoothedCrossEntropyCriterion.__name__
