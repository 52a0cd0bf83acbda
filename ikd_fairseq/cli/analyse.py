"""``ikd-analyse``: what a trained model has learnt, as tables and pictures; one subcommand an analysis."""

import argparse
from types import ModuleType

from ..analysis import attention, cases, clusters, degrade, incongruent, inverse, no_text, retrieval
from ..errors import command
from ..io.progress import set_up_logging

# A new analysis is one entry here; see ikd_fairseq/analysis/__init__.py for what its module has.
ANALYSES: dict[str, ModuleType] = {
    "retrieval": retrieval,
    "inverse": inverse,
    "attention": attention,
    "clusters": clusters,
    "no-text": no_text,
    "incongruent": incongruent,
    "degrade": degrade,
    "cases": cases,
}


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-analyse``."""
    parser = argparse.ArgumentParser(
        prog="ikd-analyse",
        description="Look into a trained model. Results are written to a folder, and a table is printed.",
    )
    subparsers = parser.add_subparsers(dest="analysis", metavar="ANALYSIS", required=True)
    for name, module in ANALYSES.items():
        subparser = subparsers.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ikd-analyse``."""
    options = vars(build_parser().parse_args(argv))
    set_up_logging()
    print(ANALYSES[options.pop("analysis")].run(**options))
