"""Where a network runs."""

import torch

from ..errors import check


def check_device(device: str) -> None:
    """Refuses ``cuda`` on a machine without a usable GPU. Raises :class:`IkdError`."""
    check(
        device != "cuda" or torch.cuda.is_available(),
        "--device cuda: this machine has no usable GPU, use cpu",
    )
