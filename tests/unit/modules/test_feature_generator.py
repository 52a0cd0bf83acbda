"""The generator of multimodal features."""

import pytest
import torch

from ikd_fairseq.modules.feature_generator import (
    UNPOOLS,
    ConvUnpool,
    FeatureGenerator,
    FrozenGenerator,
    masked_mean,
)
from tests.closeness import assert_close_to_scale


def test_masked_mean_is_the_mean_of_the_tokens_alone():
    text = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [50.0, 50.0]], [[2.0, 0.0], [4.0, 3.0], [6.0, 0.0]]])
    mask = torch.tensor([[False, False, True], [False, False, False]])
    assert_close_to_scale(masked_mean(text, mask), torch.tensor([[2.0, 4.0], [4.0, 1.0]]))


def test_masked_mean_on_the_other_side_is_the_same():
    text = torch.randn(1, 4, 3)
    left = masked_mean(torch.cat([torch.ones(1, 2, 3), text], 1), torch.tensor([[True] * 2 + [False] * 4]))
    right = masked_mean(torch.cat([text, torch.ones(1, 2, 3)], 1), torch.tensor([[False] * 4 + [True] * 2]))
    assert_close_to_scale(left, right)


@pytest.mark.parametrize("unpool", list(UNPOOLS))
def test_every_unpool_gives_regions_of_the_backbone(unpool):
    generator = FeatureGenerator(8, 6, 9, unpool)
    m = generator(torch.randn(5, 3, 8), torch.zeros(5, 3, dtype=torch.bool))
    assert m.shape == (5, 9, 6)
    assert (m >= 0).all() and (m > 0).any()


def test_a_signed_generator_leaves_out_the_relu_alone():
    torch.manual_seed(1)
    plain, signed = FeatureGenerator(8, 6, 9, "conv"), FeatureGenerator(8, 6, 9, "conv", signed=True)
    signed.load_state_dict(plain.state_dict())
    text, mask = torch.randn(5, 3, 8), torch.zeros(5, 3, dtype=torch.bool)
    m = signed(text, mask)
    assert (m < 0).any()
    assert torch.equal(m.clamp(min=0), plain(text, mask))


def test_conv_unpool_is_a_transposed_convolution():
    unpool = ConvUnpool(channels=3, regions=4)
    convolution = torch.nn.ConvTranspose2d(3, 3, kernel_size=2, bias=False)
    with torch.no_grad():  # in, out, row, column <- position, out, in
        convolution.weight.copy_(unpool.linear.weight.view(2, 2, 3, 3).permute(3, 2, 0, 1))
    vector = torch.randn(5, 3)
    expected = convolution(vector[:, :, None, None]).flatten(2).transpose(1, 2)
    assert_close_to_scale(unpool(vector), expected)


def test_repeat_makes_all_regions_equal_and_the_learned_ones_do_not():
    vector = torch.randn(2, 6)
    spread = {name: unpool(6, 4)(vector) for name, unpool in UNPOOLS.items()}
    assert torch.equal(spread["repeat"][:, 0], spread["repeat"][:, 3])
    assert torch.equal(spread["repeat"][:, 0], vector)
    for name in ("conv", "depthwise"):
        assert not torch.allclose(spread[name][:, 0], spread[name][:, 3])


@pytest.mark.parametrize("unpool", list(UNPOOLS))
def test_every_weight_learns(unpool):
    torch.manual_seed(1)
    generator = FeatureGenerator(8, 6, 4, unpool)
    m = generator(torch.randn(5, 3, 8), torch.zeros(5, 3, dtype=torch.bool))
    (m * torch.randn_like(m)).sum().backward()
    # The projection's bias is constant over the batch where all regions are equal: batch norm takes it out.
    idle = {"projection.bias"} if unpool == "repeat" else set()
    for name, parameter in generator.named_parameters():
        moved = parameter.grad.abs().max() > 1e-5
        assert moved or name in idle, name


def call(generator, count=5):
    torch.manual_seed(4)
    return generator(torch.randn(count, 3, 8), torch.zeros(count, 3, dtype=torch.bool))


@pytest.mark.parametrize("unpool", list(UNPOOLS))
def test_norm_by_region_takes_out_what_is_the_same_for_every_sentence(unpool):
    torch.manual_seed(1)
    by_channel, by_region = (
        FeatureGenerator(8, 6, 9, unpool, signed=True, norm=norm) for norm in ("channel", "region")
    )
    for name in ("projection", "unpool"):
        getattr(by_region, name).load_state_dict(getattr(by_channel, name).state_dict())
    m = call(by_region)
    assert m.shape == (5, 9, 6)
    assert m.mean(dim=0).abs().max() < 1e-5
    text, mask = torch.randn(5, 3, 8), torch.zeros(5, 3, dtype=torch.bool)
    raw = by_region.unpool(by_region.projection(masked_mean(text, mask)))
    expected = (raw - raw.mean(dim=0)) / (raw.var(dim=0, unbiased=False) + 1e-5).sqrt()
    assert_close_to_scale(by_region(text, mask), expected)
    if unpool != "repeat":
        assert call(by_channel).mean(dim=0).abs().max() > 0.1


def test_in_eval_mode_norm_by_region_does_not_look_at_batch_mates():
    torch.manual_seed(1)
    generator = FeatureGenerator(8, 6, 9, "conv", norm="region")
    for _ in range(3):
        call(generator)
    generator.eval()
    text, mask = torch.randn(5, 3, 8), torch.zeros(5, 3, dtype=torch.bool)
    assert_close_to_scale(generator(text[2:3], mask[2:3]), generator(text, mask)[2:3])


def test_called_again_it_gives_the_same_and_counts_no_statistics_twice():
    torch.manual_seed(1)
    generator = FeatureGenerator(8, 6, 9, "conv")
    text, mask = torch.randn(5, 3, 8), torch.zeros(5, 3, dtype=torch.bool)
    m = generator(text, mask)
    mean, var = generator.batch_norm.running_mean.clone(), generator.batch_norm.running_var.clone()
    assert torch.equal(generator.again(text, mask), m)
    assert torch.equal(generator.batch_norm.running_mean, mean)
    assert torch.equal(generator.batch_norm.running_var, var)
    generator(text, mask)
    assert not torch.equal(generator.batch_norm.running_mean, mean)


def test_a_frozen_generator_never_learns_and_is_another_one_when_decoding():
    torch.manual_seed(1)
    generator = FrozenGenerator(8, 6, 9, "conv")
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    text = torch.randn(5, 3, 8, requires_grad=True)
    mask = torch.zeros(5, 3, dtype=torch.bool)
    m = generator(text, mask)
    (m * torch.randn_like(m)).sum().backward()
    assert text.grad.any()  # the graph goes through it all the same
    assert torch.equal(generator.eval()(text, mask), m)  # no call turns its batch norm
    assert not torch.allclose(generator(text[:2], mask[:2]), m[:2])
    generator.projection.register_buffer("weight_mask", torch.ones(6, 8))  # of a pruned checkpoint
    generator.make_generation_fast_()
    assert not torch.allclose(generator(text, mask), m)
