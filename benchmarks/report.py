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

BEGIN, END = "<!-- table: benchmarks/run.py -->", "<!-- end of the table -->"


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


def update_page(page: Path, rows: Sequence[Row], facts: dict[str, Any], data: str) -> None:
    """Puts machine and table into *page*, in the place of those that stand between its two marks."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    about = f"""\
- Machine: {facts["processor"]}, {facts["system"]}; {facts["load"]}
- Threads: {facts["threads"]} a process
- Versions: {versions}
- Data: {data}
- Date: {facts["date"]}
"""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    page.write_text(f"{before}{begin}\n\n{about}\n{table(rows)}\n{end}{after}", encoding="utf-8")


def as_json(rows: Sequence[Row], facts: dict[str, Any], data: str) -> str:
    """All values of all rounds."""
    lines = [{**row._asdict(), "ratio": row.ratio._asdict(), "rounds": row.rounds._asdict()} for row in rows]
    return json.dumps({"machine": facts, "data": data, "rows": lines}, indent=1) + "\n"
