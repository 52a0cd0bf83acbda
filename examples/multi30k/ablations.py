"""The systems of ablations.sh, and the table that it ends in, like Tables 2 and 3 of Peng et al. 2022.

    python examples/multi30k/ablations.py RUNS --systems "base l1 kl" --seeds "1 2 3" --splits "test test1"

reads RUNS/SYSTEM-seedN/score-SPLIT.json and writes RUNS/ablations.md and RUNS/ablations.tsv. It imports nothing
but the standard library, so that it starts at once.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class System(NamedTuple):
    """A row of the table: what train.sh calls it, what is added to its options, and what it is in words."""

    kind: str
    options: str
    what: str


BASE = "base"
SYSTEMS: dict[str, System] = {
    BASE: System("ikd", "", "L2, model, both losses"),
    # Table 2, rows A: similarity function.
    "l1": System("ikd", "--distance l1", "L1"),
    "linf": System("ikd", "--distance linf", "L∞"),
    "cosine": System("ikd", "--distance cosine", "cosine"),
    "kl": System("ikd", "--distance kl", "KL divergence"),
    # Rows B: granularity.
    "block": System("ikd", "--granularity block", "maps of every block"),
    "layer": System("ikd", "--granularity layer", "maps of every layer"),
    # Rows C: CNN.
    "resnet50": System("ikd", "--backbone resnet50", "ResNet-50"),
    "vgg19": System("ikd", "--backbone vgg19", "VGG-19"),
    "alexnet": System("ikd", "--backbone alexnet", "AlexNet"),
    "resnet18": System("ikd", "--backbone resnet18", "ResNet-18"),
    "efficientnet_lite0": System("ikd", "--backbone efficientnet_lite0", "EfficientNet-Lite0"),
    # Rows D: losses. The image term stands once in each of the two, so that leaving one out leaves it once.
    "no-kd": System("ikd", "--kd-weight 0", "no distillation"),
    "image-only": System("ikd", "--irm-weight 0 --iam-weight 0", "image loss alone"),
    "no-iam": System("ikd", "--iam-weight 0 --image-weight 1", "without IaM-KD"),
    "no-irm": System("ikd", "--irm-weight 0 --image-weight 1", "without IrM-KD"),
    # Table 5.
    "no-text": System("ikd", "--no-text", "without text features"),
    # Not in the paper's tables: what the rows above are to be held against.
    "text": System("text", "", "Transformer, text only"),
    "image-must": System("image-must", "", "the same encoder with the real image"),
}


class Run(NamedTuple):
    """A finished run: BLEU by split, in the order asked for."""

    seed: str
    bleu: list[float]


class TableError(ValueError):
    """Runs that no table can be made of. The message is one sentence for the user."""


def finished_runs(
    folder: Path, system: str, seeds: Sequence[str], splits: Sequence[str], signatures: dict[str, Path]
) -> list[Run]:
    """The runs of *system* that are scored on every one of *splits*.

    *signatures* collects sacreBLEU's signatures met so far, each with the first file that had it.

    Raises:
        TableError: a score file is damaged or was made with another version or setting of BLEU.
    """
    runs = []
    for seed in seeds:
        files = [folder / f"{system}-seed{seed}" / f"score-{split}.json" for split in splits]
        if not all(file.is_file() for file in files):
            continue
        scores = []
        for file in files:
            try:
                bleu = json.loads(file.read_text(encoding="utf-8"))["scores"]["bleu"]
                scores.append(float(bleu["score"]))
                signatures.setdefault(bleu["signature"], file)
            except (ValueError, LookupError, TypeError) as error:
                raise TableError(f"{file} is no score of ikd-score: delete it and run again") from error
            if len(signatures) > 1:
                (one, first), (other, second) = signatures.items()
                raise TableError(f"BLEU of {first} ({one}) does not compare with that of {second} ({other})")
        runs.append(Run(seed, scores))
    return runs


class Row(NamedTuple):
    """One system: mean over seeds by split and of the average, and deviations where there are any."""

    system: str
    runs: int
    means: list[float]
    deviations: list[float] | None
    difference: float | None


def rows_of(runs: dict[str, list[Run]]) -> list[Row]:
    """One row for each system with a finished run.

    The last mean and deviation are of the average over splits. The deviation is that of the sample (n - 1); the
    difference is that of the averages from :data:`BASE`.
    """
    columns = {}
    for system, found in runs.items():
        if found:
            columns[system] = list(zip(*((*run.bleu, statistics.mean(run.bleu)) for run in found)))
    base = statistics.mean(columns[BASE][-1]) if BASE in columns else None
    rows = []
    for system, by_column in columns.items():
        means = [statistics.mean(values) for values in by_column]
        several = len(runs[system]) > 1
        rows.append(
            Row(
                system,
                len(runs[system]),
                means,
                [statistics.stdev(values) for values in by_column] if several else None,
                None if base is None or system == BASE else means[-1] - base,
            )
        )
    return rows


def notes_on(rows: list[Row], runs: dict[str, list[Run]], seeds: Sequence[str], signatures) -> list[str]:
    """What a reader must know of the table, a sentence each."""
    notes = [f"BLEU: `{next(iter(signatures))}`."]
    if any(row.deviations for row in rows):
        notes.append(f"Mean ± standard deviation of the sample over seeds ({', '.join(seeds)} asked for).")
    single = [row.system for row in rows if row.deviations is None]
    if single:
        which = "Every system" if len(single) == len(rows) else ", ".join(single)
        notes.append(f"{which}: one run, so there is no deviation, and small differences mean nothing.")
    unfinished = [
        f"{system}-seed{seed}"
        for system, found in runs.items()
        for seed in seeds
        if seed not in [run.seed for run in found]
    ]
    if unfinished:
        notes.append(f"Not finished, and not counted: {', '.join(unfinished)}.")
    if not any(row.system == BASE for row in rows):
        notes.append(f"No finished run of {BASE}, so there are no differences from it.")
    return notes


def markdown(rows: list[Row], splits: Sequence[str], notes: list[str]) -> str:
    lines = [["system", "", *splits, "average", f"from {BASE}", "runs"]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        deviations = row.deviations or [None] * len(row.means)
        figures = [
            f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"
            for mean, deviation in zip(row.means, deviations)
        ]
        difference = "" if row.difference is None else f"{row.difference:+.2f}"
        lines.append([row.system, SYSTEMS[row.system].what, *figures, difference, str(row.runs)])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return table + "\n" + "\n".join(notes) + "\n"


def tsv(rows: list[Row], splits: Sequence[str]) -> str:
    columns = [f"{name}{end}" for name in (*splits, "average") for end in ("", " deviation")]
    lines = [["system", *columns, "difference", "runs"]]
    for row in rows:
        deviations = row.deviations or [None] * len(row.means)
        figures = [value for pair in zip(row.means, deviations) for value in pair]
        texts = ["" if value is None else f"{value:.4f}" for value in (*figures, row.difference)]
        lines.append([row.system, *texts, str(row.runs)])
    return "".join("\t".join(line) + "\n" for line in lines)


def write_table(folder: Path, systems: Sequence[str], seeds: Sequence[str], splits: Sequence[str]) -> str:
    """Writes ``ablations.md`` and ``ablations.tsv`` into *folder* and returns the former.

    Raises:
        TableError: no run is finished, or scores do not compare.
    """
    signatures: dict[str, Path] = {}
    runs = {system: finished_runs(folder, system, seeds, splits, signatures) for system in systems}
    rows = rows_of(runs)
    if not rows:
        raise TableError(f"{folder} holds no finished run of these systems and seeds, so there is no table")
    text = markdown(rows, splits, notes_on(rows, runs, seeds, signatures))
    for name, content in (("ablations.md", text), ("ablations.tsv", tsv(rows, splits))):
        partial = folder / f"{name}.partial"
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, folder / name)
    return text


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="?", metavar="RUNS", type=Path, help="folder that ablations.sh filled")
    parser.add_argument("--list", action="store_true", help="print the systems and what each adds, and end")
    for name in ("systems", "seeds", "splits"):
        parser.add_argument(f"--{name}", type=str.split, help=f"{name}, separated by spaces")
    parser.add_argument(
        "--system", metavar="NAME", help="print its name in train.sh and its options, and end"
    )
    return parser


def main(argv=None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.list:
        for name, system in SYSTEMS.items():
            print(f"{name:20}{system.what:40}{system.options or f'train.sh {system.kind}'}")
        return 0
    if args.system:
        if args.system not in SYSTEMS:
            print(f"ablations: error: {args.system} is no system; --list prints them", file=sys.stderr)
            return 1
        print(SYSTEMS[args.system].kind, SYSTEMS[args.system].options)
        return 0
    if not (args.runs and args.systems and args.seeds and args.splits):
        parser.error("a table needs RUNS, --systems, --seeds and --splits")
    try:
        print(write_table(args.runs, args.systems, args.seeds, args.splits), end="")
    except TableError as error:
        print(f"ablations: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
