"""A teacher's n-best lists of a whole split, in shards of which each is translated once."""

import argparse
import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.configs import GenerationConfig
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.tasks.translation import TranslationTask

from ..data.feature_pack import FeaturePack
from ..errors import check
from ..io.atomic import write_atomically, write_json
from ..io.checksums import sha256_of_file
from ..io.locks import PATIENCE, claim
from ..io.manifests import differences, read_record
from ..io.progress import progress
from ..modules.search import check_lengths, search
from .teacher_models import check_teacher
from .text_split import Split

logger = logging.getLogger(__name__)

MADE_FROM = "made-from.json"

_MOST_TOKENS = 12000  # of a batch, where nothing else is asked for, as in fairseq-generate

# Options of fairseq's search that leave the text as it is, in its subwords and whole.
_SEARCH_OPTIONS = (
    "max_len_a max_len_b min_len match_source_len unnormalized no_early_stop lenpen unkpen "
    "no_repeat_ngram_size sampling sampling_topk sampling_topp temperature diverse_beam_groups "
    "diverse_beam_strength diversity_rate"
).split()

# Translations of a shard: a sentence's number, and score (natural logarithm) and text of each hypothesis.
Translations = Iterator[tuple[int, list[tuple[float, str]]]]


@dataclass(frozen=True)
class Generation:
    """What decides which translations come out, and in which shard each of them is."""

    split: Split
    teachers: Sequence[str]  # checkpoints, several for an ensemble
    beam: int
    nbest: int  # hypotheses that are kept of a sentence
    shards: int
    image_free: bool = False  # whether the teachers go without images
    image_features: str | None = None  # name of the features that they look at instead of images, if they do
    options: tuple[str, ...] = ()  # more options of the search, as fairseq-generate takes them

    def verify(self) -> None:
        """Raises :class:`IkdError` for what is no option of the search, and for teachers that do not fit."""
        self.search_options()
        split = self.split
        for path in self.teachers:
            check_teacher(path, split.source_dictionary, split.target_dictionary, split.source, split.target)

    def search_options(self) -> argparse.Namespace:
        """The values of :attr:`options`, and defaults of others. Raises as :meth:`verify`."""
        parser = argparse.ArgumentParser("ikd-distil-data ... --", add_help=False, allow_abbrev=False)
        options = [
            (option.name, option.type, field(default=option.default, metadata=option.metadata))
            for option in fields(GenerationConfig)
            if option.name in _SEARCH_OPTIONS
        ]
        gen_parser_from_dataclass(parser, make_dataclass("Options", options, bases=(FairseqDataclass,))())
        parser.add_argument("--max-tokens", type=int)
        parser.add_argument("--batch-size", type=int)
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--fp16", action="store_true")
        found, others = parser.parse_known_args(self.options)
        option = others[0].partition("=")[0] if others else ""
        check(
            not others,
            f"{option} cannot be passed on: it is no option of fairseq's search, this command sets it "
            "itself, or the text would not come out whole and in the subwords that it went in with",
        )
        return found

    def record(self) -> dict[str, Any]:
        """What the shards are made from, for JSON: contents by SHA-256, as paths differ between machines."""
        data, prefix, features = self.split.fingerprint(), self.split.prefix, self.image_features
        if features and FeaturePack.exists(prefix, features):
            data["features_sha256"] = FeaturePack.read_manifest(prefix, features)["sha256"]
        return {
            "teacher": [sha256_of_file(path) for path in self.teachers],
            "data": data,
            "split": self.split.name,
            "languages": [self.split.source, self.split.target],
            "beam": self.beam,
            "nbest": self.nbest,
            "shards": self.shards,
            "image_free": self.image_free,
            "image_features": features,
            "options": list(self.options),
        }


class Teacher:
    """The models of a :class:`Generation`, loaded once.

    Args:
        task: of the data folder, such as :func:`ikd_fairseq.tasks.open_task.open_task` returns.
        cpu: use no GPU even if there is one.

    Raises:
        IkdError: a checkpoint or the split cannot be used, or a sentence is too long.
    """

    def __init__(self, task: TranslationTask, generation: Generation, cpu: bool = False):
        self.task, self.generation = task, generation
        options = vars(generation.search_options())
        self.max_tokens, self.max_sentences = options.pop("max_tokens"), options.pop("batch_size")
        if self.max_tokens is None and self.max_sentences is None:
            self.max_tokens = _MOST_TOKENS
        self.seed = options.pop("seed")
        half = options.pop("fp16")
        self.config = GenerationConfig(beam=generation.beam, nbest=generation.nbest, **options)
        device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
        self.models = list(task.load_teachers(generation.teachers))
        for model in self.models:
            model.to(device, dtype=torch.float16 if half else torch.float32)
            model.prepare_for_inference_(SimpleNamespace(generation=self.config))
        task.load_dataset(generation.split.name)
        self.dataset = task.dataset(generation.split.name)
        # By length, and the same in every process: fairseq's own order of a training set is drawn anew.
        self.order = np.argsort(self.dataset.num_tokens_vec(np.arange(len(self.dataset))), kind="stable")
        positions = min(model.encoder.max_positions() for model in self.models)
        check_lengths(self.dataset, self.order, self.max_tokens, positions)

    def translate(self, shard: int) -> Translations:
        """Yields the n-best lists, in subwords, of every sentence of a shard, counted from 0."""
        torch.manual_seed(self.seed + shard)  # for --sampling
        sentences = self.order[shard :: self.generation.shards]
        limits = (self.max_tokens, self.max_sentences)
        string = self.task.target_dictionary.string
        for sentence, found in search(self.task, self.models, self.dataset, sentences, self.config, *limits):
            kept = found[: self.generation.nbest]
            yield sentence, [(float(one["score"]), string(one["tokens"].int().cpu())) for one in kept]


def shard_path(folder: str, shard: int, shards: int) -> str:
    """The file of a shard, counted from 0."""
    return os.path.join(folder, f"shard-{shard}-of-{shards}.txt")


def generate_shards(
    folder: str, generation: Generation, open_teacher: Callable[[], Teacher], only_shard: int | None = None
) -> list[str]:
    """Translates the shards that are not in *folder* yet, and returns the paths of all, there or not.

    Args:
        folder: made if need be. A file there is a complete shard, in the format of ``fairseq-generate``.
        open_teacher: called if there is something to do.
        only_shard: leave all others alone; several processes may do one each at the same time.

    Raises:
        IkdError: the folder's shards were made from something else, another process translates one of those
            that are wanted, or as :class:`Teacher`.
    """
    _claim(folder, generation.record())
    shards = generation.shards
    paths = [shard_path(folder, shard, shards) for shard in range(shards)]
    wanted = range(shards) if only_shard is None else [only_shard]
    with contextlib.ExitStack() as locks:
        for shard in wanted:
            if not os.path.exists(paths[shard]):
                locks.enter_context(claim(paths[shard]))
        todo = [shard for shard in wanted if not os.path.exists(paths[shard])]
        if complete := len(wanted) - len(todo):
            logger.info("%s: %d of %d shards are complete already", folder, complete, len(wanted))
        if not todo:
            return paths
        teacher = open_teacher()
        total = sum(len(range(shard, generation.split.sentences, shards)) for shard in todo)
        with progress(None, desc="translating", total=total, unit=" sentences") as bar:
            for shard in todo:
                _write_shard(paths[shard], generation.split, teacher.translate(shard), bar.update)
    return paths


def _claim(folder: str, record: dict[str, Any]) -> None:
    """Makes *folder*, or refuses one whose shards were made from something else."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, MADE_FROM)
    with claim(path, PATIENCE):
        made_from = read_record(path)
        if made_from is None:
            unknown = f"{folder} holds shards, but not {MADE_FROM}, which says what they were made from"
            shards = any(name.startswith("shard-") for name in os.listdir(folder))
            check(not shards, f"{unknown}: remove them")
            write_json(path, made_from := record)
    other = differences(made_from, record)
    check(not other, f"{folder} was made from other {other}: give what it was made from, or another folder")


def _write_shard(
    path: str, split: Split, translations: Translations, on_sentences: Callable[[int], object]
) -> None:
    sources, targets = split.token_ids(split.source), split.token_ids(split.target)
    with write_atomically(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(f"translations of {split.prefix}\n")  # so that a shard without a sentence is not empty
        for sentence, hypotheses in translations:
            source = split.source_dictionary.string(sources[sentence])
            reference = split.target_dictionary.string(targets[sentence], escape_unk=True)
            stream.write(f"S-{sentence}\t{source}\nT-{sentence}\t{reference}\n")
            for score, text in hypotheses:
                stream.write(f"H-{sentence}\t{score / math.log(2)}\t{text}\n")
            on_sentences(1)
