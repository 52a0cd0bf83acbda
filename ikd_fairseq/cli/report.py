"""``ikd-report``: one HTML page about finished runs, which needs no network and nothing beside it."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import command
from ..experiments.page.document import make_report
from ..io.atomic import check_output, write_atomically
from .arguments import parse

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-report",
        description="Writes one HTML page about finished runs: scores with significance, learning curves, "
        "cases, analyses, and how it was made. It needs no network and nothing beside it.",
        epilog="A run is a folder with run.json, its record, which train.sh and translate.sh write. Curves "
        "come from the TensorBoard files in it, cases from its translations, analyses from what ikd-analyse "
        "wrote into folders below it.",
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run, or of such folders")
    add("--output", required=True, metavar="FILE", help="page to write, e.g. report.html")
    add("--title", default="Translation systems compared", help="of the page")
    baseline = "system that others are compared with (default: that of the first RUN)"
    add("--baseline", metavar="NAME", help=baseline)
    splits = "splits to show, the first with cases (default: all that are scored)"
    add("--splits", nargs="+", metavar="SPLIT", help=splits)
    cases = "system whose translations stand beside the baseline's (default: the first one beside it)"
    add("--cases", metavar="NAME", help=cases)
    analyses = "folders that ikd-analyse wrote into, beyond those within the runs"
    add("--analyses", nargs="+", type=Path, default=[], metavar="FOLDER", help=analyses)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    check_output(args.output)
    called_as = shlex.join(["ikd-report", *(sys.argv[1:] if argv is None else argv)])
    options = (args.baseline, args.splits, args.cases, args.analyses)
    text = make_report(args.runs, args.title, *options, called_as=called_as)
    with write_atomically(args.output, "w", encoding="utf-8") as stream:
        stream.write(text)
    logger.info("wrote %s (%.1f MB)", args.output, len(text.encode()) / 1e6)
