"""``ikd-analyse``: what a trained model has learnt, as tables and pictures; one subcommand an analysis."""

import argparse
import ast
import importlib
from pathlib import Path

from .. import analysis
from ..analysis.word_positions import BASIC_COLOURS, SPACY_MODEL
from ..errors import command
from ..evaluation.meteor import MODULES as METEOR_MODULES
from ..io.progress import set_up_logging
from .arguments import positive_int


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-analyse``. Building it imports no analysis, which would take seconds."""
    parser = argparse.ArgumentParser(
        prog="ikd-analyse",
        description="Look into a trained model. Results are written to a folder, and a table is printed.",
    )
    subparsers = parser.add_subparsers(dest="analysis", metavar="ANALYSIS", required=True)
    for name, add_arguments in _OPTIONS.items():
        source = Path(analysis.__file__).with_name(f"{_module_name(name)}.py").read_text(encoding="utf-8")
        subparser = subparsers.add_parser(
            name,
            help=analysis.SUMMARIES[name],
            description=ast.get_docstring(ast.parse(source)),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(subparser)
    return parser


def _module_name(name: str) -> str:
    return name.replace("-", "_")


def _add_retrieval(parser: argparse.ArgumentParser) -> None:
    _add_model(parser, several_splits=True)
    _add_visual_features(parser)


def _add_inverse(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_sentences(parser, "the first 8 that have an image")


def _add_attention(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_sentences(parser, "the first 4")


def _add_clusters(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_count(parser, "--clusters", 8, "how many")
    _add_count(parser, "--neighbours", 5, "images to show beside the one of a cluster's central sentence")
    parser.add_argument(
        "--projection",
        choices=["tsne", "pca"],
        default="tsne",
        help="onto the plane; tsne takes minutes beyond ten thousand sentences (default: %(default)s)",
    )
    _add_seed(parser, "of clustering and projection")
    _add_visual_features(parser)


def _add_no_text(parser: argparse.ArgumentParser) -> None:
    _add_model(parser, several_splits=True, checkpoint="ikd_transformer, trained with the text")
    _add_translation(parser)
    parser.add_argument(
        "--retrained", metavar="FILE", help="ikd_transformer, trained with --no-text, for the last row"
    )
    parser.add_argument(
        "--meteor-language",
        choices=METEOR_MODULES,
        metavar="LANGUAGE",
        help=f"also score by METEOR 1.5 in this language: {', '.join(METEOR_MODULES)} (needs Java)",
    )
    parser.add_argument("--meteor-jar", metavar="FILE", help="meteor-1.5.jar (default: as for ikd-score)")


def _add_incongruent(parser: argparse.ArgumentParser) -> None:
    _add_model(
        parser, checkpoint="model that needs images at test: multimodal_transformer, gated_fusion, ..."
    )
    _add_translation(parser)
    _add_count(parser, "--shuffles", 5, "how often the images are shuffled; a deviation needs 2")
    _add_seed(parser, "of the shuffles")


def _add_degrade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder",
        required=True,
        metavar="FOLDER",
        help="text, image_splits and images, as prepare.sh takes it",
    )
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="folder to make, like that of --folder"
    )
    parser.add_argument("--mask", required=True, choices=["colour", "entity"], help="which words to mask")
    parser.add_argument(
        "--positions",
        nargs="+",
        metavar="FILE",
        help="positions from 0 in each sentence of all splits, a line for each, -1 for none; several files "
        "add up (annotation of Multi30K: color.position, or noun, nouns and people.position)",
    )
    parser.add_argument(
        "--colours",
        metavar="FILE",
        help=f"colour words, one a line (default: the basic ones of English: {', '.join(BASIC_COLOURS)})",
    )
    parser.add_argument(
        "--spacy-model", metavar="NAME", help=f"pipeline that finds the nouns (default: {SPACY_MODEL})"
    )
    parser.add_argument(
        "--language", default="en", help="of the source side, which is masked (default: %(default)s)"
    )
    parser.add_argument(
        "--mask-token",
        default="[U]",
        metavar="TOKEN",
        help="what stands for a word (default: %(default)s)",
    )


def _add_cases(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--systems",
        required=True,
        action="append",
        nargs=2,
        metavar=("NAME", "FILE"),
        help="a system and its translations: output of fairseq-generate, or a translation a line; give the "
        "option once a system: the first is held against the second, others stand beside them",
    )
    parser.add_argument(
        "--references", metavar="FILE", help="reference translations, one a line (default: the T- lines)"
    )
    parser.add_argument(
        "--sources", metavar="FILE", help="source sentences, one a line (default: the S- lines, if any)"
    )
    parser.add_argument("--remove-bpe", action="store_true", help="join subwords ('@@ ') first")
    parser.add_argument(
        "--metric",
        choices=["bleu", "chrf"],
        default="bleu",
        help="of a single sentence, by sacreBLEU, ignoring case (default: %(default)s)",
    )
    _add_count(parser, "--count", 5, "sentences to show where the first system wins, and where it loses")
    _add_sentences(parser, "the --count of each end")
    _add_output(parser)


_OPTIONS = {
    "retrieval": _add_retrieval,
    "inverse": _add_inverse,
    "attention": _add_attention,
    "clusters": _add_clusters,
    "no-text": _add_no_text,
    "incongruent": _add_incongruent,
    "degrade": _add_degrade,
    "cases": _add_cases,
}


# ---- options that several analyses share ------------------------------------------------------------------


def _add_model(
    parser: argparse.ArgumentParser, several_splits: bool = False, checkpoint: str = "trained ikd_transformer"
) -> None:
    """Which checkpoint, on what data, where to, and how to run; *checkpoint* helps to choose one."""
    parser.add_argument("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help=checkpoint)
    if several_splits:
        parser.add_argument("--split", required=True, nargs="+", help="some of train, valid, test, ...")
    else:
        parser.add_argument("--split", required=True, help="train, valid, test, test1, ...")
    _add_output(parser)
    _add_count(parser, "--max-tokens", 4096, "tokens of a batch, padding included")
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="where it runs (default: %(default)s)"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="where the results go; made if need be"
    )


def _add_count(parser: argparse.ArgumentParser, name: str, default: int, what: str) -> None:
    parser.add_argument(
        name, type=positive_int, default=default, metavar="N", help=f"{what} (default: %(default)s)"
    )


def _add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--seed", type=int, default=1, metavar="N", help=f"{what} (default: %(default)s)")


def _add_visual_features(parser: argparse.ArgumentParser) -> None:
    """For analyses that compare generated features with those that the frozen CNN makes of images."""
    parser.add_argument(
        "--teacher-weights",
        metavar="imagenet|random|FILE",
        help="weights of the frozen CNN (default: those that the checkpoint was distilled from, or imagenet "
        "where it does not say)",
    )
    parser.add_argument(
        "--centre",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="subtract from generated and visual features their own mean before they are compared, so that "
        "what is common to all does not hide the differences (default: %(default)s; the paper does not say)",
    )


def _add_translation(parser: argparse.ArgumentParser) -> None:
    """For analyses that translate and score."""
    _add_count(parser, "--beam", 5, "of the search")
    parser.add_argument(
        "--references",
        metavar="FOLDER",
        help="folder with the references as SPLIT.LANGUAGE, one tokenised line a sentence (default: that in "
        "DATA/reference or, where there is none, the binarised targets)",
    )


def _add_sentences(parser: argparse.ArgumentParser, default: str) -> None:
    """For analyses of single sentences; *default* says which they are when none is given."""
    parser.add_argument(
        "--sentences",
        type=_sentence_number,
        nargs="+",
        metavar="N",
        help=f"sentences of the split, counted from 0 (default: {default})",
    )


def _sentence_number(text: str) -> int:
    """argparse type: a whole number that is not negative."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a sentence number: they count from 0")
    return int(text)


@command
def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ikd-analyse``."""
    options = vars(build_parser().parse_args(argv))
    set_up_logging()
    module = importlib.import_module(f"..analysis.{_module_name(options.pop('analysis'))}", __package__)
    print(module.run(**options))
