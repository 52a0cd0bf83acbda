"""Plans: what a grid trains, compares and tabulates, in YAML that a person writes in a minute.

A bad plan is refused as a whole, with one sentence that names the file and the entry, before anything runs.
Nothing here imports torch or fairseq. ``examples/multi30k/README.md`` has the keys of a plan.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import IkdError, check
from .systems import System, derive
from .yaml_entry import fitting, is_name, options, read_by, read_entry, some_of, whole

ORIGINAL = "original"
MASKED = {"colour": "D_C", "entity": "D_E"}  # texts that `ikd-analyse degrade` makes of the original
TEXTS = {ORIGINAL: "D", **MASKED}  # source texts, as Peng et al. 2022 call them
TEACHER = "teacher"  # name of a single teacher's run
SEQUENCES, CLOSEST = "seq", "inter"  # texts that the teacher writes: its best translation, or its closest
TAUGHT = (SEQUENCES, CLOSEST)
TEACHER_CACHE = "grid"  # name of the teacher's distributions beside a text


def _is_pair(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[^\W_]+-[^\W_]+", value) is not None


@dataclass(frozen=True)
class Method:
    """A way in which a teacher teaches (Kim and Rush 2016)."""

    title: str
    text: str = ORIGINAL  # what the student reads: the original, or what the teacher wrote
    word_loss: bool = False  # whether it learns the teacher's distributions too (Word-KD)
    start: str | None = None  # the method whose student goes on, for methods that tune one


METHODS = {
    "base": Method("baseline"),
    "control": Method("baseline, trained on as long as Seq-Inter", start="base"),
    "word": Method("Word-KD", word_loss=True),
    "seq": Method("Seq-KD", SEQUENCES),
    "inter": Method("Seq-Inter", CLOSEST, start="base"),
    "word+inter": Method("Word-KD + Seq-Inter", CLOSEST, True, start="word"),
    "seq+inter": Method("Seq-KD + Seq-Inter", CLOSEST, start="seq"),
    "seq+word": Method("Seq-KD + Word-KD", SEQUENCES, True),
    "seq+inter+word": Method("Seq-KD + Seq-Inter + Word-KD", CLOSEST, True, start="seq+word"),
}
PRUNED = "seq+inter"  # what is pruned: the best that text and student give


@dataclass(frozen=True)
class Protocol:
    """What all runs share: updates at most, epochs averaged, frozen CNN, options of fairseq-train."""

    updates: int = 8000
    average: int = 10
    backbone: str = "efficientnet_lite0"
    options: tuple[str, ...] = read_by(options, ())


@dataclass(frozen=True)
class Entry:
    """A system, or a variant of the registered one that it is *like*, with further options."""

    name: str = read_by(fitting(is_name, "a list of names"))
    like: str = ""
    options: tuple[str, ...] = read_by(options, ())
    title: str | None = None

    @property
    def system(self) -> System:
        return derive(self.name, self.like or self.name, self.options, self.title)


@dataclass(frozen=True)
class Student(Entry):
    """A system that is taught, with options for training on its own loss, and for training on Word-KD's."""

    own_loss_options: tuple[str, ...] = read_by(options, ())
    word_loss_options: tuple[str, ...] = read_by(options, ())


@dataclass(frozen=True)
class Distillation:
    """Students, and how the teacher (a checkpoint, or several joined by ":") teaches them."""

    teacher: str = ""
    students: tuple[Student, ...] = ()
    methods: tuple[str, ...] = read_by(some_of(METHODS), tuple(METHODS))
    beam: int = read_by(whole(least=2), 5)  # the teacher's, and of the second scores; the first are greedy
    top_k: int = 8  # words of the teacher's distribution that are kept
    shards: int = 4  # parts in which the teacher translates
    tune_updates: int = 200  # updates of methods that go on from another
    sparsities: tuple[int, ...] = ()  # percent of the weights pruned from the first student's :data:`PRUNED`
    speeds: tuple[int, ...] = ()  # batch sizes at which decoding is timed, greedily and with the beam

    def rows(self, protocol: Protocol) -> Iterator["Row"]:
        """Students by every method, a start before what goes on from it; then the pruned ones."""
        for student in self.students:
            for name, method in METHODS.items():
                if name in self.methods:
                    yield self._row(student, name, method, protocol)
        for percent in self.sparsities:
            title = f"{METHODS[PRUNED].title}, {percent} % pruned"
            pruned = replace(METHODS[PRUNED], title=title, start=PRUNED)
            yield self._row(self.students[0], f"pruned{percent}", pruned, protocol, percent)

    def _row(
        self, student: Student, name: str, method: Method, protocol: Protocol, sparsity: int = 0
    ) -> "Row":
        system = student.system
        options = [*protocol.options, *system.own_options]
        if method.word_loss:
            options += [*student.word_loss_options, "--criterion", "word_distillation"]
            options += ["--teacher-cache", TEACHER_CACHE, "--image-free"]
        else:
            options += student.own_loss_options
        updates = self.tune_updates if method.start else protocol.updates
        if method.start:  # a small constant rate: "warms up" from the rate to itself
            options += ["--lr", "0.0005", "--warmup-init-lr", "0.0005", "--warmup-updates", str(updates)]
        named = replace(system, name=f"{system.name}-{name}", title=method.title)
        start = f"{system.name}-{method.start}" if method.start else None
        return Row(named, method.text, tuple(options), updates, start, sparsity)


@dataclass(frozen=True)
class Row:
    """A system as the grid trains it, once a pair and seed."""

    system: System
    text: str  # which data it reads
    options: tuple[str, ...]  # of protocol and system, for fairseq-train; the last of a kind wins
    updates: int  # at most
    start: str | None = None  # the row from whose average it goes on
    sparsity: int = 0  # percent of the weights of *start* that are pruned before


class Place(NamedTuple):
    """What tells a run from all others of a grid."""

    pair: str
    text: str
    system: str
    seed: int | None  # None for a teacher


@dataclass
class Plan:
    """A grid: every system, with every seed, for every pair (and text, if there are several)."""

    title: str
    pairs: tuple[str, ...] = read_by(fitting(_is_pair, "languages such as en-de", True), ("en-de",))
    seeds: tuple[int, ...] = read_by(whole(least=0, several=True), (1, 2, 3))
    protocol: Protocol = Protocol()
    systems: tuple[Entry, ...] = ()
    texts: tuple[str, ...] = read_by(some_of(TEXTS), (ORIGINAL,))
    tests: tuple[str, ...] = ()  # sets to score; empty for all test sets of the data
    baseline: str | None = None  # row that others are compared with
    table: str = "systems"  # layout of the table
    distillation: Distillation | None = None
    file: Path = field(init=False)

    @property
    def rows(self) -> tuple[Row, ...]:
        """What is trained, in the order of the table."""
        if self.distillation:
            return tuple(self.distillation.rows(self.protocol))
        return tuple(
            Row(system, text, self.protocol.options + system.own_options, self.protocol.updates)
            for text in self.texts
            for system in (entry.system for entry in self.systems)
        )

    @property
    def places(self) -> tuple[Place, ...]:
        """Every run that its table shows: a single teacher, and each row with every seed for every pair."""
        single = self.distillation and ":" not in self.distillation.teacher
        teachers = [Place(pair, ORIGINAL, TEACHER, None) for pair in self.pairs if single]
        return (
            *teachers,
            *(
                Place(pair, row.text, row.system.name, seed)
                for pair in self.pairs
                for row in self.rows
                for seed in self.seeds
            ),
        )


def read_plan(file: Path) -> Plan:
    """Reads and checks a plan.

    Raises:
        IkdError: the file is no plan. The message names file and entry, and says what to do.
    """
    plan = read_entry(Plan, f"plan {file}", _content(file))
    plan.file = file
    _check(plan, f"plan {file}")
    return plan


def _content(file: Path, followers: tuple[Path, ...] = ()) -> Any:
    """What *file* says, and what it leaves out of the plan beside it that it is ``like``."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise IkdError(f"plan {file} cannot be read ({error}): give the path of a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else "somewhere"
        problem = getattr(error, "problem", None) or "what is there"
        raise IkdError(f"plan {file} is no YAML at {line} ({problem}): mend that line") from error
    if not isinstance(content, Mapping) or "like" not in content:
        return content
    own = {key: value for key, value in content.items() if key != "like"}
    first = file.parent / str(content["like"])
    check(first not in (file, *followers), f"plan {file} is like {first}, which is like it: leave that out")
    base = _content(first, (file, *followers))
    check(
        isinstance(base, Mapping),
        f"plan {first}, which {file} is like, is not a mapping: write KEY: VALUE lines",
    )
    protocols = [plan["protocol"] for plan in (base, own) if isinstance(plan.get("protocol"), Mapping)]
    if len(protocols) == 2:  # any of it can be changed alone
        own["protocol"] = {**protocols[0], **protocols[1]}
    return {**base, **own}


def _check_entries(entries: Sequence[Entry], where: str) -> None:
    for number, entry in enumerate(entries, 1):
        try:
            entry.system  # noqa: B018  refuses what is not registered
        except IkdError as error:
            raise IkdError(f"{where}, entry {number}: {error}") from error
    for name, count in Counter(entry.name for entry in entries).items():
        check(count == 1, f"{where}: {name} is there {count} times: rename one of them")


def _check(plan: Plan, where: str) -> None:
    """Refuses entries that do not fit together."""
    either = bool(plan.systems) != bool(plan.distillation)
    check(either, f"{where} should have either systems or distillation: say what is to be trained")
    _check_entries(plan.systems, f"{where}, systems")
    check(bool(plan.pairs and plan.seeds), f"{where} has an empty list of pairs or seeds: give one at least")
    original = ORIGINAL in plan.texts
    check(original, f"{where}: texts leave out {ORIGINAL}, from which the others are made: add it")
    if plan.distillation:
        check(
            len(plan.pairs) == 1 and plan.texts == (ORIGINAL,),
            f"{where}: a teacher is of one pair and text: give distillation one of pairs, and no texts",
        )
        _check_distillation(plan.distillation, f"{where}, distillation")
    names = dict.fromkeys(row.system.name for row in plan.rows)
    known = plan.baseline is None or plan.baseline in names
    check(known, f"{where}: baseline {plan.baseline} is none of its systems: {' '.join(names)}")


def _check_distillation(plan: Distillation, where: str) -> None:
    check(bool(plan.teacher), f"{where} has no teacher: add a line teacher: ...")
    check(bool(plan.students), f"{where} has no students: name one at least")
    _check_entries(plan.students, f"{where}, students")
    for percent in plan.sparsities:
        check(percent < 100, f"{where}: sparsities has {percent}, but they are percent below 100")
    needed = {METHODS[method].start for method in plan.methods} | ({PRUNED} if plan.sparsities else set())
    missing = [method for method in METHODS if method in needed - {*plan.methods}]
    check(not missing, f"{where}: methods leave out {', '.join(missing)}, which others need: add it")
