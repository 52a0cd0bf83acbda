"""Image CNNs: the table of backbones, the frozen teacher and the student that inverts it.

Imports nothing of the plugin but its errors. torchvision and timm are imported where a CNN is built, so that
translating without images needs neither.
"""

from .backbones import BACKBONES, Backbone, Block, Tap, get_backbone
from .batch_norm import SyncedBatchNorm
from .granularity import GRANULARITIES
from .student_cnn import StudentCNN, StudentOutput
from .teacher_cnn import FrozenTeacher, TeacherCNN

__all__ = [
    "BACKBONES",
    "Backbone",
    "Block",
    "FrozenTeacher",
    "GRANULARITIES",
    "StudentCNN",
    "StudentOutput",
    "SyncedBatchNorm",
    "Tap",
    "TeacherCNN",
    "get_backbone",
]
