"""The predicted image vector and its margin loss against sums written out by hand."""

import pytest
import torch

from ikd_fairseq.models.imagination_transformer import ImageVectorPredictor, margin_loss
from tests.closeness import assert_close_to_scale


def cosine(a, b):
    return float((a * b).sum() / (a.norm() * b.norm()))


def test_margin_loss_is_the_hinge_in_both_directions_averaged_over_other_images():
    torch.manual_seed(1)
    predicted, real = torch.randn(4, 3), torch.randn(4, 3)
    expected = []
    for i in range(4):
        own = cosine(predicted[i], real[i])
        others = [j for j in range(4) if j != i]
        images = [max(0.0, 0.4 - own + cosine(predicted[i], real[j])) for j in others]
        predictions = [max(0.0, 0.4 - own + cosine(predicted[j], real[i])) for j in others]
        expected.append((sum(images) + sum(predictions)) / 3)
    assert margin_loss(predicted, real, 0.4).tolist() == pytest.approx(expected, abs=1e-6)
    assert max(expected) > 0


def test_same_image_under_two_sentences_is_no_contrast_to_itself():
    real = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    predicted = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    # Right of itself: 0. The second is wrong: margin - 0 + 1 against the one other image, and the prediction
    # for that one is no nearer: margin - 0 + 0. The third's image is as near to the second's prediction as to
    # its own: margin - 1 + 1, one of its two others.
    assert margin_loss(predicted, real, 0.1).tolist() == pytest.approx([0.0, 1.2, 0.05], abs=1e-5)
    assert margin_loss(predicted[:2], real[:2], 0.1).tolist() == [0.0, 0.0]


def test_no_image_gives_no_loss_and_yet_a_gradient_of_zero():
    head = ImageVectorPredictor(4, 3)
    predicted = head(torch.randn(0, 5, 4), torch.zeros(0, 5, dtype=torch.bool))
    loss = margin_loss(predicted, torch.empty(0, 3), 0.1)
    assert loss.shape == (0,)
    loss.sum().backward()
    assert all(not parameter.grad.any() for parameter in head.parameters())


def test_prediction_is_of_the_mean_state_without_padding():
    torch.manual_seed(1)
    head, states = ImageVectorPredictor(4, 3), torch.randn(1, 5, 4)
    mask = torch.tensor([[True, False, False, False, True]])
    expected = torch.tanh(head.projection.weight @ states[0, 1:4].mean(0) + head.projection.bias)
    assert_close_to_scale(head(states, mask)[0], expected)


def test_margin_loss_is_float32_under_autocast():
    torch.manual_seed(1)
    predicted, real = torch.randn(4, 3) + 5, torch.randn(4, 3) + 5  # cosines near 1
    with torch.autocast("cpu", torch.bfloat16):
        found = margin_loss(predicted, real, 0.1)
    assert torch.equal(found, margin_loss(predicted, real, 0.1))
