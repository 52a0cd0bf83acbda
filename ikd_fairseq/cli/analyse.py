"""``ikd-analyse``: what a trained model has learnt, as tables and pictures; one subcommand an analysis."""

import argparse
import ast
import importlib
from pathlib import Path
from typing import Any

from .. import analysis
from ..analysis.word_positions import BASIC_COLOURS, SPACY_MODEL
from ..errors import command
from ..evaluation.meteor import MODULES as METEOR_MODULES
from .arguments import parse, positive_int

Option = tuple[str, dict[str, Any]]  # the arguments of argparse's add_argument


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-analyse``. Building it imports no analysis, which would take seconds."""
    parser = argparse.ArgumentParser(
        prog="ikd-analyse",
        description="Look into a trained model. Results are written to a folder, and a table is printed.",
    )
    subparsers = parser.add_subparsers(dest="analysis", metavar="ANALYSIS", required=True)
    for name, options in _OPTIONS.items():
        source = Path(analysis.__file__).with_name(f"{_module_name(name)}.py").read_text(encoding="utf-8")
        subparser = subparsers.add_parser(
            name,
            help=analysis.SUMMARIES[name],
            description=ast.get_docstring(ast.parse(source)),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for option, settings in options:
            subparser.add_argument(option, **settings)
    return parser


def _module_name(name: str) -> str:
    return name.replace("-", "_")


def _sentence_number(text: str) -> int:
    """argparse type: a whole number that is not negative."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a sentence number: they count from 0")
    return int(text)


# ---- options that several analyses share ------------------------------------------------------------------


def _option(name: str, text: str, **settings: Any) -> Option:
    """An option with the help *text*, behind which its default stands if it has one."""
    shown = " (default: %(default)s)" if "default" in settings else ""
    return name, {"help": text + shown, **settings}


def _needed(name: str, text: str, **settings: Any) -> Option:
    return _option(name, text, required=True, **settings)


def _count(name: str, default: int, text: str) -> Option:
    return _option(name, text, type=positive_int, default=default, metavar="N")


def _seed_number(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number < 1 << 32:  # scikit-learn's and numpy's
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give a number from 0 to 2^32 - 1")
    return number


def _seed(text: str) -> Option:
    return _option("--seed", text, type=_seed_number, default=1, metavar="N")


def _sentences(default: str) -> Option:
    """For analyses of single sentences; *default* says which they are when none is given."""
    text = f"sentences of the split, counted from 0 (default: {default})"
    return _option("--sentences", text, type=_sentence_number, nargs="+", metavar="N")


_OUTPUT = _needed("--output", "where the results go; made if need be", metavar="FOLDER")
_SPLIT = _needed("--split", "train, valid, test, test1, ...")
_SPLITS = _needed("--split", "some of train, valid, test, ...", nargs="+")


def _model(split: Option = _SPLIT, checkpoint: str = "trained ikd_transformer") -> list[Option]:
    """Which checkpoint, on what data, where to, and how to run; *checkpoint* helps to choose one."""
    return [
        _needed("--data", "folder that fairseq-preprocess wrote", metavar="DATA"),
        _needed("--checkpoint", checkpoint, metavar="FILE"),
        split,
        _OUTPUT,
        _count("--max-tokens", 4096, "tokens of a batch, padding included"),
        _option("--device", "where it runs", choices=["cpu", "cuda"], default="cpu"),
    ]


# For analyses that compare generated features with those that the frozen CNN makes of images.
_VISUAL_FEATURES = [
    _option(
        "--teacher-weights",
        "weights of the frozen CNN (default: those that the checkpoint was distilled from, or imagenet where "
        "it does not say)",
        metavar="imagenet|random|FILE",
    ),
    _option(
        "--centre",
        "subtract from generated and visual features their own mean before they are compared, so that what "
        "is common to all does not hide the differences; the paper does not say",
        action=argparse.BooleanOptionalAction,
        default=True,
    ),
]

# For analyses that translate and score.
_TRANSLATION = [
    _count("--beam", 5, "of the search"),
    _option(
        "--references",
        "folder with the references as SPLIT.LANGUAGE, one tokenised line a sentence (default: that in "
        "DATA/reference, else in DATA/bpe, else the binarised targets)",
        metavar="FOLDER",
    ),
]

_OPTIONS = {
    "retrieval": [*_model(_SPLITS), *_VISUAL_FEATURES],
    "inverse": [*_model(), _sentences("the first 8 that have an image")],
    "inversion": [
        _needed("--data", "folder with image packs", metavar="DATA"),
        _option("--split", "whose images", default="train"),
        _OUTPUT,
        _option("--backbone", "the CNN to invert", default="efficientnet_lite0", metavar="NAME"),
        _option(
            "--teacher-weights",
            "weights of the CNN",
            default="imagenet",
            metavar="imagenet|random|FILE",
        ),
        _count("--updates", 400, "how long to train"),
        _count("--images-per-update", 8, "how many"),
        _seed("of the weights and the order of the images"),
        _option("--device", "where it runs", choices=["cpu", "cuda"], default="cpu"),
    ],
    "attention": [*_model(), _sentences("the first 4")],
    "clusters": [
        *_model(),
        _count("--clusters", 8, "how many"),
        _count("--neighbours", 5, "images to show beside the one of a cluster's central sentence"),
        _option(
            "--projection",
            "onto the plane; tsne takes minutes beyond ten thousand sentences",
            choices=["tsne", "pca"],
            default="tsne",
        ),
        _seed("of clustering and projection"),
        *_VISUAL_FEATURES,
    ],
    "regions": [*_model(), *_TRANSLATION],
    "no-text": [
        *_model(_SPLITS, "ikd_transformer, trained with the text"),
        *_TRANSLATION,
        _option("--retrained", "ikd_transformer, trained with --no-text, for the last row", metavar="FILE"),
        _option(
            "--meteor-language",
            f"also score by METEOR 1.5 in this language: {', '.join(METEOR_MODULES)} (needs Java)",
            choices=METEOR_MODULES,
            metavar="LANGUAGE",
        ),
        _option("--meteor-jar", "meteor-1.5.jar (default: as for ikd-score)", metavar="FILE"),
    ],
    "incongruent": [
        *_model(_SPLIT, "model that needs images at test: multimodal_transformer, gated_fusion, ..."),
        *_TRANSLATION,
        _count("--shuffles", 5, "how often the images are shuffled; a deviation needs 2"),
        _seed("of the shuffles"),
    ],
    "degrade": [
        _needed("--folder", "text, image_splits and images, as prepare.sh takes it", metavar="FOLDER"),
        _needed("--output", "folder to make, like that of --folder", metavar="FOLDER"),
        _needed("--mask", "which words to mask", choices=["colour", "entity"]),
        _option(
            "--positions",
            "positions from 0 in each sentence of all splits, a line for each, -1 for none; several files "
            "add up (annotation of Multi30K: color.position, or noun, nouns and people.position)",
            nargs="+",
            metavar="FILE",
        ),
        _option(
            "--colours",
            f"colour words, one a line (default: the basic ones of English: {', '.join(BASIC_COLOURS)})",
            metavar="FILE",
        ),
        _option("--spacy-model", f"pipeline that finds the nouns (default: {SPACY_MODEL})", metavar="NAME"),
        _option("--language", "of the source side, which is masked", default="en"),
        _option("--mask-token", "what stands for a word", default="[U]", metavar="TOKEN"),
    ],
    "cases": [
        _needed(
            "--systems",
            "a system and its translations: output of fairseq-generate, or a translation a line; give the "
            "option once a system: the first is held against the second, others stand beside them",
            action="append",
            nargs=2,
            metavar=("NAME", "FILE"),
        ),
        _option("--references", "reference translations, one a line (default: the T- lines)", metavar="FILE"),
        _option("--sources", "source sentences, one a line (default: the S- lines, if any)", metavar="FILE"),
        _option("--remove-bpe", "join subwords ('@@ ') first", action="store_true"),
        _option(
            "--metric",
            "of a single sentence, by sacreBLEU, ignoring case",
            choices=["bleu", "chrf"],
            default="bleu",
        ),
        _count("--count", 5, "sentences to show where the first system wins, and where it loses"),
        _sentences("the --count of each end"),
        _OUTPUT,
    ],
}


@command
def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ikd-analyse``."""
    options = vars(parse(build_parser(), argv))
    module = importlib.import_module(f"..analysis.{_module_name(options.pop('analysis'))}", __package__)
    print(module.run(**options))
