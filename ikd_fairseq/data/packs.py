"""What image packs, feature packs and teacher caches share: arrays beside the text, and a manifest."""

import os
from typing import Any, ClassVar

import numpy as np

from ..errors import check
from ..io.manifests import check_text_fingerprint, read_manifest, settle_commit
from .by_sentence import BySentence, Rows
from .image_variety import Variety, variety_of


class Pack:
    """Files ``DATA/SPLIT`` + suffix, of which the last is the manifest. Cheap to open and to pickle.

    Attributes:
        prefix: ``DATA/SPLIT``.
        name: the pack's own in its files' names, if packs of its kind have one.
        manifest: what its JSON file says.
    """

    incomplete: ClassVar[str]  # how a message begins that goes on with the missing files
    remedy: ClassVar[str]
    text_remedy: ClassVar[str]  # against text that the pack was not made for
    suffixes: ClassVar[tuple[str, ...]]
    keys: ClassVar[dict[str, type]]  # entries that the manifest must have

    def __init__(self, prefix: str, name: str, manifest: dict[str, Any]):
        self.prefix, self.name, self.manifest = prefix, name, manifest

    @classmethod
    def paths(cls, prefix: str, name: str = "") -> tuple[str, ...]:
        """The paths of all files, in the order of :attr:`suffixes`."""
        return tuple(prefix + suffix.format(name=name) for suffix in cls.suffixes)

    @classmethod
    def exists(cls, prefix: str, name: str = "") -> bool:
        """Whether any file of the pack is there: it is for ``open`` to refuse an incomplete one."""
        cls._settle(prefix, name)
        return any(map(os.path.exists, cls.paths(prefix, name)))

    @classmethod
    def read_manifest(cls, prefix: str, name: str = "") -> dict[str, Any]:
        """What the manifest says, whether or not the other files are there. Raises :class:`IkdError`."""
        return read_manifest(cls.paths(prefix, name)[-1], cls.keys, cls.remedy)

    @classmethod
    def check_complete(cls, prefix: str, name: str = "") -> None:
        """Refuses a pack that lacks a file. Raises :class:`IkdError`."""
        cls._settle(prefix, name)
        missing = [path for path in cls.paths(prefix, name) if not os.path.exists(path)]
        start = cls.incomplete.format(prefix=prefix, name=name)
        check(not missing, f"{start} {' and '.join(missing)}: {cls.remedy}")

    @classmethod
    def _settle(cls, prefix: str, name: str) -> None:
        *arrays, manifest_path = cls.paths(prefix, name)
        settle_commit(manifest_path, arrays)

    @property
    def manifest_path(self) -> str:
        return self.paths(self.prefix, self.name)[-1]

    @property
    def nbytes(self) -> int:
        """Size of all files on disk, in bytes."""
        return sum(map(os.path.getsize, self.paths(self.prefix, self.name)))

    def check_text(self, data_dir: str, split: str) -> None:
        """Refuses the pack beside text that it was not made for. Raises :class:`IkdError`."""
        check_text_fingerprint(self.manifest["text"], self.manifest_path, data_dir, split, self.text_remedy)


class IndexedPack(BySentence, Pack):
    """A pack with one row a distinct image, or a sentence."""

    def __init__(self, prefix: str, name: str, manifest: dict[str, Any], index: np.ndarray, rows: Rows):
        Pack.__init__(self, prefix, name, manifest)
        BySentence.__init__(self, index, rows)

    @property
    def rows(self) -> np.ndarray:
        """All rows, memory-mapped and read-only."""
        return self.arrays[0][:]

    @property
    def variety(self) -> Variety:
        """Of the images or features, from a look at some of them."""
        return variety_of(self.index, self.rows)
