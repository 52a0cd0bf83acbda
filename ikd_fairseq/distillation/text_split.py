"""The binarised text of one split and language pair, with its dictionaries."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from fairseq.data import Dictionary, data_utils

from ..data.image_pack import ImagePack
from ..errors import check
from ..io.checksums import sha256_of_file
from ..io.text_index import directed, sentence_counts, text_indices


@dataclass(frozen=True)
class Split:
    """One split of a data folder.

    Attributes:
        pair: the languages as the files' names have them, ``en-de`` or ``de-en`` for either direction.
        source, target: the languages of this direction.
        sentences: how many pairs there are.
    """

    folder: str
    name: str
    pair: str
    source: str
    target: str
    source_dictionary: Dictionary
    target_dictionary: Dictionary
    sentences: int

    @classmethod
    def open(cls, folder: str, name: str, source: str | None = None, target: str | None = None) -> "Split":
        """Finds the split *name*; languages that are not given are those of its files' names, in their order.

        Raises:
            IkdError: there is no such split, it cannot be read, or it has several language pairs.
        """
        pairs = sorted({index.pair for index in text_indices(folder, name)})
        lacking = f"{folder} holds no split {name} (such as {name}.en-de.en.idx)"
        check(pairs, f"{lacking}: run fairseq-preprocess, or name another one with --split")
        if source is None or target is None:
            several = f"{folder} holds {name} in several pairs ({', '.join(pairs)})"
            check(len(pairs) == 1, f"{several}: give --source-lang and --target-lang")
            source, target = directed(pairs[0].split("-", 1), source, target)
        pair = next((pair for pair in (f"{source}-{target}", f"{target}-{source}") if pair in pairs), None)
        check(pair is not None, f"{folder} holds {name} in {', '.join(pairs)}, not in {source}-{target}")
        counts = sentence_counts(folder, name)
        words: list[Dictionary] = []
        for language in (source, target):
            index = f"{name}.{pair}.{language}.idx"
            check(index in counts, f"{os.path.join(folder, index)} is missing: run fairseq-preprocess again")
            path = os.path.join(folder, f"dict.{language}.txt")
            check(os.path.isfile(path), f"dictionary {path} is missing: run fairseq-preprocess into {folder}")
            words.append(Dictionary.load(path))
        return cls(folder, name, pair, source, target, words[0], words[1], counts[index])

    @property
    def prefix(self) -> str:
        """``DATA/SPLIT``, which the packs' names begin with."""
        return os.path.join(self.folder, self.name)

    def text_prefix(self, language: str) -> str:
        """``DATA/SPLIT.SRC-TGT.LANG``, which ``.bin`` and ``.idx`` are added to."""
        return f"{self.prefix}.{self.pair}.{language}"

    def token_ids(self, language: str) -> Sequence[torch.Tensor]:
        """Every sentence of one side: int64, its tokens and the end of sentence."""
        dataset = data_utils.load_indexed_dataset(self.text_prefix(language))
        if dataset.supports_prefetch:  # fairseq's older format, which is read ahead or not at all
            dataset.prefetch(range(len(dataset)))
        return dataset

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of text and dictionaries by file name, and of the packed images where there are any."""
        names = []
        for language in (self.source, self.target):
            text = f"{self.name}.{self.pair}.{language}"
            names += [f"{text}.bin", f"{text}.idx", f"dict.{language}.txt"]
        digests = {name: sha256_of_file(os.path.join(self.folder, name)) for name in names}
        if ImagePack.exists(self.prefix):
            manifest = ImagePack.read_manifest(self.prefix)
            digests.update({key: manifest[key] for key in ("images_sha256", "index_sha256")})
        return digests

    def target_ids(self, text: str, where: str) -> list[int]:
        """The tokens of *text*, parted by single spaces, in the target dictionary, and the end of sentence.

        Raises:
            IkdError: the dictionary lacks one; the message begins with *where*.
        """
        indices, tokens = self.target_dictionary.indices, text.split(" ")
        remedy = "generate with this dictionary, and without --remove-bpe"
        for token in tokens:
            unknown = f"{where}: {token!r} is not in dict.{self.target}.txt of {self.folder}"
            check(token in indices, f"{unknown}: {remedy}")
        return [indices[token] for token in tokens] + [self.target_dictionary.eos()]
