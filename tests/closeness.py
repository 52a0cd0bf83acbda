"""Comparison of what was summed in floating point: against the largest value, not element by element.

Sums round differently from one processor to the next, by a share of their terms and not of their result: an
element near zero among large ones differs by many times itself. ``torch.equal`` is for two runs of one
computation on one machine.
"""

import torch
from torch import Tensor


def assert_close_to_scale(
    actual: Tensor, expected: Tensor, tolerance: float = 1e-5, what: str = "", scale: float | None = None
) -> None:
    """Asserts that no element differs by more than *tolerance* times the largest of *expected*, signs aside.

    Args:
        actual, expected: tensors of one shape and type.
        tolerance: share of the scale; the default suits sums of float32.
        what: name of the tensor for the message.
        scale: instead of the largest value of *expected*, which rounding alone may have made.
    """
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype} instead of {expected.dtype}"
    if not expected.numel():
        return
    found, wanted = actual.detach().double(), expected.detach().double()
    difference = (found - wanted).abs().nan_to_num(nan=torch.inf)
    place = tuple(int(i) for i in torch.unravel_index(difference.argmax(), expected.shape))
    scale = wanted.abs().max().item() if scale is None else scale
    assert difference[place] <= tolerance * scale, (
        f"{what or 'tensor'}{list(place)} is {found[place]:.9g} instead of {wanted[place]:.9g}: "
        f"the difference {difference[place]:.2g} exceeds {tolerance:g} of the scale {scale:.3g}"
    )
