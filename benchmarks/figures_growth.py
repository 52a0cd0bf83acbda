"""Figures of growth: what more training sentences cost before and while a model learns."""

from collections.abc import Iterator
from pathlib import Path

import commands
from data import write_text
from report import Row, compared
from workers import Rounds, Worker

SIZES = {"29 k": 29_000, "300 k": 300_000, "3 M": 3_000_000}
UPDATES = 3


def growth(data: Path, scratch: Path) -> Iterator[Row]:
    """Start-up, first update, memory and time an update of text, with 10 and 100 times the sentences.

    Synthetic text of one shape throughout, and a new process every time, which begins with the import of
    fairseq. The smallest is measured once more in every round. A ratio is the larger one's share of the
    smallest: 1 is flat; 10.3 and 103 would be linear.
    """
    folders = {name: write_text(scratch / f"growth{size}", size) for name, size in SIZES.items()}
    smallest, *larger = SIZES
    for name in larger:
        rounds = Rounds([], [])
        for _ in range(2):
            for answers, size in zip(rounds, (smallest, name)):
                answers.append(_start(folders[size]))
        against = f"{name} against {smallest} pairs"
        for key, figure, values in (
            ("start", "growth: import to first batch", "{ours:.1f} s, {other:.1f} s"),
            ("first", "growth: first update", "{ours:.2f} s, {other:.2f} s"),
            ("peak", "growth: peak memory of the process", "{ours:,.0f} MB, {other:,.0f} MB"),
            ("update", "growth: update", "{ours:.2f} s, {other:.2f} s"),
        ):
            yield compared(figure, against, rounds, key, values)


def _start(folder: Path) -> dict[str, float]:
    command = commands.ours(folder, "text")
    with Worker("training:Training", command=command) as worker:
        start = worker.built["cpu"]
        first = worker.do(updates=1)
        later = worker.do(updates=UPDATES)
    peak = max(first["peak"], later["peak"], worker.built["peak"])
    return {"start": start, "first": first["cpu"], "update": later["cpu"] / UPDATES, "peak": peak}
