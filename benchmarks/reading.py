"""Jobs of workers: packs read and written, and the least that a machine can do for the same result."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from data import IMAGE_SIZE, write_image_list, write_photos, write_split
from PIL import Image

from ikd_fairseq.data.feature_pack import FeaturePack
from ikd_fairseq.data.image_pack import ImagePack
from ikd_fairseq.data.image_packing import pack_images


class PackReading:
    """Makes a batch of a pack's entries, of random sentences, as the data set does; or copies memory.

    Args:
        features: name of the features to read; the images if None.
    """

    def __init__(self, prefix: str, features: str | None = None):
        self.pack = FeaturePack.open(prefix, features) if features else ImagePack.open(prefix)
        self.generator = np.random.default_rng(1)
        self.sentences = self.pack.with_entry
        rows = self.pack.features if features else self.pack.images
        self.rows = np.array(rows)  # and the file is in memory too from now on

    def __call__(self, mode: str, entries: int, times: int) -> dict[str, Any]:
        """Reads *entries* rows *times* times (``pack``), or copies as many bytes in one piece (``copy``)."""
        size = entries * self.rows[0].nbytes
        for _ in range(times):
            if mode == "pack":
                self.pack.take(self.generator.choice(self.sentences, entries))
            else:
                first = self.generator.integers(len(self.rows) - entries)
                self.rows[first : first + entries].copy()
        return {"bytes": times * size}


class Packing:
    """Packs photographs beside a text of as many sentences, or only decodes the files."""

    def __init__(self, folder: str, photos: int):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.names = write_photos(self.folder / "photos", photos)
        self.list = write_image_list(self.folder / "list", self.names, photos)
        write_split(self.folder, "train", photos, 1)
        self.numbers = itertools.count()

    def __call__(self, mode: str) -> None:
        """``pack`` into a new file, or ``decode``."""
        photos = self.folder / "photos"
        if mode == "pack":
            for path in self.folder.glob("train.images.*"):
                path.unlink()
            pack_images(str(self.folder), "train", str(self.list), str(photos), IMAGE_SIZE, workers=1)
            return
        for name in self.names:
            with Image.open(photos / name) as image:
                image.load()
