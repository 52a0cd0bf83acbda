"""``ikd-systems``: the systems of the comparison, and what makes one of them."""

import argparse
import sys
from collections.abc import Sequence

from ..errors import command
from ..experiments.systems import SYSTEMS, get_system, markdown_table


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikd-systems",
        description="Lists the systems of the comparison, or prints the options of fairseq-train that "
        "make one of them, a word a line: mapfile -t options < <(ikd-systems ikd).",
    )
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="a system; left out, all are listed")
    images = "print when NAME sees images instead: none, index, training (alone), test (too)"
    add("--images", action="store_true", help=images)
    add("--markdown", action="store_true", help="list all as the table of README.md")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    if args.markdown:
        sys.stdout.write(markdown_table())
    elif args.name is None:
        for system in SYSTEMS.values():
            print(f"{system.name:22}{system.title:52}images: {system.images}")
    else:
        system = get_system(args.name)
        print(system.images if args.images else "\n".join(system.train_options))
