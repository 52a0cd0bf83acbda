"""A data folder with a new side to its text, and all else as in the folder that it comes from.

:func:`write_distilled_folder` gives one split new targets. :func:`link_packs` is for a folder whose text was
prepared anew, the source side changed.

Text, dictionaries, BPE merges and references are copied, because fairseq-preprocess rewrites such files in
place. Arrays of images and features are replaced, never rewritten, so that hard links to them are safe; where
there can be no link (another disk) they are copied.
"""

import glob
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from fairseq.data import indexed_dataset

from ..constants import MERGES
from ..data.feature_pack import FeaturePack
from ..data.image_pack import ImagePack
from ..errors import check
from ..io.atomic import copy_file, link_file, replacing
from ..io.manifests import text_fingerprint, write_manifest
from .text_split import Split

# Beside the binarised text: the folder of the test sets' references for ikd-score.
_REFERENCES = "reference"


def _names_of(*suffixes: str) -> re.Pattern[str]:
    """Matches the names of files of any split with one of *suffixes*."""
    ends = "|".join(re.escape(suffix).replace(re.escape("{name}"), "[^.]+") for suffix in suffixes)
    return re.compile(f"[^.]+({ends})")


_ARRAYS = _names_of(*ImagePack.suffixes[:-1], *FeaturePack.suffixes[:-1])
_MANIFESTS = _names_of(ImagePack.suffixes[-1], FeaturePack.suffixes[-1])


def feature_names(prefix: str) -> list[str]:
    """The names, sorted, of the feature packs at *prefix*, ``DATA/SPLIT``."""
    paths = glob.glob(glob.escape(prefix) + FeaturePack.suffixes[0].format(name="*"))
    return sorted(path.removeprefix(prefix).split(".")[2] for path in paths)


def open_packs(folder: str, split: str) -> list[ImagePack | FeaturePack]:
    """All packs of *split*. Raises :class:`IkdError` if one is damaged or was made for other text."""
    prefix = os.path.join(folder, split)
    packs: list[ImagePack | FeaturePack] = [ImagePack.open(prefix)] if ImagePack.exists(prefix) else []
    packs += [FeaturePack.open(prefix, name) for name in feature_names(prefix)]
    for pack in packs:
        pack.check_text(folder, split)
    return packs


def write_distilled_folder(split: Split, out: str, targets: Sequence[Sequence[int]]) -> None:
    """Writes the data folder *out*: that of *split*, but with *targets* as the target side of this one split.

    The files of other language pairs stay behind, and so does what belongs to the old target (alignments, a
    teacher's cached answers). The target's index, without which fairseq finds no split, comes last but for
    the packs' records of the text beside them. An interrupted call is repeated from the start.

    Args:
        out: the folder, made if need be; not that of *split*.
        targets: token numbers with the end of sentence, one list a sentence, in the order of the split.

    Raises:
        IkdError: a pack does not fit its text, or the disk is full.
    """
    assert len(targets) == split.sentences
    packs = open_packs(split.folder, split.name)
    os.makedirs(out, exist_ok=True)
    new_target = os.path.basename(split.text_prefix(split.target))
    # An interrupted call's: what follows must not load with it.
    Path(out, new_target + ".idx").unlink(missing_ok=True)
    language = f"({re.escape(split.source)}|{re.escape(split.target)})"
    text = rf"dict\.{language}\.txt|[^.]+\.{language}-{language}\.{language}\.(bin|idx)"
    for name in sorted(os.listdir(split.folder)):
        source, target = os.path.join(split.folder, name), os.path.join(out, name)
        if name == _REFERENCES and os.path.isdir(source):
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif name in (new_target + ".bin", new_target + ".idx"):
            continue
        elif _ARRAYS.fullmatch(name):
            link_file(source, target)
        elif name == MERGES or _MANIFESTS.fullmatch(name) or re.fullmatch(text, name):
            copy_file(source, target)
    _write_text(os.path.join(out, new_target), targets, len(split.target_dictionary))
    _record_text(packs, out, split.name)


def link_packs(folder: str, out: str, splits: Sequence[str]) -> None:
    """Gives the *splits* in *out* the packs that they have in *folder*, where one side of the text differs.

    The other side tells that the sentences are the same: with the same dictionary, at least one text index
    must equal the one of that name in *folder*, so that every sentence has as many tokens as there. A call
    that was interrupted is repeated.

    Raises:
        IkdError: the sentences are others, or a pack is damaged or does not fit the text of *folder*.
    """
    for split in splits:
        packs = open_packs(folder, split)
        if not packs:
            continue
        ours = text_fingerprint(out, split)
        same = any(ours.get(name) == theirs for name, theirs in text_fingerprint(folder, split).items())
        other = f"{split} in {out} does not hold the sentences of {folder}, or not with the same merges and"
        check(same, f"{other} dictionary: its images cannot be taken from there")
        for pack in packs:
            *arrays, manifest = pack.paths(pack.prefix, pack.name)
            for path in arrays:
                link_file(path, os.path.join(out, os.path.basename(path)))
            copy_file(manifest, os.path.join(out, os.path.basename(manifest)))
        _record_text(packs, out, split)


def _write_text(prefix: str, sentences: Sequence[Sequence[int]], vocabulary: int) -> None:
    """Writes *sentences* as ``prefix.bin`` and ``prefix.idx`` in fairseq's memory-mapped format."""
    with replacing(prefix + ".idx") as partial_index, replacing(prefix + ".bin") as partial_data:
        builder = indexed_dataset.make_builder(partial_data, "mmap", vocabulary)
        for sentence in sentences:
            builder.add_item(torch.tensor(sentence))
        builder.finalize(partial_index)


def _record_text(packs: Sequence[ImagePack | FeaturePack], out: str, split: str) -> None:
    """Writes into copies of *packs* in *out* which text they now stand beside.

    That they fit it, sentence by sentence, was checked on the text that this one comes from.
    """
    text = text_fingerprint(out, split)
    for pack in packs:
        if "text" in pack.manifest:  # others follow the image pack
            manifest = pack.paths(os.path.join(out, split), pack.name)[-1]
            write_manifest(manifest, {**pack.manifest, "text": text})
