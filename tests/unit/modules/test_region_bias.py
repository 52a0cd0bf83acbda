"""The learned weight of the regions beside the words, on every path through fairseq's attention."""

import copy
import math

import pytest
import torch
from fairseq.modules import MultiheadAttention
from fairseq.sequence_generator import SequenceGenerator

from ikd_fairseq.errors import IkdError
from ikd_fairseq.modules.region_bias import RegionBias
from tests import toy
from tests.closeness import assert_close_to_scale

WORDS, REGIONS, WIDTH = 5, 3, 8


def attention(offset: float) -> MultiheadAttention:
    torch.manual_seed(2)
    built = MultiheadAttention(WIDTH, 2, encoder_decoder_attention=True).eval()
    RegionBias.attach(built)
    built.region_bias.regions = REGIONS
    built.region_bias.offset.data.fill_(offset)
    return built


def by_hand(attention, query, memory, padding, offset):
    """Result and mean weights over heads, from the definition: ``J x B x d`` and ``B x J x (I+P)``."""
    results, weights = [], []
    for sentence in range(query.size(1)):
        q, k, v = (
            projection(x[:, sentence]).view(len(x), 2, WIDTH // 2).transpose(0, 1)
            for projection, x in (
                (attention.q_proj, query),
                (attention.k_proj, memory),
                (attention.v_proj, memory),
            )
        )
        logits = q @ k.transpose(1, 2) / (WIDTH // 2) ** 0.5
        logits[:, :, WORDS:] += offset - math.log(REGIONS)
        logits[:, :, padding[sentence]] = -torch.inf
        probabilities = logits.softmax(dim=-1)
        results.append(attention.out_proj((probabilities @ v).transpose(0, 1).flatten(1)))
        weights.append(probabilities.mean(dim=0))
    return torch.stack(results, dim=1), torch.stack(weights)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("incremental", [False, True])
def test_every_path_adds_the_bias_to_the_regions_logits(incremental, need_weights):
    biased = attention(offset=0.7)
    torch.manual_seed(3)
    memory, query = torch.randn(WORDS + REGIONS, 2, WIDTH), torch.randn(4, 2, WIDTH)
    padding = torch.zeros(2, WORDS + REGIONS, dtype=torch.bool)
    padding[1, :2] = True
    state = {} if incremental else None
    with torch.no_grad():
        expected, expected_weights = by_hand(biased, query, memory, padding, 0.7)
        for _ in range(2):  # the second step finds its keys in the incremental state
            found, weights = biased(
                query=query,
                key=memory,
                value=memory,
                key_padding_mask=padding,
                incremental_state=state,
                static_kv=True if incremental else False,
                need_weights=need_weights,
            )
            assert_close_to_scale(found, expected)
            if need_weights:
                assert_close_to_scale(weights, expected_weights)


def test_at_first_all_regions_together_weigh_as_one_word():
    biased = attention(offset=0.0)
    same = torch.randn(1, 1, WIDTH).expand(WORDS + REGIONS, 1, WIDTH)
    _, weights = biased(query=torch.randn(1, 1, WIDTH), key=same, value=same)
    expected = torch.tensor([1 / (WORDS + 1)] * WORDS + [1 / (WORDS + 1) / REGIONS] * REGIONS)
    assert_close_to_scale(weights.flatten(), expected)


def test_a_model_has_one_for_each_layer_which_learns():
    model = toy.ikd_model(region_bias="learned", decoder_layers=2).train()
    biases = [module for module in model.modules() if isinstance(module, RegionBias)]
    assert len(biases) == 2
    sample = toy.batch(toy.tokens([1, 2, 3], [4, 5]), toy.tokens([6, 7], [8]))
    model(**sample["net_input"])[0].square().sum().backward()
    assert all(bias.regions == toy.REGIONS and bias.offset.grad.abs() > 0 for bias in biases)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for layer in twin.decoder.layers:
            layer.encoder_attn.region_bias.offset += 3
        logits = [each.eval()(**sample["net_input"])[0] for each in (model, twin)]
    assert not torch.allclose(*logits)


def test_step_by_step_decoding_gives_what_the_whole_sentence_gives():
    model = toy.trained(toy.ikd_model(region_bias="learned", decoder_layers=2))
    source = toy.tokens([1, 2, 3], [4, 5], left_pad=True)
    lengths = source.ne(toy.dictionary().pad()).sum(1)
    found = SequenceGenerator([model], toy.dictionary(), beam_size=3, max_len_b=6).generate(
        [model], {"net_input": {"src_tokens": source, "src_lengths": lengths}}
    )
    for row, (best, *_) in enumerate(found):
        tokens = best["tokens"]
        previous = torch.cat([tokens[-1:], tokens[:-1]]).unsqueeze(0)
        with torch.no_grad():
            logits, _ = model(source[row : row + 1], lengths[row : row + 1], previous)
        scores = logits.log_softmax(dim=-1)[0].gather(1, tokens.unsqueeze(1)).squeeze(1)
        assert_close_to_scale(best["positional_scores"], scores)


@pytest.mark.parametrize("words", [2, toy.REGIONS - 1, 7])
def test_regions_without_words_beside_them_are_not_weighed_whatever_the_padding(words):
    model = toy.trained(toy.ikd_model(region_bias="learned", no_text=True))
    source, target = toy.tokens(range(words)), toy.tokens([6, 7])
    batch = toy.tokens(range(words), [1] * 9)
    with torch.no_grad():
        alone, _ = model(source, None, target)
        together, _ = model(batch, None, target.expand(2, -1))
        for layer in model.decoder.layers:
            layer.encoder_attn.region_bias.offset += 3
        weighed, _ = model(source, None, target)
    assert_close_to_scale(together[:1], alone)
    assert torch.equal(weighed, alone)


def test_without_text_beside_them_it_does_not_learn_so_that_workers_wait_for_no_gradient():
    model = toy.ikd_model(region_bias="learned", no_text=True, no_student=True).train()
    model(toy.tokens(range(3)), None, toy.tokens([6, 7]))[0].square().sum().backward()
    assert not model.decoder.layers[0].encoder_attn.region_bias.offset.requires_grad
    assert [name for name, w in model.named_parameters() if w.requires_grad and w.grad is None] == []


def test_a_model_without_cross_attention_has_no_regions_to_weigh():
    with pytest.raises(IkdError, match="--region-bias learned .* --no-cross-attention"):
        toy.ikd_model(region_bias="learned", no_cross_attention=True)
