"""What writes, interrupted: killed before any change of files, short of disk, and started twice at once.

What holds afterwards, of every file that the command makes: it is not there, or as it was, or as it shall be;
what was whole before can still be read; and the command, run again, ends with what an uninterrupted one makes
and leaves no temporary file.
"""

import itertools
import pickle
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults import workbench
from tests.faults.judge import sentence_of
from tests.faults.workbench import QUICK, content, copy_workbench, must, ours, start, train, translate, walk

HANG = 300
KILLED = 128 + signal.SIGKILL
TEMPORARY = re.compile(r"\.tmp$|\.partial$|\.ready$|\.ikd-lock$")
PROGRESS = "distilled.json"  # says how far ikd-distil-data is; no reader of the data looks at it
TRAINING = train(
    "text", "--max-update 12 --save-interval-updates 4 --no-epoch-checkpoints --save-dir {w}/new"
)


@dataclass(frozen=True)
class Writer:
    """A command that writes.

    Attributes:
        name: row of the table.
        command: module and line.
        outputs: patterns of the files that it makes, relative to the workbench.
        reader: a command that reads them, which must refuse what is not whole.
        other: makes an earlier, different output under the same names.
        once: whether it refuses to write where something is.
    """

    name: str
    command: tuple[str, str]
    outputs: tuple[str, ...]
    reader: tuple[str, str]
    other: tuple[str, str] | None = None
    once: bool = False

    def contents(self, folder: Path) -> dict[str, str | None]:
        found = itertools.chain.from_iterable(sorted(folder.glob(pattern)) for pattern in self.outputs)
        return {str(path.relative_to(folder)): _content(path) for path in found if path.is_file()}

    def clear(self, folder: Path) -> None:
        for path in list(itertools.chain.from_iterable(folder.glob(pattern) for pattern in self.outputs)):
            path.unlink()


def _content(path: Path) -> str | None:
    try:
        return content(path)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return "damaged"


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in walk(folder)}


def _finished(found: dict[str, str | None]) -> dict[str, str | None]:
    return {
        name: value for name, value in found.items() if not TEMPORARY.search(name) and PROGRESS not in name
    }


def _small(command: tuple[str, str], old: str, new: str) -> tuple[str, str]:
    assert old in command[1]
    return command[0], command[1].replace(old, new)


WRITERS = {
    writer.name: writer
    for writer in (
        Writer(
            "pack-images",
            workbench.PACK,
            ("data/train.images.*",),
            ours("extract_features", f"--data {{w}}/data --split train --name read {workbench.CNN}"),
            _small(workbench.PACK, "--image-size 64", "--image-size 32"),
        ),
        Writer(
            "extract-features",
            workbench.EXTRACT,
            ("data/train.features.cnn.*",),
            train("featured", QUICK),
            _small(workbench.EXTRACT, "--backbone-weights random", ""),
        ),
        Writer(
            "build-image-index",
            workbench.TOPIC,
            ("data/image-index.topic.pt",),
            train("topic", QUICK),
            _small(workbench.TOPIC, "--topics 4", "--topics 3"),
        ),
        Writer(
            "cache-teacher",
            workbench.CACHE,
            ("data/train.teacher.own.*",),
            train("taught", QUICK),
            _small(workbench.CACHE, "--top-k 3", "--top-k 2"),
        ),
        Writer(
            "distil-data",
            workbench.DISTIL,
            ("distilled/*",),
            _small(train("fused", QUICK), "{w}/data", "{w}/distilled"),
        ),
        Writer(
            "average-checkpoints",
            workbench.AVERAGE,
            ("average.pt",),
            translate("average.pt"),
            ours("average_checkpoints", "{w}/text.pt --output {w}/average.pt"),
        ),
        Writer(
            "export",
            workbench.EXPORT,
            ("exported.pt",),
            translate("exported.pt"),
            ours("export", "{w}/text.pt {w}/exported.pt"),
        ),
        Writer(
            "prune",
            workbench.PRUNE,
            ("pruned.pt",),
            translate("pruned.pt"),
            _small(workbench.PRUNE, "--sparsity 0.4", "--sparsity 0.6"),
        ),
        Writer("score", workbench.SCORE, ("score.json",), ours("systems", "")),
        Writer("record", workbench.RECORD_SCORE, ("run/run.json",), workbench.TABLE),
        Writer("table", workbench.TABLE, ("table.md",), ours("systems", "")),
        Writer("report", workbench.REPORT, ("report.html",), ours("systems", "")),
        Writer("train", TRAINING, ("new/*.pt",), translate("new/checkpoint_last.pt")),
        *(
            Writer(
                f"export to {name}",
                command,
                (f"{name}/*",),
                ours("systems", "")  # transformers has no command: nothing but all or none will do
                if name == "huggingface"
                else ours("translate", f"{{w}}/{name} {{w}}/test.en --tokenizer none --cpu"),
                once=True,
            )
            for name, command in workbench.FORMATS.items()
        ),
    )
}
# What these say depends on how often they ran: a record grows, a report has a date.
_COMPARED_BY_READING = ("report",)


@dataclass
class Counts:
    """What was found over all trials of a writer."""

    trials: int = 0
    corrupt: int = 0  # neither old nor new, and accepted by a reader
    lost: int = 0  # whole before, and gone
    differs: int = 0  # run again, it fails or makes something else
    left_over: int = 0
    unclear: int = 0  # refusals without one sentence
    hangs: int = 0


class Trials:
    """Interrupts one writer again and again, on copies of a workbench."""

    def __init__(self, writer: Writer, bench: Path, scratch: Path, seed: int):
        self.writer, self.bench, self.scratch = writer, bench, scratch
        self.choose = random.Random(f"{writer.name} {seed}")
        self.counts, self.notes = Counts(), []
        folder = self._fresh(older=False)
        begun = time.monotonic()
        status, output = start(writer.command, folder, dies_before=0).wait(HANG)
        assert status == 0, output[-4000:]
        self.seconds = time.monotonic() - begun
        changes = range(1, int(re.findall(r"^(\d+) changes$", output, re.MULTILINE)[-1]) + 1)
        self.moments = self.choose.sample(changes, len(changes))
        self.whole = _finished(writer.contents(folder))
        self.largest = max((folder / name).stat().st_size for name in self.whole)
        assert self.whole, f"{writer.name} wrote nothing"

    def _fresh(self, older: bool) -> Path:
        """A copy of the workbench without the outputs, or with an *older* one that is whole and another."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        folder = copy_workbench(self.bench, self.scratch)
        if self.writer.name != "record":
            self.writer.clear(folder)
        if older and self.writer.other:
            must(self.writer.other, folder)
        return folder

    def kill(self) -> None:
        """Kills the command before one of its changes of files; all have their turn, and then once more."""
        turn, number = divmod(self.counts.trials, len(self.moments))
        moment = self.moments[number]
        folder = self._fresh(older=(turn + moment) % 2 == 0)
        older = self.writer.contents(folder)
        status, output = start(self.writer.command, folder, dies_before=moment).wait(HANG)
        # Over an older output it may have fewer changes to make.
        assert status == KILLED or (older and status == 0), output[-4000:]
        self._judge(folder, older)

    def fill_disk(self) -> None:
        """Lets no file grow beyond a random size below that of the largest output."""
        folder = self._fresh(older=self.choose.random() < 0.5)
        older = self.writer.contents(folder)
        most = self.choose.randrange(1, self.largest)
        status, output = start(self.writer.command, folder, limits={"RLIMIT_FSIZE": most}).wait(HANG)
        self._check_end(status, output, f"disk full at {most} bytes")
        self._judge(folder, older)

    def race(self) -> None:
        """Starts the command twice on the same output."""
        folder = self._fresh(older=False)
        pair = [start(self.writer.command, folder)]
        if self.choose.random() < 0.7:
            time.sleep(self.choose.uniform(0, self.seconds / 2))
        pair.append(start(self.writer.command, folder))
        results = [process.wait(HANG) for process in pair]
        for status, output in results:
            self._check_end(status, output, "two at once")
        if all(status != 0 for status, _ in results):
            self._count("lost", "two at once, and none made it")
        elif self._differs(self.writer.contents(folder)):
            self._count("corrupt", "two at once: other than one alone makes")
        self._judge(folder, {})

    def _check_end(self, status: int | None, output: str, when: str) -> None:
        """A command ends, and where it refuses it does so in one sentence."""
        if status is None:
            self._count("hangs", f"{when}: hangs")
        elif status and sentence_of(output) is None:
            self._count("unclear", f"{when}: {output[-600:]}")

    def _differs(self, found: dict[str, str | None]) -> bool:
        if self.writer.name in _COMPARED_BY_READING:
            return found.keys() != self.whole.keys()
        return _finished(found) != self.whole

    def _judge(self, folder: Path, older: dict[str, str | None]) -> None:
        self.counts.trials += 1
        found = _finished(self.writer.contents(folder))
        if older and set(older) - set(found):
            self._count("lost", f"the older {sorted(set(older) - set(found))} are gone")
        elif found not in ({}, _finished(older), self.whole) and not self._is_part_of_training(found):
            if self.writer.name not in _COMPARED_BY_READING and self._read(folder) == 0:
                others = sorted(
                    n for n, value in found.items() if value not in (older.get(n), self.whole.get(n))
                )
                self._count("corrupt", f"{others} of {len(found)} files are neither old nor new, and load")
        before = _times(folder)
        status, output = start(self.writer.command, folder).wait(HANG)
        if status is None:
            self._count("hangs", "hangs when run again")
        elif self.writer.once and found == self.whole:
            self._check_end(status, output, "run again")
            if status == 0 or self._differs(self.writer.contents(folder)):
                self._count("differs", "what was complete is written again")
        elif status:
            self._count("differs", f"fails when run again: {output[-600:]}")
        elif self._differs(self.writer.contents(folder)):
            now = self.writer.contents(folder)
            others = [n for n in sorted({*now, *self.whole}) if now.get(n) != self.whole.get(n)]
            self._count("differs", f"run again, {others} differ from an uninterrupted run's")
        # Who finds all done writes nothing, and leaves a lock to the next who does.
        self._judge_left_over(folder, harmless=(".ikd-lock",) if _times(folder) == before else ())

    def _judge_left_over(self, folder: Path, harmless: tuple[str, ...]) -> None:
        names = [path.relative_to(folder) for path in walk(folder) if not path.name.endswith(harmless)]
        left = [str(name) for name in names if any(map(TEMPORARY.search, name.parts))]
        if left:
            self._count("left_over", f"run again, {left} stay")

    def _is_part_of_training(self, found: dict[str, str | None]) -> bool:
        """Checkpoints on the way to the last, each of them readable: resuming shows what they hold."""
        return self.writer.name == "train" and "damaged" not in found.values()

    def _read(self, folder: Path) -> int | None:
        """Status of the reading command; how it refuses is judged too."""
        status, output = start(self.writer.reader, folder).wait(HANG)
        self._check_end(status, output, "the reader")
        return status

    def _count(self, fault: str, note: str) -> None:
        setattr(self.counts, fault, getattr(self.counts, fault) + 1)
        self.notes.append(f"{self.writer.name}: {fault}: {note}")


WAYS: dict[str, Callable[[Trials], None]] = {
    "killed": Trials.kill,
    "disk full": Trials.fill_disk,
    "two at once": Trials.race,
}
