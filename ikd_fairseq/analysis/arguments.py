"""Options that several analyses share."""

import argparse

from ..cli.arguments import positive_int


def add_common_arguments(
    parser: argparse.ArgumentParser, several_splits: bool = False, checkpoint: str = "trained ikd_transformer"
) -> None:
    """What every analysis of a checkpoint takes: which one, on what data, where to, and how to run.

    *checkpoint* is the help on which it may be.
    """
    parser.add_argument("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help=checkpoint)
    if several_splits:
        parser.add_argument("--split", required=True, nargs="+", help="some of train, valid, test, ...")
    else:
        parser.add_argument("--split", required=True, help="train, valid, test, test1, ...")
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="where the results go; made if need be"
    )
    parser.add_argument(
        "--max-tokens",
        type=positive_int,
        default=4096,
        metavar="N",
        help="tokens of a batch, padding included (default: %(default)s)",
    )
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="where it runs (default: %(default)s)"
    )


def add_teacher_argument(parser: argparse.ArgumentParser) -> None:
    """For analyses that look at images through the teacher."""
    parser.add_argument(
        "--teacher-weights",
        metavar="imagenet|random|FILE",
        help="weights of the frozen CNN (default: those that the checkpoint was distilled from, or imagenet "
        "where it does not say)",
    )


def add_centre_arguments(parser: argparse.ArgumentParser) -> None:
    """For analyses that compare generated with visual features."""
    parser.add_argument(
        "--centre",
        action="store_true",
        default=True,
        help="subtract from generated and visual features their own mean before they are compared, so that "
        "what is common to all does not hide the differences (default; the paper does not say)",
    )
    parser.add_argument(
        "--no-centre", dest="centre", action="store_false", help="compare the features as they are"
    )


def add_translation_arguments(parser: argparse.ArgumentParser) -> None:
    """For analyses that translate and score."""
    parser.add_argument(
        "--beam", type=positive_int, default=5, metavar="N", help="of the search (default: %(default)s)"
    )
    parser.add_argument(
        "--references",
        metavar="FOLDER",
        help="folder with the references as SPLIT.LANGUAGE, one tokenised line a sentence (default: that in "
        "DATA/reference or, where there is none, the binarised targets)",
    )


def add_sentences_argument(parser: argparse.ArgumentParser, default: str) -> None:
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
