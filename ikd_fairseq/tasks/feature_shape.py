"""The features that a model is to learn from, and is shown again when it translates."""

import glob
import logging
import os
from typing import Any

from fairseq import utils

from ..constants import FEATURES_MANIFEST_SUFFIX
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


def follow_checkpoint(task: MultimodalTranslationConfig, trained_on: str | None, checkpoint: str) -> None:
    """Names the features that *checkpoint* was trained on, *trained_on*, where the task's options name none.

    Without, a CNN of the same width would be run over the images in their place.
    """
    if trained_on and not (task.image_features or task.image_free):
        task.image_features = trained_on
        logger.info("%s was trained with --image-features %s, which apply here too", checkpoint, trained_on)


def check_teachers(task: MultimodalTranslationConfig, teachers: MultimodalTranslationConfig) -> None:
    """Refuses teachers of other features than those that their student's batches hold.

    Args:
        task: options of the task that loads the batches.
        teachers: those of the task that loaded the teachers, after :func:`follow_checkpoint`.

    Raises:
        IkdError: there are such.
    """
    name = teachers.image_features
    check(name == task.image_features, f"the teachers look at features: name them by --image-features {name}")
