"""Values that a model logs: means over batches, through a wrapper, and nothing for models that log none."""

import torch
from fairseq.logging import metrics
from torch import nn

from ikd_fairseq.constants import LOGGED
from ikd_fairseq.tasks.logged_values import log_values, logged_values_of


class Logging(nn.Module):
    """Returns what it is given as its second output."""

    def forward(self, extra):
        return torch.zeros(1), extra


class Wrapper(nn.Module):
    """As fairseq wraps a model for several workers."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return self.module(*inputs)


def outputs_of(model, *extras):
    outputs = []
    for extra in extras:
        with logged_values_of(model) as values:
            model(extra)
        outputs.append({"ntokens": 3, **values})
    return outputs


def logged(outputs):
    with metrics.aggregate(new_root=True) as log:
        log_values(outputs)
    return log.get_smoothed_values()


def test_what_is_logged_is_the_mean_over_everything_counted():
    batches = [
        {LOGGED: {"gate": (torch.tensor(3.0), 4), "other": (1.0, torch.tensor(2))}},
        {LOGGED: {"gate": (torch.tensor(5.0), 12), "other": (2.0, torch.tensor(2))}},
    ]
    for model in (Logging(), Wrapper(Logging())):
        assert logged(outputs_of(model, *batches)) == {"gate": 0.5, "other": 0.75}


def test_updates_are_weighted_by_what_they_counted():
    model = Logging()
    with metrics.aggregate(new_root=True) as log:
        log_values(outputs_of(model, {LOGGED: {"gate": (1.0, 1)}}))
        log_values(outputs_of(model, {LOGGED: {"gate": (0.0, 3)}}))
    assert log.get_smoothed_values() == {"gate": 0.25}


def test_nothing_counted_is_nothing_logged():
    assert logged(outputs_of(Logging(), {LOGGED: {"gate": (0.0, 0)}})) == {}
    assert logged(outputs_of(Logging(), {}, None)) == {}


def test_forward_passes_outside_the_context_are_not_kept():
    model = Logging()
    with logged_values_of(model) as values:
        pass
    model({LOGGED: {"gate": (1.0, 1)}})
    assert values == {} and not model._forward_hooks
