"""Regions that the decoder does not see: in training at random, in warm-up, at test, and by request."""

from argparse import Namespace

import pytest
import torch
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator

from ikd_fairseq.constants import STUDENT
from ikd_fairseq.distillation.teacher_models import TeacherEnsemble
from ikd_fairseq.errors import IkdError
from ikd_fairseq.tasks.multimodal_translation import MultimodalTranslationConfig, MultimodalTranslationTask
from tests import toy
from tests.closeness import assert_close_to_scale
from tests.unit.models.image_free import hallucination_model

SENTENCES = ([1, 2, 3], [4, 5], [6, 7, 8, 9, 10])
MODELS = {"ikd": toy.ikd_model, "image-must": toy.image_must_model}


def sample():
    pictures = {"images": toy.images(3), "image_positions": torch.arange(3)}
    source = toy.tokens(*SENTENCES, left_pad=True)
    return toy.batch(source, toy.tokens(*SENTENCES))["net_input"], pictures


def run(model, **options):
    net_input, pictures = sample()
    with torch.no_grad():
        return model(**net_input, **(pictures if model.requires_images else {}), **options)[0]


def decode_the_words_alone(model):
    """Logits of fairseq's decoder, handed the text positions of the encoder's output and nothing else."""
    net_input, pictures = sample()
    words = net_input["src_tokens"].size(1)
    with torch.no_grad():
        out = model.encoder(net_input["src_tokens"], **(pictures if model.requires_images else {}))
        out["regions"] = []
        out["encoder_out"] = [out["encoder_out"][0][:words]]
        out["encoder_padding_mask"] = [out["encoder_padding_mask"][0][:, :words]]
        return model.decoder(net_input["prev_output_tokens"], encoder_out=out)[0]


@pytest.mark.parametrize("bias", ["none", "learned"])
@pytest.mark.parametrize("name", MODELS)
def test_hidden_regions_are_as_if_they_were_not_there(name, bias):
    model = toy.trained(MODELS[name](region_bias=bias))
    expected, seen = decode_the_words_alone(model), run(model)
    assert_close_to_scale(run(model, hide_regions=True), expected)
    assert not torch.allclose(seen, expected, atol=1e-3)
    model.encoder.regions_at_test = "hidden"
    assert_close_to_scale(run(model), expected)
    assert torch.equal(run(model, hide_regions=False), seen)


def test_in_training_all_regions_of_a_share_of_the_sentences_are_hidden():
    encoder = toy.ikd_model(region_dropout=0.25).encoder.train()
    source = toy.tokens(*[[1, 2]] * 2000)
    torch.manual_seed(7)
    hidden = encoder(source)["encoder_padding_mask"][0][:, -toy.REGIONS :]
    assert torch.equal(hidden.all(dim=1), hidden.any(dim=1))
    assert 0.2 < hidden[:, 0].float().mean() < 0.3
    assert not encoder.eval()(source)["encoder_padding_mask"][0].any()


def test_without_the_option_training_draws_no_random_number_for_it():
    encoder = toy.ikd_model().encoder.train()  # toys have no dropout either
    state = torch.get_rng_state()
    encoder(toy.tokens(*SENTENCES))
    assert torch.equal(torch.get_rng_state(), state)


def test_in_warm_up_the_regions_of_all_sentences_are_hidden_and_distilled():
    model = toy.ikd_model(region_warmup=3)
    source = toy.tokens(*SENTENCES)

    def hidden():
        mask = model.encoder(source)["encoder_padding_mask"][0]
        return mask[:, -toy.REGIONS :].all().item()

    assert not hidden()  # nobody has said how far training is: an exported model
    assert hallucination_model(region_warmup=3).encoder.updates is None
    model.set_num_updates(2)
    assert hidden()
    net_input = toy.batch(source, source)["net_input"]
    logits, extra = model(**net_input, student_positions=torch.arange(3))
    (logits.square().mean() + extra[STUDENT].image.square().mean()).backward()
    assert model.encoder.generator.projection.weight.grad.any()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.set_num_updates(3)
    assert not hidden()


@pytest.mark.parametrize("option", [dict(region_dropout=0.6), dict(region_warmup=3)])
def test_sentences_whose_regions_are_to_be_hidden_come_on_top_of_the_options(option):
    encoder = toy.ikd_model(**option).encoder.train()
    encoder.set_num_updates(1)
    source, asked = toy.tokens(*[[1, 2]] * 200), torch.arange(200).unsqueeze(1) < 20

    def hidden(**options):
        torch.manual_seed(7)
        return encoder(source, **options)["encoder_padding_mask"][0][:, -toy.REGIONS :]

    by_option = hidden()
    assert by_option.any() and torch.equal(hidden(hide_regions=asked), by_option | asked)
    assert not hidden(hide_regions=False).any()


def test_an_ensemble_of_both_views_is_the_mean_of_their_probabilities():
    model = toy.trained(toy.ikd_model(regions_at_test="ensemble", region_bias="learned"))
    views = model.views()
    assert len(views) == 2 and views[0] is model
    assert all(a is b for a, b in zip(views[0].parameters(), views[1].parameters(), strict=True))
    net_input, _ = sample()
    start = torch.full((len(SENTENCES), 1), toy.dictionary().eos())
    found = []
    with torch.no_grad():
        for members in ([views[0]], [views[1]], views):
            ensemble = EnsembleModel(members)
            outs = ensemble.forward_encoder(net_input)
            found.append(ensemble.forward_decoder(start, outs, [{} for _ in members], 1.0)[0].exp())
        expected = run(model)[:, 0].softmax(dim=-1), run(model, hide_regions=True)[:, 0].softmax(dim=-1)
    assert_close_to_scale(found[0], expected[0])
    assert_close_to_scale(found[1], expected[1])
    assert_close_to_scale(found[2], (found[0] + found[1]) / 2)
    search = SequenceGenerator(views, toy.dictionary(), beam_size=3, max_len_b=8)
    assert len(search.generate(views, {"net_input": net_input})) == len(SENTENCES)
    assert len(toy.ikd_model().views()) == 1


def test_an_ensemble_of_both_views_scores_and_teaches_as_it_searches():
    model = toy.trained(toy.ikd_model(regions_at_test="ensemble"))
    net_input, _ = sample()
    target = toy.tokens(*SENTENCES)
    probs = torch.stack([run(model, hide_regions=hidden).softmax(dim=-1) for hidden in (False, True)]).mean(0)
    taught = TeacherEnsemble([model])(net_input, torch.empty(0))
    assert_close_to_scale(taught, probs.log())
    expected = probs.log().gather(2, target.unsqueeze(2)).squeeze(2)
    task = MultimodalTranslationTask(MultimodalTranslationConfig(), toy.dictionary(), toy.dictionary())
    scorer = task.build_generator([model], Namespace(score_reference=True))
    scores = task.inference_step(scorer, [model], {"net_input": net_input, "target": target})
    for row, (found,) in enumerate(scores):
        words = target[row].ne(toy.dictionary().pad())
        assert_close_to_scale(found["positional_scores"], expected[row][words])


@pytest.mark.parametrize(
    "options", [dict(region_dropout=1.0), dict(region_dropout=-0.1), dict(region_warmup=-1)]
)
def test_a_share_or_a_number_that_is_none_is_refused(options):
    (name,) = options
    with pytest.raises(IkdError, match=f"--{name.replace('_', '-')} .*: give "):
        toy.ikd_model(**options)
