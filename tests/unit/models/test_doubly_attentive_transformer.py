"""The doubly-attentive layers against fairseq's own layer and against sub-layers written out by hand."""

import pytest
import torch
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase

from ikd_fairseq.models.config import nested_config
from ikd_fairseq.models.doubly_attentive_transformer import LAYERS, DoublyAttentiveConfig
from tests import toy
from tests.closeness import assert_close_to_scale

WIDTH, HEADS = 16, 2
both_norms = pytest.mark.parametrize("normalize_before", [True, False])
both_forms = pytest.mark.parametrize("combine", ["serial", "parallel"])


def layer_of(normalize_before, combine="serial"):
    torch.manual_seed(4)
    cfg = nested_config(DoublyAttentiveConfig(**{**toy.SIZES, "decoder_normalize_before": normalize_before}))
    layer, plain = LAYERS[combine](cfg).eval(), TransformerDecoderLayerBase(cfg).eval()
    for parameter in layer.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    plain.load_state_dict(layer.state_dict(), strict=False)
    return layer, plain


@pytest.fixture
def inputs():
    """Target of 3 words, source of 4 (the second sentence has 3), 5 regions; 2 sentences."""
    torch.manual_seed(5)
    x, text, regions = torch.randn(3, 2, WIDTH), torch.randn(4, 2, WIDTH), torch.randn(5, 2, WIDTH)
    text_mask = torch.tensor([[False] * 4, [False] * 3 + [True]])
    future = torch.triu(torch.full((3, 3), float("-inf")), 1)
    return x, text, regions, text_mask, future


def with_images(text_mask, *no_image):
    return torch.cat([text_mask, torch.tensor(no_image).unsqueeze(1)], dim=1)


def attention_on(attention, query, memory):
    """Attention of several heads; one sentence: ``J x d`` and ``P x d``."""
    size = WIDTH // HEADS
    q, k, v = attention.q_proj(query), attention.k_proj(memory), attention.v_proj(memory)
    heads = []
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        heads.append(torch.softmax(q[:, own] @ k[:, own].T / size**0.5, dim=1) @ v[:, own])
    return attention.out_proj(torch.cat(heads, dim=1))


def image_sub_layer(layer, x, regions):
    """beta * attention of several heads, residual, normalisation; one sentence: ``J x d`` and ``P x d``."""
    query = layer.image_attn_layer_norm(x) if layer.normalize_before else x
    beta = torch.sigmoid(query @ layer.image_gate.weight[0] + layer.image_gate.bias)
    y = x + beta.unsqueeze(1) * attention_on(layer.image_attn, query, regions)
    return y if layer.normalize_before else layer.image_attn_layer_norm(y)


def gated_sub_layer(layer, x, text, regions):
    """(1 - g) x1 + g x2 of one query, residual, normalisation; one sentence."""
    query = layer.encoder_attn_layer_norm(x) if layer.normalize_before else x
    x1 = attention_on(layer.encoder_attn, query, text)
    x2 = attention_on(layer.image_attn, query, regions)
    of_text, of_image = layer.gate.projection.weight.split(WIDTH, dim=1)
    g = torch.sigmoid(x1 @ of_text.T + x2 @ of_image.T + layer.gate.projection.bias)
    y = x + (1 - g) * x1 + g * x2
    return y if layer.normalize_before else layer.encoder_attn_layer_norm(y)


def feed_forward(layer, y):
    """The last sub-layer."""
    if layer.normalize_before:
        return y + layer.fc2(torch.relu(layer.fc1(layer.final_layer_norm(y))))
    return layer.final_layer_norm(y + layer.fc2(torch.relu(layer.fc1(y))))


@both_norms
@both_forms
def test_without_images_it_is_fairseqs_layer_to_the_bit(inputs, normalize_before, combine):
    x, text, regions, text_mask, future = inputs
    layer, plain = layer_of(normalize_before, combine)
    expected, weights, _ = plain(x, text, text_mask, self_attn_mask=future, need_head_weights=True)
    for memory in (text, torch.cat([text, regions])):
        found, found_weights, _ = layer(
            x, memory, with_images(text_mask, True, True), self_attn_mask=future, need_head_weights=True
        )
        assert torch.equal(found, expected) and torch.equal(found_weights, weights)


@both_norms
@both_forms
def test_sentence_without_image_passes_by_and_its_neighbour_does_not(inputs, normalize_before, combine):
    x, text, regions, text_mask, future = inputs
    layer, plain = layer_of(normalize_before, combine)
    expected, _, _ = plain(x, text, text_mask, self_attn_mask=future)
    mask = with_images(text_mask, True, False)
    found, _, _ = layer(x, torch.cat([text, regions]), mask, self_attn_mask=future)
    assert torch.equal(found[:, 0], expected[:, 0])
    assert not torch.allclose(found[:, 1], expected[:, 1], atol=1e-2)


@both_norms
def test_attention_on_regions_follows_the_one_on_text(inputs, normalize_before):
    x, text, regions, text_mask, future = inputs
    layer, plain = layer_of(normalize_before)
    before_regions = []  # what fairseq's feed-forward network starts from: what attention on text ends with
    first = plain.final_layer_norm if normalize_before else plain.fc1
    first.register_forward_pre_hook(lambda module, given: before_regions.append(given[0]))
    plain(x, text, text_mask, self_attn_mask=future)
    mask = with_images(text_mask, False, False)
    found, _, _ = layer(x, torch.cat([text, regions]), mask, self_attn_mask=future)
    for sentence in range(2):
        y = image_sub_layer(layer, before_regions[0][:, sentence], regions[:, sentence])
        assert_close_to_scale(found[:, sentence], feed_forward(layer, y))


@both_norms
def test_parallel_attentions_have_one_query_and_a_gate_mixes_them(inputs, normalize_before):
    x, text, regions, text_mask, future = inputs
    layer, plain = layer_of(normalize_before, "parallel")
    before_text = []  # what fairseq's attention on text starts from: what self-attention ends with
    name = "encoder_attn_layer_norm" if normalize_before else "encoder_attn"
    getattr(plain, name).register_forward_pre_hook(
        lambda module, given, named: before_text.append((*given, *named.values())[0]), with_kwargs=True
    )
    plain(x, text, text_mask, self_attn_mask=future)
    found, weights, _ = layer(
        x,
        torch.cat([text, regions]),
        with_images(text_mask, False, False),
        self_attn_mask=future,
        need_attn=True,
    )
    assert weights.shape[-2:] == (3, 4)
    for sentence, words in ((0, 4), (1, 3)):
        of_text = text[:words, sentence]
        y = gated_sub_layer(layer, before_text[0][:, sentence], of_text, regions[:, sentence])
        assert_close_to_scale(found[:, sentence], feed_forward(layer, y))
