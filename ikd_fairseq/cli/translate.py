"""``ikd-translate``: plain sentences in, plain translations out, one line for one line."""

import argparse
import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import IO

from ..errors import command
from ..io.atomic import check_output, write_atomically
from ..serving.engine import SearchOptions
from ..serving.input_lines import input_lines
from ..serving.text import TOKENIZERS
from ..serving.translator import SentenceTranslator, Translation
from .arguments import parse, positive_float, positive_int

logger = logging.getLogger(__name__)

_DESCRIPTION = """\
Translates plain sentences, one a line, from FILEs or standard input. They are prepared as the model's
training text was, and come back as plain text, in their order, blank lines too. MODEL is a checkpoint, best
one of ikd-export, which has its languages, dictionaries and BPE merges in it, or a folder that
ikd-export --format ctranslate2 or onnx wrote."""

_CLOSED = 128 + 13  # the status of a filter that is ended by SIGPIPE


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ikd-translate", description=_DESCRIPTION)
    add = parser.add_argument
    add("model", metavar="MODEL", help="checkpoint, or folder of ikd-export --format ctranslate2 or onnx")
    add("files", metavar="FILE", nargs="*", help="text in UTF-8 (default: standard input)")
    add("--output", metavar="FILE", help="file to write, complete or not at all (default: standard output)")
    add("--beam", type=positive_int, default=5, metavar="N", help="beam size (default: %(default)s)")
    several = (
        "translations of a sentence, as a line of JSON with their scores: logarithms of probabilities by "
    )
    add("--nbest", type=positive_int, metavar="N", help=f"{several}subword (default: the best one, as text)")
    lenpen = "exponent of the length that scores are divided by (default: %(default)s)"
    add("--lenpen", type=positive_float, default=1.0, metavar="X", help=lenpen)
    add(
        "--batch-size",
        type=positive_int,
        default=64,
        metavar="N",
        help="sentences at once (default: %(default)s)",
    )
    read = "lines that are read before the first of them is printed; 1 answers every line at once "
    buffer = f"{read}(default: 4096; with images four batches)"
    add("--buffer-size", type=positive_int, metavar="N", help=buffer)
    add("--cpu", action="store_true", help="use no GPU (default: one, where there is one)")
    words = "how words are told apart: moses, or none for sentences in words parted by spaces (default: what "
    add("--tokenizer", choices=TOKENIZERS, help=f"{words}the export says, else moses)")
    add = parser.add_argument_group("for a checkpoint").add_argument
    data = "data folder of its training (default: what travels in an exported checkpoint, else where it was)"
    add("--data", metavar="DATA", help=data)
    add("--images", metavar="FOLDER", help="for a model that looks at images: the folder of --list")
    add("--list", metavar="FILE", help="an image's name for every sentence; an empty line for none")
    add("--image-free", action="store_true", help="translate by the text path alone")
    return parser


def _results(
    args: argparse.Namespace, translator: SentenceTranslator
) -> Iterator[tuple[str, list[Translation]]]:
    """Every line of the input with its translations."""
    options = SearchOptions(args.beam, args.nbest or 1, args.batch_size, args.lenpen)
    images = None
    if args.images:
        from ..serving.image_files import ImageFiles  # brings what reads images, which others need not have

        images = ImageFiles(args.images, args.list, translator.engine.image_size)
    lines, first = input_lines(args.files), 1
    size = args.buffer_size or (4 * args.batch_size if args.images else 4096)
    while chunk := list(itertools.islice(lines, size)):
        pictures = None if images is None else images.of_sentences(first, len(chunk))
        yield from zip(chunk, translator.translate(chunk, options, pictures, first, sys.stderr.isatty()))
        first += len(chunk)
    if images is not None:
        images.check_count(first - 1)


def _line(source: str, translations: list[Translation], as_json: bool) -> str:
    if not as_json:
        return translations[0].text if translations else ""
    listed = [vars(one) for one in translations]
    return json.dumps({"source": source, "translations": listed}, ensure_ascii=False)


def _write(args: argparse.Namespace, translator: SentenceTranslator, stream: IO[bytes]) -> int:
    """Writes each line as soon as it is translated; returns their number."""
    count = 0
    for source, translations in _results(args, translator):
        count += 1
        stream.write(_line(source, translations, args.nbest is not None).encode() + b"\n")
        stream.flush()
    return count


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    parser = build_parser()
    args = parse(parser, argv, intermixed=True)
    if bool(args.images) != bool(args.list) or (args.images and args.image_free):
        parser.error("give --images and --list together, or --image-free")
    if (args.nbest or 1) > args.beam:
        parser.error(
            f"--nbest {args.nbest} wants more translations than --beam {args.beam} follows: raise --beam"
        )
    if args.output:
        check_output(args.output, [args.model, *args.files])
    options = {name: value for name in ("data", "tokenizer", "image_free") if (value := getattr(args, name))}
    translator = SentenceTranslator.load(args.model, cpu=args.cpu, **options)
    begin = time.monotonic()
    if args.output:
        with write_atomically(args.output) as stream:
            count = _write(args, translator, stream)
    else:
        try:
            count = _write(args, translator, sys.stdout.buffer)
        except BrokenPipeError:  # the reader has had enough, as ``head`` has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
            return _CLOSED
    seconds = time.monotonic() - begin
    logger.info("%d sentences in %.2f s, %.1f sentences/s", count, seconds, count / max(seconds, 1e-9))
    return None
