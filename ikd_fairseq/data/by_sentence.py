"""Images, or features, by sentence: rows of arrays, in memory or on disk, and which row each sentence has."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from ..constants import NO_IMAGE


class Rows(Protocol):
    """An array, or what is as good as one for who takes some of its rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> np.ndarray: ...


class BySentence:
    """The rows of *arrays* by sentence.

    Attributes:
        index: int32, N sentences: the row of each, counted through all arrays, or ``NO_IMAGE``.
        arrays: with rows of one shape and type.
    """

    def __init__(self, index: np.ndarray, *arrays: Rows):
        self.index, self.arrays = index, arrays

    @classmethod
    def of(cls, entries: Sequence[np.ndarray | None], shape: tuple[int, ...], dtype: Any) -> "BySentence":
        """Entries in memory, one a sentence, of *shape* and *dtype*."""
        there = np.array([entry is not None for entry in entries], dtype=bool)
        rows = [entry for entry in entries if entry is not None]
        index = np.where(there, np.cumsum(there) - 1, NO_IMAGE).astype(np.int32)
        return cls(index, np.array(rows, dtype).reshape(-1, *shape))

    @classmethod
    def joined(cls, parts: Iterable["BySentence"]) -> "BySentence":
        """The sentences of one part after those of the other. A part without any entry may have no array."""
        index: list[np.ndarray] = []
        arrays: list[Rows] = []
        for part in parts:
            index.append(np.where(part.index == NO_IMAGE, NO_IMAGE, part.index + sum(map(len, arrays))))
            arrays += part.arrays
        return cls(np.concatenate(index), *arrays)

    def reordered(self, order: np.ndarray) -> "BySentence":
        """Sentence i with the entry of ``order[i]``. *order*: int64."""
        return BySentence(self.index[order], *self.arrays)

    def thinned(self, share: float, seed: int) -> "BySentence":
        """As if the others had none: entries of some sentences, each kept with the probability *share*.

        With one *seed* a smaller share keeps some of what a larger one does.
        """
        kept = np.random.default_rng(seed).random(len(self)) < share
        return BySentence(np.where(kept, self.index, NO_IMAGE), *self.arrays)

    @property
    def with_entry(self) -> np.ndarray:
        """The sentences that have an entry, ascending: int64."""
        return np.flatnonzero(self.index != NO_IMAGE)

    @property
    def coverage(self) -> int:
        """The number of sentences that have an entry."""
        return len(self.with_entry)

    def __len__(self) -> int:
        """The number of sentences, with and without an entry."""
        return len(self.index)

    def __getitem__(self, sentence: int) -> np.ndarray | None:
        """A copy of a sentence's entry, or None."""
        _, (*entries,) = self.take(np.array([sentence]))
        return entries[0] if entries else None

    def take(self, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A copy of the entries of *sentences*, int64, in one go: one by one takes four times as long.

        Returns:
            which of the *sentences* have an entry, int64 ``K``, ascending, and the entries, ``K x ...``.
        """
        rows = self.index[sentences]
        places = np.flatnonzero(rows != NO_IMAGE)
        rows, (first, *others) = rows[places], self.arrays
        if not others:
            return places, first[rows]
        entries, start = np.empty((len(rows), *first.shape[1:]), first.dtype), 0
        for array in self.arrays:
            here = (rows >= start) & (rows < start + len(array))
            entries[here] = array[rows[here] - start]
            start += len(array)
        return places, entries
