"""Image CNNs: the table of backbones, the frozen teacher and the student that inverts it.

Imports nothing of the plugin but errors and constants. torchvision and timm are imported where a CNN is built,
so that translating without images needs neither.
"""

from ikd_fairseq.vision.backbones import BACKBONES, Backbone, Tap, get_backbone
from ikd_fairseq.vision.batch_norm import SyncedBatchNorm
from ikd_fairseq.vision.student_cnn import StudentCNN, StudentOutput
from ikd_fairseq.vision.teacher_cnn import FrozenTeacher, TeacherCNN

__all__ = [
    "BACKBONES",
    "Backbone",
    "FrozenTeacher",
    "StudentCNN",
    "StudentOutput",
    "SyncedBatchNorm",
    "Tap",
    "TeacherCNN",
    "get_backbone",
]
