"""``ikd-systems``: the systems of the comparison, and what makes one of them."""

import argparse
import sys
from collections.abc import Iterable, Sequence

from ..errors import check, command
from ..experiments.systems import COMMON, SYSTEMS, System, get_system, markdown_table


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
    describe = (
        "describe instead the options that fairseq-train has for NAME beside its own, with their defaults"
    )
    add("--describe", action="store_true", help=describe)
    add("--markdown", action="store_true", help="list all as the table of README.md")
    protocol = (
        "print how NAME is trained, in options that follow those of NAME and win: by the common protocol, "
    )
    protocol += (
        "or by its authors' own; differences: what of the latter differs, of NAME or of all, and its source"
    )
    add("--protocol", choices=["common", "published", "differences"], help=protocol)
    decoding = "with --protocol: the options of fairseq-generate instead"
    add("--decoding", action="store_true", help=decoding)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    of_one = args.protocol in ("common", "published")
    check(of_one or not args.decoding, "--decoding is of a protocol: give --protocol common or published")
    check(args.name or not args.describe, "--describe is of one system: give its NAME")
    check(args.name or not of_one, f"--protocol {args.protocol} is that of one system: give its NAME")
    if of_one:
        print("\n".join(_protocol(get_system(args.name), args.protocol == "published", args.decoding)))
    elif args.protocol:
        _print_differences([get_system(args.name)] if args.name else SYSTEMS.values())
    elif args.markdown:
        sys.stdout.write(markdown_table())
    elif args.name is None:
        for system in SYSTEMS.values():
            print(f"{system.name:22}{system.title:52}images: {system.images}")
    elif args.describe:
        import ikd_fairseq  # noqa: F401  registers all that has options

        from ..experiments.option_help import option_help  # needs fairseq

        print("\n".join(option_help(get_system(args.name))))
    else:
        system = get_system(args.name)
        print(system.images if args.images else "\n".join(system.train_options))


def _protocol(system: System, published: bool, decoding: bool) -> Sequence[str]:
    """One word each."""
    training = system.protocol(published)
    if not decoding:
        return training
    own = system.published.decoding if published and system.published else {}
    return [word for pair in own.items() for word in pair]


def _print_differences(systems: Iterable[System]) -> None:
    print(f"{'common':22}{' '.join(map(' '.join, COMMON.items()))}")
    for system in systems:
        if (own := system.published) is not None:
            differing = {**own.training, **own.decoding}
            print(f"{system.name:22}{' '.join(map(' '.join, differing.items()))}")
            print(f"{'':22}{own.source}{'; beyond options: ' if own.beyond else ''}{own.beyond}")
