"""``ikd-distil-data``: a data folder whose training targets are a teacher's translations (Kim and Rush 2016).

What ``--select`` chooses is described in :mod:`ikd_fairseq.distillation.selection`. A student trains on the folder of
``best`` and is then fine-tuned on that of ``closest``.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from fairseq.utils import split_paths

from ..distillation.distilled_folder import Split
from ..distillation.generation import Generation, Teacher, generate_shards
from ..distillation.selection import BEST, CLOSEST
from ..distillation.sequence_distillation import (
    GENERATED,
    check_out,
    distil,
    earlier_shards,
    is_finished,
    make_folder,
    warn_of_further_parts,
)
from ..errors import check, command
from ..io.manifests import sha256_of_file
from ..io.progress import set_up_logging
from ..tasks.open_task import open_task
from .arguments import positive_int

logger = logging.getLogger(__name__)

DEFAULT_BEAM = 5

_USAGE = """%(prog)s DATA OUT --teacher-path A[:B] [options] [-- options of fairseq's search]
       %(prog)s DATA OUT --generate-output FILE ... [options]"""
_DESCRIPTION = """\
Writes a data folder like DATA whose training targets are a teacher's translations: Seq-KD (--select best)
or Seq-Inter (--select closest). Dictionaries, other splits and images are those of DATA. An interrupted run
goes on with the shards that are missing."""
_EXAMPLES = """\
examples:
  ikd-distil-data data/en-de data/en-de-kd --teacher-path teacher.pt --shards 8 -- --max-tokens 4096
  ikd-distil-data data/en-de data/en-de-inter --select closest \\
    --generate-output data/en-de-kd/generated/shard-*.txt

On several GPUs, machines or processors, give each a shard of its own with --only-shard (on one machine with
CUDA_VISIBLE_DEVICES or OMP_NUM_THREADS), and then run the same command without it. Options after -- are those
of the search that fairseq-generate knows (--lenpen, --max-len-b ...), --max-tokens, --batch-size, --seed and
--fp16."""


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-distil-data``, which sees the arguments up to ``--``."""
    parser = argparse.ArgumentParser(
        prog="ikd-distil-data",
        usage=_USAGE,
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help="one folder that fairseq-preprocess wrote")
    parser.add_argument(
        "out", metavar="OUT", help="data folder to write; new, empty or begun by this command"
    )
    teacher = parser.add_mutually_exclusive_group(required=True)
    teacher.add_argument(
        "--teacher-path",
        metavar="A[:B]",
        help=(
            "checkpoint that translates, or several that do so together; its output is kept in "
            f"OUT/{GENERATED}"
        ),
    )
    teacher.add_argument(
        "--generate-output",
        nargs="+",
        metavar="FILE",
        help=(
            "output of fairseq-generate for this split, such as that kept by an earlier run; several "
            "files for one in shards"
        ),
    )
    parser.add_argument("--split", default="train", help="split to translate (default: %(default)s)")
    parser.add_argument(
        "-s", "--source-lang", metavar="LANG", help="source language (default: of the files' names)"
    )
    parser.add_argument(
        "-t", "--target-lang", metavar="LANG", help="target language (default: of the files' names)"
    )
    parser.add_argument(
        "--select",
        choices=(BEST, CLOSEST),
        default=BEST,
        help=(
            "best: the teacher's first hypothesis; closest: the one of its n-best list with the "
            "highest smoothed sentence-level BLEU (on words, BPE removed) against the reference, the "
            "earlier of equals (default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--nbest",
        type=positive_int,
        metavar="N",
        help=(
            "hypotheses of a sentence to keep and to choose from (default: the beam size, so that "
            f"other selections can use the output; with --generate-output 1 for best, {DEFAULT_BEAM} for "
            "closest)"
        ),
    )
    generation = parser.add_argument_group("with --teacher-path")
    generation.add_argument(
        "--beam", type=positive_int, metavar="N", help=f"beam size (default: {DEFAULT_BEAM})"
    )
    generation.add_argument(
        "--shards",
        type=positive_int,
        metavar="N",
        help=(
            "parts to translate in; a finished one is not repeated (default: those of an earlier run, else 1)"
        ),
    )
    generation.add_argument(
        "--only-shard",
        type=int,
        metavar="I",
        help="translate this shard alone, from 0, and write no data folder yet",
    )
    generation.add_argument(
        "--image-free", action="store_true", help="the teacher reads no images, even where there are packs"
    )
    generation.add_argument(
        "--image-features", metavar="NAME", help="for a teacher that was trained on SPLIT.features.NAME"
    )
    generation.add_argument(
        "--cpu", action="store_true", help="use no GPU (default: one, where there is one)"
    )
    return parser


def _check_options(args: argparse.Namespace, passed_on: Sequence[str]) -> None:
    if args.generate_output:
        for name in ("beam", "shards", "only_shard", "image_free", "image_features", "cpu"):
            given = getattr(args, name)
            check(
                given is None or given is False,  # 0 is a shard
                f"--{name.replace('_', '-')} is about translating, and "
                "--generate-output has translations: leave one of the two out",
            )
        check(
            not passed_on,
            "options after -- are about translating, and --generate-output has translations: leave one of the two out",
        )
    else:
        beam = args.beam or DEFAULT_BEAM
        check(
            (args.nbest or 1) <= beam,
            f"--nbest {args.nbest} wants more hypotheses than --beam {beam} follows: raise --beam",
        )
    check(
        args.select != CLOSEST or _nbest(args) > 1,
        "--select closest chooses from several hypotheses: give an --nbest (and a --beam) above 1",
    )
    check(
        os.pathsep not in args.data or os.path.isdir(args.data),
        f"{args.data}: distil one folder at a time; the results can be joined by : for training",
    )


def _nbest(args: argparse.Namespace) -> int:
    if args.generate_output:
        return args.nbest or (1 if args.select == BEST else DEFAULT_BEAM)
    return args.nbest or args.beam or DEFAULT_BEAM


def _generation(args: argparse.Namespace, split: Split, passed_on: Sequence[str]) -> Generation:
    """What the options ask for. Raises :class:`IkdError` for what would fail later."""
    shards = args.shards or earlier_shards(args.out) or 1
    check(
        args.only_shard is None or 0 <= args.only_shard < shards,
        f"--only-shard {args.only_shard}: the shards of --shards {shards} are 0 to {shards - 1}",
    )
    generation = Generation(
        split,
        split_paths(args.teacher_path),
        args.beam or DEFAULT_BEAM,
        _nbest(args),
        shards,
        args.image_free,
        args.image_features,
        tuple(passed_on),
    )
    generation.verify()
    return generation


def _translate(args: argparse.Namespace, generation: Generation) -> list[str]:
    """The paths of all shards, those that were asked for complete."""
    split = generation.split

    def open_teacher() -> Teacher:
        task = open_task(
            split.folder,
            source_lang=split.source,
            target_lang=split.target,
            image_free=args.image_free,
            image_features=args.image_features,
        )
        return Teacher(task, generation, args.cpu)

    return generate_shards(os.path.join(args.out, GENERATED), generation, open_teacher, args.only_shard)


def _parted(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before and after the first ``--``."""
    place = argv.index("--") if "--" in argv else len(argv)
    return list(argv[:place]), list(argv[place + 1 :])


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``ikd-distil-data``."""
    own, passed_on = _parted(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(own)
    set_up_logging()
    _check_options(args, passed_on)
    split = Split.open(args.data, args.split, args.source_lang, args.target_lang)
    split.check_packs()
    check_out(args.out, args.data)

    request: dict[str, Any] = {"select": args.select}
    generation = None
    if args.generate_output:
        for path in args.generate_output:
            check(os.path.isfile(path), f"{path}: there is no such file")
        request.update(
            nbest=_nbest(args),
            split=split.name,
            data=split.fingerprint(),
            generate_output=sorted(map(sha256_of_file, args.generate_output)),
        )
    else:
        generation = _generation(args, split, passed_on)
        request.update(generation.record())
    if is_finished(args.out, request):
        logger.info("%s is complete: nothing to do", args.out)
        return

    warn_of_further_parts(split)
    make_folder(args.out)
    outputs = args.generate_output
    if generation:
        outputs = _translate(args, generation)
        if args.only_shard is not None:
            missing = [shard for shard, path in enumerate(outputs) if not os.path.exists(path)]
            logger.info(
                "%s is complete; missing shards: %s",
                outputs[args.only_shard],
                ", ".join(map(str, missing)) or "none, so run the same command without --only-shard",
            )
            return
    counts = distil(split, args.out, request, outputs, args.select, _nbest(args))
    for name, count in counts.items():
        print(f"{name}: {count}")
    logger.info("%s is complete, with the %s hypotheses as targets of %s", args.out, args.select, split.name)
