"""Figures of decoding: what a model that sees no image costs beside one that never heard of any."""

from collections.abc import Iterator
from pathlib import Path

import commands
from report import Row, compared
from workers import Way, Worker, alternate

JOB = "training:Decoding"
BATCHES = {1: 12, 64: 1}  # translated a round, by their size


def decoding(data: Path, scratch: Path) -> Iterator[Row]:
    """Sentences that ikd translates a second, against text of the same size, by batch and beam.

    Untrained models and hypotheses of one length (see :class:`training.Decoding`), so that both do the same
    number of steps of the search. The same sentences, without images, and fairseq's own beam search, with the
    plugin's settings of the allocator for both.
    """
    with Worker(JOB, command=commands.ours(data, "ikd")) as ikd:
        with Worker(JOB, command=commands.ours(data, "text")) as text:
            for batch, batches in BATCHES.items():
                for beam in (1, 5):
                    request = {"batch": batch, "beam": beam, "batches": batches}
                    rounds = alternate(Way(ikd, request), Way(text, request), 6)
                    speeds = [batch * batches / seconds for seconds in rounds.medians("cpu")]
                    values = "{:.1f}, {:.1f} sentences a second".format(*speeds)
                    name = f"decoding, `ikd`, batch {batch}, beam {beam}"
                    yield compared(name, "`text`", rounds, "cpu", values)
