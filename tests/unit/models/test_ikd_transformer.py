"""What IKD-MMT's own options change: the generator, and where the gradient of the distillation ends."""

import torch

from ikd_fairseq.constants import STUDENT
from tests import toy
from tests.closeness import assert_close_to_scale

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
