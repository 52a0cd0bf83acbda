"""Feature packs: a frozen CNN's last convolutional maps, or features that others published, beside the text.

A pack is two files, ``DATA/SPLIT`` plus ``.features.NAME.npy`` (float16, ``rows x P x C``: P regions row by
row, C channels) and ``.features.NAME.json``, the manifest. Its rows follow either the image pack
(``"rows": "images"``, by ``SPLIT.images.index.npy``) or the sentences (``"rows": "sentences"``).
"""

import hashlib
import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..constants import FEATURES_MANIFEST_SUFFIX, FEATURES_SUFFIX, INDEX_SUFFIX, MANIFEST_SUFFIX, NO_IMAGE
from ..errors import check
from ..io.arrays import ArrayWriter, MappedArray
from ..io.manifests import (
    TextFingerprint,
    check_text_fingerprint,
    read_manifest,
    remove_manifest,
    write_manifest,
)
from .image_pack import read_image_manifest, read_index

BY_IMAGE = "images"
BY_SENTENCE = "sentences"

_LARGEST = float(np.finfo(np.float16).max)  # 65504
_NAME = re.compile(r"[A-Za-z0-9_-]+")  # it becomes part of file names
_REMEDY = "run ikd-extract-features again"
_MANIFEST_KEYS = {"rows": str, "count": int, "regions": int, "channels": int, "sha256": str}


class FeaturePack:
    """The features of one split, by sentence. Cheap to open and to pickle, as an image pack is.

    Attributes:
        prefix: ``DATA/SPLIT``.
        name: the features' name in their files' names.
        regions: P, the number of positions of a map (1 for a plain vector).
        channels: C.
        index: int32, N sentences: the row of each sentence's features, or ``NO_IMAGE``.
        manifest: what ``SPLIT.features.NAME.json`` says.
    """

    def __init__(
        self,
        prefix: str,
        name: str,
        manifest: dict[str, Any],
        index: np.ndarray,
        text: TextFingerprint,
        features: MappedArray,
    ):
        self.prefix = prefix
        self.name = name
        self.manifest = manifest
        self.index = index
        self.regions: int = manifest["regions"]
        self.channels: int = manifest["channels"]
        self._text = text
        self._features = features

    @staticmethod
    def paths(prefix: str, name: str) -> tuple[str, str]:
        """Returns the paths of array and manifest."""
        return prefix + FEATURES_SUFFIX.format(name=name), prefix + FEATURES_MANIFEST_SUFFIX.format(name=name)

    @classmethod
    def exists(cls, prefix: str, name: str) -> bool:
        """Whether any file of the pack is there: it is for :meth:`open` to refuse an incomplete one."""
        return any(os.path.exists(path) for path in cls.paths(prefix, name))

    @classmethod
    def open(cls, prefix: str, name: str) -> "FeaturePack":
        """Opens the features *name* of ``DATA/SPLIT``, without reading them.

        Raises :class:`IkdError` if a file is missing, damaged, or belongs to another image pack.
        """
        array_path, manifest_path = cls.paths(prefix, name)
        missing = [path for path in (array_path, manifest_path) if not os.path.exists(path)]
        check(not missing, f"the features {name} of {prefix} lack {' and '.join(missing)}: {_REMEDY}")
        manifest = read_manifest(manifest_path, _MANIFEST_KEYS, _REMEDY)
        count, rows = manifest["count"], manifest["rows"]
        check(rows in (BY_IMAGE, BY_SENTENCE), f"{manifest_path} has no valid entry 'rows': {_REMEDY}")
        shape = (count, manifest["regions"], manifest["channels"])
        features = MappedArray(array_path, shape, np.float16, _REMEDY)
        check(count > 0, f"{array_path} holds features of no sentence: {_REMEDY}, or remove the pack")
        if rows == BY_SENTENCE:
            check(
                isinstance(manifest.get("text"), dict),
                f"{manifest_path} has no valid entry 'text': {_REMEDY}",
            )
            return cls(prefix, name, manifest, np.arange(count, dtype=np.int32), manifest["text"], features)

        images = read_image_manifest(prefix)
        check(
            all(manifest.get(key) == images[key] for key in ("images_sha256", "index_sha256")),
            f"{array_path} was made from another image pack than {prefix + MANIFEST_SUFFIX}: {_REMEDY}",
        )
        index = read_index(
            prefix + INDEX_SUFFIX,
            images["sentences"],
            count,
            images["index_sha256"],
            "run ikd-pack-images again",
        )
        return cls(prefix, name, manifest, index, images["text"], features)

    @property
    def features(self) -> np.ndarray:
        """All rows: float16, rows x P x C, memory-mapped and read-only."""
        return self._features.array

    @property
    def coverage(self) -> int:
        """The number of sentences that have features."""
        return int((self.index != NO_IMAGE).sum())

    def __len__(self) -> int:
        """The number of sentences, with and without features."""
        return len(self.index)

    def __getitem__(self, sentence: int) -> np.ndarray | None:
        """Returns the features of a sentence, float16 P x C, or None."""
        row = self.index[sentence]
        return None if row == NO_IMAGE else np.array(self.features[row])

    def check_text(self, data_dir: str, split: str) -> None:
        """Refuses the features beside text that they were not made for. Raises :class:`IkdError`."""
        by_image = self.manifest["rows"] == BY_IMAGE
        path = self.prefix + MANIFEST_SUFFIX if by_image else self.paths(self.prefix, self.name)[1]
        remedy = "run ikd-pack-images again (it keeps the images)" if by_image else _REMEDY
        check_text_fingerprint(self._text, path, data_dir, split, remedy)


def check_name(name: str) -> None:
    """Refuses a *name* that cannot be part of a file name. Raises :class:`IkdError`."""
    check(bool(_NAME.fullmatch(name)), f"--name {name!r}: use letters, digits, - and _ only")


def to_half(block: np.ndarray, first_row: int, source: str) -> np.ndarray:
    """Returns *block*, rows x P x C of any float type, as float16.

    Raises :class:`IkdError`, naming the row of *source*, for a NaN, an infinity or a number beyond float16.

    Args:
        block: some rows.
        first_row: the row of *source* that the block begins with.
        source: what the message calls the features.
    """
    # NaN fails every comparison, so that one test finds it, the infinities and what float16 cannot hold.
    fits = (np.abs(block) <= _LARGEST).reshape(len(block), -1)
    if not fits.all():
        row, entry = (int(position[0]) for position in np.nonzero(~fits))
        check(
            False,
            f"row {first_row + row} of {source} holds {block[row].flat[entry]}: features must be finite and, "
            f"to be stored as float16, no larger than {_LARGEST:.0f}",
        )
    return block.astype(np.float16)


def write_features(
    prefix: str,
    name: str,
    shape: tuple[int, int, int],
    blocks: Iterable[np.ndarray],
    manifest: dict[str, Any],
) -> FeaturePack:
    """Writes a feature pack, replacing an earlier one of that name only when all of it is on disk.

    Args:
        prefix: ``DATA/SPLIT``.
        name: see :func:`check_name`.
        shape: rows, P, C.
        blocks: float16, some rows x P x C each, in order.
        manifest: ``rows`` (``BY_IMAGE`` with ``images_sha256`` and ``index_sha256`` of the image pack, or
            ``BY_SENTENCE`` with ``text``, see :func:`~ikd_fairseq.io.manifests.text_fingerprint`) and
            where the features come from.

    Raises :class:`IkdError` if the disk is full.
    """
    array_path, manifest_path = FeaturePack.paths(prefix, name)
    rows = 0
    with ArrayWriter(array_path, shape, np.float16) as writer:
        digest = hashlib.sha256(writer.header)
        for block in blocks:
            assert block.dtype == np.float16
            writer.write(rows, block)
            digest.update(block.tobytes())
            rows += len(block)
        assert rows == shape[0]
        remove_manifest(manifest_path)
        writer.commit()
    count, regions, channels = shape
    sizes = {"count": count, "regions": regions, "channels": channels, "dtype": "float16"}
    write_manifest(manifest_path, {**sizes, "sha256": digest.hexdigest(), **manifest})
    return FeaturePack.open(prefix, name)
