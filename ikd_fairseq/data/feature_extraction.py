"""Features of a split: a frozen CNN's last convolutional maps, or arrays that others published.

With features beside the text, an image-must model trains without running its CNN, and without the images.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import IkdError, check
from ..io.manifests import text_fingerprint
from ..io.progress import progress
from ..vision.backbones import Backbone, get_backbone
from ..vision.device import check_device
from ..vision.frozen_cnn import FrozenCNN
from .feature_pack import BY_IMAGE, BY_SENTENCE, FeaturePack, check_name, to_half, write_features
from .image_pack import ImagePack

DEFAULT_BACKBONE = "resnet50"  # as the models' --backbone

_ROWS_AT_ONCE = 256  # of published features


def extract_features(
    data_dir: str,
    split: str,
    backbone: str = DEFAULT_BACKBONE,
    backbone_weights: str = "imagenet",
    name: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
) -> FeaturePack:
    """Runs a frozen CNN over the image pack of a split and writes ``SPLIT.features.NAME``.

    Args:
        data_dir: the folder with the text and the image pack.
        backbone: a key of :data:`~ikd_fairseq.vision.backbones.BACKBONES`.
        backbone_weights: ``imagenet``, ``random`` or a file.
        name: of the features; the backbone's own if None.
        batch_size: images at a time.
        device: ``cpu`` or ``cuda``.

    Raises :class:`IkdError` if there is no pack, or one for other text, and for weights that cannot be used.
    """
    name = backbone if name is None else name
    check_name(name)
    check_device(device)
    prefix = os.path.join(data_dir, split)
    check(ImagePack.exists(prefix), f"there is no image pack {prefix}.images.npy: run ikd-pack-images first")
    pack = ImagePack.open(prefix)
    pack.check_text(data_dir, split)
    cnn = get_backbone(backbone)
    shape = (len(pack.images), cnn.grid(pack.image_size) ** 2, cnn.channels)
    rows = np.arange(len(pack.images))
    # rows x C x g x g -> rows x P x C, the regions row by row
    maps = (
        to_half(last.flatten(2).transpose(1, 2).numpy(), start, f"the features of {pack.prefix}")
        for start, last in last_maps(pack, rows, cnn, backbone_weights, batch_size, device)
    )
    manifest = {"rows": BY_IMAGE, "backbone": backbone, "weights": backbone_weights}
    manifest |= {key: pack.manifest[key] for key in ("image_size", "images_sha256", "index_sha256")}
    return write_features(prefix, name, shape, maps, manifest)


def last_maps(
    pack: ImagePack, rows: np.ndarray, backbone: Backbone, weights: str, batch_size: int, device: str
) -> Iterator[tuple[int, Tensor]]:
    """Runs a frozen CNN over images of a pack, with a progress bar.

    Args:
        rows: int64, those of the pack that are wanted.
        weights: ``imagenet``, ``random`` or a file.
        batch_size: images at a time.

    Yields:
        The place in *rows* of the first of some images, and their last convolutional maps: float32
        ``some x C x g x g`` on the CPU.

    Raises:
        IkdError: weights that cannot be had or used.
    """
    cnn = FrozenCNN(backbone, weights=weights).to(device)
    with torch.inference_mode(), progress(None, total=len(rows), unit=" images") as bar:
        for start in range(0, len(rows), batch_size):
            images = torch.from_numpy(pack.images[rows[start : start + batch_size]]).to(device)
            yield start, cnn(backbone.normalise(images))[-1].float().cpu()
            bar.update(len(images))


def import_features(data_dir: str, split: str, path: str, name: str, rows: str | None = None) -> FeaturePack:
    """Brings in features that others published, as ``SPLIT.features.NAME``.

    Args:
        data_dir: the folder with the text, and with the image pack if the features come by image.
        path: ``.npy`` file of any float type: rows x C (then P = 1), rows x P x C, or rows x C x H x W (then
            P = H*W, row by row).
        rows: ``images`` or ``sentences``, what the rows stand for; None to tell by their number.

    Raises :class:`IkdError` if the file cannot be used or its rows fit neither the sentences nor the images.
    """
    check_name(name)
    text = text_fingerprint(data_dir, split)
    prefix = os.path.join(data_dir, split)
    array = _open_published(path)
    pack = ImagePack.open(prefix) if ImagePack.exists(prefix) else None
    sentences = next(iter(text.values()))["sentences"]
    rows = _tell_rows(rows, path, len(array), prefix, sentences, pack)
    manifest: dict[str, Any] = {"rows": rows, "source": path}
    if rows == BY_SENTENCE:
        manifest["text"] = text
    else:
        pack.check_text(data_dir, split)
        manifest.update({key: pack.manifest[key] for key in ("images_sha256", "index_sha256")})
    shape = (len(array), *_by_region(array[:1]).shape[1:])

    def blocks() -> Iterator[np.ndarray]:
        with progress(None, total=len(array), unit=" rows") as bar:
            for start in range(0, len(array), _ROWS_AT_ONCE):
                block = _by_region(array[start : start + _ROWS_AT_ONCE])
                yield to_half(block, start, path)
                bar.update(len(block))

    return write_features(prefix, name, shape, blocks(), manifest)


def _by_region(rows: np.ndarray) -> np.ndarray:
    """Returns rows x C, rows x P x C or rows x C x H x W as rows x P x C, the regions row by row."""
    if rows.ndim == 4:
        return rows.reshape(*rows.shape[:2], -1).transpose(0, 2, 1)
    return rows.reshape(len(rows), -1, rows.shape[-1])


def _open_published(path: str) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IkdError(f"--from-file {path} cannot be read as a .npy array ({error})") from error
    check(isinstance(array, np.ndarray), f"--from-file {path} is not a single .npy array")
    usable = array.dtype.kind == "f" and array.ndim in (2, 3, 4) and array.size > 0
    needed = "floats are needed, rows x C, rows x P x C or rows x C x H x W"
    check(usable, f"--from-file {path} holds {array.dtype} {array.shape}: {needed}")
    return array


def _tell_rows(
    asked: str | None, path: str, count: int, prefix: str, sentences: int, pack: ImagePack | None
) -> str:
    """Decides whether the *count* rows of a file stand for images or for sentences."""
    images = pack.manifest["images"] if pack else None
    packed = f"{images} images" if pack else "no image pack"
    found = f"--from-file {path} has {count} rows, and {prefix} has {sentences} sentences and {packed}"
    fitting = [rows for rows, number in ((BY_SENTENCE, sentences), (BY_IMAGE, images)) if number == count]
    if asked is not None:
        check(asked in fitting, f"{found}: they cannot be --rows {asked}")
        return asked
    check(fitting, f"{found}: one row for each sentence or for each image is needed")
    # Where image i is sentence i's, both readings are the same.
    clear = len(fitting) == 1 or (pack is not None and np.array_equal(pack.index, np.arange(count)))
    check(clear, f"{found}: say which is meant, --rows sentences or --rows images")
    return fitting[0]
