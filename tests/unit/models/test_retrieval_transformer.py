"""How retrieved images enter the text, against the formulas written out for one position."""

import pytest
import torch

from ikd_fairseq.models.retrieval_transformer import AttentionFusion, MaxFusion, MeanFusion
from tests.closeness import assert_close_to_scale

D, C, M = 6, 5, 4


def inputs():
    torch.manual_seed(1)
    missing = torch.tensor([[False, False, False, False], [False, False, True, True], [True] * M])
    return torch.randn(3, 2, D), torch.randn(3, M, C), missing


def fused(fusion, h, v):
    of_text, of_image = fusion.gate.projection.weight.chunk(2, dim=1)
    gate = torch.sigmoid(of_text @ h + of_image @ v + fusion.gate.projection.bias)
    return h + gate * v, gate


def test_mean_of_the_images_that_were_found_goes_through_the_gate():
    fusion, (text, images, missing) = MeanFusion(D, C).eval(), inputs()
    output, gates = fusion(text, images, missing)
    for sentence, found in enumerate([4, 2]):
        v = fusion.projection(images[sentence, :found].mean(0))
        for token in range(2):
            expected, gate = fused(fusion, text[sentence, token], v)
            assert_close_to_scale(output[sentence, token], expected)
            assert_close_to_scale(gates[sentence, token], gate)


def test_maximum_of_the_projections_is_taken_dimension_by_dimension():
    fusion, (text, images, missing) = MaxFusion(D, C), inputs()  # in training: nothing is dropped out
    output, gates = fusion(text, images, missing)
    weight, bias = fusion.image_projection.weight, fusion.image_projection.bias
    for sentence, found in enumerate([4, 2]):
        projected = [weight @ images[sentence, row] + bias for row in range(found)]
        v = torch.stack([max(values) for values in zip(*projected)])
        for token in range(2):
            expected, gate = fused(fusion, text[sentence, token], v)
            assert_close_to_scale(output[sentence, token], expected)
            assert_close_to_scale(gates[sentence, token], gate)


def test_text_attends_to_the_images_that_were_found():
    fusion, (text, images, missing) = AttentionFusion(D, C, 1).eval(), inputs()
    attention = fusion.attention
    bias_q, bias_k, bias_v = attention.in_proj_bias.chunk(3)
    output, _ = fusion(text, images, missing)
    for sentence, found in enumerate([4, 2]):
        keys = images[sentence, :found] @ attention.k_proj_weight.T + bias_k
        values = images[sentence, :found] @ attention.v_proj_weight.T + bias_v
        for token in range(2):
            query = attention.q_proj_weight @ text[sentence, token] + bias_q
            v = attention.out_proj(torch.softmax(keys @ query / D**0.5, dim=0) @ values)
            assert_close_to_scale(output[sentence, token], fused(fusion, text[sentence, token], v)[0])


@pytest.mark.parametrize("kind, options", [(MaxFusion, ()), (MeanFusion, ()), (AttentionFusion, (2,))])
def test_sentence_without_any_image_stays_as_it_is_and_harms_no_gradient(kind, options):
    fusion, (text, images, missing) = kind(D, C, *options).train(), inputs()
    output, gate = fusion(text, images, missing)
    assert torch.equal(output[2], text[2]) and not gate[2].any()
    assert not torch.allclose(output[:2], text[:2])
    fusion(text[2:], images[2:], missing[2:])[0].sum().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None and not parameter.grad.isnan().any(), name
