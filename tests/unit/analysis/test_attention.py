"""Weights of the first layer, head by head, against a plain softmax; padding has none."""

import math

import pytest
import torch

from ikd_fairseq.analysis.attention import attention_of, draw, entropy, head_weights
from ikd_fairseq.analysis.output import write_files
from tests import toy
from tests.closeness import assert_close_to_scale


def plain_weights(model, source) -> torch.Tensor:
    """softmax(Q K^T / sqrt(d)) of the first layer for one sentence without padding: heads x (I+P) x I."""
    encoder = model.encoder
    layer = encoder.layers[0]
    source = source.unsqueeze(0)
    text, _ = encoder.forward_embedding(source)
    regions = encoder.region_projection(encoder.generator(text, torch.zeros_like(source, dtype=torch.bool)))
    asking = layer.self_attn_layer_norm(torch.cat([text, regions], dim=1)[0])
    attention, length = layer.self_attn, source.size(1)
    query, key = attention.q_proj(asking), attention.k_proj(asking[:length])
    width = query.size(1) // attention.num_heads
    heads = []
    for head in range(attention.num_heads):
        own = slice(head * width, (head + 1) * width)
        heads.append(torch.softmax(query[:, own] @ key[:, own].T / math.sqrt(width), dim=1))
    return torch.stack(heads)


@pytest.mark.parametrize("max_tokens", [5, 100])
def test_weights_are_the_softmax_of_each_head_alone_or_beside_longer_sentences(trained, dataset, max_tokens):
    with torch.no_grad():
        # The weights of a fresh model are nearly uniform: sharpen them.
        for projection in (
            trained.model.encoder.layers[0].self_attn.q_proj,
            trained.model.encoder.layers[0].self_attn.k_proj,
        ):
            projection.weight.mul_(4)
        found = attention_of(trained, dataset, [3, 1, 0], max_tokens)
        assert sorted(found) == [0, 1, 3]
        for sentence, weights in found.items():
            expected = plain_weights(trained.model, dataset.src[sentence])
            length = len(dataset.src[sentence])
            assert weights.shape == (2, length + toy.REGIONS, length)
            assert_close_to_scale(weights, expected)
        assert (found[3][0] - found[3][1]).abs().max() > 0.01  # heads differ
        assert found[3].std(dim=2).max() > 0.01


def test_padding_gets_no_weight_and_the_encoder_gives_what_it_gives_unwatched(trained):
    encoder = trained.model.encoder
    source = toy.tokens([1, 2, 3], [4], left_pad=True)
    padding = source.eq(toy.dictionary().pad())
    with torch.no_grad():
        expected = encoder(source)["encoder_out"][0]
        with head_weights(encoder.layers[0].self_attn) as found:
            watched = encoder(source)["encoder_out"][0]
        encoder(source)
    (weights,) = found  # nothing is collected behind the block
    assert weights.shape == (2, 2, 4 + toy.REGIONS, 4)
    assert padding.sum() == 2 and (weights[:, 1][:, :, padding[1]] == 0).all()
    assert_close_to_scale(weights.sum(dim=-1), torch.ones(2, 2, 4 + toy.REGIONS))
    assert_close_to_scale(watched[4:], expected[4:])
    assert_close_to_scale(watched[:, 0], expected[:, 0])


def test_entropy_is_0_for_one_word_and_its_logarithm_for_all():
    weights = torch.tensor([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0, 0.5, 0]])
    assert entropy(weights).tolist() == pytest.approx([0, 2, 1], abs=1e-5)


def test_picture_has_a_panel_for_each_head_with_words_and_regions(tmp_path):
    pytest.importorskip("matplotlib")
    torch.manual_seed(1)
    weights = torch.softmax(torch.randn(3, 6, 2), dim=2)
    figure = draw(weights, ["$x_", "</s>"])  # words are no mathematics
    panels = figure.axes[:3]
    assert [axes.get_title() for axes in panels] == ["head 1", "head 2", "head 3"]
    for axes, of_head in zip(panels, weights):
        assert torch.equal(torch.as_tensor(axes.images[0].get_array().data), of_head)
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["$x_", "</s>"]
    assert [label.get_text() for label in panels[0].get_yticklabels()][1:3] == ["</s>", "region 1"]
    write_files(str(tmp_path), {"attention.png": figure})
