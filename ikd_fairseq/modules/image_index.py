"""An index of images that sentences are looked up in by their tokens: topic table or dense embeddings.

``ikd-build-image-index`` writes it, one file; ``retrieval_transformer`` reads it. It holds one pooled CNN
vector for every image and what finds images for a sentence:

- ``topic`` (Zhang et al. 2020, "Neural Machine Translation with Universal Visual Representation"): a table
  from topic words to the images whose captions have them. An image gets a vote for every topic word that it
  shares with the sentence, and those with most votes are retrieved.
- ``dense`` (Wu et al. 2021, "Good for Misconceived Reasons"): embeddings of words and images in one space.
  The images with the largest inner product are retrieved.

Both are exact. What is retrieved for a sentence depends on nothing else in its batch; among topic
votes, ties go to the earlier image.
"""

import os
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from torch import Tensor, nn

from ..errors import IkdError, check
from ..io.checkpoints import write_checkpoint
from ..io.checksums import sha256_of_words
from ..torch_files import load_safely

FORMAT = 1  # raised when an older reader would misread a newer index
FILE_NAME = "image-index.{kind}.pt"  # in the data folder, unless the user names another

_REMEDY = "run ikd-build-image-index again"
_SENTENCES_AT_ONCE = 64  # of the count of votes, which is sentences x images large


class ImageIndex(nn.Module):
    """Base of both kinds. Its tensors move with a model but are in no checkpoint.

    Args:
        vectors: float16 ``N x C``, the images' pooled features.
        tensors: what the kind looks images up with, buffers by name.
    """

    kind: str

    def __init__(self, vectors: Tensor, **tensors: Tensor):
        super().__init__()
        for name, tensor in {"vectors": vectors, **tensors}.items():
            self.register_buffer(name, tensor, persistent=False)

    def _apply(self, fn, recurse=True):
        """Follows a model to its device, but not to half precision, which would retrieve other images."""
        tensors = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, tensor in tensors.items():
            self._buffers[name] = tensor.to(self._buffers[name].device)
        return self

    @property
    def channels(self) -> int:
        """C, width of an image's vector."""
        return self.vectors.size(1)

    def __len__(self) -> int:
        """N, the number of images."""
        return len(self.vectors)

    def check_tensors(self, words: int) -> None:
        """Refuses tensors that do not fit each other, or a source dictionary of so many *words*.

        Raises:
            IkdError: what is wrong with which; the caller names the file.
        """
        raise NotImplementedError

    def _check(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        """Refuses the tensor *name* unless it has this type and shape, lies in its file, and is finite."""
        tensor = self._buffers[name]
        found = f"its entry {name!r} is {tensor.dtype} {tuple(tensor.shape)}"
        check(tensor.dtype == dtype and tensor.shape == shape, f"{found} instead of {dtype} {shape}")
        check(tensor.is_contiguous(), f"its entry {name!r} is not stored row by row")
        finite = not dtype.is_floating_point or bool(tensor.isfinite().all())
        check(finite, f"its entry {name!r} holds values that are not finite")

    def retrieve(self, tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The *count* images that fit each sentence best, best first.

        Args:
            tokens: int64 ``B x I``, padded on either side.
            count: m; no more are found than the index has.

        Returns:
            Rows of ``vectors``, int64 ``B x m``, and a bool mask ``B x m``, True where nothing was found.
        """
        raise NotImplementedError

    def save(self, path: str, dictionary: Dictionary, source: dict[str, Any]) -> None:
        """Writes the index, in one step: a reader sees the old file or the new one.

        Args:
            path: file to write or replace.
            dictionary: the source dictionary that its token numbers come from.
            source: strings and numbers that say how it was made.

        Raises:
            IkdError: the disk is full, or cannot be written to.
        """
        content = {
            "format": FORMAT,
            "kind": self.kind,
            "dictionary": sha256_of_words(dictionary.symbols),
            "source": source,
            "tensors": {name: tensor.contiguous() for name, tensor in self._buffers.items()},
        }
        write_checkpoint(content, path)


class TopicIndex(ImageIndex):
    """Topic words to images.

    Args:
        vectors: float16 ``N x C``.
        idf: float32 ``V``: inverse document frequency of each word, 0 for one that is never a topic.
        offsets: int64 ``V + 1``: where each word's images begin in *rows*.
        rows: int32, the images of all words, one after the other.
        topics: int64 scalar, w: topic words of a sentence.
    """

    kind = "topic"

    @cached_property
    def words_a_sentence(self) -> int:
        """w, read once: a GPU is waited for whenever it is asked."""
        return int(self.topics)

    def check_tensors(self, words: int) -> None:
        self._check("idf", torch.float32, (words,))
        self._check("offsets", torch.int64, (words + 1,))
        self._check("rows", torch.int32, (self.rows.numel(),))
        self._check("topics", torch.int64, ())
        limits = (0, len(self.rows)) == (int(self.offsets[0]), int(self.offsets[-1]))
        ordered = limits and bool((self.offsets.diff() >= 0).all())
        check(ordered, "its entry 'offsets' does not part the images by words")
        known = not len(self.rows) or (int(self.rows.min()) >= 0 and int(self.rows.max()) < len(self))
        check(known, "its entry 'rows' names images that it lacks")
        check(0 < int(self.topics) <= words, "its entry 'topics' is no number of words")
        check(bool((self.idf >= 0).all()), "its entry 'idf' has values below 0")

    def topic_words(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The w distinct words of largest tf-idf in each sentence; the earlier one where two are equal.

        Args:
            tokens: int64 ``B x I``.

        Returns:
            int64 ``B x w`` (or ``B x I`` for fewer tokens), and bool of that shape, True where it is a topic
            word.
        """
        same = tokens.unsqueeze(2) == tokens.unsqueeze(1)  # B x I x I
        repeated = same.tril(-1).any(dim=2)
        # The frequency in the sentence is not divided by its length: that changes no order within it.
        weights = (same.sum(dim=2) * self.idf[tokens]).masked_fill(repeated, 0)
        weights, order = weights.sort(dim=1, descending=True, stable=True)
        w = self.words_a_sentence
        return tokens.gather(1, order)[:, :w], weights[:, :w] > 0

    def votes(self, tokens: Tensor) -> Tensor:
        """How many topic words each image shares with each sentence: int32 ``B x N``."""
        words, are_topics = self.topic_words(tokens)
        starts = self.offsets[words]
        lengths = (self.offsets[words + 1] - starts) * are_topics
        # One entry for each (sentence, topic word, image): where it stands in self.rows, and its sentence.
        ends = lengths.flatten().cumsum(0)
        size = int(ends[-1])
        entries = torch.arange(size, device=tokens.device)
        starts = starts.flatten() - ends + lengths.flatten()
        entries += starts.repeat_interleave(lengths.flatten(), output_size=size)
        sentences = torch.arange(len(tokens), device=tokens.device)
        sentences = sentences.repeat_interleave(lengths.sum(dim=1), output_size=size)
        votes = torch.zeros(len(tokens) * len(self), dtype=torch.int32, device=tokens.device)
        images = sentences * len(self) + self.rows[entries]
        return votes.scatter_add_(0, images, torch.ones_like(images, dtype=torch.int32)).view(len(tokens), -1)

    def retrieve(self, tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
        found = []
        later = torch.arange(len(self) - 1, -1, -1, device=tokens.device)
        for some in tokens.split(_SENTENCES_AT_ONCE):
            # Distinct keys: more votes first, of equal ones the earlier image.
            keys = self.votes(some).long() * len(self) + later
            found.append(keys.topk(min(count, len(self)), dim=1).values)
        keys = torch.cat(found)
        return len(self) - 1 - keys % len(self), keys < len(self)


class DenseIndex(ImageIndex):
    """Words and images in one space.

    Args:
        vectors: float16 ``N x C``.
        words: float32 ``V x e``, zeros for a word that no caption has. A sentence is the sum of its words.
        images: float32 ``N x e``, of length 1.
    """

    kind = "dense"

    def check_tensors(self, words: int) -> None:
        width = self.images.size(-1) if self.images.dim() else 0
        self._check("words", torch.float32, (words, width))
        self._check("images", torch.float32, (len(self), width))

    def retrieve(self, tokens: Tensor, count: int) -> tuple[Tensor, Tensor]:
        sentences = F.embedding(tokens, self.words).sum(dim=1)  # B x e
        with torch.autocast(tokens.device.type, enabled=False):  # as at test: bfloat16 finds other images
            likeness = sentences @ self.images.T
        rows = likeness.topk(min(count, len(self)), dim=1).indices
        nothing = ~sentences.any(dim=1, keepdim=True)
        return rows, nothing.expand_as(rows)


KINDS = {index.kind: index for index in (TopicIndex, DenseIndex)}
_TENSORS = {"topic": {"vectors", "idf", "offsets", "rows", "topics"}, "dense": {"vectors", "words", "images"}}


def load_image_index(path: str, kind: str, dictionary: Dictionary) -> ImageIndex:
    """Reads what :meth:`ImageIndex.save` wrote.

    Args:
        path: the file.
        kind: ``topic`` or ``dense``.
        dictionary: the source dictionary of the model.

    Raises:
        IkdError: no such file, a damaged one, one of the other kind, or one made for another vocabulary.
            Every tensor's shape, range and values are looked at here: training would stumble over them.
    """
    check(
        os.path.isfile(path),
        f"image index {path} does not exist: run ikd-build-image-index --retriever {kind}, or name the file "
        "with --image-index (when translating, --model-overrides \"{'image_index': 'FILE'}\")",
    )
    content = load_safely(path, "image index")
    check(
        isinstance(content, dict)
        and content.get("format") == FORMAT
        and content.get("kind") in list(KINDS)
        and isinstance(content.get("tensors"), dict)
        and set(content["tensors"]) == _TENSORS[content["kind"]],
        f"{path} is not an image index of format {FORMAT}, the one that this version reads: {_REMEDY}",
    )
    check(
        content["kind"] == kind,
        f"{path} is an image index for --retriever {content['kind']}, but the model has --retriever {kind}",
    )
    check(
        content.get("dictionary") == sha256_of_words(dictionary.symbols),
        f"{path} was built from another vocabulary than the model's source dictionary: {_REMEDY} on this "
        "data folder",
    )
    tensors = content["tensors"].values()
    plain = all(torch.is_tensor(one) and one.layout == torch.strided and one.is_cpu for one in tensors)
    check(plain, f"image index {path} is damaged: it holds entries that are no tensors: {_REMEDY}")
    index = KINDS[kind](**content["tensors"])
    try:
        check(index.vectors.dim() == 2 and index.vectors.numel() > 0, "it holds no vectors of images")
        index._check("vectors", torch.float16, tuple(index.vectors.shape))
        index.check_tensors(len(dictionary))
    except IkdError as error:
        raise IkdError(f"image index {path} is damaged: {error}: {_REMEDY}") from error
    return index
