"""Sentence pairs whose subwords are drawn anew in every epoch: BPE-dropout (Provilkov et al. 2020)."""

import os
import random
from collections.abc import Iterator
from typing import Any

import torch
from fairseq.data import Dictionary, FairseqDataset
from subword_nmt.apply_bpe import BPE
from torch import Tensor

from ...errors import IkdError, check
from .image_pair_dataset import PairsWrapper

_CHECKED = 500  # sentences of a split whose subwords are held against the merges, evenly spaced


class SubwordSampler:
    """Segments sentences that are subwords already into others, by subword-nmt's own BPE-dropout.

    Args:
        codes: file of merges, by which the text was segmented.
        dictionary: its subwords. A word that would need one that is not there keeps the subwords it has, and
            so does one that holds an unknown word.
        dropout: probability with which a merge is left out.

    Raises:
        IkdError: *codes* is missing or no file of merges.
    """

    def __init__(self, codes: str, dictionary: Dictionary, dropout: float):
        check(os.path.isfile(codes), f"--bpe-dropout-codes {codes}: there is no such file of BPE merges")
        self.codes, self.dictionary, self.dropout = codes, dictionary, dropout
        with open(codes, encoding="utf-8") as stream:
            try:
                self.bpe = BPE(stream, vocab=set(dictionary.symbols))
            except (SystemExit, ValueError) as error:  # subword-nmt ends the program
                raise IkdError(f"--bpe-dropout-codes {codes}: not a file of BPE merges ({error})") from error

    def __call__(self, tokens: Tensor, key: str) -> Tensor:
        """Other subwords of the same words, int64 of another length; the same ones for the same *key*."""
        state = random.getstate()
        random.seed(key)  # what subword-nmt draws from
        try:
            found: list[int] = []
            for word, ids in self._words(tokens):
                found += (word and self._subwords(word, self.dropout)) or ids
            return torch.tensor(found, dtype=tokens.dtype)
        finally:
            random.setstate(state)

    def check_text(self, sentences: FairseqDataset) -> None:
        """Refuses *sentences* that these merges do not make the subwords of.

        Raises:
            IkdError: a word is segmented otherwise.
        """
        for index in range(0, len(sentences), max(1, len(sentences) // _CHECKED)):
            for word, ids in self._words(sentences[index]):
                wanted = self._subwords(word, 0) if word else ids
                subwords = " ".join(self.dictionary[number] for number in ids)
                check(
                    wanted == ids,
                    f"--bpe-dropout-codes {self.codes}: by its merges {word} does not become {subwords!r}, "
                    f"as in sentence {index} (from 0): name the merges that the text was segmented by",
                )

    def _words(self, tokens: Tensor) -> Iterator[tuple[str, list[int]]]:
        """Every word with its subwords; an empty one for what is left alone.

        That is the end of the sentence, and what is unknown with the word behind it, as whose beginning it
        may have stood.
        """
        ids: list[int] = []
        for number in tokens.tolist():
            ids.append(number)
            inside = number == self.dictionary.unk_index
            if not (inside or self.dictionary[number].endswith(self.bpe.separator)):
                yield self._word(ids), ids
                ids = []
        if ids:  # broken off within a word
            yield "", ids

    def _word(self, ids: list[int]) -> str:
        if min(ids) < self.dictionary.nspecial:
            return ""
        return "".join(self.dictionary[number].removesuffix(self.bpe.separator) for number in ids)

    def _subwords(self, word: str, dropout: float) -> list[int] | None:
        numbers = [self.dictionary.indices.get(piece) for piece in self.bpe.segment_tokens([word], dropout)]
        return None if None in numbers else numbers


class BpeDropoutDataset(PairsWrapper):
    """Pairs whose ``source``, or ``target``, is segmented anew in every epoch.

    The draw depends on seed, epoch and sentence alone: resumed runs and any number of workers see the same.
    Sizes, and so batches, stay those of the text as it is.

    Args:
        pairs: the sentence pairs.
        samplers: by ``source`` and ``target``, those that are to be segmented.
        seed: of the draws.

    Raises:
        IkdError: the text was not segmented by the samplers' merges.
    """

    def __init__(self, pairs: FairseqDataset, samplers: dict[str, SubwordSampler], seed: int):
        super().__init__(pairs)
        self.samplers, self.seed, self.epoch = samplers, seed, 1
        texts = {"source": pairs.src, "target": pairs.tgt}
        for side, sampler in samplers.items():
            sampler.check_text(texts[side])

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = dict(self.dataset[index])
        for side, sampler in self.samplers.items():
            sample[side] = sampler(sample[side], f"{self.seed} {self.epoch} {index} {side}")
        return sample
