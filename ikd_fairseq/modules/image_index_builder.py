"""Makes of captions and images what finds images for a sentence that has none."""

import logging
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from ..data.by_sentence import BySentence
from ..data.feature_extraction import DEFAULT_BACKBONE, region_features
from ..data.feature_pack import FeaturePack, to_half
from ..data.image_pack import ImagePack
from ..errors import check
from ..io.atomic import check_disk_space, check_output
from ..io.locks import claim
from ..io.progress import progress
from ..io.text_index import check_words, sentence_counts, text_indices
from ..io.text_lines import read_lines
from ..vision.device import check_device
from .dual_encoder import DualEncoder, contrastive_loss
from .image_index import FILE_NAME, DenseIndex, ImageIndex, TopicIndex

logger = logging.getLogger(__name__)

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


def build_topic_index(
    captions: Captions,
    vectors: Tensor,
    topics: int = 8,
    stop_share: float | None = None,
    stop_words: Collection[str] = (),
) -> TopicIndex:
    """The topic-image lookup table of Zhang et al. 2020: each word's images are those that it is a topic of.

    The topic words of a caption are its *topics* words of largest tf-idf; the second factor is
    ``log(captions / captions with the word)``.

    Args:
        captions: sentences and their images.
        vectors: float16 ``N x C``.
        topics: w, topic words of a sentence.
        stop_share: a word that a larger share of the captions has is no topic; by default a fifth, or, with
            *stop_words*, none is too common.
        stop_words: words that are no topics, as in the code of Zhang et al.
    """
    if stop_share is None:
        stop_share = 1.0 if stop_words else 0.2
    size, count = len(captions.dictionary), len(captions.sentences)
    distinct = [word for sentence in captions.sentences for word in set(sentence)]
    with_word = np.bincount(distinct, minlength=size)
    stopped = np.isin(captions.dictionary.symbols, list(stop_words))
    is_topic = (with_word > 0) & (with_word <= stop_share * count) & ~stopped
    idf = np.where(is_topic, np.log(count / with_word.clip(min=1)), 0)
    index = TopicIndex(
        vectors,
        idf=torch.from_numpy(idf.astype(np.float32)),
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


def read_stop_words(source: str) -> list[str]:
    """The words of a stop list: of the package's own for ``english``, or of a file, one a line.

    Raises:
        IkdError: there is no such file, or it holds no word.
    """
    path = str(Path(__file__).with_name("stop_words_english.txt")) if source == "english" else source
    check(os.path.isfile(path), f"--stop-words {source}: no such file; give one, a word a line, or english")
    words = [line for line in map(str.strip, read_lines(path)) if line]
    check(bool(words), f"--stop-words {source} holds no word: write one a line")
    return words


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


def read_captions(
    data_dir: str, split: str, source_lang: str | None, images: BySentence
) -> tuple[Captions, np.ndarray]:
    """The source sentences of a split that have an image.

    Args:
        data_dir: the folder that fairseq-preprocess wrote.
        split: such as ``train``.
        source_lang: the language that is translated from; None to tell by the files' names.
        images: which sentences have one, and which.

    Returns:
        The captions, and the pack's row of each of their N images.

    Raises:
        IkdError: the language, its dictionary or its text is missing, or they do not belong together.
    """
    indices = text_indices(data_dir, split)
    pairs = {index.pair for index in indices}
    if source_lang is None:
        check(
            len(pairs) == 1,
            f"{data_dir} holds {split} in several language pairs ({', '.join(sorted(pairs))}): give "
            "--source-lang",
        )
        source_lang = next(iter(pairs)).split("-")[0]
    texts = [index.name for index in indices if index.language == source_lang]
    check(bool(texts), f"--source-lang {source_lang}: {data_dir} holds no {split} of that language")
    dictionary_path = os.path.join(data_dir, f"dict.{source_lang}.txt")
    check(os.path.isfile(dictionary_path), f"dictionary {dictionary_path} is missing: run fairseq-preprocess")
    dictionary = Dictionary.load(dictionary_path)
    prefix = os.path.join(data_dir, texts[0].removesuffix(".idx"))
    check_words(prefix, len(dictionary), dictionary_path)
    text = data_utils.load_indexed_dataset(prefix, dictionary)
    with_image = images.with_entry
    rows, image_of = np.unique(images.index[with_image], return_inverse=True)
    sentences = [
        [word for word in text[row].tolist() if word >= dictionary.nspecial] for row in with_image.tolist()
    ]
    return Captions(sentences, torch.from_numpy(image_of.astype(np.int64)), dictionary), rows


def _pooled_by_cnn(
    pack: ImagePack, rows: np.ndarray, backbone: str, weights: str, batch_size: int, device: str
) -> Iterator[np.ndarray]:
    """Yields float16 vectors ``some x C`` of the images *rows*: means over a frozen encoder's regions."""
    for start, regions in region_features(pack, rows, backbone, weights, batch_size, device):
        yield to_half(regions.mean(dim=1).numpy(), start, f"the features of {pack.prefix}")


def _pooled_from_pack(pack: FeaturePack, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields float16 vectors ``some x C`` of the *rows* of a feature pack: means over their regions."""
    with progress(None, total=len(rows), unit=" images") as bar:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = pack.features[rows[start : start + _ROWS_AT_ONCE]].astype(np.float32).mean(axis=1)
            yield to_half(block, start, f"the features {pack.name} of {pack.prefix}")
            bar.update(len(block))


def _open_pack(data_dir: str, split: str, image_features: str | None) -> ImagePack | FeaturePack:
    prefix = os.path.join(data_dir, split)
    pack: ImagePack | FeaturePack
    if image_features is None:
        no_pack = f"there is no image pack {prefix}.images.npy: run ikd-pack-images first"
        check(ImagePack.exists(prefix), no_pack)
        pack = ImagePack.open(prefix)
    else:
        check(
            FeaturePack.exists(prefix, image_features),
            f"--image-features {image_features}: there are none of {prefix}: run ikd-extract-features first",
        )
        pack = FeaturePack.open(prefix, image_features)
    pack.check_text(data_dir, split)
    return pack


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
        options: of :func:`build_topic_index` or :func:`build_dense_index`; stop words as
            :func:`read_stop_words` takes them.

    Raises:
        IkdError: text, dictionary or pack is missing or does not fit, or the weights cannot be used.
    """
    sentence_counts(data_dir, split)  # names a missing folder or split before anything else that is missing
    output = os.path.join(data_dir, FILE_NAME.format(kind=retriever)) if output is None else output
    folder = os.path.dirname(output) or "."
    check(os.path.isdir(folder), f"--output {output}: there is no folder {folder}")
    check_output(output)
    check_device(device)
    with claim(output):
        pack = _open_pack(data_dir, split, image_features)
        captions, rows = read_captions(data_dir, split, source_lang, pack)
        source: dict[str, Any] = {"image_features": image_features}
        if isinstance(pack, ImagePack):
            blocks = _pooled_by_cnn(pack, rows, backbone, backbone_weights, batch_size, device)
            source = {"backbone": backbone, "weights": backbone_weights, "image_size": pack.image_size}
        else:
            blocks = _pooled_from_pack(pack, rows)
        vectors = torch.from_numpy(np.concatenate(list(blocks)))
        builders: dict[str, Callable[..., ImageIndex]] = {
            "topic": build_topic_index,
            "dense": build_dense_index,
        }
        if (stop_list := options.pop("stop_words", None)) is not None:
            options["stop_words"] = read_stop_words(stop_list)
        index = builders[retriever](captions, vectors, **options)
        options |= {} if stop_list is None else {"stop_words": stop_list}
        check_disk_space(output, sum(tensor.nbytes for tensor in index.buffers()))
        index.save(output, captions.dictionary, {"split": split, **source, **options})
    shape = len(captions.images), *index.vectors.shape
    logger.info("%s: %d captions of %d images, %d channels", output, *shape)
    return index
