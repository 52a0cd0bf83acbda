"""Mixed precision in bfloat16 by PyTorch's autocast, on a GPU or on a processor that multiplies in it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import check

OPTION = "--bf16-autocast"


def multiplies_in_bf16(device_type: str) -> bool:
    """Whether this machine's ``cuda`` or ``cpu`` has instructions for it; emulated, it would be slow."""
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return any(getattr(torch.cpu, f"_is_{what}_supported", bool)() for what in ("avx512_bf16", "amx_tile"))


def check_machine(*device_types: str) -> None:
    """Refuses the option where none of *device_types* can make use of it. Raises :class:`IkdError`."""
    check(
        any(map(multiplies_in_bf16, device_types)),
        f"{OPTION}: {' and '.join(device_types)} of this machine cannot multiply in bfloat16 (a processor "
        "needs AVX512-BF16 or AMX, a GPU Ampere or later): drop the option",
    )


def attention_kernel(device_type: str) -> AbstractContextManager[None]:
    """The attention kernels to choose among under autocast: on a processor with AMX not the fused one.

    PyTorch 2.14 tiles the product of each head for AMX by itself, which for sentences of some twenty words
    takes five times as long as plain batched products.
    """
    if device_type == "cpu" and torch.cpu._is_amx_tile_supported():
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def in_bf16(criterion: Callable[..., Any], model: nn.Module) -> Callable[..., Any]:
    """*criterion* with its forward pass, and the model's, under autocast. Weights and gradients stay float32.

    Raises:
        IkdError: the model is in half precision already, or lies where bfloat16 does not pay.
    """
    weight = next(model.parameters())
    check(weight.dtype == torch.float32, f"{OPTION} is another kind of --fp16 and --bf16: give one of them")
    check_machine(weight.device.type)

    def call(*args, **kwargs):
        device_type = weight.device.type
        with torch.autocast(device_type, torch.bfloat16), attention_kernel(device_type):
            return criterion(*args, **kwargs)

    return call
