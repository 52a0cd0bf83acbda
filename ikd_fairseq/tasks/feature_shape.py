"""The features that a model is to learn from, and is shown again when it translates."""

import glob
import logging
import os
from typing import Any

from fairseq import utils

from ..constants import FEATURES_MANIFEST_SUFFIX
from ..contracts import contract_of_architecture
from ..data.feature_pack import FeaturePack, made_by
from ..errors import check
from .config import MultimodalTranslationConfig

logger = logging.getLogger(__name__)


def fit_to_features(model: Any, task: MultimodalTranslationConfig) -> None:
    """Writes the shape of the task's features into a model's options, which its checkpoints will hold.

    Args:
        model: the options of the model; left alone if it looks at no features, or the task names none.
        task: those of the task.

    Raises:
        IkdError: there are no such features of the training split, those of another split were made by
            something else, or the model's options name a shape.
    """
    if getattr(model, "feature_channels", None) is None:
        return
    check(
        not (model.feature_channels or model.feature_regions),
        "--feature-channels and --feature-regions are those of the features that --image-features names: "
        "leave them out",
    )
    name = task.image_features
    if name is None or task.image_free:
        return
    prefixes = [os.path.join(path, task.train_subset) for path in utils.split_paths(task.data)]
    found = [prefix for prefix in prefixes if FeaturePack.exists(prefix, name)]
    check(
        bool(found),
        f"--image-features {name}: there are none of {prefixes[0]}: run ikd-extract-features first",
    )
    pack = FeaturePack.open(found[0], name)
    ending, ours = FEATURES_MANIFEST_SUFFIX.format(name=name), made_by(pack.manifest)
    for path in utils.split_paths(task.data):
        for file in sorted(glob.glob(f"{glob.escape(path)}/*{ending}")):
            prefix = file.removesuffix(ending)
            theirs = made_by(FeaturePack.read_manifest(prefix, name))
            misfit = f"those of {found[0]} are by {ours}, and those of {prefix} by {theirs}"
            check(ours == theirs, f"--image-features {name}: {misfit}: make all by one")
    model.feature_channels, model.feature_regions = pack.channels, pack.regions


class TrainedOn:
    """Shows image-must checkpoints the features that they were trained on, where no option names features.

    Without, a CNN of the same width would be run over the images in their place.

    Args:
        task: the options of the task that loads the checkpoints.

    Attributes:
        found: of the checkpoint that is being loaded: its file, and the features that it was trained on.
    """

    def __init__(self, task: MultimodalTranslationConfig):
        self.task = task
        self.found: tuple[str, str | None] = ("", None)
        self._named = bool(task.image_features or task.image_free)
        self._first: str | None = None  # the first image-must checkpoint

    def apply(self, model: Any) -> None:
        """To be called before the checkpoint's model is built; *model* is its options.

        Raises:
            IkdError: it was trained on other features than one that was loaded before.
        """
        architecture = contract_of_architecture(getattr(model, "_name", None))
        if self._named or architecture is None or not architecture.requires_images:
            return
        checkpoint, features = self.found
        if self._first is None:
            self._first, self.task.image_features = checkpoint, features
            if features:
                logger.info("%s was trained with --image-features %s, as if given", checkpoint, features)
        others = f"{self._first} looks at {self.task.image_features or 'images'}"
        misfit = f"{others}, {checkpoint} at {features or 'images'}: use them one by one"
        check(features == self.task.image_features, misfit)


def look_with(teachers: MultimodalTranslationConfig, task: MultimodalTranslationConfig, learns: bool) -> None:
    """Has the batches of a task hold the features that its teachers look at.

    Args:
        teachers: options of the task that loaded the teachers, after :meth:`TrainedOn.apply`.
        task: those of the task that loads the batches.
        learns: whether a student is trained by them, whose own they are then.

    Raises:
        IkdError: the student's are others.
    """
    name = teachers.image_features
    other = f"the teachers look at the features {name}: name them by --image-features"
    check(not learns or name == task.image_features, other)
    task.image_features = name
