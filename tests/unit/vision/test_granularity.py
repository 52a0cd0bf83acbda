"""Maps are collected where they are read, once each, in order, and only while asked for."""

import torch
from torch import nn

from ikd_fairseq.vision.granularity import maps_read_by


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 2, 1)
        self.second = nn.Conv2d(2, 2, 1)
        self.shortcut = nn.Conv2d(2, 2, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        self.inside = self.first(x).relu()
        self.sum = self.second(self.inside) + self.shortcut(x)
        return self.pool(self.sum)


def test_a_map_read_twice_is_collected_once_and_without_a_copy():
    network, x = Residual(), torch.randn(1, 2, 4, 4)
    with maps_read_by((nn.Conv2d, nn.MaxPool2d), network) as maps:
        network(x)
    assert len(maps) == 3
    assert all(ours is theirs for ours, theirs in zip(maps, (x, network.inside, network.sum)))


def test_only_the_kinds_asked_for_are_watched_and_only_within_the_block():
    network, x = Residual(), torch.randn(1, 2, 4, 4)
    with maps_read_by((nn.MaxPool2d,), network) as maps:
        network(x)
    network(x)
    assert len(maps) == 1
    assert not any(module._forward_pre_hooks for module in network.modules())
