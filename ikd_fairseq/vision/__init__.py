"""Image CNNs: the table of backbones, the frozen CNN and its inverse.

torchvision and timm are imported where a CNN is built, so that translating without images needs neither.
"""

from .backbones import BACKBONES, Backbone, Block, Tap, get_backbone
from .batch_norm import SyncedBatchNorm
from .frozen_cnn import FrozenCNN, UnregisteredCNN
from .granularity import GRANULARITIES
from .inverse_cnn import InverseCNN, InverseOutput

__all__ = [
    "BACKBONES",
    "Backbone",
    "Block",
    "UnregisteredCNN",
    "GRANULARITIES",
    "InverseCNN",
    "InverseOutput",
    "SyncedBatchNorm",
    "Tap",
    "FrozenCNN",
    "get_backbone",
]
