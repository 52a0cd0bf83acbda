"""``ikd-distil-data``: a data folder whose training targets are a teacher's translations (Kim and Rush 2016).

What ``--select`` chooses is described in :mod:`ikd_fairseq.distillation.selection`. A student trains on the
folder of ``best`` and is then fine-tuned on that of ``closest``.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from fairseq.utils import split_paths

from ..distillation.distilled_folder import open_packs
from ..distillation.generation import Generation, Teacher
from ..distillation.selection import BEST, CLOSEST
from ..distillation.sequence_distillation import GENERATED, check_out, distil, distil_output, earlier_shards
from ..distillation.text_split import Split
from ..errors import check, command
from ..tasks.open_task import open_task
from .arguments import given, parse, positive_int

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
    add = parser.add_argument
    add("data", metavar="DATA", help="one folder that fairseq-preprocess wrote")
    add("out", metavar="OUT", help="data folder to write; new, empty or begun by this command")
    teacher = parser.add_mutually_exclusive_group(required=True)
    kept = f"checkpoint that translates, or several together; the output is kept in OUT/{GENERATED}"
    teacher.add_argument("--teacher-path", metavar="A[:B]", help=kept)
    ready = "output of fairseq-generate for this split, such as an earlier run kept; one file or all shards"
    teacher.add_argument("--generate-output", nargs="+", metavar="FILE", help=ready)
    add("--split", default="train", help="split to translate (default: %(default)s)")
    add("-s", "--source-lang", metavar="LANG", help="source language (default: of the files' names)")
    add("-t", "--target-lang", metavar="LANG", help="target language (default: of the files' names)")
    select = "best: the teacher's first hypothesis; closest: the one of its n-best list with the highest "
    select += (
        "smoothed sentence-level BLEU (on words, BPE removed) against the reference, the earlier of equals"
    )
    add("--select", choices=(BEST, CLOSEST), default=BEST, help=f"{select} (default: %(default)s)")
    several = "hypotheses of a sentence to keep and to choose from (default: the beam size, so that other "
    several += (
        f"selections can use the output; with --generate-output 1 for best, {DEFAULT_BEAM} for closest)"
    )
    add("--nbest", type=positive_int, metavar="N", help=several)
    add = parser.add_argument_group("with --teacher-path").add_argument
    add("--beam", type=positive_int, metavar="N", help=f"beam size (default: {DEFAULT_BEAM})")
    parts = "parts to translate in; a finished one is not repeated (default: those of an earlier run, else 1)"
    add("--shards", type=positive_int, metavar="N", help=parts)
    one = "translate this shard alone, from 0, and write no data folder yet"
    add("--only-shard", type=int, metavar="I", help=one)
    add("--image-free", action="store_true", help="the teacher reads no images, even where there are packs")
    add("--image-features", metavar="NAME", help="for a teacher that was trained on SPLIT.features.NAME")
    add("--cpu", action="store_true", help="use no GPU (default: one, where there is one)")
    return parser


def _check_options(args: argparse.Namespace, passed_on: Sequence[str]) -> None:
    """Refuses options that do not fit together, and settles the beam and how many hypotheses are kept."""
    if args.generate_output:
        translating = ("beam", "shards", "only_shard", "image_free", "image_features", "cpu")
        foreign = given(args, *translating) or ("options after --" if passed_on else "")
        ready = "is about translating, and --generate-output has translations: leave out either"
        check(not foreign, f"{foreign} {ready}")
        args.nbest = args.nbest or (1 if args.select == BEST else DEFAULT_BEAM)
    else:
        args.beam = args.beam or DEFAULT_BEAM
        args.nbest = args.nbest or args.beam
        more = f"--nbest {args.nbest} wants more hypotheses than --beam {args.beam} follows"
        check(args.nbest <= args.beam, f"{more}: raise --beam")
        args.shards = args.shards or earlier_shards(args.out) or 1
        known = f"shards of --shards {args.shards} are 0 to {args.shards - 1}"
        there = args.only_shard is None or 0 <= args.only_shard < args.shards
        check(there, f"--only-shard {args.only_shard}: {known}")
    several = "--select closest chooses from several hypotheses"
    check(args.select != CLOSEST or args.nbest > 1, f"{several}: give an --nbest (and a --beam) above 1")
    one = os.pathsep not in args.data or os.path.isdir(args.data)
    check(one, f"{args.data}: distil one folder at a time; the results can be joined by : for training")


@command
def main(argv: Sequence[str] | None = None) -> None:
    own = list(sys.argv[1:] if argv is None else argv)
    own, passed_on = (own[: own.index("--")], own[own.index("--") + 1 :]) if "--" in own else (own, [])
    args = parse(build_parser(), own)
    _check_options(args, passed_on)
    split = Split.open(args.data, args.split, args.source_lang, args.target_lang)
    open_packs(split.folder, split.name)  # refuses damaged ones before any work
    check_out(args.out, args.data)
    if args.generate_output:
        counts = distil_output(split, args.out, args.generate_output, args.select, args.nbest)
    else:
        images = {"image_free": args.image_free, "image_features": args.image_features}
        teachers, search = split_paths(args.teacher_path), (args.beam, args.nbest, args.shards)
        generation = Generation(split, teachers, *search, **images, options=tuple(passed_on))
        generation.verify()

        def open_teacher() -> Teacher:
            languages = {"source_lang": split.source, "target_lang": split.target}
            return Teacher(open_task(split.folder, **languages, **images), generation, args.cpu)

        counts = distil(args.out, generation, open_teacher, args.select, args.only_shard)
    for name, count in counts.items():
        print(f"{name}: {count}")
