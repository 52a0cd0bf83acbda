"""A teacher's maps of the real images, read from a feature pack instead of made at every step."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import check
from ..by_sentence import BySentence
from ..feature_pack import FeaturePack
from ..image_pack import ImagePack
from .split_images import Demands, Part, open_split_images


def open_teacher_maps(parts: Sequence[Part], name: str, facts: Mapping[str, Any]) -> BySentence | None:
    """The features *name* of the *parts* of a split, one entry a sentence, held against the teacher.

    Args:
        facts: what the features' manifests must say, as it is of the teacher.

    Raises:
        IkdError: a part has images and no such features, or they are of another CNN.
    """
    for part in parts:
        if not ImagePack.exists(part.prefix):
            continue
        again = f"run ikd-extract-features --data {part.folder} --split {part.name} --name {name}"
        there = FeaturePack.exists(part.prefix, name)
        check(there, f"--teacher-features {name}: {part.prefix} has no such features: {again}")
        found = FeaturePack.read_manifest(part.prefix, name)
        for fact, wanted in facts.items():
            check(
                found.get(fact) == wanted,
                f"--teacher-features {name}: the features of {part.prefix} were made with {fact} "
                f"{found.get(fact)}, but the teacher has {wanted or 'none'}: {again}, with its options",
            )
    return open_split_images(parts, Demands(name, (), None, False))
