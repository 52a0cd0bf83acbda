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
from ..io.progress import set_up_logging

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
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run, or of such folders"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="page to write, e.g. report.html")
    parser.add_argument("--title", default="Translation systems compared", help="of the page")
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="system that others are compared with (default: that of the first RUN)",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        metavar="SPLIT",
        help="splits to show, the first with cases (default: all that are scored)",
    )
    parser.add_argument(
        "--cases",
        metavar="NAME",
        help="system whose translations stand beside the baseline's (default: the first one beside it)",
    )
    parser.add_argument(
        "--analyses",
        nargs="+",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="folders that ikd-analyse wrote into, beyond those within the runs",
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    set_up_logging()
    check_output(args.output, [])
    text = make_report(
        args.runs,
        args.title,
        args.baseline,
        args.splits,
        args.cases,
        args.analyses,
        called_as=shlex.join(["ikd-report", *(sys.argv[1:] if argv is None else argv)]),
    )
    with write_atomically(args.output, "w", encoding="utf-8") as stream:
        stream.write(text)
    logger.info("wrote %s (%.1f MB)", args.output, len(text.encode()) / 1e6)
