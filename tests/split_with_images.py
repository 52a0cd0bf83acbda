"""A split of five sentences, four of which have one of three images, and what stands beside it."""

import numpy as np

from ikd_fairseq.data.image_pack import ImagePackWriter
from ikd_fairseq.io.manifests import text_fingerprint

INDEX = np.array([2, -1, 0, 1, 2], dtype=np.int32)


def random_images(size: int) -> np.ndarray:
    """Three images: uint8 ``3 x size x size x 3``."""
    return np.random.default_rng(1).integers(0, 256, (3, size, size, 3), dtype=np.uint8)


def write_images(data: str, images: np.ndarray, index: np.ndarray = INDEX) -> None:
    """Packs *images* beside the text of ``train`` in *data*."""
    with ImagePackWriter(f"{data}/train", images.shape[1], index, len(images), "d") as writer:
        for row, image in enumerate(images):
            writer.write(row, image)
        writer.commit({"text": text_fingerprint(data, "train")})


def save(data: str, array: np.ndarray) -> str:
    """Saves an array as somebody might publish it; returns its path."""
    path = f"{data}/published.npy"
    np.save(path, array)
    return path
