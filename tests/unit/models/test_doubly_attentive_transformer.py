"""The doubly-attentive layer against fairseq's own layer and against the sub-layer written out by hand."""

import pytest
import torch
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase

from ikd_fairseq.models.config import ImageMustConfig, nested_config
from ikd_fairseq.models.doubly_attentive_transformer import DoublyAttentiveLayer
from tests import toy
from tests.closeness import assert_close_to_scale

WIDTH, HEADS = 16, 2
both_norms = pytest.mark.parametrize("normalize_before", [True, False])


def layer_of(normalize_before):
    torch.manual_seed(4)
    cfg = nested_config(ImageMustConfig(**{**toy.SIZES, "decoder_normalize_before": normalize_before}))
    layer, plain = DoublyAttentiveLayer(cfg).eval(), TransformerDecoderLayerBase(cfg).eval()
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


def image_sub_layer(layer, x, regions):
    """beta * attention of several heads, residual, normalisation; one sentence: ``J x d`` and ``P x d``."""
    query = layer.image_attn_layer_norm(x) if layer.normalize_before else x
    attention, size = layer.image_attn, WIDTH // HEADS
    q, k, v = attention.q_proj(query), attention.k_proj(regions), attention.v_proj(regions)
    heads = []
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        heads.append(torch.softmax(q[:, own] @ k[:, own].T / size**0.5, dim=1) @ v[:, own])
    beta = torch.sigmoid(query @ layer.image_gate.weight[0] + layer.image_gate.bias)
    y = x + beta.unsqueeze(1) * attention.out_proj(torch.cat(heads, dim=1))
    return y if layer.normalize_before else layer.image_attn_layer_norm(y)


@both_norms
def test_without_images_it_is_fairseqs_layer_to_the_bit(inputs, normalize_before):
    x, text, regions, text_mask, future = inputs
    layer, plain = layer_of(normalize_before)
    expected, weights, _ = plain(x, text, text_mask, self_attn_mask=future, need_head_weights=True)
    for memory in (text, torch.cat([text, regions])):
        found, found_weights, _ = layer(
            x, memory, with_images(text_mask, True, True), self_attn_mask=future, need_head_weights=True
        )
        assert torch.equal(found, expected) and torch.equal(found_weights, weights)


@both_norms
def test_sentence_without_image_passes_by_and_its_neighbour_does_not(inputs, normalize_before):
    x, text, regions, text_mask, future = inputs
    layer, plain = layer_of(normalize_before)
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
        if normalize_before:
            expected = y + layer.fc2(torch.relu(layer.fc1(layer.final_layer_norm(y))))
        else:
            expected = layer.final_layer_norm(y + layer.fc2(torch.relu(layer.fc1(y))))
        assert_close_to_scale(found[:, sentence], expected)
