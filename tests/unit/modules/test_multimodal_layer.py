"""The multimodal encoder layer against attention written out by hand."""

import pytest
import torch
import torch.nn.functional as F

from ikd_fairseq.models.config import nested_config
from ikd_fairseq.models.ikd_transformer import IKDTransformerConfig
from ikd_fairseq.modules.multimodal_layer import MultimodalEncoderLayer
from tests import toy
from tests.closeness import assert_close_to_scale


def by_hand(layer, x, text_padding_mask, memory=None):
    """One sentence, one head and one position at a time; pre- or post-norm as the layer."""
    attention, heads = layer.self_attn, layer.self_attn.num_heads
    length, sentences, width = x.shape
    text = text_padding_mask.size(1)
    size = width // heads
    outputs = torch.empty_like(x)
    for b in range(sentences):
        states = x[:, b]
        answering = states[:text] if memory is None else memory[:, b]
        norm = layer.self_attn_layer_norm if layer.normalize_before else torch.nn.Identity()
        asking, answering = norm(states), norm(answering)
        q, k, v = attention.q_proj(asking), attention.k_proj(answering), attention.v_proj(answering)
        context = torch.zeros(length, width)
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            for position in range(length):
                scores = (k[:, part] @ q[position, part]) / size**0.5
                scores[text_padding_mask[b]] = float("-inf")
                context[position, part] = torch.softmax(scores, 0) @ v[:, part]
        states = states + attention.out_proj(context)
        if not layer.normalize_before:
            states = layer.self_attn_layer_norm(states)
        inner = layer.final_layer_norm(states) if layer.normalize_before else states
        states = states + layer.fc2(F.relu(layer.fc1(inner)))
        if not layer.normalize_before:
            states = layer.final_layer_norm(states)
        outputs[:, b] = states
    return outputs


@pytest.mark.parametrize("normalize_before", [True, False])
@pytest.mark.parametrize("own_memory", [True, False])
def test_text_and_regions_ask_and_only_text_answers(normalize_before, own_memory):
    torch.manual_seed(3)
    config = IKDTransformerConfig(**{**toy.SIZES, "encoder_normalize_before": normalize_before})
    layer = MultimodalEncoderLayer(nested_config(config)).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(5 + 4, 2, 16)
    mask = torch.tensor([[False] * 5, [False, False, False, True, True]])
    memory = None if own_memory else torch.randn(5, 2, 16)
    with torch.no_grad():
        assert_close_to_scale(layer(x, mask, memory), by_hand(layer, x, mask, memory))


def test_regions_do_not_reach_the_text():
    torch.manual_seed(3)
    layer = MultimodalEncoderLayer(nested_config(IKDTransformerConfig(**toy.SIZES))).eval()
    x, mask = torch.randn(5 + 4, 1, 16), torch.zeros(1, 5, dtype=torch.bool)
    changed = x.clone()
    changed[5:] += 1
    before, after = layer(x, mask), layer(changed, mask)
    assert_close_to_scale(before[:5], after[:5])
    assert not torch.allclose(before[5:], after[5:])
