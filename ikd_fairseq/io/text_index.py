"""The binarised text of a split, as far as what stands beside it must know: its files and sentence counts."""

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import IkdError, check, check_file

_SUFFIX = ".idx"
_REMEDY = "run fairseq-preprocess again"
_CHUNK = 1 << 24  # words that are looked at together


class TextIndex(NamedTuple):
    """The name of an index, ``SPLIT.SRC-TGT.LANG.idx``, and its parts.

    Attributes:
        pair: ``SRC-TGT``, for either direction.
    """

    name: str
    split: str
    pair: str
    language: str


def text_indices(data_dir: str, split: str | None = None) -> list[TextIndex]:
    """Returns the text indices in *data_dir*, of one split or of all, sorted by name.

    Raises :class:`IkdError` if there is no such folder.
    """
    check(os.path.isdir(data_dir), f"data folder {data_dir} does not exist: run fairseq-preprocess first")
    pattern = re.compile(r"(.+)\.([^.]+-[^.]+)\.([^.]+)" + re.escape(_SUFFIX))
    matches = (pattern.fullmatch(name) for name in sorted(os.listdir(data_dir)))
    found = [TextIndex(match[0], *match.groups()) for match in matches if match]
    return [index for index in found if split in (None, index.split)]


def sentence_counts(data_dir: str, split: str) -> dict[str, int]:
    """Returns the number of sentences behind every index of a split by its name, the same for all.

    Raises :class:`IkdError` if there is no file, if one cannot be read, or if the numbers differ.
    """
    names = [index.name for index in text_indices(data_dir, split)]
    check(names, f"no {split}.*{_SUFFIX} in {data_dir}: run fairseq-preprocess first")
    counts = {name: sentence_count(os.path.join(data_dir, name)) for name in names}
    first = names[0]
    for name in names[1:]:
        differing = f"{first} and {name} in {data_dir} hold {counts[first]} and {counts[name]} sentences"
        check(counts[name] == counts[first], f"{differing} instead of one number: {_REMEDY}")
    return counts


def sentence_count(index_path: str) -> int:
    """Returns the number of sentences behind an index, by fairseq's own reader.

    Raises :class:`IkdError` if it cannot be read, or if there is no ``.bin`` beside it that holds them all.
    """
    from fairseq.data import indexed_dataset  # here, because it takes seconds

    class Index(indexed_dataset.MMapIndexedDataset.Index):  # type: ignore[misc]
        def __del__(self) -> None:
            if hasattr(self, "_bin_buffer_mmap"):  # else a damaged file left it half made
                super().__del__()

    path = index_path[: -len(_SUFFIX)]
    for file in filter(os.path.exists, (index_path, path + ".bin")):
        check_file(file, _REMEDY)
    found: Any = None
    try:
        implementation = indexed_dataset.infer_dataset_impl(path)
        if implementation == "mmap":  # the default
            found = Index(index_path)
        elif implementation:
            found = indexed_dataset.make_dataset(path, implementation)
    except Exception as error:  # fairseq's readers assert, and raise what struct and numpy do
        raise IkdError(
            f"{index_path} is not a text index that fairseq can read ({error}): {_REMEDY}"
        ) from error
    there = found is not None and os.path.exists(path + ".bin")
    check(there, f"{index_path} has no readable {path}.bin beside it: {_REMEDY}")
    check(len(found) > 0, f"{index_path} holds no sentence: leave that split out, or give it text")
    if isinstance(found, Index):
        starts, sizes = found._pointers, found._sizes.astype("int64")
        ends = starts + sizes * found.dtype().itemsize
        size = os.path.getsize(path + ".bin")
        held = min(starts.min(), sizes.min()) >= 0 and ends.max() <= size
        check(held, f"{path}.bin does not hold all sentences of {index_path}: {_REMEDY}")
    return len(found)


def directed(pair: Sequence[str], source: str | None, target: str | None) -> tuple[str, str]:
    """Source and target language: those given, else the *pair*, turned if one that is given says so."""
    if (source or pair[0]) == (target or pair[1]):
        pair = pair[::-1]
    return source or pair[0], target or pair[1]


def check_words(prefix: str, words: int, dictionary: str) -> None:
    """Refuses binarised text with words beyond the end of its dictionary, which training would die of later.

    One pass over the file, a chunk at a time. Only fairseq's default format (mmap) is looked at.

    Args:
        prefix: of the text's ``.bin`` and ``.idx``.
        words: how many the dictionary has.
        dictionary: its file, for the message.

    Raises:
        IkdError: a word's number is too high.
    """
    from fairseq.data import indexed_dataset

    if indexed_dataset.infer_dataset_impl(prefix) != "mmap":
        return
    index = indexed_dataset.MMapIndexedDataset.Index(prefix + _SUFFIX)
    if not len(index):
        return
    ids = np.memmap(f"{prefix}.bin", dtype=index.dtype, mode="r")
    highest = max(int(ids[start : start + _CHUNK].max()) for start in range(0, len(ids), _CHUNK))
    cut = f"{dictionary} has {words} words, and {prefix}.bin one with the number {highest}"
    remedy = "the dictionary is cut off, or of other text; prepare the data again"
    check(highest < words, f"{cut}: {remedy}")
