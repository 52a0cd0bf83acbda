"""Features of a split: the maps or tokens that a frozen image encoder makes of the image pack.

With features beside the text, an image-must model trains without running its CNN, and without the images.
"""

import itertools
import os
import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..errors import check
from ..io.progress import progress
from ..vision.backbones import TIMM, get_backbone
from ..vision.device import check_device
from ..vision.frozen_cnn import FrozenCNN
from ..vision.timm_encoder import TimmEncoder
from .feature_pack import BY_IMAGE, FeaturePack, check_name, to_half, write_features
from .image_pack import ImagePack

DEFAULT_BACKBONE = "resnet50"  # as the models' --backbone


def extract_features(
    data_dir: str,
    split: str,
    backbone: str = DEFAULT_BACKBONE,
    backbone_weights: str = "imagenet",
    name: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    stage: str | None = None,
) -> FeaturePack:
    """Runs a frozen encoder over the image pack of a split and writes ``SPLIT.features.NAME``.

    Args:
        data_dir: the folder with the text and the image pack.
        backbone, backbone_weights, stage: the encoder, see :func:`open_encoder`.
        name: of the features; by default the encoder's, with the stage if one is given.
        batch_size: images at a time.
        device: ``cpu`` or ``cuda``.

    Raises:
        IkdError: there is no pack, or one for other text, or encoder or weights cannot be had or used.
    """
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_-]", "-", "-".join(filter(None, [backbone, stage])))
    check_name(name)
    check_device(device)
    prefix = os.path.join(data_dir, split)
    check(ImagePack.exists(prefix), f"there is no image pack {prefix}.images.npy: run ikd-pack-images first")
    pack = ImagePack.open(prefix)
    pack.check_text(data_dir, split)
    encoded = region_features(
        pack, np.arange(len(pack.images)), backbone, backbone_weights, batch_size, device, stage
    )
    first = next(encoded)  # whose shape is that of all
    blocks = (
        to_half(regions.numpy(), start, f"the features of {pack.prefix}")
        for start, regions in itertools.chain([first], encoded)
    )
    manifest = {"rows": BY_IMAGE, "backbone": backbone, "weights": backbone_weights}
    manifest |= {} if stage is None else {"stage": stage}
    manifest |= {key: pack.manifest[key] for key in ("image_size", "images_sha256", "index_sha256")}
    return write_features(prefix, name, (len(pack.images), *first[1].shape[1:]), blocks, manifest)


def open_encoder(backbone: str, weights: str, image_size: int, stage: str | None = None) -> torch.nn.Module:
    """A frozen encoder of images, called with uint8 ``K x S x S x 3``, which gives ``K x P x C``.

    Args:
        backbone: a key of :data:`~ikd_fairseq.vision.backbones.BACKBONES`, or ``timm:NAME``.
        weights: ``imagenet`` (the published ones), ``random`` or a file.
        image_size: S.
        stage: of a listed CNN, whose map is wanted instead of the last one.

    Raises:
        IkdError: no such encoder or stage, images that are too small, or weights that cannot be had or used.
    """
    if backbone.startswith(TIMM):
        check(stage is None, f"--stage {stage}: only a listed CNN has stages, and not {backbone}: drop it")
        return TimmEncoder(backbone.removeprefix(TIMM), weights)
    entry = get_backbone(backbone)
    entry = entry if stage is None else entry.up_to(stage)
    entry.check_image_size(image_size)
    return _LastMap(FrozenCNN(entry, weights=weights))


class _LastMap(torch.nn.Module):
    def __init__(self, cnn: FrozenCNN):
        super().__init__()
        self.cnn = cnn

    def forward(self, images: Tensor) -> Tensor:
        return self.cnn.regions(self.cnn.backbone.normalise(images))


def region_features(
    pack: ImagePack,
    rows: np.ndarray,
    backbone: str,
    weights: str,
    batch_size: int,
    device: str,
    stage: str | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Runs a frozen encoder over images of a pack, with a progress bar.

    Args:
        rows: int64, those of the pack that are wanted.
        backbone, weights, stage: the encoder, see :func:`open_encoder`.
        batch_size: images at a time.

    Yields:
        The place in *rows* of the first of some images, and what the encoder makes of them: float32 ``some x
        P x C`` on the CPU.

    Raises:
        IkdError: the encoder or its weights cannot be had or used.
    """
    encoder = open_encoder(backbone, weights, pack.image_size, stage).to(device)
    with progress(None, total=len(rows), unit=" images") as bar:
        for start in range(0, len(rows), batch_size):
            images = torch.from_numpy(pack.images[rows[start : start + batch_size]]).to(device)
            with torch.inference_mode():  # no longer, since whoever asks has the thread between two batches
                found = encoder(images).float().cpu()
            yield start, found
            bar.update(len(images))
