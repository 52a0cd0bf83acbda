"""Languages, dictionaries and BPE merges of a data folder, held against its text and against checkpoints.

fairseq's checkpoints know neither: with two words swapped in a dictionary a model translates to nonsense.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fairseq.data import Dictionary, data_utils

from ..constants import LANGUAGES, MERGES
from ..errors import IkdError, check
from ..io.checksums import sha256_of_file, sha256_of_words
from ..io.text_index import check_words, directed, text_indices


def find_languages(folders: Sequence[str], source: str | None, target: str | None) -> tuple[str, str]:
    """Source and target language of data folders: those given, or the pair of the files in the first.

    Raises:
        IkdError: a folder or a dictionary is missing; there is no pair, or several, or none with the language
            given.
    """
    for folder in folders:
        check(os.path.isdir(folder), f"data folder {folder} does not exist")
    folder = folders[0]
    if source is None or target is None:
        of_files = {tuple(index.pair.split("-")) for index in text_indices(folder)}
        pairs = sorted(pair for pair in of_files if len(pair) == 2 and "None" not in pair)
        if not pairs and None not in (pair := data_utils.infer_language_pair(folder)):  # of raw text
            pairs = [tuple(pair)]
        for option, language in (("source", source), ("target", target)):
            holds = f"{folder} holds {', '.join(map('-'.join, pairs))}"
            fitting = [pair for pair in pairs if language in (None, *pair)]
            check(fitting or not pairs, f"--{option}-lang {language}: {holds}")
            pairs = fitting
        found = {directed(pair, source, target) for pair in pairs}
        several = f"{folder} holds several pairs ({', '.join(map('-'.join, pairs))})"
        check(len(found) <= 1, f"{several}: give --source-lang and --target-lang")
        if found:
            source, target = found.pop()
    check(
        source is not None and target is not None,
        f"{folder} holds no binarised pair to tell the languages from: run fairseq-preprocess, or give "
        "--source-lang and --target-lang",
    )
    for language in (source, target):
        path = os.path.join(folder, f"dict.{language}.txt")
        check(os.path.isfile(path), f"dictionary {path} is missing: run fairseq-preprocess into {folder}")
    return source, target


def fingerprints(
    source: Dictionary, target: Dictionary, folder: str, languages: tuple[str, str]
) -> dict[str, Any]:
    """What stands in a checkpoint: languages, number and SHA-256 of each side's words, SHA-256 of the merges.

    Args:
        folder: the data folder. Without a file of merges there, their entry is None.
        languages: source and target.
    """
    merges = os.path.join(folder, MERGES)
    return {
        LANGUAGES: "-".join(languages),
        "source": _fingerprint(source),
        "target": _fingerprint(target),
        "merges": sha256_of_file(merges) if os.path.isfile(merges) else None,
    }


def _fingerprint(words: Dictionary) -> dict[str, Any]:
    return {"words": len(words), "sha256": sha256_of_words(words.symbols)}


def check_fingerprints(
    trained: Mapping[str, Any],
    here: Mapping[str, Any],
    languages: tuple[str, str],
    folder: str,
    checkpoint: str,
) -> None:
    """Refuses a checkpoint of other languages, words or merges than those of the data folder.

    Args:
        trained, here: :func:`fingerprints` of the checkpoint and of *folder*.
        languages: source and target.
        checkpoint: its file, for the message.

    Raises:
        IkdError: they differ.
    """
    remedy = "give the data folder that it was trained on"
    theirs, ours = (known.get(LANGUAGES) for known in (trained, here))
    other = f"checkpoint {checkpoint} translates {theirs}, not {ours}"
    check(theirs in (None, ours), f"{other}: give it those languages, by --source-lang and --target-lang")
    for side, language in zip(("source", "target"), languages):
        theirs, ours = trained.get(side), here[side]
        if not isinstance(theirs, Mapping) or theirs == ours:
            continue
        count = f"{theirs.get('words')} words, and this one has {ours['words']}"
        other = count if theirs.get("words") != ours["words"] else "other words, or the same in another order"
        path = os.path.join(folder, f"dict.{language}.txt")
        raise IkdError(f"checkpoint {checkpoint} was trained with another {path} ({other}): {remedy}")
    known = trained.get("merges") and here["merges"]
    path = os.path.join(folder, MERGES)
    same = not known or trained["merges"] == here["merges"]
    check(same, f"checkpoint {checkpoint} was trained with other BPE merges than {path}: {remedy}")


def check_merges(trained: Mapping[str, Any], bpe: Any) -> None:
    """Refuses BPE merges other than those that a checkpoint was trained with.

    Args:
        trained: :func:`fingerprints` of the checkpoint; empty if it has none.
        bpe: fairseq's settings of the BPE.

    Raises:
        IkdError: the file of ``--bpe-codes`` is missing or another one.
    """
    path = getattr(bpe, "bpe_codes", None)
    if not path or "://" in str(path):
        return
    check(os.path.isfile(path), f"--bpe-codes {path}: there is no such file; give the BPE merges (code)")
    same = not trained.get("merges") or trained["merges"] == sha256_of_file(path)
    check(same, f"--bpe-codes {path}: the checkpoint was trained with other BPE merges; give those")


def check_words_of(
    prefix: str,
    languages: tuple[str, str],
    dictionaries: tuple[Dictionary, Dictionary],
    folder: str,
) -> None:
    """Refuses binarised text with words beyond the end of its dictionary, which training would die of later.

    Args:
        prefix: ``DATA/SPLIT``.
        languages, dictionaries: of source and target.
        folder: where the dictionaries are from, for the message.

    Raises:
        IkdError: a word's number is too high.
    """
    for language, words in zip(languages, dictionaries):
        for pair in ("-".join(languages), "-".join(languages[::-1])):
            text = f"{prefix}.{pair}.{language}"
            if os.path.exists(f"{text}.bin"):
                check_words(text, len(words), os.path.join(folder, f"dict.{language}.txt"))
