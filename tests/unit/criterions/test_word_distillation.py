"""The criterion against sums written out by hand, and what its teachers must not touch."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.logging import metrics

from ikd_fairseq.criterions.translation_criterion import PlainTranslationCriterion, TranslationCriterionConfig
from ikd_fairseq.criterions.word_distillation import (
    Answers,
    Taught,
    WordDistillationConfig,
    WordDistillationCriterion,
    word_distillation,
)
from ikd_fairseq.distillation.teacher_models import TeacherEnsemble
from ikd_fairseq.errors import IkdError
from ikd_fairseq.modules.vocabulary_loss import SmoothedLikelihood, vocabulary_loss
from tests import toy
from tests.closeness import assert_close_to_scale

SOURCES = toy.tokens([1, 2, 3], [4, 5], [6], [7, 8, 9, 10])
TARGETS = toy.tokens([3, 2, 1, 1], [5, 4], [6, 6], [9, 8, 7])
REAL = TARGETS.ne(toy.dictionary().pad())
IMAGES = {"images": toy.images(2), "image_positions": torch.tensor([0, 2])}


def text_model(seed=1, **options):
    model = toy.text_model(seed, **options)
    with torch.no_grad():  # far from uniform, so that models differ
        model.decoder.output_projection.weight.mul_(2)
    return model


def criterion_of(student, teachers=(), **options):
    task = toy.toy_task(models=[student], teachers=teachers)
    options = {"teacher_path": "teacher.pt" if teachers else None, "label_smoothing": 0.1, **options}
    return WordDistillationCriterion(WordDistillationConfig(sentence_avg=False, **options), task)


def plain_criterion(student, **options):
    cfg = TranslationCriterionConfig(sentence_avg=False, label_smoothing=0.1, **options)
    return PlainTranslationCriterion(cfg, toy.toy_task(models=[student]))


def logits(model, **images):
    return model(**toy.batch(SOURCES, TARGETS, **images)["net_input"])[0]


def gradients(model, loss):
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters()))))


def from_cache(probs, k):
    """The batch that carries the k likeliest words of *probs*, ``B x J x V``, as a cache stores them."""
    best, ids = probs.topk(k, dim=-1)
    best = best.half() * REAL.unsqueeze(-1)
    return {**toy.batch(SOURCES, TARGETS), "teacher_ids": ids * REAL.unsqueeze(-1), "teacher_probs": best}


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_loss_and_gradient_are_the_formulas_word_by_word(temperature):
    student, teachers = text_model(1), [text_model(2), text_model(3)]
    criterion = criterion_of(student, teachers, distillation_alpha=0.3, distillation_temperature=temperature)
    loss, sample_size, logged = criterion(student, toy.batch(SOURCES, TARGETS))

    own = logits(student)
    theirs = [logits(teacher).detach().double().softmax(-1) for teacher in teachers]
    expected, divergence, matches, words = 0, 0, 0, range(own.shape[-1])
    for row, column in REAL.nonzero().tolist():
        log_p = own[row, column].double().log_softmax(-1)
        right = TARGETS[row, column]
        others = sum(log_p[w] for w in words if w != right) / (len(words) - 1)
        smoothed = -(0.9 * log_p[right] + 0.1 * others)
        mean = (theirs[0][row, column] + theirs[1][row, column]) / 2
        q = mean ** (1 / temperature) / (mean ** (1 / temperature)).sum()
        tempered = (own[row, column].double() / temperature).log_softmax(-1)
        cross_entropy = -sum(q[w] * tempered[w] for w in words)
        expected = expected + 0.7 * smoothed + 0.3 * temperature**2 * cross_entropy
        divergence += sum(q[w] * (q[w].log() - tempered[w].detach()) for w in words)
        matches += int(mean.argmax() == log_p.argmax())
    assert sample_size == logged["kd_tokens"] == REAL.sum()
    assert_close_to_scale(loss.double(), expected)
    assert_close_to_scale(logged["word_kd"].double(), divergence, 1e-4)
    assert logged["teacher_matches"] == matches
    found, wanted = gradients(student, loss), gradients(student, expected)
    largest = max(gradient.abs().max().item() for gradient in wanted.values())
    for name in found:
        assert_close_to_scale(found[name], wanted[name], what=name, scale=largest)


def test_several_teachers_are_averaged_in_probability_space():
    teachers = [text_model(seed) for seed in (2, 3, 4)]
    answers = TeacherEnsemble(teachers)(toy.batch(SOURCES, TARGETS)["net_input"], torch.empty(0))
    mean = sum(logits(teacher).softmax(-1) for teacher in teachers) / 3
    assert_close_to_scale(answers.exp(), mean)
    assert_close_to_scale(answers.exp().sum(-1), torch.ones(TARGETS.shape))
    geometric = sum(logits(teacher).log_softmax(-1) for teacher in teachers).div(3).softmax(-1)
    assert (geometric - mean).abs().max() > 0.01


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_teacher_distilled_into_itself_has_zero_excess_loss_and_gradient(temperature):
    student = text_model(1)
    options = dict(distillation_alpha=1.0, distillation_temperature=temperature)
    criterion = criterion_of(student, [text_model(1)], **options)
    loss, _, logged = criterion(student, toy.batch(SOURCES, TARGETS))
    assert abs(float(logged["word_kd"])) < 1e-4 and logged["teacher_matches"] == REAL.sum()
    assert loss > 1  # the teacher's own entropy, which no student can go below
    assert all(gradient.abs().max() < 1e-4 for gradient in gradients(student, loss).values())
    other = criterion_of(student, [text_model(2)], **options)(student, toy.batch(SOURCES, TARGETS))
    assert other[2]["word_kd"] > 1
    assert any(gradient.abs().max() > 0.1 for gradient in gradients(student, other[0]).values())


@pytest.mark.parametrize("teachers", [[], [text_model(2)]])
def test_alpha_0_is_the_translation_criterion_to_the_last_bit(teachers):
    student = text_model(1, dropout=0.3).train()
    options = dict(teacher_cache="top8", report_accuracy=True)
    criterion = criterion_of(student, teachers, distillation_alpha=0.0, **options)
    assert criterion.teachers is None and criterion.teacher_cache is None
    results = []
    for one in (criterion, plain_criterion(student, report_accuracy=True)):
        torch.manual_seed(7)
        loss, sample_size, logged = one.train()(student, toy.batch(SOURCES, TARGETS))
        results.append((loss, sample_size, logged, gradients(student, loss), torch.get_rng_state()))
    (loss, size, logged, gradient, random), (loss_, size_, logged_, gradient_, random_) = results
    assert torch.equal(loss, loss_) and size == size_ and logged == logged_ and torch.equal(random, random_)
    assert all(torch.equal(gradient[name], gradient_[name]) for name in gradient)


def test_teachers_draw_no_random_number_that_the_students_dropout_would_have_drawn():
    student, sample = text_model(1, dropout=0.3).train(), toy.batch(SOURCES, TARGETS)
    teacher = text_model(2, dropout=0.3, decoder_layerdrop=0.5)  # its layer list draws in eval mode too
    states, losses = [], []
    for one in (criterion_of(student, [teacher]), plain_criterion(student)):
        torch.manual_seed(7)
        losses.append(float(one(student, sample)[2]["nll_loss"]))
        states.append(torch.get_rng_state())
    assert torch.equal(*states) and losses[0] == losses[1]


def test_teachers_are_no_part_of_the_criterion_frozen_and_in_eval_mode_for_good():
    student, teacher = text_model(1), text_model(2, dropout=0.5).train()
    criterion = criterion_of(student, [teacher])
    assert list(criterion.modules()) == [criterion] and not criterion.state_dict()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    criterion.train()
    criterion(student, toy.batch(SOURCES, TARGETS))[0].backward()
    assert not any(module.training for module in teacher.modules())
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_padding_weighs_nothing():
    student, teacher = text_model(1), text_model(2)
    criterion = criterion_of(student, [teacher], distillation_alpha=1.0)
    lengths = zip(SOURCES.ne(toy.dictionary().pad()).sum(1), REAL.sum(1))
    alone = [
        criterion(student, toy.batch(SOURCES[row : row + 1, :source], TARGETS[row : row + 1, :target]))
        for row, (source, target) in enumerate(lengths)
    ]
    together = criterion(student, toy.batch(SOURCES, TARGETS))
    for name in ("loss", "word_kd", "teacher_matches"):
        total = sum(float(logged[name]) for _, _, logged in alone)
        assert float(together[2][name]) == pytest.approx(total, rel=1e-4), name


def test_prefix_and_unreduced_losses_are_as_fairseqs():
    student, teacher = text_model(1), text_model(2)
    options = dict(distillation_alpha=0.5, ignore_prefix_size=2)
    criterion = criterion_of(student, [teacher], **options)
    each = criterion(student, toy.batch(SOURCES, TARGETS), reduce=False)[0]
    whole, _, logged = criterion(student, toy.batch(SOURCES, TARGETS))
    assert each.shape == (TARGETS[:, 2:].numel(), 1)
    assert_close_to_scale(each.sum(), whole)
    assert logged["kd_tokens"] == REAL[:, 2:].sum()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_cache_of_all_words_equals_the_live_teacher_and_one_of_few_comes_close(temperature):
    student, teacher = text_model(1), text_model(2)
    options = dict(distillation_alpha=1.0, distillation_temperature=temperature)
    live = criterion_of(student, [teacher], **options)(student, toy.batch(SOURCES, TARGETS))
    probs = logits(teacher).detach().softmax(-1)
    cached = criterion_of(student, teacher_cache="own", **options)

    whole = cached(student, from_cache(probs, probs.shape[-1]))
    assert float(whole[0]) == pytest.approx(float(live[0]), rel=2e-3)  # float16 has 11 bits
    assert float(whole[2]["word_kd"]) == pytest.approx(float(live[2]["word_kd"]), rel=2e-3)
    assert whole[2]["teacher_matches"] == live[2]["teacher_matches"]
    wanted = gradients(student, live[0])
    for name, gradient in gradients(student, whole[0]).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-2, atol=2e-2, msg=name)

    errors = [abs(float(cached(student, from_cache(probs, k))[0]) / float(live[0]) - 1) for k in (2, 8, 16)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.05


def test_top_k_is_scaled_to_one_and_gives_padding_no_gradient():
    student = text_model(1)
    probs = torch.full((*TARGETS.shape, len(toy.dictionary())), 0.01)
    probs[..., 5], probs[..., 6] = 0.4, 0.2
    criterion = criterion_of(student, teacher_cache="own", distillation_alpha=1.0)
    loss, _, logged = criterion(student, from_cache(probs, 2))
    log_p = logits(student).log_softmax(-1)[REAL]
    expected = -(log_p[:, 5] * 2 / 3 + log_p[:, 6] / 3)
    torch.testing.assert_close(loss, expected.sum(), rtol=1e-3, atol=1e-3)
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert float(logged["word_kd"]) == pytest.approx(float((expected - entropy).sum()), rel=1e-3)
    assert all(gradient.isfinite().all() for gradient in gradients(student, loss).values())


def test_a_student_equal_to_its_teacher_has_what_the_cached_words_leave_out():
    lprobs = torch.tensor([[0.5, 0.3, 0.2], [0.7, 0.1, 0.2]]).log()
    for k, left in ((3, [1.0, 1.0]), (2, [0.8, 0.9])):
        _, divergence = word_distillation(lprobs, Answers(*lprobs.topk(k)))
        assert divergence.tolist() == pytest.approx([-math.log(covered) for covered in left], abs=1e-6)


@pytest.mark.parametrize("k", [None, 3])
def test_two_passes_learn_from_their_teachers_as_each_by_itself(k):
    torch.manual_seed(1)
    logits, theirs = torch.randn(2, 6, 9), torch.randn(8, 9).log_softmax(-1)
    answers = Answers(theirs) if k is None else Answers(*theirs.topk(k))
    positions, target = torch.tensor([0, 2, 3, 4, 6, 7]), torch.randint(9, (6,))

    def sums(*passes):
        taught = Taught(SmoothedLikelihood(target, 0.1), answers, positions, alpha=0.3, temperature=2.0)
        given = torch.stack(passes).requires_grad_()
        found = vocabulary_loss(given, None, taught, rows=4)
        return found, torch.autograd.grad(found["loss"], given)[0]

    both, gradient = sums(*logits)
    for name, value in both.items():
        assert_close_to_scale(value, sum(sums(one)[0][name] for one in logits) / 2, what=name)
    assert_close_to_scale(gradient, torch.cat([sums(one)[1] for one in logits]) / 2)


def test_passes_that_agree_change_nothing():
    student, sample = text_model(1), toy.batch(SOURCES, TARGETS)
    losses = [
        criterion_of(student, [text_model(2)], consistency_weight=weight).train()(student, sample)[0]
        for weight in (0.0, 3.0)
    ]
    assert_close_to_scale(losses[1], losses[0])


def test_answers_of_probability_zero_are_harmless():
    lprobs = torch.tensor([[0.5, 0.3, 0.2]]).log().requires_grad_()
    answers = Answers(torch.tensor([[1.0, 1e-12]]).log(), torch.tensor([[0, 2]]))
    for temperature in (0.1, 1.0, 3.0):
        cross_entropy, divergence = word_distillation(lprobs, answers, temperature)
        assert cross_entropy.isfinite().all() and divergence.isfinite().all()
    assert float(word_distillation(lprobs, answers)[0]) == pytest.approx(math.log(2), rel=1e-5)


def test_image_must_teacher_sees_the_images_and_the_text_only_student_does_not():
    teacher, student = toy.image_must_model(), text_model(1)
    with torch.no_grad():
        teacher.encoder.region_projection.weight.mul_(30)  # so that an image changes what is said
    criterion = criterion_of(student, [teacher], distillation_alpha=1.0)
    student.forward = SimpleNamespace(seen=[], real=student.forward)
    spy = student.forward
    student.forward = lambda **inputs: spy.seen.append(set(inputs)) or spy.real(**inputs)
    with_images = criterion(student, toy.batch(SOURCES, TARGETS, **IMAGES))
    without = criterion(student, toy.batch(SOURCES, TARGETS))
    assert spy.seen == [{"src_tokens", "src_lengths", "prev_output_tokens", "features_only"}] * 2

    log_p, theirs = logits(student).log_softmax(-1), logits(teacher.eval(), **IMAGES).softmax(-1)
    torch.testing.assert_close(with_images[0], -(theirs * log_p)[REAL].sum(), rtol=1e-4, atol=1e-4)
    assert abs(float(with_images[0] - without[0])) > 1e-3


def test_image_must_student_gets_its_images():
    student = toy.image_must_model()
    criterion = criterion_of(student, [text_model(2)], distillation_alpha=0.5)
    plain = plain_criterion(student)
    sample = toy.batch(SOURCES, TARGETS, **IMAGES)
    assert torch.equal(criterion(student, sample)[2]["nll_loss"], plain(student, sample)[2]["nll_loss"])


def test_split_without_teacher_or_cache_reports_the_translation_loss_alone():
    student, sample = text_model(1), toy.batch(SOURCES, TARGETS)
    found = criterion_of(student, teacher_cache="own")(student, sample)
    wanted = plain_criterion(student)(student, sample)
    nothing = {"word_kd": 0, "teacher_matches": 0, "kd_tokens": 0}
    assert torch.equal(found[0], wanted[0]) and found[2] == {**wanted[2], **nothing}


@pytest.mark.parametrize("options", [{}, {"consistency_weight": 2.0, "report_accuracy": True}])
def test_a_batch_without_answers_logs_the_same_entries_as_one_with_them(options):
    """Workers add them up by their order, numbers and tensors apart; one may repeat a validation batch."""
    student, teacher = text_model(1), text_model(2)
    criterion = criterion_of(student, teacher_cache="own", **options).train()
    answered = from_cache(logits(teacher).detach().softmax(-1), 3)
    logs = [criterion(student, sample)[2] for sample in (answered, toy.batch(SOURCES, TARGETS))]
    entries = [[(name, torch.is_tensor(value)) for name, value in log.items()] for log in logs]
    assert entries[0] == entries[1] and ("kd_tokens", False) in entries[0]


def test_logged_values_are_by_token_over_all_batches_in_bits():
    logs = [
        {
            "ntokens": count,
            "sample_size": count,
            "kd_tokens": count,
            "word_kd": kd,
            "teacher_matches": matches,
        }
        for count, kd, matches in ((2, 1.0, 1), (6, 5.0, 2))
    ]
    with metrics.aggregate() as aggregated:
        WordDistillationCriterion.reduce_metrics(logs)
    values = aggregated.get_smoothed_values()
    assert values["word_kd"] == pytest.approx(6 / 8 / math.log(2), abs=1e-4)
    assert values["teacher_match"] == pytest.approx(3 / 8)


def test_half_precision_student_takes_its_teacher_along():
    student, teacher = text_model(1).to(torch.bfloat16), text_model(1)
    criterion = criterion_of(student, [teacher], distillation_alpha=1.0)
    loss, _, logged = criterion(student, toy.batch(SOURCES, TARGETS))
    assert next(teacher.parameters()).dtype == torch.bfloat16 and loss.dtype == torch.float32
    assert abs(float(logged["word_kd"])) < 1e-4


@pytest.mark.parametrize(
    "options, message",
    [
        ({"distillation_alpha": 1.5}, "--distillation-alpha 1.5"),
        ({"distillation_alpha": -0.1}, "--distillation-alpha -0.1"),
        ({"distillation_alpha": float("nan")}, "--distillation-alpha nan"),
        ({"distillation_temperature": 0.0}, "--distillation-temperature 0.0"),
        ({"distillation_temperature": float("inf")}, "--distillation-temperature inf"),
        ({"teacher_path": None}, "--teacher-path, or a cache of its answers with --teacher-cache"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(IkdError, match=message):
        criterion_of(text_model(1), [text_model(2)], **options)


def test_another_task_is_refused():
    with pytest.raises(IkdError, match="--task multimodal_translation"):
        WordDistillationCriterion(
            WordDistillationConfig(sentence_avg=False, teacher_path="teacher.pt"),
            SimpleNamespace(target_dictionary=toy.dictionary()),
        )
