"""Two ways measured alternately: living processes that are told over a pipe to do a piece of work.

Each way has a process of its own, so that neither meets the other's memory, settings or imports. They live
through all rounds and take turns (A, B, A, B, ...), so that other work on the machine, its clock rate and its
caches fall on both alike; the first turn of each warms up and is thrown away. Of every round the quotient of
the two is taken, and of the quotients the median, with the smallest and largest beside it.

A process is ``python workers.py MODULE:JOB ARGUMENTS``. It calls ``JOB(**ARGUMENTS)``, then the result of
that for every request, and answers with what that took.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Worker:
    """A process that does one job again and again.

    Args:
        job: ``MODULE:CALLABLE`` of this folder; what it returns is called once a request.
        environment: variables beside those of this process, of which those that set up the allocator are
            taken out first.
        root: the checkout whose plugin it imports.
        arguments: of the callable.
    """

    def __init__(
        self, job: str, environment: dict[str, str] | None = None, root: Path = ROOT, **arguments: Any
    ):
        allocator = ("MALLOC_", "GLIBC_TUNABLES", "IKD_KEEP_MEMORY")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(allocator)}
        path = os.pathsep.join([str(root), *filter(None, [inherited.get("PYTHONPATH")])])
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "workers.py"), job, json.dumps(arguments)],
            env={**inherited, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self._built: dict[str, Any] | None = None

    @property
    def built(self) -> dict[str, Any]:
        """What it took from the start of the process until the job was ready, as :meth:`receive`."""
        if self._built is None:
            self._built = self._answer()
        return self._built

    def send(self, **request: Any) -> None:
        """Asks for one piece of work. The arguments are those of the job."""
        _ = self.built
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Waits for it: ``cpu`` and ``wall`` in seconds, ``peak`` memory in MB, and what the job reports."""
        _ = self.built
        return self._answer()

    def do(self, **request: Any) -> dict[str, Any]:
        """Both in one."""
        self.send(**request)
        return self.receive()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            end = self.log.read()[-3000:]
            raise RuntimeError(f"a worker ended with status {self.process.returncode}: {end}")
        return json.loads(line)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Both:
    """Several workers told at once, as one: seconds of the slowest, processor time and memory of all."""

    def __init__(self, *workers: Worker):
        self.workers = workers

    def do(self, **request: Any) -> dict[str, Any]:
        for worker in self.workers:
            worker.send(**request)
        answers = [worker.receive() for worker in self.workers]
        wall = max(answer["wall"] for answer in answers)
        sums = {key: sum(answer[key] for answer in answers) for key in ("cpu", "peak")}
        return {**answers[0], **sums, "wall": wall}


class Way(NamedTuple):
    """One of the two: who does it, and what it is asked for."""

    worker: Worker | Both
    request: dict[str, Any]


class Spread(NamedTuple):
    """A median with the smallest and the largest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


class Rounds(NamedTuple):
    """The answers of both ways, one of each a round."""

    ours: list[dict[str, Any]]
    other: list[dict[str, Any]]

    def ratio(self, key: str) -> Spread:
        """How many times as much of *key* the other way takes."""
        return Spread.of([other[key] / ours[key] for ours, other in zip(self.ours, self.other)])

    def medians(self, key: str) -> tuple[float, float]:
        """Of ours and of the other way."""
        return median(answer[key] for answer in self.ours), median(answer[key] for answer in self.other)


def take_turns(ways: Sequence[Way], rounds: int) -> list[list[dict[str, Any]]]:
    """The answers of each of *ways*, which take turns, after one turn each that does not count."""
    measured: list[list[dict[str, Any]]] = [[] for _ in ways]
    for number in range(rounds + 1):
        for way, answers in zip(ways, measured):
            answer = way.worker.do(**way.request)
            if number:
                answers.append(answer)
    return measured


def alternate(ours: Way, other: Way, rounds: int) -> Rounds:
    """Lets the two take turns, after one turn each that does not count."""
    return Rounds(*take_turns((ours, other), rounds))


# ---------------------------------------------------------------- within a worker


def forget_peak() -> None:
    """Lets the peak of this process's memory begin anew, where Linux can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # then the peak is that of the whole process, for both ways


def peak_memory() -> float:
    """The most memory that this process has held since :func:`forget_peak`, in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(job: str, arguments: str) -> None:
    """Builds the job and does one piece of work a line of standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever fairseq prints goes to the log
    module, name = job.split(":")
    start = time.perf_counter()
    work = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    built = {"cpu": time.process_time(), "wall": time.perf_counter() - start, "peak": peak_memory()}
    print(json.dumps({**built, **(getattr(work, "facts", None) or {})}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        forget_peak()
        cpu, wall = time.process_time(), time.perf_counter()
        reported = work(**request) or {}
        took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "peak": peak_memory()}
        print(json.dumps({**took, **reported}), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
