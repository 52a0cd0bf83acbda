"""Synthetic data of Multi30K's shape: nothing to download, the same on every machine."""

import functools
import struct
from pathlib import Path

import numpy as np
from PIL import Image

PAIR = ("en", "de")
TYPES = 9_700  # joint BPE of Multi30K en-de
SPECIAL = 4  # fairseq's own symbols come first in a dictionary
EOS = 2
FEATURES = "efficientnet_lite0"
IMAGE_SIZE = 112
PHOTO_SIZE = (500, 375)  # Flickr30K's photographs


@functools.cache
def cumulative_frequencies() -> np.ndarray:
    """Of the types, by rank, as Zipf has it."""
    weights = 1 / np.arange(1, TYPES + 1)
    return np.cumsum(weights / weights.sum())


def write_binarised(prefix: Path, lengths: np.ndarray, generator: np.random.Generator) -> None:
    """Writes ``prefix.bin`` and ``prefix.idx`` as ``fairseq-preprocess`` does (mmap), of random sentences.

    Args:
        lengths: tokens of each sentence, without its end.
    """
    sizes = (lengths + 1).astype(np.int32)
    ends = np.cumsum(sizes, dtype=np.int64)
    tokens = np.empty(ends[-1], dtype=np.uint16)
    for start in range(0, len(tokens), 1_000_000):
        drawn = generator.random(min(1_000_000, len(tokens) - start))
        tokens[start : start + len(drawn)] = SPECIAL + np.searchsorted(cumulative_frequencies(), drawn)
    tokens[ends - 1] = EOS
    tokens.tofile(f"{prefix}.bin")
    with open(f"{prefix}.idx", "wb") as stream:
        stream.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQ", 1, 8, len(sizes)))  # version 1, uint16
        stream.write(sizes.tobytes())
        stream.write(((ends - sizes) * tokens.itemsize).tobytes())


def write_split(folder: Path, split: str, pairs: int, seed: int) -> None:
    """Pairs as long as Multi30K's captions in BPE: 14 tokens in the mean, targets about as long."""
    generator = np.random.default_rng(seed)
    source = np.clip(np.rint(generator.lognormal(np.log(13.3), 0.32, pairs)), 4, 45).astype(np.int64)
    target = np.clip(source + np.rint(generator.normal(0.3, 2.2, pairs)).astype(np.int64), 3, 48)
    for language, lengths in zip(PAIR, (source, target)):
        write_binarised(folder / f"{split}.{PAIR[0]}-{PAIR[1]}.{language}", lengths, generator)


def write_text(folder: Path, pairs: int) -> Path:
    """A data folder of *pairs* to train on, and a thousand each to validate and test on. Returns it."""
    folder.mkdir(parents=True)
    for language in PAIR:
        lines = (f"w{rank} {1 + 4_000_000 // (rank + 1)}\n" for rank in range(TYPES))
        (folder / f"dict.{language}.txt").write_text("".join(lines))
    for seed, (split, count) in enumerate({"train": pairs, "valid": 1_014, "test": 1_000}.items(), 1):
        write_split(folder, split, count, seed)
    return folder


def write_photos(folder: Path, count: int) -> list[str]:
    """JPEG files of the size and detail of photographs. Returns their names."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(7)
    names = [f"{number}.jpg" for number in range(count)]
    for name in names:
        coarse = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(PHOTO_SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(smooth + generator.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / name, quality=90)
    return names


def write_image_list(path: Path, names: list[str], sentences: int) -> Path:
    """An image for every sentence, each of *names* for several of them. Returns *path*."""
    path.write_text("".join(f"{names[sentence % len(names)]}\n" for sentence in range(sentences)))
    return path


def write_multimodal(folder: Path, pairs: int = 29_000, photos: int = 800) -> Path:
    """:func:`write_text` with an image pack for the training sentences. Returns the folder."""
    from ikd_fairseq.data.image_packing import pack_images

    write_text(folder, pairs)
    names = write_photos(folder / "photos", photos)
    image_list = write_image_list(folder / "train.list", names, pairs)
    pack_images(str(folder), "train", str(image_list), str(folder / "photos"), IMAGE_SIZE)
    return folder


def write_packs(folder: Path) -> Path:
    """A small :func:`write_multimodal` with features ``FEATURES`` of its images. Returns the folder."""
    from ikd_fairseq.data.feature_extraction import extract_features

    write_multimodal(folder, pairs=4_000)
    extract_features(str(folder), "train", FEATURES)
    return folder
