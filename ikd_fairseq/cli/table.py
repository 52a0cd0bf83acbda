"""``ikd-table``: a table over finished runs, from their records alone."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import check, command
from ..evaluation.significance import check_trials
from ..experiments.record import find_records
from ..experiments.systems import BASELINE
from ..experiments.table import as_html, as_markdown, as_tsv
from ..experiments.tables import LAYOUTS, make_tables
from ..io.atomic import check_output, write_atomically
from .arguments import parse, positive_int

FORMATS = ("markdown", "tsv", "html")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-table",
        description="Makes a table over finished runs from their records: mean and deviation over seeds, "
        "significance against a baseline, differences, costs. It is printed, and without --output written to "
        "RUNS/table.md and RUNS/table.tsv, with a plan under its name (RUNS/nano8.md).",
    )
    add = parser.add_argument
    add("runs", metavar="RUNS", type=Path, help="folder of runs, at any depth")
    plan = "plan that says what the table shows, and how; other runs in the folder are left out"
    add("--plan", metavar="FILE", type=Path, help=plan)
    add("--layout", choices=LAYOUTS, help="what stands in it (default: systems)")
    baseline = f"system that others are compared with (default: {BASELINE})"
    add("--baseline", metavar="NAME", help=baseline)
    add("--splits", nargs="+", metavar="SPLIT", help="(default: all test sets)")
    add("--trials", type=positive_int, metavar="N", help="resamples of the test (default: 1000)")
    add("--format", choices=FORMATS, default=FORMATS[0], help="(default: %(default)s)")
    add("--output", metavar="FILE", type=Path, help="write the table there")
    return parser


def _wanted(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """What the table is to show, as :func:`make_tables` takes it, and its title."""
    wanted: dict[str, Any] = {}
    title = ""
    if args.plan is not None:
        from ..experiments.plan import read_plan

        plan = read_plan(args.plan)
        title = plan.title
        wanted = {"layout": plan.table, "baseline": plan.baseline, "splits": plan.tests}
        names = {place.system for place in plan.places}
        planned = f"{args.plan} has no such system, only {', '.join(sorted(names))}"
        check(args.baseline in (None, *names), f"--baseline {args.baseline}: {planned}")
        wanted |= {"systems": {row.system.name: row.system for row in plan.rows}, "planned": plan.places}
    given = {name: getattr(args, name) for name in ("layout", "baseline", "trials") if getattr(args, name)}
    if args.splits:
        given["splits"] = tuple(args.splits)
    return {**wanted, **given}, title


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse(build_parser(), argv)
    check_trials(args.trials)
    wanted, title = _wanted(args)
    check(args.runs.is_dir(), f"{args.runs} is no folder: give the folder of the runs")
    name = args.plan.stem if args.plan else "table"  # plans may share runs
    files = {args.runs / f"{name}.md": "markdown", args.runs / f"{name}.tsv": "tsv"}
    if args.output:
        files = {args.output: args.format}
    for path in files:
        check_output(path)
    runs = find_records([args.runs])
    names = sorted({run.system for run in runs})
    there = args.baseline is None or args.baseline in names
    check(there, f"--baseline {args.baseline}: {args.runs} has no run of it, only of {', '.join(names)}")
    tables, notes = make_tables(runs, **wanted)
    written = {
        "markdown": as_markdown(tables, notes, title),
        "tsv": as_tsv(tables),
        "html": as_html(tables, notes, title),
    }
    sys.stdout.write(written[args.format])
    for path, kind in files.items():
        with write_atomically(path, "w", encoding="utf-8") as stream:
            stream.write(written[kind])
