"""What IKD-MMT's own options change: the generator, and where the gradient of the distillation ends."""

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.models import MODEL_DATACLASS_REGISTRY

from ikd_fairseq.constants import STUDENT
from ikd_fairseq.errors import IkdError
from ikd_fairseq.modules.feature_generator import UNPOOLS
from tests import toy
from tests.closeness import assert_close_to_scale
from tests.saved_checkpoints import toy_state

SENTENCES = ([1, 2, 3], [4, 5], [6, 7, 8, 9, 10])
POSITIONS = torch.tensor([2, 0])


def gradients(model, of_translation: float, of_student: float) -> dict[str, torch.Tensor]:
    """By parameter, of a weighted sum of something of the translation and something of the image."""
    model.zero_grad()
    sample = toy.batch(toy.tokens(*SENTENCES), toy.tokens(*SENTENCES))
    logits, extra = model(**sample["net_input"], student_positions=POSITIONS)
    loss = of_translation * logits.square().mean() + of_student * extra[STUDENT].image.square().mean()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_gradient_of_the_distillation_can_end_in_the_generator():
    whole, ending = (toy.ikd_model(kd_gradient=kind).train() for kind in ("embeddings", "generator"))
    ending.load_state_dict(whole.state_dict())
    translating, unchanged = gradients(whole, 1, 0), gradients(ending, 1, 0)
    for name, expected in translating.items():
        assert_close_to_scale(unchanged[name], expected, what=name)
    taught, stopped = gradients(whole, 0, 1), gradients(ending, 0, 1)
    embeddings = "encoder.embed_tokens.weight"
    assert taught[embeddings].any() and not stopped[embeddings].any()
    for name, expected in taught.items():
        if name.startswith(("student.", "encoder.generator.")):
            assert_close_to_scale(stopped[name], expected, what=name)
    for name, buffer in whole.named_buffers():
        if name.startswith("encoder.generator.") and "running" in name:
            assert_close_to_scale(ending.get_buffer(name), buffer, what=name)


def test_where_nothing_is_distilled_the_generator_runs_once():
    model, runs = toy.ikd_model(kd_gradient="generator").train(), []
    model.encoder.generator.register_forward_hook(lambda *_: runs.append(1))
    net_input = toy.batch(toy.tokens(*SENTENCES), toy.tokens(*SENTENCES))["net_input"]
    model(**net_input)
    assert len(runs) == 1
    model(**net_input, student_positions=POSITIONS)
    assert len(runs) == 3


def test_with_a_frozen_generator_the_student_rests_too_and_the_rest_learns():
    model = toy.ikd_model(generator="frozen", unpool="conv").train()
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning and not any(name.startswith(("student.", "encoder.generator.")) for name in learning)
    found = gradients(model, 0, 1)
    assert found["encoder.embed_tokens.weight"].any()  # through both, as released
    assert found.keys() <= learning


def test_a_frozen_generator_is_saved_for_training_and_drawn_anew_for_decoding():
    model, other = (toy.ikd_model(generator="frozen", unpool="conv") for _ in range(2))
    source = toy.tokens(*SENTENCES)
    with torch.no_grad():
        for parameter in other.encoder.generator.parameters():
            parameter.normal_()
        m = model.encoder(source)["regions"][0]
        assert not torch.allclose(other.encoder(source)["regions"][0], m)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.encoder(source)["regions"][0], m)
        other.make_generation_fast_()  # as fairseq's commands and hub do
        assert not torch.allclose(other.encoder(source)["regions"][0], m)


DIFFERENT = [
    ("region_bias", "none", "learned"),
    ("generator_norm", "channel", "region"),
    ("student_kernels", "odd", "even"),
]


@pytest.mark.parametrize("unpool", UNPOOLS)
@pytest.mark.parametrize("option, one, other", DIFFERENT)
def test_training_that_cannot_go_on_from_a_checkpoint_says_which_option_differs(option, one, other, unpool):
    models = {value: toy.ikd_model(**{option: value, "unpool": unpool}) for value in (one, other)}
    for value, another in ((one, other), (other, one)):
        expected = f"not of a model with --{option.replace('_', '-')} {value}: give {another}, which it was"
        with pytest.raises(IkdError, match=expected):
            models[value].load_state_dict(models[another].state_dict())


@pytest.mark.parametrize("unpool", UNPOOLS)
def test_regions_of_another_number_or_width_are_not_laid_to_other_options(unpool):
    ours = toy.ikd_model(generator_norm="region", region_bias="learned", unpool=unpool)
    larger, other = (
        toy.ikd_model(region_bias="learned", unpool=unpool, **options)
        for options in ({"image_size": 96, "generator_norm": "region"}, {"backbone": "resnet18"})
    )
    with pytest.raises(IkdError, match="with 9 regions, and --backbone .* --image-size 64 has 4: give those"):
        ours.load_state_dict(larger.state_dict())
    with pytest.raises(IkdError, match="with 512 channels of a region, and --backbone efficientnet_lite0 .*"):
        ours.load_state_dict(other.state_dict())
    deeper = toy.ikd_model(decoder_layers=2, region_bias="learned", unpool=unpool)
    with pytest.raises(RuntimeError, match="Unexpected key"):  # fairseq tells the rest
        toy.ikd_model(region_bias="learned", unpool=unpool).load_state_dict(deeper.state_dict())


@pytest.mark.parametrize("student_kernels", ["odd", "even"])
def test_decoding_does_not_care_how_the_student_was_built(student_kernels):
    trained = toy.ikd_model(student_kernels="odd")
    decoding = toy.ikd_model(student_kernels=student_kernels, no_student=True)
    decoding.load_state_dict(trained.state_dict())


def settings_after_loading(tmp_path, named, overrides=None):
    settings = {"_name": "ikd_transformer_tiny", **named}
    torch.save(toy_state({}, model=settings), tmp_path / "checkpoint.pt")
    return checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "checkpoint.pt"), overrides)["cfg"]["model"]


def test_a_checkpoint_from_before_an_option_is_built_as_it_was(tmp_path):
    preset = MODEL_DATACLASS_REGISTRY["ikd_transformer_tiny"]()
    assert (preset.region_bias, preset.generator_norm, preset.student_kernels) == (
        "learned",
        "region",
        "even",
    )
    found = settings_after_loading(tmp_path, {"region_bias": "learned"})
    assert (found.region_bias, found.generator_norm, found.student_kernels) == ("learned", "channel", "odd")
    found = settings_after_loading(tmp_path, {}, {"regions_at_test": "hidden", "no_such_option": 1})
    assert (found.region_bias, found.regions_at_test) == ("none", "hidden") and "no_such_option" not in found
