"""Figures of packs: read against a memory copy, written against the decoding of their images."""

from collections.abc import Iterator
from pathlib import Path

import commands
from data import FEATURES, write_packs
from report import Row, compared
from workers import Rounds, Way, Worker, alternate

ENTRIES = 200  # about the sentences of a batch of 4,096 tokens


def reading(data: Path, scratch: Path) -> Iterator[Row]:
    """Images, and features, of a batch out of their pack, against a memory copy of the same bytes.

    Sentences in random order, put together as the data set does it, from files that the system holds in
    memory already: what is measured is the code, not the disk. The copy is of one piece of the pack in
    memory, into an array of its own, as a batch has to be. A batch of features has 2 MB, which stay in the
    processor's cache.
    """
    prefix = str(write_packs(scratch / "packs") / "train")
    for what, name in (("images", None), ("features", FEATURES)):
        with Worker("reading:PackReading", prefix=prefix, features=name) as worker:
            size = {"entries": ENTRIES, "times": 100}
            ways = (Way(worker, {"mode": mode, **size}) for mode in ("pack", "copy"))
            rounds = alternate(*ways, 9)
        speeds = [rounds.ours[0]["bytes"] / seconds / 1e9 for seconds in rounds.medians("cpu")]
        values = "{:.2f}, {:.2f} GB a second".format(*speeds)
        yield compared(f"reading {what} of a pack", "memory copy of the same bytes", rounds, "cpu", values)


def share(data: Path, scratch: Path) -> Iterator[Row]:
    """The share of ikd's update that reading the images of its batch takes: all of them, for 8 distilled."""
    command = commands.ours(data, "ikd", "--kd-images-per-batch 8")
    with Worker("training:ReadingShare", command=command) as worker:
        answers = [worker.do(updates=1) for _ in range(6)][1:]
    keys = ("step", "reading")
    rounds = Rounds(*([{"seconds": answer[key]} for answer in answers] for key in keys))
    name, against = (
        "training step, `ikd` kd-images-per-batch 8",
        "reading its images alone (0 is best)",
    )
    yield compared(name, against, rounds, "seconds", "{ours:.2f} s, {other:.4f} s")


def packing(data: Path, scratch: Path) -> Iterator[Row]:
    """Packing of photographs at 112 pixels, against the decoding of the same JPEG files alone.

    The packing decodes, turns, resizes, writes, flushes to disk and hashes, in one process.
    """
    photos = 200
    with Worker("reading:Packing", folder=str(scratch / "packing"), photos=photos) as worker:
        rounds = alternate(Way(worker, {"mode": "pack"}), Way(worker, {"mode": "decode"}), 5)
    times = [1000 * seconds / photos for seconds in rounds.medians("cpu")]
    values = "{:.2f}, {:.2f} ms an image".format(*times)
    yield compared("packing, 112 px", "decoding of the JPEG files alone", rounds, "cpu", values)
