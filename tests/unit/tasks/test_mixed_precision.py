"""Mixed precision: what is computed in it, what is not, and where it is refused."""

import pytest
import torch
from torch import nn

from ikd_fairseq.errors import IkdError
from ikd_fairseq.tasks import mixed_precision
from ikd_fairseq.tasks.mixed_precision import check_machine, in_bf16


def test_products_are_in_bfloat16_weights_and_gradients_are_not(monkeypatch):
    monkeypatch.setattr(mixed_precision, "multiplies_in_bf16", lambda device: True)
    model = nn.Linear(3, 2)
    seen = []

    def criterion(model, sample):
        output = model(sample)
        seen.append(output.dtype)
        return output.float().sum()

    in_bf16(criterion, model)(model, torch.ones(4, 3)).backward()
    assert seen == [torch.bfloat16]
    assert model.weight.dtype == model.weight.grad.dtype == torch.float32
    criterion(model, torch.ones(4, 3))
    assert seen[-1] == torch.float32
    with pytest.raises(IkdError, match="--bf16-autocast is another kind"):
        in_bf16(criterion, model.half())


@pytest.mark.parametrize("amx", [True, False])
def test_attention_is_not_fused_where_a_processor_tiles_products(monkeypatch, amx):
    monkeypatch.setattr(mixed_precision, "multiplies_in_bf16", lambda device: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    fused = []
    in_bf16(lambda model: fused.append(torch.backends.cuda.flash_sdp_enabled()), nn.Linear(3, 2))(None)
    assert fused == [not amx]
    assert torch.backends.cuda.flash_sdp_enabled()


def test_a_machine_without_the_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(IkdError, match="--bf16-autocast: cpu and cuda of this machine cannot"):
        check_machine("cpu", "cuda")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    check_machine("cpu", "cuda")
