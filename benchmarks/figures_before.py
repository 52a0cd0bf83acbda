"""Figures against an earlier commit of this repository: memory of a step, and the main job."""

import re
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
from checkouts import checkout, environment_of
from figures_training import JOB, MEMORY, SYSTEMS
from report import Row, compared
from workers import Rounds, Way, Worker, alternate


def before(data: Path, scratch: Path, commit: str) -> Iterator[Row]:
    """Time and peak memory of an update of each system, against the commit of ``--before``.

    Either as its recipe runs it, with the allocator's settings that it has.
    """
    with checkout(commit, scratch / "before") as root:
        for system, options in SYSTEMS.items():
            old = commands.ours(data, system, options, root)
            new = commands.ours(data, system, options)
            with Worker(JOB, command=new) as ours:
                with Worker(JOB, _recipe_environment(root), root=root, command=old) as other:
                    rounds = alternate(Way(ours, {"updates": 1}), Way(other, {"updates": 1}), 5)
            name = f"`{system}` {options.replace('--', '')}".strip()
            yield compared(f"peak memory, {name}", f"{commit}", rounds, "peak", MEMORY)
            yield compared(
                f"training step, {name}", f"{commit}", rounds, "cpu", "{ours:.2f} s, {other:.2f} s"
            )


def main_job(data: Path, scratch: Path, commit: str) -> Iterator[Row]:
    """``examples/scenes/run.sh`` without set-up, against the commit of ``--before``.

    From nothing to the scored translation, on as many threads as the machine has processors; processor time
    of all its processes counts.
    """
    rounds = Rounds([], [])
    with checkout(commit, scratch / "before") as before, checkout("HEAD", scratch / "now") as now:
        for number in range(2):
            for answers, place in zip(rounds, (now, before)):
                answers.append(_main_job(place, scratch / f"{place.name}-{number}"))
    name, values = "main job, `examples/scenes/run.sh`, {} without set-up", "{ours:.0f} s, {other:.0f} s"
    yield compared(name.format("processor time"), commit, rounds, "cpu", values)
    yield compared(name.format("time that passes"), commit, rounds, "wall", values)


def _recipe_environment(root: Path) -> dict[str, str]:
    """What ``train.sh`` of a checkout sets for glibc's allocator; since 0.2.0 the plugin itself does."""
    recipe = (root / "examples" / "multi30k" / "train.sh").read_text()
    return dict(re.findall(r"\b(MALLOC_\w+)=(\S+)", recipe))


def _main_job(root: Path, work: Path) -> dict[str, Any]:
    environment = environment_of(root) | dict.fromkeys(("SCENES_WORK", "WORK"), str(work))  # WORK: of old
    environment.pop("OMP_NUM_THREADS", None)
    before, start = _children(), time.perf_counter()
    log = work.with_suffix(".log")
    with log.open("w") as stream:
        status = subprocess.call(
            ["bash", root / "examples/scenes/run.sh"], env=environment, stdout=stream, stderr=stream
        )
    end = log.read_text()[-1000:]
    assert status == 0, f"the main job of {root} ended with status {status}: {end}"
    return {"cpu": _children() - before, "wall": time.perf_counter() - start, "said": end}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
