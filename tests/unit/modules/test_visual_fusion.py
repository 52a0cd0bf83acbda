"""Gates and attention of the fusions against formulas written out; sentences without an image keep theirs."""

import pytest
import torch

from ikd_fairseq.models.gated_fusion import GlobalImageFusion
from ikd_fairseq.models.selective_attention_transformer import SelectiveAttentionFusion
from ikd_fairseq.modules.visual_fusion import FusionEncoder, FusionGate
from tests import toy
from tests.closeness import assert_close_to_scale

WIDTH, CHANNELS = 6, 5


@pytest.fixture
def inputs():
    """Text of 3 positions in 2 sentences, 4 regions; both sentences have an image."""
    torch.manual_seed(3)
    return torch.randn(3, 2, WIDTH), torch.randn(4, 2, CHANNELS), torch.tensor([False, False])


def gate_by_hand(gate: FusionGate, text, image):
    """``sigmoid(U text + V image + b)`` of two vectors."""
    weight, bias = gate.projection.weight, gate.projection.bias
    return 1 / (1 + torch.exp(-(weight[:, :WIDTH] @ text + weight[:, WIDTH:] @ image + bias)))


def test_global_image_is_added_through_the_gate(inputs):
    text, regions, no_image = inputs
    fusion = GlobalImageFusion(WIDTH, CHANNELS)
    fused, gate = fusion(text, regions, no_image)
    for position in range(3):
        for sentence in range(2):
            vector = sum(regions[:, sentence]) / 4
            z = fusion.projection.weight @ vector + fusion.projection.bias
            expected = gate_by_hand(fusion.gate, text[position, sentence], z)
            assert_close_to_scale(gate[position, sentence], expected)
            assert_close_to_scale(fused[position, sentence], text[position, sentence] + expected * z)


def test_text_attends_to_regions_with_one_head_and_the_gate_mixes(inputs):
    text, regions, no_image = inputs
    fusion = SelectiveAttentionFusion(WIDTH, CHANNELS).eval()
    attention = fusion.attention
    torch.nn.init.normal_(attention.out_proj.bias)  # zero at first
    fused, gate = fusion(text, regions, no_image)
    for position in range(3):
        for sentence in range(2):
            own = text[position, sentence]
            memory = regions[:, sentence]  # P x C, as they come
            query, keys, values = attention.q_proj(own), attention.k_proj(memory), attention.v_proj(memory)
            weights = torch.softmax(keys @ query / WIDTH**0.5, dim=0)
            picked = attention.out_proj(weights @ values)
            expected = gate_by_hand(fusion.gate, own, picked)
            assert_close_to_scale(gate[position, sentence], expected)
            assert_close_to_scale(fused[position, sentence], (1 - expected) * own + expected * picked)


def test_selective_attention_drops_out_regions_and_weights_as_published(inputs):
    text, regions, no_image = inputs
    fusion = SelectiveAttentionFusion(WIDTH, CHANNELS).train()
    assert (fusion.image_dropout.p, fusion.attention.dropout_module.p) == (0.1, 0.1)
    memories = []
    fusion.attention.register_forward_pre_hook(
        lambda module, given, named: memories.append(named["key"]), with_kwargs=True
    )
    torch.manual_seed(2)
    fusion(text, regions.expand(4, 2, CHANNELS).repeat(500, 1, 1), no_image)
    (memory,) = memories
    dropped = memory == 0
    assert 0.08 < dropped.float().mean() < 0.12
    assert_close_to_scale(memory[~dropped], (regions.repeat(500, 1, 1) / 0.9)[~dropped])


def test_checkpoint_that_projected_regions_first_gives_what_it_gave(inputs):
    text, regions, no_image = inputs
    fusion = SelectiveAttentionFusion(WIDTH, CHANNELS).eval()
    projection, narrow = torch.nn.Linear(CHANNELS, WIDTH), SelectiveAttentionFusion(WIDTH, WIDTH).eval()
    old = {f"fusion.{name}": value for name, value in narrow.state_dict().items()}
    old |= {f"fusion.projection.{name}": value for name, value in projection.state_dict().items()}
    expected, _ = narrow(text, projection(regions), no_image)
    fusion.upgrade_state_dict_named(old, "fusion")
    fusion.load_state_dict({name.removeprefix("fusion."): value for name, value in old.items()}, strict=True)
    assert_close_to_scale(fusion(text, regions, no_image)[0], expected)


@pytest.mark.parametrize("kind", [GlobalImageFusion, SelectiveAttentionFusion])
def test_sentence_without_image_keeps_its_text_to_the_bit(inputs, kind):
    text, regions, _ = inputs
    fused, gate = kind(WIDTH, CHANNELS)(text, regions, torch.tensor([True, False]))
    assert torch.equal(fused[:, 0], text[:, 0]) and not gate[:, 0].any()
    assert not torch.isclose(fused[:, 1], text[:, 1]).any() and (gate[:, 1] > 0).all()


@pytest.mark.parametrize("kind", [GlobalImageFusion, SelectiveAttentionFusion])
def test_logged_gate_is_the_mean_over_words_of_sentences_with_an_image(kind):
    model = toy.image_must_model()  # for what an encoder is made of
    cfg, words, embedding = model.cfg, model.encoder.dictionary, model.encoder.embed_tokens
    encoder = FusionEncoder(cfg, words, embedding, kind(16, toy.CHANNELS)).eval()
    source, features = toy.tokens([1, 2, 3], [4], [6, 7]), torch.rand(2, 3, toy.CHANNELS)
    fused = encoder(source, features=features, image_positions=torch.tensor([0, 1]))
    text = encoder(source)["encoder_out"][0]
    regions = torch.zeros(3, 3, toy.CHANNELS)
    regions[:, :2] = features.transpose(0, 1)
    _, gate = encoder.fusion(text, regions, torch.tensor([False, False, True]))
    total, count = fused["gate"]
    assert count == (4 + 2) * 16  # words and ends of sentences, padding left out
    assert_close_to_scale(total, gate[:4, 0].sum() + gate[:2, 1].sum())
