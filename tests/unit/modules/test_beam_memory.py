"""A beam search that keeps keys once a sentence finds what one that keeps them once a hypothesis finds."""

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from fairseq.sequence_scorer import SequenceScorer

from ikd_fairseq.models.doubly_attentive_transformer import (
    DoublyAttentiveConfig,
    DoublyAttentiveModel,
)
from ikd_fairseq.modules.beam_memory import memory_by_sentence
from tests import toy

# Of different lengths, so that their searches end at different steps and the batch shrinks.
SENTENCES = ([1, 2, 3], [4], [6, 7, 8, 9, 10, 11, 12], [5, 5])
BEAM = 3


def doubly_attentive_model():
    cfg = DoublyAttentiveConfig(**{**toy.SIZES, "backbone_weights": "random"})
    return DoublyAttentiveModel.build_model(cfg, toy.toy_task())


@pytest.mark.parametrize("make", [toy.ikd_model, toy.image_must_model, doubly_attentive_model])
def test_hypotheses_and_attention_are_the_same_and_so_is_the_model_afterwards(make):
    model = toy.trained(make()).eval()
    source = toy.tokens(*SENTENCES, left_pad=True)
    images = (
        {"images": toy.images(2), "image_positions": torch.tensor([0, 2])} if model.requires_images else {}
    )
    lengths = source.ne(toy.dictionary().pad()).sum(1)
    sample = {"net_input": {"src_tokens": source, "src_lengths": lengths, **images}}
    generator = SequenceGenerator([model], toy.dictionary(), beam_size=BEAM, max_len_a=1, max_len_b=1)
    layer, keys = model.decoder.layers[0], []
    attentions = [layer.encoder_attn, *filter(None, [getattr(layer, "image_attn", None)])]
    for attention in attentions:
        attention.k_proj.register_forward_hook(lambda module, inputs, output: keys.append(output.size(1)))
    with torch.no_grad():
        expected = generator.generate([model], sample)
        with memory_by_sentence(generator, [model]):
            found = generator.generate([model], sample)
    assert keys == [len(SENTENCES) * BEAM] * len(attentions) + [len(SENTENCES)] * len(attentions)
    assert all(attention.beam_size == 1 for attention in attentions)
    for ours, others in zip(found, expected, strict=True):
        for a, b in zip(ours, others, strict=True):
            assert torch.equal(a["tokens"], b["tokens"])
            torch.testing.assert_close(a["positional_scores"], b["positional_scores"], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(a["attention"], b["attention"], rtol=1e-4, atol=1e-5)


def test_scoring_is_no_beam_search():
    model = toy.trained(toy.ikd_model())
    with memory_by_sentence(SequenceScorer(toy.dictionary()), [model]):
        assert model.decoder.layers[0].encoder_attn.beam_size == 1
