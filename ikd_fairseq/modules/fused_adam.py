"""fairseq's Adam by PyTorch's fused kernel: one pass over all weights instead of ten over each."""

import functools
import math

import torch
from fairseq.optim.adam import Adam, FairseqAdam


class FusedAdam(torch.optim.AdamW):
    """Takes the steps of fairseq's ``Adam``, up to rounding, and goes on from its state.

    fairseq adds epsilon to the root of the second moment before its bias is corrected, PyTorch after. Hence
    an epsilon that changes with the step, of all weights of a group that of the first which has a gradient.

    Args:
        params: float32 parameters, or groups of them, on a device that has the kernel.
        config: ``lr``, ``betas``, ``eps`` and ``weight_decay``.
    """

    supports_flat_params = True  # fairseq asks

    def __init__(self, params, **config):
        super().__init__(params, **config, fused=True)

    def load_state_dict(self, state_dict) -> None:
        """Of fairseq's Adam too, which knows no ``fused``."""
        groups = [{**group, "fused": True} for group in state_dict["param_groups"]]
        super().load_state_dict({**state_dict, "param_groups": groups})

    def step(self, closure=None):
        """One update of all parameters that have a gradient."""
        epsilons = [group["eps"] for group in self.param_groups]
        for group in self.param_groups:
            first = next((weight for weight in group["params"] if weight.grad is not None), None)
            step = 1 + int(self.state[first]["step"]) if first in self.state else 1
            group["eps"] /= math.sqrt(1 - group["betas"][1] ** step)
        try:
            return super().step(closure)
        finally:
            for group, epsilon in zip(self.param_groups, epsilons):
                group["eps"] = epsilon


def fits(groups: list[dict]) -> bool:
    """Whether the fused kernel takes all weights of *groups* as fairseq's Adam does."""
    weights = [weight for group in groups for weight in group["params"]]
    return all(weight.dtype == torch.float32 and weight.device.type in ("cpu", "cuda") for weight in weights)


@functools.cache
def use_fused_adam() -> None:
    """Makes ``--optimizer adam`` take it where it can, unless ``--use-old-adam`` asks for fairseq's own.

    fairseq itself looks for a fused one in NVIDIA's apex alone, which still comes first.
    """
    build = FairseqAdam.__init__

    @functools.wraps(build)
    def build_fused(optimizer, cfg, params):
        build(optimizer, cfg, params)
        groups = optimizer._optimizer.param_groups
        if type(optimizer._optimizer) is Adam and not getattr(cfg, "use_old_adam", False) and fits(groups):
            optimizer._optimizer = FusedAdam(groups, **optimizer.optimizer_config)

    FairseqAdam.__init__ = build_fused
