"""Feature packs: a frozen CNN's last convolutional maps, or features that others published, beside the text.

A pack is two files, ``DATA/SPLIT`` plus ``.features.NAME.npy`` (float16, ``rows x P x C``: P regions row by
row, C channels) and ``.features.NAME.json``, the manifest. Its rows follow either the image pack
(``"rows": "images"``, by ``SPLIT.images.index.npy``) or the sentences (``"rows": "sentences"``).
"""

import contextlib
import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..constants import FEATURES_MANIFEST_SUFFIX, FEATURES_SUFFIX, MANIFEST_SUFFIX
from ..errors import IkdError, check
from ..io.arrays import ArrayWriter, MappedArray
from ..io.checksums import Checksum
from ..io.locks import claimed
from ..io.manifests import check_text_fingerprint, commit, finish_commit
from .image_pack import ImagePack, read_index
from .packs import IndexedPack

BY_IMAGE = "images"
BY_SENTENCE = "sentences"

OTHERS = "others"
_LARGEST = float(np.finfo(np.float16).max)  # 65504
_NAME = re.compile(r"[A-Za-z0-9_-]+")  # it becomes part of file names


class FeaturePack(IndexedPack):
    """The features of one split, by sentence: float16 ``P x C``, mapped when first used."""

    incomplete = "the features {name} of {prefix} lack"
    remedy = text_remedy = "run ikd-extract-features again"
    suffixes = (FEATURES_SUFFIX, FEATURES_MANIFEST_SUFFIX)
    keys = {"rows": str, "count": int, "regions": int, "channels": int, "sha256": str}

    @classmethod
    def open(cls, prefix: str, name: str) -> "FeaturePack":
        """Opens the features *name* of ``DATA/SPLIT``, and holds them against their checksums.

        Raises :class:`IkdError` if a file is missing, damaged, or belongs to another image pack, or if there
        are values that are not finite.
        """
        cls.check_complete(prefix, name)
        manifest, remedy = cls.read_manifest(prefix, name), cls.remedy
        array_path, manifest_path = cls.paths(prefix, name)
        count, rows = manifest["count"], manifest["rows"]
        check(rows in (BY_IMAGE, BY_SENTENCE), f"{manifest_path} has no valid entry 'rows': {remedy}")
        shape = (count, manifest["regions"], manifest["channels"])
        checksums = manifest["sha256"], manifest.get("blocks")
        features = MappedArray(array_path, shape, np.float16, remedy, *checksums)
        finite = all(np.isfinite(block).all() for block in features.samples())
        check(finite, f"{array_path} holds features that are not finite: {remedy}")
        check(count > 0, f"{array_path} holds features of no sentence: {remedy}, or remove the pack")
        if rows == BY_SENTENCE:
            recorded = isinstance(manifest.get("text"), dict)
            check(recorded, f"{manifest_path} has no valid entry 'text': {remedy}")
            index = np.arange(count, dtype=np.int32)
        else:
            images = ImagePack.read_manifest(prefix)
            same = all(manifest.get(key) == images[key] for key in ("images_sha256", "index_sha256"))
            other = f"{array_path} was made from another image pack than {prefix + MANIFEST_SUFFIX}"
            check(same, f"{other}: {remedy}")
            index = read_index(prefix, images, count, ImagePack.remedy)
        return cls(prefix, name, manifest, index, features)

    @property
    def regions(self) -> int:
        """P, the number of positions of a map (1 for a plain vector)."""
        return self.manifest["regions"]

    @property
    def channels(self) -> int:
        """C."""
        return self.manifest["channels"]

    @property
    def features(self) -> np.ndarray:
        """All rows: float16, rows x P x C, memory-mapped and read-only."""
        return self.rows

    def check_text(self, data_dir: str, split: str) -> None:
        """Refuses the features beside text that they were not made for. Raises :class:`IkdError`."""
        if self.manifest["rows"] == BY_SENTENCE:
            super().check_text(data_dir, split)
        else:  # their images were
            manifest = ImagePack.paths(self.prefix)[-1]
            text = ImagePack.read_manifest(self.prefix)["text"]
            check_text_fingerprint(text, manifest, data_dir, split, ImagePack.text_remedy)


def made_by(manifest: dict[str, Any]) -> str:
    """Whose features they are: an encoder with its weights and stage, or of others, who published them."""
    words = [str(manifest[key]) for key in ("backbone", "weights", "stage") if manifest.get(key)]
    return " ".join(map(os.path.basename, words)) or OTHERS


def check_name(name: str) -> None:
    """Refuses a *name* that cannot be part of a file name. Raises :class:`IkdError`."""
    check(_NAME.fullmatch(name), f"--name {name!r}: use letters, digits, - and _ only")


def to_half(block: np.ndarray, first_row: int, source: str) -> np.ndarray:
    """Returns *block*, rows x P x C of any float type, as float16.

    Raises :class:`IkdError`, naming the row of *source*, for a NaN, an infinity or a number beyond float16.

    Args:
        first_row: the row of *source* that the block begins with.
    """
    # NaN fails every comparison, so that one test finds it, the infinities and what float16 cannot hold.
    misfits = np.argwhere(~(np.abs(block) <= _LARGEST).reshape(len(block), -1))
    for row, entry in misfits[:1]:
        raise IkdError(
            f"row {first_row + row} of {source} holds {block[row].flat[entry]}: features must be finite and, "
            f"to be stored as float16, no larger than {_LARGEST:.0f}"
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
        name: see :func:`check_name`.
        shape: rows, P, C.
        blocks: float16, some rows x P x C each, in order.
        manifest: ``rows`` (``BY_IMAGE`` with ``images_sha256`` and ``index_sha256`` of the image pack, or
            ``BY_SENTENCE`` with ``text``, see :func:`~ikd_fairseq.io.manifests.text_fingerprint`) and
            where the features come from.

    Raises :class:`IkdError` if the disk is full, another process writes the same, or features that others
    published would replace an encoder's, or the other way round.
    """
    array_path, manifest_path = FeaturePack.paths(prefix, name)
    new = earlier = made_by(manifest)
    with contextlib.suppress(IkdError):  # none, or damaged ones
        earlier = made_by(FeaturePack.read_manifest(prefix, name))
    check(
        (earlier == OTHERS) == (new == OTHERS),
        f"{array_path} holds features by {earlier}, and these are by {new}: give these another --name, or "
        "delete those of all splits",
    )
    rows, (count, regions, channels) = 0, shape
    with claimed(manifest_path):
        finish_commit(manifest_path, [array_path])
        with ArrayWriter(array_path, shape, np.float16) as writer:
            checksum = Checksum(writer.bytes)
            checksum.update(writer.header)
            for block in blocks:
                assert block.dtype == np.float16
                writer.write(rows, block)
                checksum.update(block.tobytes())
                rows += len(block)
            assert rows == count
            sizes = {"count": count, "regions": regions, "channels": channels, "dtype": "float16"}
            checksums = {"sha256": checksum.sha256, "blocks": checksum.blocks}
            commit(manifest_path, {**sizes, **checksums, **manifest}, [writer])
    return FeaturePack.open(prefix, name)
