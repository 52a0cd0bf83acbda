"""Translation models that teach another one: frozen, and hidden from whatever trains."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts import inputs_of


class TeacherEnsemble:
    """Holds translation models where no optimizer, checkpoint, DDP or ``train()`` finds them.

    Deliberately no ``nn.Module``: as an attribute of one it is not registered. fairseq hands a criterion's
    registered parameters to optimizer, DDP and checkpoint; teachers belong to none of them. They are in eval
    mode for good.

    Args:
        models: fairseq's encoder-decoder models over one target dictionary, with or without images.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = [model.eval().requires_grad_(False) for model in models]

    def __call__(self, net_input: dict[str, Any], like: Tensor) -> Tensor:
        """Logarithm of the mean of the models' probabilities, given the source and the reference so far.

        torch's random numbers on the CPU are where they were: fairseq's layer lists draw some even in eval
        mode, and the student's dropout must not depend on who teaches.

        Args:
            net_input: of a batch of B sentences with J target tokens, as the task collates it.
            like: a tensor of the device and type that the models are to have: a parameter of the student's.

        Returns:
            float32 ``B x J x V`` without gradient.
        """
        mean = None
        share = math.log(len(self.models))
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for model in self.models:
                first = next(model.parameters())
                if (first.device, first.dtype) != (like.device, like.dtype):
                    model.to(device=like.device, dtype=like.dtype)
                output = model(**inputs_of(net_input, model))
                log_probs = model.get_normalized_probs(output, log_probs=True).sub_(share)
                mean = log_probs if mean is None else torch.logaddexp(mean, log_probs, out=mean)
        return mean
