"""``ikd-extract-features``: a frozen CNN's last convolutional maps, or published features, of a split.

With features beside the text, an image-must model trains without running its CNN, and without the images.
"""

import argparse
import logging
import os
from collections.abc import Iterator

import numpy as np
import torch

from ..data.feature_pack import BY_IMAGE, BY_SENTENCE, FeaturePack, check_name, to_half, write_features
from ..data.image_pack import ImagePack, text_fingerprint
from ..errors import IkdError, check, command
from ..io.progress import progress, set_up_logging
from ..vision.backbones import BACKBONES, Backbone, get_backbone
from ..vision.frozen_cnn import FrozenCNN
from .arguments import positive_int

logger = logging.getLogger(__name__)

DEFAULT_BACKBONE = "resnet50"  # as the models' --backbone

_ROWS_AT_ONCE = 256  # of published features


def extract_features(
    data_dir: str,
    split: str,
    backbone_name: str = DEFAULT_BACKBONE,
    weights: str = "imagenet",
    name: str | None = None,
    batch_size: int = 64,
    device: str = "cpu",
) -> FeaturePack:
    """Runs a frozen CNN over the image pack of a split and writes ``SPLIT.features.NAME``.

    Args:
        data_dir: the folder with the text and the image pack.
        split: such as ``train``.
        backbone_name: a key of :data:`~ikd_fairseq.vision.backbones.BACKBONES`.
        weights: ``imagenet``, ``random`` or a file.
        name: of the features; the backbone's own if None.
        batch_size: images at a time.
        device: ``cpu`` or ``cuda``.

    Raises :class:`IkdError` if there is no pack, or one for other text, and for weights that cannot be used.
    """
    name = backbone_name if name is None else name
    check_name(name)
    check(
        device != "cuda" or torch.cuda.is_available(),
        "--device cuda: this machine has no usable GPU, use cpu",
    )
    prefix = os.path.join(data_dir, split)
    check(ImagePack.exists(prefix), f"there is no image pack {prefix}.images.npy: run ikd-pack-images first")
    pack = ImagePack.open(prefix)
    pack.check_text(data_dir, split)
    backbone = get_backbone(backbone_name)
    teacher = FrozenCNN(backbone, weights=weights).to(device)
    shape = (len(pack.images), backbone.grid(pack.image_size) ** 2, backbone.channels)
    return write_features(
        prefix,
        name,
        shape,
        _maps(teacher, backbone, pack, batch_size, device),
        {
            "rows": BY_IMAGE,
            "backbone": backbone_name,
            "weights": weights,
            "image_size": pack.image_size,
            "images_sha256": pack.manifest["images_sha256"],
            "index_sha256": pack.manifest["index_sha256"],
        },
    )


def _maps(
    teacher: FrozenCNN, backbone: Backbone, pack: ImagePack, batch_size: int, device: str
) -> Iterator[np.ndarray]:
    """Yields float16 rows x P x C, the regions row by row."""
    with torch.inference_mode(), progress(None, total=len(pack.images), unit=" images") as bar:
        for start in range(0, len(pack.images), batch_size):
            images = torch.from_numpy(np.array(pack.images[start : start + batch_size])).to(device)
            last_map = teacher(backbone.normalise(images))[-1]
            regions = last_map.flatten(2).transpose(1, 2)  # rows x C x g x g -> rows x P x C
            yield to_half(regions.float().cpu().numpy(), start, f"the features of {pack.prefix}")
            bar.update(len(images))


def import_features(data_dir: str, split: str, path: str, name: str, rows: str | None = None) -> FeaturePack:
    """Brings in features that others published, as ``SPLIT.features.NAME``.

    Args:
        data_dir: the folder with the text, and with the image pack if the features come by image.
        split: such as ``train``.
        path: ``.npy`` file of any float type: rows x C (then P = 1), rows x P x C, or rows x C x H x W (then
            P = H*W, row by row).
        name: of the features.
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
    manifest = {"rows": rows, "source": path}
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
    check(
        array.dtype.kind == "f" and array.ndim in (2, 3, 4) and array.size > 0,
        f"--from-file {path} holds {array.dtype} {array.shape}: floats are needed, rows x C, rows x P x C or "
        "rows x C x H x W",
    )
    return array


def _tell_rows(
    asked: str | None, path: str, count: int, prefix: str, sentences: int, pack: ImagePack | None
) -> str:
    """Decides whether the *count* rows of a file stand for images or for sentences."""
    images = None if pack is None else pack.manifest["images"]
    image_words = "no image pack" if pack is None else f"{images} images"
    found = f"--from-file {path} has {count} rows, and {prefix} has {sentences} sentences and {image_words}"
    fitting = {BY_SENTENCE: count == sentences, BY_IMAGE: count == images}
    if asked is not None:
        check(fitting[asked], f"{found}: they cannot be --rows {asked}")
        return asked
    check(any(fitting.values()), f"{found}: one row for each sentence or for each image is needed")
    # Where image i is sentence i's, both readings are the same.
    same = pack is not None and np.array_equal(pack.index, np.arange(count))
    check(
        not all(fitting.values()) or same, f"{found}: say which is meant, --rows sentences or --rows images"
    )
    return BY_SENTENCE if fitting[BY_SENTENCE] else BY_IMAGE


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-extract-features``."""
    parser = argparse.ArgumentParser(
        prog="ikd-extract-features",
        description="Write SPLIT.features.NAME.npy beside the binarised text: a frozen CNN's last "
        "convolutional maps of the image pack, or features that others published (--from-file).",
    )
    parser.add_argument("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument("--split", required=True, help="train, valid, test, test1, ...")
    parser.add_argument(
        "--name", help="name of the features, which --image-features takes (default: the backbone's)"
    )

    cnn = parser.add_argument_group("from the image pack")
    cnn.add_argument("--backbone", choices=list(BACKBONES), help=f"frozen CNN (default: {DEFAULT_BACKBONE})")
    cnn.add_argument(
        "--backbone-weights", metavar="imagenet|random|FILE", help="its weights (default: imagenet)"
    )
    cnn.add_argument("--batch-size", type=positive_int, metavar="N", help="images at a time (default: 64)")
    cnn.add_argument("--device", choices=["cpu", "cuda"], help="where it runs (default: cpu)")

    published = parser.add_argument_group("from a file")
    published.add_argument(
        "--from-file",
        metavar="FILE",
        help=".npy of floats: rows x C (one vector each), rows x P x C (P regions of C channels) or rows x C x H "
        "x W (maps, such as N x 2048 x 7 x 7; their H*W positions become regions, row by row); needs --name",
    )
    published.add_argument(
        "--rows",
        choices=[BY_SENTENCE, BY_IMAGE],
        help="what its rows stand for (default: whichever of the two has their number)",
    )
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ikd-extract-features``."""
    args = build_parser().parse_args(argv)
    set_up_logging()
    cnn_options = {
        "backbone_name": args.backbone,
        "weights": args.backbone_weights,
        "batch_size": args.batch_size,
        "device": args.device,
    }
    cnn_options = {key: value for key, value in cnn_options.items() if value is not None}
    if args.from_file is None:
        check(args.rows is None, "--rows tells what the rows of --from-file stand for: give both or neither")
        pack = extract_features(args.data, args.split, name=args.name, **cnn_options)
    else:
        check(args.name is not None, "--from-file needs --name: what to call these features")
        check(
            not cnn_options,
            "--from-file runs no CNN: drop --backbone, --backbone-weights, --batch-size and --device",
        )
        pack = import_features(args.data, args.split, args.from_file, args.name, args.rows)
    logger.info(
        "%s: features %r, %d regions of %d channels, for %d of %d sentences",
        pack.prefix,
        pack.name,
        pack.regions,
        pack.channels,
        pack.coverage,
        len(pack),
    )
