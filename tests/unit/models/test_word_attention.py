"""What fairseq learns of attention: a column a word, whatever else an encoder has."""

import pytest
import torch
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from fairseq.utils import extract_hard_alignment

from tests import toy
from tests.closeness import assert_close_to_scale

SENTENCES = ([1, 2, 3], [4, 5], [6, 7, 8, 9, 10])


MODELS = {
    "text": lambda: toy.text_model(seed=3),
    "ikd": toy.ikd_model,
    "larger ikd": lambda: toy.ikd_model(image_size=96),
    "no text": lambda: toy.ikd_model(no_text=True),
    "image-must": toy.image_must_model,
}


def search(*names):
    models = [toy.trained(MODELS[name]()).eval() for name in names]
    source = toy.tokens(*SENTENCES, left_pad=True)
    net_input = {"src_tokens": source, "src_lengths": source.ne(toy.dictionary().pad()).sum(1)}
    generator = SequenceGenerator(models, toy.dictionary(), beam_size=2, max_len_b=8)
    with torch.no_grad():
        return models, net_input, generator.generate(models, {"net_input": net_input})


@pytest.mark.parametrize("name", MODELS)
def test_alignments_are_to_words(name):
    _, net_input, found = search(name)
    words = toy.dictionary()
    for source, (best, *_) in zip(net_input["src_tokens"], found):
        assert best["attention"].size(0) == source.numel()
        for position, _ in extract_hard_alignment(
            best["attention"].T, source, best["tokens"], words.pad(), words.eos()
        ):
            assert 0 <= position < source.numel()


def test_an_ensemble_of_any_mixture_is_the_mean_of_its_members_probabilities():
    names = ("text", "ikd", "larger ikd", "image-must", "no text")
    models, net_input, _ = search(*names)
    start = torch.full((len(SENTENCES), 1), toy.dictionary().eos())
    with torch.no_grad():
        alone = []
        for model in models:
            member = EnsembleModel([model])
            log_probs, attention = member.forward_decoder(
                start, member.forward_encoder(net_input), [{}], temperature=1.0
            )
            alone.append((log_probs.exp(), attention))
        ensemble = EnsembleModel(models)
        log_probs, attention = ensemble.forward_decoder(
            start, ensemble.forward_encoder(net_input), [{} for _ in models], temperature=1.0
        )
    assert_close_to_scale(log_probs.exp(), torch.stack([p for p, _ in alone]).mean(dim=0), 1e-6)
    assert_close_to_scale(attention, torch.stack([a for _, a in alone]).mean(dim=0), 1e-6)
