"""The table of sequence_kd.sh, in Markdown and TSV, from the folders of its runs.

    python examples/multi30k/distillation_table.py OUT --split test --beam 5

Columns follow Kim and Rush 2016, Table 1: BLEU by greedy and by beam search, and p(t = ŷ), the probability that a
system gives to its own greedy translation, averaged over sentences. "As teacher" is the share of sentences whose
greedy translation is, word for word, what the teacher's beam search finds. Speed is in sentences a second on the
CPU, by batch size and beam, with how many times the teacher's that is.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from finished_run import decoding_speed, parameters_of

from ikd_fairseq.errors import check, command
from ikd_fairseq.io.checkpoints import load_checkpoint

METHODS = {  # suffix of the run's folder -> its name in the paper, which has no control
    "base": "baseline",
    "control": "baseline, trained on as long as Seq-Inter",
    "word": "Word-KD",
    "seq": "Seq-KD",
    "inter": "Seq-Inter",
    "word+inter": "Word-KD + Seq-Inter",
    "seq+inter": "Seq-KD + Seq-Inter",
    "seq+word": "Seq-KD + Word-KD",
    "seq+inter+word": "Seq-KD + Seq-Inter + Word-KD",
}
SPEEDS = [(1, 1), (1, 64), (None, 1), (None, 64)]  # (beam, batch size); None: the wide beam


class Output(NamedTuple):
    """What fairseq-generate wrote of a split: words and probability of each sentence's best hypothesis."""

    text: dict[int, str]
    probability: dict[int, float]


def read_output(path: Path) -> Output:
    """Reads H lines (words) and P lines (log2 probability by position)."""
    text, probability = {}, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"([HP])-(\d+)\t(.*)", line)
        if match and match[1] == "H" and int(match[2]) not in text:
            text[int(match[2])] = match[3].partition("\t")[2]
        elif match and match[1] == "P" and int(match[2]) not in probability:
            probability[int(match[2])] = 2 ** sum(map(float, match[3].split()))
    return Output(text, probability)


def bleu(run: Path, beam: int, split: str) -> float:
    path = run / f"beam{beam}" / f"score-{split}.json"
    check(path.is_file(), f"{path} is missing: run sequence_kd.sh again, which goes on where it was")
    return json.loads(path.read_text(encoding="utf-8"))["scores"]["bleu"]["score"]


class Size(NamedTuple):
    """Weights of a checkpoint that translating needs, and how many of them are not zero."""

    weights: int
    not_zero: int


def size_of(checkpoint: Path) -> Size:
    """Counts what decoding needs: no student CNN, no running statistics, tied weights once."""
    weights = parameters_of(load_checkpoint(checkpoint), translating=True)
    return Size(sum(w.numel() for w in weights), sum(int((w != 0).sum()) for w in weights))


def speed_cell(run: Path, teacher: Path, beam: int, batch: int) -> str:
    """The speed of *run*, empty if it was not measured, and its ratio to the teacher's if that was."""
    own, reference = (decoding_speed(at / f"speed-beam{beam}-batch{batch}.txt") for at in (run, teacher))
    if own is None:
        return ""
    return f"{own:.1f}" if reference is None or run == teacher else f"{own:.1f} ({own / reference:.1f}x)"


def runs_of(out: Path) -> list[Path]:
    """The folders with an average, teacher first, students in the order of :data:`METHODS`, pruned ones last."""
    order, ranks = list(METHODS), {}
    for run in (checkpoint.parent for checkpoint in out.glob("*/average.pt")):
        student, _, method = run.name.partition("-")
        pruned = re.fullmatch(r"pruned(\d+)", method)
        if run.name == "teacher":
            ranks[run] = (0,)
        elif method in METHODS:
            ranks[run] = (1, student, order.index(method))
        elif pruned:
            ranks[run] = (2, student, int(pruned[1]))
    return sorted(ranks, key=ranks.__getitem__)


def row(run: Path, out: Path, split: str, beam: int) -> list[str]:
    """One row: system, method, BLEU twice, p(t = ŷ), as teacher, weights, size on disk, four speeds."""
    student, _, method = run.name.partition("-")
    greedy = read_output(run / "beam1" / f"generate-{split}.txt")
    teacher = out / "teacher" / f"beam{beam}" / f"generate-{split}.txt"
    same = ""
    if teacher.is_file():
        reference = read_output(teacher).text
        share = sum(greedy.text[i] == reference[i] for i in reference) / len(reference)
        same = f"{100 * share:.1f} %"
    size = size_of(run / "average.pt")
    packed = run / "packed.pt"
    return [
        student,
        METHODS.get(method, re.sub(r"pruned(\d+)", r"Seq-KD + Seq-Inter, \1 % pruned", method)),
        f"{bleu(run, 1, split):.2f}",
        f"{bleu(run, beam, split):.2f}",
        f"{100 * sum(greedy.probability.values()) / len(greedy.probability):.1f} %",
        same,
        f"{size.weights / 1e6:.2f} M"
        if size.weights == size.not_zero
        else f"{size.not_zero / 1e6:.2f} M not 0",
        f"{(packed if packed.is_file() else run / 'average.pt').stat().st_size / 1e6:.2f} MB",
        *(speed_cell(run, out / "teacher", width or beam, batch) for width, batch in SPEEDS),
    ]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder that sequence_kd.sh filled")
    parser.add_argument("--split", default="test")
    parser.add_argument("--beam", type=int, default=5)
    return parser


@command
def main(argv=None) -> None:
    args = build_parser().parse_args(argv)
    runs = runs_of(args.out)
    check(bool(runs), f"{args.out} holds no finished run of sequence_kd.sh (a folder with average.pt)")
    beam = args.beam
    header = [
        "system",
        "method",
        "BLEU, greedy",
        f"BLEU, beam {beam}",
        "p(t = ŷ)",
        "as teacher",
        "weights",
        "file",
        *(f"beam {width or beam}, batch {batch}" for width, batch in SPEEDS),
    ]
    rows = [row(run, args.out, args.split, beam) for run in runs]
    (args.out / "table.tsv").write_text(
        "".join("\t".join(line) + "\n" for line in [header, *rows]), encoding="utf-8"
    )
    lines = [f"| {' | '.join(line)} |\n" for line in [header, ["---"] * len(header), *rows]]
    (args.out / "table.md").write_text("".join(lines), encoding="utf-8")
    sys.stdout.writelines(lines)


if __name__ == "__main__":
    sys.exit(main())
