"""What a figure says, as JSON and as a table."""

import contextlib
import datetime
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from workers import Rounds, Spread

INTRODUCTION = """\
# Speed

Written by `python benchmarks/run.py --markdown docs/speed.md`, which measures all of it again. Every figure
was measured with this code on this machine; none is an estimate.
"""

READING = """\
**How to read it.** *ratio* is how many times as much the other way (*against*) takes: above 1, ours is
faster, or smaller. Against its own matrix products it is the share of a step that these would take alone.
The two ways take turns, most of them in processes of their own, so that other work on the machine falls on
both alike. The ratio is the median over the rounds of the quotient of two turns; *from* and *to* are the
smallest and the largest. Batches differ too: one of short sentences has more images, which is most of the
spread where a system looks at images. Seconds are processor time of a process with the threads named above,
loading of the data included, unless the line says otherwise. The figures in the last column are medians,
and depend on the machine and on what else ran there. Memory is the most that the process held, libraries
included; with the plugin's settings of the allocator that is also what glibc keeps for the next step.
"""

AGAIN = """\
## Run it again

From a checkout with the plugin installed: `OMP_NUM_THREADS=1 python benchmarks/run.py`. It makes its own
data: random sentences of 9,700 types, as long as Multi30K's captions, and noisy pictures of a photograph's
size. `--data DATA` takes a folder that `prepare.sh` made instead, `--only NAME` some of the figures
(`--help` lists them), `--json FILE` keeps every value of every round. `benchmarks/` says of each figure
what is measured, and why the comparison is fair.
"""


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        figure: what was measured.
        against: what with.
        ratio: of the other way to ours.
        values: what the two took, in words.
        rounds: every value of both ways.
    """

    figure: str
    against: str
    ratio: Spread
    values: str
    rounds: Rounds

    def cells(self) -> list[str]:
        ratio = [f"{value:.2f}" for value in self.ratio]
        return [self.figure, self.against, *ratio, str(len(self.rounds.ours)), self.values]


def compared(figure: str, against: str, rounds: Rounds, key: str, values: str) -> Row:
    """The row of *key*. *values* has ``{ours}`` and ``{other}``, the medians."""
    ours, other = rounds.medians(key)
    return Row(figure, against, rounds.ratio(key), values.format(ours=ours, other=other), rounds)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{os.cpu_count()} x {names[0] if names else platform.processor()}",
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "load": "other work ran now and then" if os.getloadavg()[2] > 1.2 else "little else ran",
        "versions": {
            "python": platform.python_version(),
            **_versions(
                "torch", "fairseq-fixed", "numpy", "pillow", "ikd-fairseq", "ctranslate2", "onnxruntime"
            ),
        },
    }


def _versions(*packages: str) -> dict[str, str]:
    """Of those of *packages* that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    head = ["figure", "against", "ratio", "from", "to", "rounds", "ours, the other"]
    lines = [head, ["---"] * 2 + ["--:"] * 4 + ["---"], *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def markdown(rows: Sequence[Row], facts: dict[str, Any], data: str) -> str:
    """The page."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    about = f"""\
- Machine: {facts["processor"]}, {facts["system"]}; {facts["load"]}
- Threads: {facts["threads"]} a process
- Versions: {versions}
- Data: {data}
- Date: {facts["date"]}
"""
    return "\n".join([INTRODUCTION, about, table(rows), READING, AGAIN])


def as_json(rows: Sequence[Row], facts: dict[str, Any], data: str) -> str:
    """All values of all rounds."""
    lines = [{**row._asdict(), "ratio": row.ratio._asdict(), "rounds": row.rounds._asdict()} for row in rows]
    return json.dumps({"machine": facts, "data": data, "rows": lines}, indent=1) + "\n"
