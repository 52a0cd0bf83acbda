"""Measures the plugin against what it stands beside, and prints one table: ``python benchmarks/run.py``.

Each figure is a ratio of two ways that take turns (see ``workers.py``), so that it holds on a machine that
does other work too. Never a test: nothing here passes or fails.
"""

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import figures_before
import figures_data
import figures_decoding
import figures_growth
import figures_serving
import figures_training
from report import BEGIN, END, Row, as_json, machine, table, update_page

SYNTHETIC = "synthetic, of Multi30K's shape: 29,000 pairs, 9,700 types, an image for each sentence"

# By name, in the order of the table: what measures it, from a data folder and one to write into.
FIGURES: dict[str, Callable[[Path, Path], Iterator[Row]]] = {
    "steps": figures_training.steps,
    "features": figures_training.features,
    "naive": figures_training.naive,
    "quality": figures_training.quality,
    "precision": figures_training.precision,
    "maps": figures_training.maps,
    "limit": figures_training.limit,
    "decoding": figures_decoding.decoding,
    "reading": figures_data.reading,
    "share": figures_data.share,
    "packing": figures_data.packing,
    "allocator": figures_training.allocator,
    "processes": figures_training.processes,
    "growth": figures_growth.growth,
}


# What needs an option of its own: the same against an earlier commit, and a model that is served.
AGAINST_COMMIT = {"before": figures_before.before, "main-job": figures_before.main_job}
SERVING = "serving"


def build_parser() -> argparse.ArgumentParser:
    functions = {**FIGURES, **AGAINST_COMMIT, SERVING: figures_serving.serving}
    summaries = [f"  {name:<10} {function.__doc__.splitlines()[0]}" for name, function in functions.items()]
    parser = argparse.ArgumentParser(
        description="Measure the plugin's speed: ratios of two ways that take turns.",
        epilog="figures:\n" + "\n".join(summaries),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=functions, metavar="NAME", help="some figures (default: all)")
    against = f"earlier commit, for {' and '.join(AGAINST_COMMIT)}; else left out"
    add("--before", metavar="COMMIT", help=against)
    served = "image-free checkpoints, for the figures of serving, with --data; else left out"
    add("--checkpoint", type=Path, nargs="+", metavar="FILE", help=served)
    add("--data", type=Path, help="folder of prepare.sh, with images (default: synthetic data)")
    add("--json", type=Path, metavar="FILE", help="write every value of every round")
    add("--markdown", type=Path, metavar="FILE", help="page whose table is replaced")
    return parser


def measure(
    figures: dict[str, Callable[[Path, Path], Iterator[Row]]], names: Sequence[str], data: Path, scratch: Path
) -> Iterator[list[Row]]:
    """All rows so far, after each of the *figures* that *names* has; a row is shown when it is there."""
    rows: list[Row] = []
    for name, function in figures.items():
        if name in names:
            start = time.monotonic()
            for row in function(data, scratch):
                print(" | ".join(row.cells()), file=sys.stderr, flush=True)
                rows.append(row)
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            yield rows


def arguments() -> argparse.Namespace:
    """Those of the command line, after a look at what cannot be measured."""
    parser = build_parser()
    args = parser.parse_args()
    if args.markdown and not (
        args.markdown.is_file() and {BEGIN, END} <= set(args.markdown.read_text().split("\n"))
    ):
        parser.error(f"--markdown {args.markdown} is no page with the lines {BEGIN} and {END}")
    if args.checkpoint and args.data is None:
        parser.error("--checkpoint is of a data folder: give --data DATA")
    options = {SERVING: args.checkpoint, **dict.fromkeys(AGAINST_COMMIT, args.before)}
    for name in args.only or ():
        if not options.get(name, True):
            parser.error(f"--only {name} needs {'--checkpoint' if name == SERVING else '--before'}")
    return args


def main() -> None:
    args = arguments()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # here and in every worker
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if args.data is None:
            from data import write_multimodal

            about, data = SYNTHETIC, write_multimodal(scratch / "multimodal")
        else:
            about, data = f"`{args.data.name}`, prepared by `prepare.sh`", args.data.resolve()
        figures = dict(FIGURES)
        if args.before:
            for name, function in AGAINST_COMMIT.items():
                figures[name] = functools.partial(function, commit=args.before)
        if args.checkpoint:
            models = [file.resolve() for file in args.checkpoint]
            figures[SERVING] = functools.partial(figures_serving.serving, checkpoints=models)
        # Written each time, so that an end by Ctrl-C loses little.
        for rows in measure(figures, args.only or [*figures], data, scratch):
            if args.json:
                args.json.write_text(as_json(rows, facts, about))
            if args.markdown:
                update_page(args.markdown, rows, facts, about)
    print(table(rows))


if __name__ == "__main__":
    main()
