"""Distances of maps against loops over their entries."""

import math

import pytest
import torch

from ikd_fairseq.modules.feature_distance import DISTANCES, distance
from tests.closeness import assert_close_to_scale


def by_hand(name, a, b):
    """One image: lists of C x H x W values."""
    channels, height, width = a.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    pairs = [(float(a[c, y, x]), float(b[c, y, x])) for c in range(channels) for y, x in places]
    if name == "l2":
        return math.sqrt(sum((p - q) ** 2 for p, q in pairs) / len(pairs))
    if name == "l1":
        return sum(abs(p - q) for p, q in pairs) / len(pairs)
    if name == "linf":
        return max(abs(p - q) for p, q in pairs)
    if name == "cosine":
        norms = math.sqrt(sum(p * p for p, _ in pairs)) * math.sqrt(sum(q * q for _, q in pairs))
        return 1 - sum(p * q for p, q in pairs) / norms
    total = 0.0
    for y, x in places:
        sums = [sum(math.exp(float(m[c, y, x])) for c in range(channels)) for m in (a, b)]
        for c in range(channels):
            p, q = (math.exp(float(m[c, y, x])) / s for m, s in zip((a, b), sums))
            total += p * math.log(p / q)
    return total / len(places)


@pytest.mark.parametrize("name", list(DISTANCES))
def test_one_value_an_image_as_by_hand(name):
    torch.manual_seed(1)
    a, b = torch.randn(3, 4, 2, 5), torch.randn(3, 4, 2, 5)
    expected = torch.tensor([by_hand(name, x, y) for x, y in zip(a, b)])
    assert_close_to_scale(distance(name, a, b), expected)


@pytest.mark.parametrize("name", list(DISTANCES))
def test_equal_maps_are_at_distance_zero_with_finite_gradient(name):
    a = torch.randn(2, 3, 4, 4)
    b = a.clone().requires_grad_()
    value = distance(name, a, b)
    value.sum().backward()
    torch.testing.assert_close(value, torch.zeros(2), rtol=0, atol=2e-6)
    assert torch.isfinite(b.grad).all()


@pytest.mark.parametrize("name", list(DISTANCES))
def test_no_image_gives_zero_and_not_missing_gradients(name):
    b = torch.randn(0, 3, 4, 4, requires_grad=True)
    value = distance(name, torch.zeros(0, 3, 4, 4), b)
    assert value.shape == (0,)
    value.sum().backward()
    assert b.grad is not None


def test_half_precision_is_measured_in_float32():
    a, b = torch.full((1, 1, 300, 300), 300.0), torch.zeros(1, 1, 300, 300)
    assert distance("l2", a.half(), b.half()).item() == pytest.approx(300.0, rel=1e-5)
