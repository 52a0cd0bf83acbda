"""Figures of decoding: what a model that sees no image costs beside one that never heard of any."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import commands
from report import Row, compared
from workers import Rounds, Way, Worker, take_turns

JOB = "training:Decoding"
SIZES = {  # of a batch: what a round translates
    "batch 1": {"batch": 1, "batches": 12},
    "batch 64": {"batch": 64, "batches": 1},
    "batches of 4,096 tokens": {"batch": 0, "batches": 1, "max_tokens": 4096},
}


def by_size_and_beam(
    ours: Mapping[str, Worker], against: str, other: Worker, sizes: dict[str, dict[str, int]], rounds: int = 6
) -> Iterator[Row]:
    """Sentences a second of searches that take turns, for every one of *sizes* and two beams.

    Args:
        ours: the searches by the name of their figure.
        against, other: name of the one that each is compared with, and that one.
        sizes: what a turn does, by name.
        rounds: turns that each has.
    """
    for size, work in sizes.items():
        for beam in (1, 5):
            ways = [Way(worker, {**work, "beam": beam}) for worker in (other, *ours.values())]
            first, *rest = take_turns(ways, rounds)
            for figure, answers in zip(ours, rest):
                both = Rounds(answers, first)
                pairs = zip(both, both.medians("cpu"))
                speeds = [median(one["sentences"] for one in way) / cpu for way, cpu in pairs]
                values = "{:.1f}, {:.1f} sentences a second".format(*speeds)
                yield compared(f"{figure}, {size}, beam {beam}", against, both, "cpu", values)


def decoding(data: Path, scratch: Path) -> Iterator[Row]:
    """Sentences that ikd translates a second, against text of the same size and fairseq's, by batch and beam.

    Untrained models and hypotheses of one length (see :class:`training.Decoding`), so that all do the same
    number of steps of the search. The same sentences, without images, and fairseq's own beam search. The
    plugin sets up the allocator for its own two; fairseq's `transformer` runs without the plugin.
    """
    others = {"`text`": commands.ours(data, "text"), "fairseq's `transformer`": commands.stock(data)}
    with Worker(JOB, command=commands.ours(data, "ikd")) as ikd:
        for against, command in others.items():
            with Worker(JOB, command=command) as other:
                yield from by_size_and_beam({"decoding, `ikd`": ikd}, against, other, SIZES)
