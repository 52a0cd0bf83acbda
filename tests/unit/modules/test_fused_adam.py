"""The fused Adam against fairseq's own, step by step."""

import copy
from types import SimpleNamespace

import pytest
import torch
from fairseq.optim.adam import Adam, FairseqAdam

from ikd_fairseq.modules.fused_adam import FusedAdam
from tests.closeness import assert_close_to_scale

CONFIG = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-3, "weight_decay": 0.05}  # an epsilon that is felt


def weights():
    torch.manual_seed(2)
    return [torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.randn(5))]


def train(optimizer, parameters, steps, lr=None):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters:
            parameter.grad = 0.01 * torch.randn(parameter.shape, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = lr or 0.01 / (1 + step)  # a schedule
        optimizer.step()


def assert_the_same(found, wanted):
    for one, other in zip(found, wanted):
        assert_close_to_scale(one.data, other.data, 1e-6)


def test_steps_are_fairseqs():
    ours, theirs = weights(), weights()
    fused, plain = FusedAdam(ours, **CONFIG), Adam(theirs, **CONFIG)
    for step in range(6):
        train(fused, ours, [step])
        train(plain, theirs, [step])
        assert_the_same(ours, theirs)
    assert fused.param_groups[0]["eps"] == CONFIG["eps"]


@pytest.mark.parametrize("before, after", [(Adam, FusedAdam), (FusedAdam, Adam), (FusedAdam, FusedAdam)])
def test_either_goes_on_from_the_others_state(before, after):
    ours, theirs = weights(), weights()
    first, plain = before(ours, **CONFIG), Adam(theirs, **CONFIG)
    train(first, ours, range(3))
    second = after(ours, **CONFIG)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(second, ours, range(3, 6))
    train(plain, theirs, range(6))
    assert_the_same(ours, theirs)


def of_fairseq(parameters, **options):
    options = {"use_old_adam": False, "fp16_adam_stats": False, "tpu": False, **options}
    cfg = SimpleNamespace(lr=[0.01], adam_betas="(0.9, 0.98)", adam_eps=1e-8, weight_decay=0.0, **options)
    return FairseqAdam(cfg, iter(parameters))


def test_fairseqs_option_takes_it_where_it_can():
    optimizer = of_fairseq(weights())
    assert type(optimizer.optimizer) is FusedAdam and optimizer.supports_flat_params
    assert optimizer.get_lr() == 0.01 and len(optimizer.param_groups[0]["params"]) == 2
    assert type(of_fairseq(weights(), use_old_adam=True).optimizer) is Adam
    half = [torch.nn.Parameter(torch.zeros(2, dtype=torch.float16))]
    assert type(of_fairseq(half).optimizer) is Adam  # its moments are float32, which the kernel has not
