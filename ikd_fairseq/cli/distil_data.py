"""``ikd-distil-data``: a data folder whose training targets are a teacher's translations (Kim and Rush 2016).

``--select best`` is sequence-level distillation (Seq-KD, section 3.2): the target of every sentence is the
best hypothesis of the teacher's beam search. ``--select closest`` is sequence-level interpolation (Seq-Inter,
section 3.3): it is the hypothesis of the n-best list that is closest to the reference, by smoothed
sentence-level BLEU. A student trains on the one folder and is then fine-tuned on the other.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..distillation.distilled_folder import Split, write_distilled_folder
from ..distillation.nbest import NBest, closest, read_nbest
from ..errors import IkdError, check, command
from ..io.manifests import sha256_of_file
from ..io.progress import progress, set_up_logging
from ..io.text_index import text_index_files
from .arguments import positive_int
from .generate_shards import (
    MADE_FROM,
    Generation,
    differences,
    generate_shards,
    read_record,
    write_record,
)

logger = logging.getLogger(__name__)

GENERATED = "generated"  # folder in OUT with the output of fairseq-generate
RECORD = "distilled.json"  # in OUT: what it was made from and, when all is there, the counts

BEST, CLOSEST = "best", "closest"
DEFAULT_BEAM = 5

_USAGE = """%(prog)s DATA OUT --teacher-path A[:B] [options] [-- options of fairseq-generate]
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

On several GPUs or machines, give each a shard of its own with --only-shard (on one machine with
CUDA_VISIBLE_DEVICES), and then run the same command without it."""


@dataclass
class Selection:
    """The new targets of a split.

    Attributes:
        targets: token numbers with the end of sentence, by sentence.
        counts: for the log and the record: how many there are, their length over that of the references (in
            subwords, over the whole split), the share that equals the reference, unknown words (``<unk>``,
            the teacher's own), and for ``closest`` the mean sentence-level BLEU of the first and of the
            selected ones.
    """

    targets: list[list[int]] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)


def check_sources(split: Split, nbest: NBest) -> None:
    """Refuses translations of other sentences than those of *split*, where the output holds its sources."""
    sources = split.token_ids(split.source)
    for sentence, text in nbest.sources.items():
        if text != split.source_dictionary.string(sources[sentence]):
            raise IkdError(
                f"{nbest.files[sentence]}: sentence {sentence} (from 0) is not that of {split.prefix} "
                f"({text!r}): give the output for this data, with BPE left in"
            )


def select_targets(split: Split, lists: Sequence[Sequence[str]], select: str) -> Selection:
    """Chooses a hypothesis of every n-best list.

    Args:
        split: where the references are.
        lists: n hypotheses, in subwords, for every sentence in order.
        select: "best" or "closest".

    Raises:
        IkdError: a chosen hypothesis holds what is no word of the target dictionary.
    """
    selection, references = Selection(), split.token_ids(split.target)
    dictionary = split.target_dictionary
    tokens, reference_tokens, equal, unknown, bleu, first_bleu = 0, 0, 0, 0, 0.0, 0.0
    for sentence, hypotheses in enumerate(progress(lists, desc="selecting", unit=" sentences")):
        rank, reference = 0, references[sentence]
        if select == CLOSEST:
            # As in T- lines, a word that the dictionary lacks is written so that no hypothesis matches it.
            choice = closest(hypotheses, dictionary.string(reference, escape_unk=True))
            rank, bleu, first_bleu = choice.rank, bleu + choice.bleu, first_bleu + choice.first_bleu
        target = split.target_ids(hypotheses[rank], f"hypothesis {rank + 1} of sentence {sentence} (from 0)")
        selection.targets.append(target)
        tokens, reference_tokens = tokens + len(target) - 1, reference_tokens + len(reference) - 1
        equal += target == reference.tolist()
        unknown += target.count(dictionary.unk())
    count = len(lists)
    selection.counts = {
        "sentences": count,
        "length_ratio": round(tokens / max(1, reference_tokens), 4),
        "equal_to_reference": round(equal / count, 4),
        "unknown_words": unknown,
    }
    if select == CLOSEST:
        selection.counts["sentence_bleu_of_first"] = round(first_bleu / count, 2)
        selection.counts["sentence_bleu_of_selected"] = round(bleu / count, 2)
    return selection


def check_out(out: str, data: str) -> None:
    """Refuses to write into the data folder itself, and among files that this command did not make."""
    check(
        os.path.realpath(out) != os.path.realpath(data),
        f"{out} is the data folder itself: name another for OUT",
    )
    if not os.path.exists(out):
        return
    check(os.path.isdir(out), f"{out} is a file: name a folder for OUT")
    ours = any(os.path.exists(os.path.join(out, *name)) for name in ((RECORD,), (GENERATED, MADE_FROM)))
    check(
        ours or not os.listdir(out),
        f"{out} holds files that this command did not make: name a new or an empty folder for OUT",
    )


def make_folder(path: str) -> None:
    """Makes the folder *path* if it is not there. Raises :class:`IkdError` if it cannot be written to."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise IkdError(f"the folder {path} cannot be made ({error.strerror or error})") from error
    check(os.access(path, os.W_OK), f"the folder {path} cannot be written to: check its permissions")


def is_finished(out: str, request: dict[str, Any]) -> bool:
    """Whether *out* is complete, and made as *request* says. Raises :class:`IkdError` if made otherwise."""
    record = read_record(os.path.join(out, RECORD))
    if record is None or not record.get("finished"):
        return False
    other = differences(record, request)
    check(not other, f"{out} is complete, and was made from other {other}: name another folder for OUT")
    return True


def distil(
    split: Split, out: str, request: dict[str, Any], outputs: Sequence[str], select: str, nbest: int
) -> dict[str, Any]:
    """Writes the data folder *out* from ready output of ``fairseq-generate``; returns its counts.

    Args:
        split: the split whose targets are replaced.
        out: an existing folder, see :func:`check_out`.
        request: what the folder's record says of its making.
        outputs: files, which must hold every sentence of the split once.
        select: "best" or "closest".
        nbest: how many hypotheses of a sentence there must be, and are looked at.

    Raises:
        IkdError: the output is incomplete or of other text, or the folder cannot be written.
    """
    found = read_nbest(outputs)
    lists = found.in_order(split.sentences, nbest)
    check_sources(split, found)
    selection = select_targets(split, lists, select)
    write_record(os.path.join(out, RECORD), {**request, "finished": False})
    write_distilled_folder(split, out, selection.targets)
    write_record(os.path.join(out, RECORD), {**request, **selection.counts, "finished": True})
    return selection.counts


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
            "parts to translate in; a finished one is not repeated (default: those of an earlier "
            "run, else as many as --workers)"
        ),
    )
    generation.add_argument(
        "--only-shard",
        type=int,
        metavar="I",
        help="translate this shard alone, from 0, and write no data folder yet",
    )
    generation.add_argument(
        "--workers",
        type=positive_int,
        metavar="N",
        help="shards to translate at a time, on the same device (default: 1)",
    )
    generation.add_argument(
        "--image-free", action="store_true", help="the teacher reads no images, even where there are packs"
    )
    generation.add_argument(
        "--cpu", action="store_true", help="use no GPU (default: one, where there is one)"
    )
    return parser


def _check_options(args: argparse.Namespace, passed_on: Sequence[str]) -> None:
    if args.generate_output:
        for name in ("beam", "shards", "only_shard", "workers", "image_free", "cpu"):
            given = getattr(args, name)
            check(
                given is None or given is False,  # 0 is a shard
                f"--{name.replace('_', '-')} is about translating, and "
                "--generate-output has translations: leave one of the two out",
            )
        check(
            not passed_on,
            "options after -- go to fairseq-generate, which --generate-output does not run: leave one "
            "of the two out",
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
    earlier = (read_record(os.path.join(args.out, *name)) for name in ((GENERATED, MADE_FROM), (RECORD,)))
    of_earlier_run = next((record["shards"] for record in earlier if record and "shards" in record), None)
    shards = args.shards or of_earlier_run or args.workers or 1
    check(
        args.only_shard is None or 0 <= args.only_shard < shards,
        f"--only-shard {args.only_shard}: the shards of --shards {shards} are 0 to {shards - 1}",
    )
    beam = args.beam or DEFAULT_BEAM
    generation = Generation(
        split, args.teacher_path, beam, _nbest(args), shards, args.image_free, tuple(passed_on)
    )
    generation.verify()
    return generation


def _warn_of_further_parts(split: Split) -> None:
    """fairseq trains on ``train``, ``train1``, ... together, and generates from one of them."""
    further = f"{split.name}1"
    if text_index_files(split.folder, further):
        logger.warning(
            "%s also holds %s, which fairseq adds to %s in training and whose targets stay as they are",
            split.folder,
            further,
            split.name,
        )


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

    _warn_of_further_parts(split)
    make_folder(args.out)
    outputs = args.generate_output
    if generation:
        outputs = generate_shards(
            os.path.join(args.out, GENERATED), generation, args.workers or 1, args.cpu, args.only_shard
        )
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
