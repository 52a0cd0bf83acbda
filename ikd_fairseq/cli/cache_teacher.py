"""``ikd-cache-teacher``: what frozen teachers answer at every target position of a split, computed once.

A student trained with ``--criterion word_distillation --teacher-cache NAME`` then runs no teacher.
"""

import argparse
import logging
import os
from collections.abc import Sequence

import torch
from fairseq import utils

from ..distillation.teacher_answers import cache_teacher
from ..errors import check, command
from ..tasks.open_task import open_task
from .arguments import parse, positive_int

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-cache-teacher",
        description="Write SPLIT.teacher.NAME beside the binarised text: the words that frozen teachers "
        "find most likely at every target position, with their probabilities. Training with --criterion "
        "word_distillation --teacher-cache NAME then runs no teacher, and reads no image for one.",
        epilog="example: ikd-cache-teacher data/en-de --split train --teacher-path a.pt:b.pt --name two",
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="folder that fairseq-preprocess wrote")
    add("--split", default="train", help="train, valid, train1, ... (default: %(default)s)")
    paths = "checkpoints of the teachers, separated by ':'; their probabilities are averaged"
    add("--teacher-path", required=True, metavar="A[:B...]", help=paths)
    add("--name", required=True, help="name of the cache, which --teacher-cache takes")
    kept = "words to keep at each position; K times 4 bytes a token (default: %(default)s)"
    add("--top-k", type=positive_int, default=8, metavar="K", help=kept)
    tokens = "tokens of a batch, padding included (default: %(default)s)"
    add("--max-tokens", type=positive_int, default=4096, metavar="N", help=tokens)
    device = "where the teachers run (default: the GPU if there is one)"
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help=device)
    add("--image-features", metavar="NAME", help="for teachers that were trained on SPLIT.features.NAME")
    image_free = "let image-must teachers answer by their text path alone"
    add("--image-free", action="store_true", help=image_free)
    add("--source-lang", metavar="SRC", help="source language (default: the folder's)")
    add("--target-lang", metavar="TGT", help="target language (default: the folder's)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    one = os.path.isdir(args.data)
    check(one, f"{args.data} is no folder: give one; of a path a:b, cache each by itself")
    names = ("image_features", "image_free", "source_lang", "target_lang")
    task = open_task(args.data, **{name: getattr(args, name) for name in names})
    teachers = utils.split_paths(args.teacher_path)
    cache = cache_teacher(task, args.split, teachers, args.name, args.top_k, args.max_tokens, device)
    tokens, covered, size = cache.manifest["tokens"], 100 * cache.manifest["covered_mass"], cache.nbytes / 1e6
    found = "%d sentences, %d tokens; the top %d words have %.2f %% of the probability; %.1f MB"
    numbers = (len(cache), tokens, cache.top_k, covered, size)
    logger.info("%s: teacher cache %r, " + found, cache.prefix, cache.name, *numbers)
