"""What a command made of a bad input, judged by five rules.

1. It ends with a status other than 0.
2. It says why in one sentence, without a traceback.
3. The sentence names the culprit: file, line or option.
4. Nothing is written, what the next run can go on with apart, and nothing that was there is changed.
5. It ends at all.

A harmless input may also be accepted. Nothing hostile may run.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.workbench import files, start

HANG = 60  # seconds after which a command counts as hanging; each takes one or two alone on a machine

_ERROR = re.compile(r"^[\w./:-]+: error: (.+)$", re.MULTILINE)

WELL, ACCEPTED, WRONG = "well refused", "accepted", "accepted, and must not be"
TRACEBACK, UNNAMED, WROTE, HANGS, RAN = "traceback", "culprit not named", "wrote", "hangs", "code ran"
VERDICTS = (WELL, ACCEPTED, UNNAMED, TRACEBACK, WROTE, WRONG, HANGS, RAN)


@dataclass(frozen=True)
class BadInput:
    """An input that a command should refuse.

    Attributes:
        kind: row of the table.
        name: what is bad about it, in words.
        spoil: changes the files of a copy of the workbench.
        command: module and line, see :mod:`tests.faults.workbench`.
        culprit: what the sentence must contain; one of several by ``|``.
        harmless: whether it may as well be accepted.
    """

    kind: str
    name: str
    spoil: Callable[[Path], object]
    command: tuple[str, str]
    culprit: str
    harmless: bool = False

    def __str__(self) -> str:
        module = self.command[0].removesuffix(":main").rpartition(".")[2]
        return f"{self.kind}: {self.name} ({module})"


@dataclass(frozen=True)
class Judgement:
    """What became of a bad input: the verdict, and what the command printed last."""

    input: BadInput
    verdict: str
    said: str

    @property
    def good(self) -> bool:
        return self.verdict in (WELL, ACCEPTED)


def sentence_of(output: str) -> str | None:
    """The one sentence that a refused command printed; None where there is none, several, or a traceback."""
    sentences = _ERROR.findall(output)
    return sentences[0] if len(sentences) == 1 and "Traceback" not in output else None


def judge(bad: BadInput, folder: Path) -> Judgement:
    """Spoils the workbench in *folder*, runs the command and judges it."""
    bad.spoil(folder)
    before = files(folder)
    status, output = start(bad.command, folder).wait(HANG)
    changed = sorted(set(files(folder).items()) ^ set(before.items()))
    # What the next run goes on with, and what fairseq saves of a training that has diverged.
    kept = (".partial", ".ikd-lock", "crash.pt")
    changed = [entry for entry in changed if not entry[0].endswith(kept)]
    sentence = sentence_of(output)
    said = sentence or "\n".join(output.splitlines()[-12:])
    if (folder / "RAN").exists():
        verdict = RAN
    elif status is None:
        verdict = HANGS
    elif status == 0:
        verdict = ACCEPTED if bad.harmless else WRONG
    elif sentence is None:
        verdict = TRACEBACK
    elif not any(word in sentence for word in bad.culprit.split("|")):
        verdict = UNNAMED
    elif changed:
        verdict, said = WROTE, f"{[name for name, _ in changed]} ({said})"
    else:
        verdict = WELL
    return Judgement(bad, verdict, said)
