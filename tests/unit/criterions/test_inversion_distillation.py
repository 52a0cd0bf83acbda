"""The criterion against sums written out by hand, and what its weights must not depend on."""

import pytest
import torch

from ikd_fairseq.criterions.inversion_distillation import (
    InversionDistillationConfig,
    InversionDistillationCriterion,
)
from ikd_fairseq.errors import IkdError
from ikd_fairseq.vision.frozen_cnn import FrozenCNN
from tests import toy
from tests.closeness import assert_close_to_scale

SOURCES = toy.tokens([1, 2, 3], [4, 5], [6], [7, 8, 9, 10])
TARGETS = toy.tokens([3, 2, 1, 1], [5, 4], [6, 6], [9, 8, 7])


def criterion_of(model, **options):
    options = {"label_smoothing": 0.1, "teacher_weights": "random", "sentence_avg": False, **options}
    return InversionDistillationCriterion(
        InversionDistillationConfig(**options), toy.toy_task(models=[model])
    )


def sample_with(positions, seed=1, sources=SOURCES, targets=TARGETS):
    return toy.batch(
        sources,
        targets,
        images=toy.images(len(positions), seed),
        image_positions=torch.tensor(positions).long(),
    )


def translation_loss(criterion, model, sample):
    tokens = {key: value for key, value in sample["net_input"].items() if not key.startswith("image")}
    return criterion.compute_loss(model, model(**tokens), sample)[0]


def distillation(criterion, model, sample):
    """What is added to the translation loss, by token."""
    loss, sample_size, _ = criterion(model, sample)
    return ((loss - translation_loss(criterion, model, sample)) / sample_size).item()


def test_weight_does_not_depend_on_batch_size_or_share_of_images():
    model = toy.ikd_model().eval()
    criterion = criterion_of(model).eval()
    one = sample_with([0], sources=SOURCES[:1], targets=TARGETS[:1])
    alone = distillation(criterion, model, one)
    among_sentences_without = distillation(criterion, model, sample_with([0]))
    twice = toy.batch(
        SOURCES[:1].repeat(2, 1),
        TARGETS[:1].repeat(2, 1),
        images=toy.images(1).repeat(2, 1, 1, 1),
        image_positions=torch.tensor([0, 1]),
    )
    assert alone > 0.1
    assert among_sentences_without == pytest.approx(alone, rel=1e-4)
    assert distillation(criterion, model, twice) == pytest.approx(alone, rel=1e-4)


def test_irm_alone_touches_the_student_too():
    # A worker without images goes backward through the student; one with images must reduce as often.
    model = toy.ikd_model().train()
    criterion_of(model, iam_weight=0.0, image_weight=0.0).train()(model, sample_with([0, 1]))[0].backward()
    assert all(parameter.grad is not None for parameter in model.student.parameters())


@pytest.mark.parametrize("form", [{}, toy.PRESET], ids=["paper", "preset"])
@pytest.mark.parametrize("carried", ["no key", "no image"])
def test_batch_without_images_trains_on_translation_alone_and_touches_every_weight(carried, form):
    model = toy.ikd_model(**form).train()
    criterion = criterion_of(model).train()
    sample = toy.batch(SOURCES, TARGETS) if carried == "no key" else sample_with([])
    loss, _, logged = criterion(model, sample)
    assert logged["kd_images"] == 0
    others = criterion(model, sample_with([0, 1]))[2]  # workers add up numbers and tensors apart, in order
    assert [(name, torch.is_tensor(value)) for name, value in logged.items()] == [
        (name, torch.is_tensor(value)) for name, value in others.items()
    ]
    assert_close_to_scale(loss.detach(), logged["loss"])
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if name.startswith("student."):
            assert not parameter.grad.any(), name


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet18", "alexnet"])
def test_gradient_reaches_generator_and_student_through_the_teacher_and_leaves_it_alone(backbone):
    model = toy.ikd_model(backbone=backbone).train()
    criterion = criterion_of(
        model, irm_weight=0.0, image_weight=0.0
    ).train()  # IaM alone: all through the teacher
    teacher = criterion.teacher._original
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    sample = sample_with([0, 1, 3])
    loss, _, _ = criterion(model, sample)
    (loss - translation_loss(criterion, model, sample)).backward()
    for part in (model.student.to_image, model.encoder.generator):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_teacher_is_no_part_of_the_criterion():
    criterion = criterion_of(toy.ikd_model())
    assert not list(criterion.parameters()) and not list(criterion.buffers()) and not criterion.state_dict()


@pytest.mark.parametrize("form", [{}, toy.PRESET], ids=["paper", "preset"])
def test_every_part_of_the_student_learns(form):
    model = toy.ikd_model(**form).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    criterion = criterion_of(model, granularity="layer").train()
    for _ in range(2):
        optimizer.zero_grad()
        criterion(model, sample_with([0, 1, 2, 3]))[0].backward()
        optimizer.step()
    still = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert not still


def test_subsample_is_random_in_training_and_fixed_in_validation():
    model = toy.ikd_model()
    criterion = criterion_of(model, kd_images_per_batch=2)
    net_input = sample_with([0, 1, 2, 3])["net_input"]
    drawn = set()
    for seed in range(20):
        torch.manual_seed(seed)
        images, positions, _ = criterion.train()._choose_images(net_input)
        assert len(images) == len(positions) == 2
        for image, position in zip(images, positions):
            assert torch.equal(image, net_input["images"][position])
        drawn.update(positions.tolist())
        assert criterion.eval()._choose_images(net_input)[1].tolist() == [0, 1]
    assert drawn == {0, 1, 2, 3}


def test_without_weights_there_is_no_teacher_no_image_is_read_and_the_student_rests():
    model = toy.ikd_model().train()
    ran = []
    model.student.register_forward_hook(lambda *call: ran.append(call))
    criterion = criterion_of(model, kd_weight=0.0, teacher_weights="/nowhere")
    assert not criterion.uses_images and criterion.teacher is None
    sample = sample_with([0, 1])
    loss, _, logged = criterion(model, sample)
    assert_close_to_scale(loss, translation_loss(criterion, model, sample))
    assert not ran and "kd_images" not in logged
    # Neither optimizer nor DDP meets a parameter without a gradient.
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (not name.startswith("student.")), name
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize(
    "options, teacher_runs, maps",
    [
        ({}, 2, 48),
        ({"iam_weight": 0.0}, 1, 48),
        ({"irm_weight": 0.0}, 2, 1),
        ({"irm_weight": 0.0, "iam_weight": 0.0, "teacher_weights": "/nowhere"}, 0, 1),
    ],
    ids=["both", "without IaM", "without IrM", "image alone"],
)
def test_what_a_zero_weight_makes_unnecessary_is_not_computed(options, teacher_runs, maps):
    model = toy.ikd_model().train()
    criterion = criterion_of(model, granularity="layer", **options)
    ran, kept = [], []
    model.student.register_forward_hook(lambda module, inputs, output: kept.append(len(output.maps)))
    if teacher_runs:
        criterion.teacher._original.register_forward_hook(lambda *call: ran.append(call))
    criterion(model, sample_with([0, 1]))[0].backward()
    assert len(ran) == teacher_runs and (criterion.teacher is None) == (teacher_runs == 0)
    assert kept == [maps]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_other_models_are_refused_in_a_sentence():
    with pytest.raises(IkdError, match="trains ikd_transformer architectures.*MultimodalTransformerModel"):
        criterion_of(toy.image_must_model())
    with pytest.raises(IkdError, match="--kd-images-per-batch -1"):
        criterion_of(toy.ikd_model(), kd_images_per_batch=-1)
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(IkdError, match=f"--image-weight {weight}: give a number of 0 or more"):
            criterion_of(toy.ikd_model(), image_weight=weight)
    with pytest.raises(IkdError, match="/nowhere/weights.pt"):
        criterion_of(toy.ikd_model(), teacher_weights="/nowhere/weights.pt")


def test_a_second_pass_leaves_the_distillation_alone():
    model, sample = toy.ikd_model().train(), sample_with([0, 2, 3])
    plain, twice = (criterion_of(model, consistency_weight=w).train()(model, sample) for w in (0.0, 3.0))
    assert_close_to_scale(twice[0], plain[0], 1e-4)
    assert twice[2]["consistency"].abs() < 1e-3
    for name, value in plain[2].items():
        assert float(twice[2][name]) == pytest.approx(float(value), rel=1e-3), name


@pytest.mark.parametrize("iam_weight", [1.0, 0.0])
def test_the_teachers_maps_may_come_with_the_batch_and_are_not_made_again(iam_weight):
    model = toy.ikd_model().eval()
    sample = sample_with([0, 2, 3])
    teacher = FrozenCNN(model.backbone, "random")
    images = sample["net_input"]["images"]
    with torch.no_grad():
        maps = teacher(model.backbone.normalise(images))[-1].flatten(2).transpose(1, 2)
    options = {"iam_weight": iam_weight, "kd_images_per_batch": 2}
    made, read = (criterion_of(model, teacher_features=name, **options).eval() for name in (None, "maps"))
    expected = made(model, sample)[0]
    seen = []
    if iam_weight:
        read.teacher._original.register_forward_pre_hook(lambda cnn, inputs: seen.append(len(inputs[0])))
    sample["net_input"]["features"] = maps
    assert_close_to_scale(read(model, sample)[0], expected)
    assert seen == ([2] if iam_weight else [])  # the inverse images alone
    assert (read.teacher is None) == (not iam_weight)
    assert read.image_maps == (
        "maps",
        {"backbone": "efficientnet_lite0", "stage": None, "weights": "random", "image_size": 64},
    )


def test_maps_of_a_pack_stand_for_the_last_one_alone():
    with pytest.raises(IkdError, match="--teacher-features maps .* --granularity block"):
        criterion_of(toy.ikd_model(), teacher_features="maps", granularity="block")
