"""``ikd-build-image-index``: makes of captions and images what finds images for a sentence that has none."""

import argparse
import logging
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from ..constants import NO_IMAGE
from ..data.feature_pack import FeaturePack, to_half
from ..data.image_pack import ImagePack, check_disk_space
from ..errors import check, command
from ..io.progress import progress, set_up_logging
from ..io.text_index import sentence_counts
from ..modules.dual_encoder import DualEncoder, contrastive_loss
from ..modules.image_index import FILE_NAME, KINDS, DenseIndex, ImageIndex, TopicIndex
from ..vision.backbones import BACKBONES, get_backbone
from ..vision.frozen_cnn import FrozenCNN
from .arguments import positive_int

logger = logging.getLogger(__name__)

DEFAULT_BACKBONE = "resnet50"  # as the models' --backbone

_ROWS_AT_ONCE = 256  # of a feature pack


class Captions(NamedTuple):
    """Sentences that have an image.

    Attributes:
        sentences: the token numbers of each, end of sentence and other special symbols left out.
        images: int64, the image of each, from 0 to N - 1.
        dictionary: of the token numbers.
    """

    sentences: list[list[int]]
    images: Tensor
    dictionary: Dictionary


# ---------------------------------------------------------------- the two kinds


def build_topic_index(
    captions: Captions, vectors: Tensor, topics: int = 8, stop_share: float = 0.2
) -> TopicIndex:
    """The topic-image lookup table of Zhang et al. 2020: each word's images are those that it is a topic of.

    The topic words of a caption are its *topics* words of largest tf-idf; the second factor is
    ``log(captions / captions with the word)``.

    Args:
        captions: sentences and their images.
        vectors: float16 ``N x C``.
        topics: w, topic words of a sentence.
        stop_share: a word that a larger share of the captions has is no topic.
    """
    size = len(captions.dictionary)
    with_word = np.zeros(size, dtype=np.int64)
    for sentence in captions.sentences:
        with_word[list(set(sentence))] += 1
    count = len(captions.sentences)
    idf = np.zeros(size, dtype=np.float32)
    is_topic = (with_word > 0) & (with_word <= stop_share * count)
    idf[is_topic] = np.log(count / with_word[is_topic])
    index = TopicIndex(
        vectors,
        idf=torch.from_numpy(idf),
        offsets=torch.zeros(size + 1, dtype=torch.long),
        rows=torch.empty(0, dtype=torch.int32),
        topics=torch.tensor(topics),
    )
    images_of: list[set] = [set() for _ in range(size)]
    for sentence, image in zip(progress(captions.sentences, unit=" captions"), captions.images.tolist()):
        words, are_topics = index.topic_words(torch.tensor([sentence], dtype=torch.long))
        for word in words[are_topics].tolist():
            images_of[word].add(image)
    index.offsets[1:] = torch.tensor([len(images) for images in images_of]).cumsum(0)
    index.rows = torch.tensor([image for images in images_of for image in sorted(images)], dtype=torch.int32)
    return index


def build_dense_index(
    captions: Captions,
    vectors: Tensor,
    width: int = 128,
    epochs: int = 20,
    batch_size: int = 512,
    temperature: float = 0.07,
    seed: int = 1,
) -> DenseIndex:
    """Trains a small dual encoder on the captions with the batch's other images as contrast.

    It stands for the text-image retriever of Wu et al. 2021, whose text encoder is BERT.

    Args:
        captions: sentences and their images.
        vectors: float16 ``N x C``.
        width: e, of the common space.
        epochs: passes over the captions.
        batch_size: captions at a time.
        temperature: of :func:`contrastive_loss`.
        seed: of weights and order.
    """
    pixels = vectors.float()
    pixels = (pixels - pixels.mean(dim=0)) / pixels.std(dim=0, unbiased=False).clamp(min=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = DualEncoder(len(captions.dictionary), vectors.size(1), width)
        optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
        kept = torch.tensor([row for row, sentence in enumerate(captions.sentences) if sentence])
        bar = progress(range(epochs), unit=" epochs")
        for _ in bar:
            losses = []
            for rows in kept[torch.randperm(len(kept))].split(batch_size):
                images = captions.images[rows]
                similarities = encoder.similarities([captions.sentences[row] for row in rows], pixels[images])
                loss = contrastive_loss(similarities, images, temperature)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            bar.set_postfix(loss=f"{np.mean(losses):.3f}", refresh=False)
    with torch.no_grad():
        embedded = encoder.embed_images(pixels)
        words = encoder.words.weight.detach().clone()
    unseen = torch.ones(len(words), dtype=torch.bool)
    unseen[[word for sentence in captions.sentences for word in sentence]] = False
    words[unseen] = 0
    return DenseIndex(vectors, words=words, images=embedded)


# ---------------------------------------------------------------- captions and images


def read_captions(
    data_dir: str, split: str, source_lang: str | None, index: np.ndarray
) -> tuple[Captions, np.ndarray]:
    """The source sentences of a split that have an image.

    Args:
        data_dir: the folder that fairseq-preprocess wrote.
        split: such as ``train``.
        source_lang: the language that is translated from; None to tell by the files' names.
        index: of a pack: the row of each sentence, or ``NO_IMAGE``.

    Returns:
        The captions, and the pack's row of each of their N images.

    Raises:
        IkdError: the language, its dictionary or its text is missing.
    """
    names = list(sentence_counts(data_dir, split))  # SPLIT.SRC-TGT.LANG.idx
    pairs = {name[len(split) + 1 :].split(".")[0] for name in names}
    if source_lang is None:
        check(
            len(pairs) == 1,
            f"{data_dir} holds {split} in several language pairs ({', '.join(sorted(pairs))}): give "
            "--source-lang",
        )
        source_lang = next(iter(pairs)).split("-")[0]
    texts = [name for name in names if name.endswith(f".{source_lang}.idx")]
    check(bool(texts), f"--source-lang {source_lang}: {data_dir} holds no {split} of that language")
    dictionary_path = os.path.join(data_dir, f"dict.{source_lang}.txt")
    check(os.path.isfile(dictionary_path), f"dictionary {dictionary_path} is missing: run fairseq-preprocess")
    dictionary = Dictionary.load(dictionary_path)
    text = data_utils.load_indexed_dataset(os.path.join(data_dir, texts[0][: -len(".idx")]), dictionary)
    with_image = np.flatnonzero(index != NO_IMAGE)
    rows, images = np.unique(index[with_image], return_inverse=True)
    sentences = [
        [word for word in text[row].tolist() if word >= dictionary.nspecial] for row in with_image.tolist()
    ]
    return Captions(sentences, torch.from_numpy(images.astype(np.int64)), dictionary), rows


def _pooled_by_cnn(
    pack: ImagePack, rows: np.ndarray, backbone_name: str, weights: str, batch_size: int, device: str
) -> Iterator[np.ndarray]:
    """Yields float16 vectors ``some x C`` of the images *rows*: means over a frozen CNN's last map."""
    backbone = get_backbone(backbone_name)
    backbone.check_image_size(pack.image_size)
    teacher = FrozenCNN(backbone, weights=weights).to(device)
    with torch.inference_mode(), progress(None, total=len(rows), unit=" images") as bar:
        for start in range(0, len(rows), batch_size):
            images = torch.from_numpy(pack.images[rows[start : start + batch_size]]).to(device)
            vectors = teacher(backbone.normalise(images))[-1].flatten(2).mean(dim=2)
            yield to_half(vectors.float().cpu().numpy(), start, f"the features of {pack.prefix}")
            bar.update(len(images))


def _pooled_from_pack(pack: FeaturePack, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields float16 vectors ``some x C`` of the *rows* of a feature pack: means over their regions."""
    with progress(None, total=len(rows), unit=" images") as bar:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = pack.features[rows[start : start + _ROWS_AT_ONCE]].astype(np.float32).mean(axis=1)
            yield to_half(block, start, f"the features {pack.name} of {pack.prefix}")
            bar.update(len(block))


def build_image_index(
    data_dir: str,
    retriever: str,
    split: str = "train",
    source_lang: str | None = None,
    output: str | None = None,
    image_features: str | None = None,
    backbone: str = DEFAULT_BACKBONE,
    backbone_weights: str = "imagenet",
    batch_size: int = 64,
    device: str = "cpu",
    **options: Any,
) -> ImageIndex:
    """Builds an image index of a split's sentences that have an image, and writes it.

    Args:
        data_dir: the folder with the text and the image pack.
        retriever: ``topic`` or ``dense``.
        split: whose captions and images; for a fair test, ``train``.
        source_lang: the language that is translated from; None to tell by the files' names.
        output: the file; None for ``DATA/image-index.RETRIEVER.pt``.
        image_features: name of a feature pack to take the vectors from; None to run the CNN on the images.
        backbone, backbone_weights, batch_size, device: the CNN, where it is run.
        options: of :func:`build_topic_index` or :func:`build_dense_index`.

    Raises:
        IkdError: text, dictionary or pack is missing or does not fit, or the weights cannot be used.
    """
    sentence_counts(data_dir, split)  # names a missing folder or split before anything else that is missing
    output = os.path.join(data_dir, FILE_NAME.format(kind=retriever)) if output is None else output
    folder = os.path.dirname(output) or "."
    check(os.path.isdir(folder), f"--output {output}: there is no folder {folder}")
    check(
        device != "cuda" or torch.cuda.is_available(),
        "--device cuda: this machine has no usable GPU, use cpu",
    )
    prefix = os.path.join(data_dir, split)
    pack: Any
    if image_features is None:
        check(
            ImagePack.exists(prefix),
            f"there is no image pack {prefix}.images.npy: run ikd-pack-images first",
        )
        pack = ImagePack.open(prefix)
    else:
        check(
            FeaturePack.exists(prefix, image_features),
            f"--image-features {image_features}: there are none of {prefix}: run ikd-extract-features first",
        )
        pack = FeaturePack.open(prefix, image_features)
    pack.check_text(data_dir, split)
    captions, rows = read_captions(data_dir, split, source_lang, pack.index)
    if image_features is None:
        blocks = _pooled_by_cnn(pack, rows, backbone, backbone_weights, batch_size, device)
        source: dict[str, Any] = {
            "backbone": backbone,
            "weights": backbone_weights,
            "image_size": pack.image_size,
        }
    else:
        blocks = _pooled_from_pack(pack, rows)
        source = {"image_features": image_features}
    vectors = torch.from_numpy(np.concatenate(list(blocks)))
    build = {"topic": build_topic_index, "dense": build_dense_index}[retriever]
    index = build(captions, vectors, **options)
    check_disk_space(output, sum(tensor.nbytes for tensor in index.buffers()))
    index.save(output, captions.dictionary, {"split": split, **source, **options})
    sizes = len(index), len(captions.images), index.channels
    logger.info("%s: %d images of %d captions, %d channels", output, *sizes)
    return index


# ---------------------------------------------------------------- command line


def _share(text: str) -> float:
    """argparse type: a number above 0 and up to 1."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return number


def _positive_float(text: str) -> float:
    """argparse type: a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-build-image-index``."""
    parser = argparse.ArgumentParser(
        prog="ikd-build-image-index",
        description="Write DATA/image-index.RETRIEVER.pt, in which retrieval_transformer looks up images for "
        "sentences that have none, from the sentences of a split and their images. It belongs to the source "
        "dictionary of DATA and is refused beside another one.",
    )
    parser.add_argument("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument(
        "--retriever",
        required=True,
        choices=list(KINDS),
        help="topic: table from words to images (UVR-NMT); dense: embeddings of words and images (RMMT)",
    )
    parser.add_argument("--split", default="train", help="whose sentences and images (default: %(default)s)")
    parser.add_argument(
        "--source-lang",
        metavar="LANG",
        help="language that is translated from (default: by the files' names)",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="file to write (default: DATA/image-index.RETRIEVER.pt)"
    )

    images = parser.add_argument_group("vectors of the images, means over a frozen CNN's last map")
    images.add_argument(
        "--image-features",
        metavar="NAME",
        help="take SPLIT.features.NAME.npy, which ikd-extract-features wrote, and run no CNN",
    )
    images.add_argument(
        "--backbone", choices=list(BACKBONES), help=f"frozen CNN (default: {DEFAULT_BACKBONE})"
    )
    images.add_argument(
        "--backbone-weights", metavar="imagenet|random|FILE", help="its weights (default: imagenet)"
    )
    images.add_argument("--batch-size", type=positive_int, metavar="N", help="images at a time (default: 64)")
    images.add_argument("--device", choices=["cpu", "cuda"], help="where it runs (default: cpu)")

    topic = parser.add_argument_group("--retriever topic")
    topic.add_argument(
        "--topics", type=positive_int, metavar="W", help="topic words of a sentence (default: 8)"
    )
    topic.add_argument(
        "--stop-share",
        type=_share,
        metavar="SHARE",
        help="a word that a larger share of the sentences has is no topic (default: 0.2)",
    )

    dense = parser.add_argument_group("--retriever dense")
    dense.add_argument("--width", type=positive_int, metavar="E", help="of the common space (default: 128)")
    dense.add_argument(
        "--epochs", type=positive_int, metavar="N", help="passes over the sentences (default: 20)"
    )
    dense.add_argument(
        "--temperature", type=_positive_float, metavar="T", help="of the contrastive loss (default: 0.07)"
    )
    dense.add_argument("--seed", type=int, metavar="N", help="of weights and order (default: 1)")
    return parser


_CNN_OPTIONS = ("backbone", "backbone_weights", "batch_size", "device")
_OPTIONS = {"topic": ("topics", "stop_share"), "dense": ("width", "epochs", "temperature", "seed")}


def _flags(names: Sequence[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)


@command
def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ikd-build-image-index``."""
    args = build_parser().parse_args(argv)
    set_up_logging()
    given = {name: value for name, value in vars(args).items() if value is not None}
    (other,) = set(KINDS) - {args.retriever}
    foreign = [name for name in _OPTIONS[other] if name in given]
    check(not foreign, f"{_flags(foreign)}: only for --retriever {other}")
    if args.image_features is not None:
        running = [name for name in _CNN_OPTIONS if name in given]
        check(not running, f"--image-features runs no CNN: drop {_flags(running)}")
    build_image_index(given.pop("data"), **given)
