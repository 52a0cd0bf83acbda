"""Plans: what a grid trains, compares and tabulates, in YAML that a person writes in a minute.

A bad plan is refused as a whole, with one sentence that names the file and the entry, before anything runs.
Nothing here imports torch or fairseq. ``examples/multi30k/README.md`` has the keys of a plan.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from ..errors import IkdError, check
from .systems import System, derive
from .yaml_entry import Entry

ORIGINAL = "original"
MASKED = ("colour", "entity")  # texts that `ikd-analyse degrade` makes of the original
SEQUENCES, CLOSEST = "seq", "inter"  # texts that the teacher writes: its best translation, or its closest
TEACHER_CACHE = "grid"  # name of the teacher's distributions beside a text

_PAIR = re.compile(r"[^\W_]+-[^\W_]+")


@dataclass(frozen=True)
class Method:
    """A way in which a teacher teaches (Kim and Rush 2016).

    Attributes:
        text: what the student reads: the original, or what the teacher wrote.
        word_loss: whether it learns the teacher's distributions too (Word-KD).
        start: the method whose student goes on, for methods that tune one.
    """

    title: str
    text: str = ORIGINAL
    word_loss: bool = False
    start: str | None = None


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
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Student:
    """A system that is taught, with options for training on its own loss, and for training on Word-KD's."""

    system: System
    own_loss_options: tuple[str, ...] = ()
    word_loss_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Distillation:
    """Students, and how the teacher (a checkpoint, or several joined by ":") teaches them.

    Attributes:
        beam: of the teacher, and of the second column of scores; the first is greedy.
        top_k: words of the teacher's distribution that are kept.
        shards: parts in which the teacher translates.
        tune_updates: updates of methods that go on from another.
        sparsities: percent of the weights pruned from the first student's :data:`PRUNED`.
        speeds: batch sizes at which decoding is timed, greedily and with the beam.
    """

    teacher: str
    students: tuple[Student, ...]
    methods: tuple[str, ...] = tuple(METHODS)
    beam: int = 5
    top_k: int = 8
    shards: int = 4
    tune_updates: int = 200
    sparsities: tuple[int, ...] = ()
    speeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """A system as the grid trains it, once a pair and seed.

    Attributes:
        text: which data it reads.
        options: of fairseq-train, those of the protocol and of the system; the last of a kind wins.
        updates: at most.
        start: the row from whose average it goes on.
        sparsity: percent of the weights of *start* that are pruned before.
    """

    system: System
    text: str
    options: tuple[str, ...]
    updates: int
    start: str | None = None
    sparsity: int = 0


@dataclass(frozen=True)
class Plan:
    """A grid: every system, with every seed, for every pair (and text, if there are several).

    Attributes:
        tests: sets to score; empty for all test sets of the data.
        baseline: row that others are compared with.
        table: layout of the table.
    """

    file: Path
    title: str
    pairs: tuple[str, ...]
    seeds: tuple[int, ...]
    protocol: Protocol
    systems: tuple[System, ...]
    texts: tuple[str, ...]
    tests: tuple[str, ...]
    baseline: str | None
    table: str
    distillation: Distillation | None

    @property
    def rows(self) -> tuple[Row, ...]:
        """What is trained, in the order of the table."""
        if self.distillation:
            return tuple(_distilled_rows(self.distillation, self.protocol))
        return tuple(
            Row(system, text, self.protocol.options + system.own_options, self.protocol.updates)
            for text in self.texts
            for system in self.systems
        )


def read_plan(file: Path) -> Plan:
    """Reads and checks a plan.

    Raises:
        IkdError: the file is no plan. The message names file and entry, and says what to do.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise IkdError(f"plan {file} cannot be read ({error}): give the path of a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else "somewhere"
        problem = getattr(error, "problem", None) or "what is there"
        raise IkdError(f"plan {file} is no YAML at {line} ({problem}): mend that line") from error
    return _plan(file, content)


# ---- parts of a plan ---------------------------------------------------------------------------------------


def _plan(file: Path, content: object) -> Plan:
    where = f"plan {file}"
    entry = Entry(
        where, content, "title pairs seeds protocol systems texts tests baseline table distillation"
    )
    pairs, seeds = entry.names("pairs", ["en-de"]), entry.numbers("seeds", [1, 2, 3], least=0)
    for pair in pairs:
        if not _PAIR.fullmatch(pair):
            raise entry.refuse("pairs", "languages such as en-de")
    check(bool(pairs and seeds), f"{where} has an empty list of pairs or seeds: give one at least")
    check(
        ("systems" in entry) + ("distillation" in entry) == 1,
        f"{where} should have either systems or distillation: say what is to be trained",
    )
    texts = entry.names("texts", [ORIGINAL], (ORIGINAL, *MASKED))
    check(ORIGINAL in texts, f"{where}: texts leave out {ORIGINAL}, from which the others are made: add it")
    distillation = None
    if "distillation" in entry:
        check(
            len(pairs) == 1 and texts == (ORIGINAL,),
            f"{where}: a teacher is of one pair and text: give distillation one of pairs, and no texts",
        )
        distillation = _distillation(f"{where}, distillation", entry.values["distillation"])
    plan = Plan(
        file=file,
        title=entry.text("title"),
        pairs=pairs,
        seeds=seeds,
        protocol=_protocol(f"{where}, protocol", entry.values.get("protocol") or {}),
        systems=_systems(f"{where}, systems", entry.items("systems")),
        texts=texts,
        tests=entry.names("tests"),
        baseline=entry.text("baseline") if "baseline" in entry else None,
        table=entry.text("table") if "table" in entry else "systems",
        distillation=distillation,
    )
    names = [row.system.name for row in plan.rows]
    check(
        plan.baseline is None or plan.baseline in names,
        f"{where}: baseline {plan.baseline} is none of its systems: {' '.join(dict.fromkeys(names))}",
    )
    return plan


def _protocol(where: str, content: object) -> Protocol:
    entry = Entry(where, content, "updates average backbone options")
    default = Protocol()
    return Protocol(
        updates=entry.number("updates", default.updates),
        average=entry.number("average", default.average),
        backbone=entry.text("backbone", default.backbone),
        options=entry.options(),
    )


def _systems(where: str, items: Sequence[object]) -> tuple[System, ...]:
    found = [_system(f"{where}, entry {number}", item) for number, item in enumerate(items, 1)]
    names = [system.name for system in found]
    for name in names:
        check(
            names.count(name) == 1, f"{where}: {name} is there {names.count(name)} times: rename one of them"
        )
    return tuple(found)


def _system(where: str, content: object, further: str = "") -> System:
    """A system by its name, or as a mapping, which can have *further* keys."""
    if isinstance(content, str):
        content = {"name": content}
    entry = Entry(where, content, f"name like options title {further}")
    (name,) = entry.names("name") or (entry.text("name"),)
    like = entry.text("like", name)
    title = entry.text("title") if "title" in entry else None
    try:
        return derive(name, like, entry.options(), title)
    except IkdError as error:
        raise IkdError(f"{where}: {error}") from error


def _distillation(where: str, content: object) -> Distillation:
    entry = Entry(where, content, "teacher students methods beam top-k shards tune-updates sparsities speeds")
    students = tuple(
        _student(f"{where}, students, entry {number}", item)
        for number, item in enumerate(entry.items("students"), 1)
    )
    check(bool(students), f"{where} has no students: name one at least")
    methods = entry.names("methods", tuple(METHODS), METHODS)
    sparsities = entry.numbers("sparsities")
    for percent in sparsities:
        check(percent < 100, f"{where}: sparsities has {percent}, but they are percent below 100")
    for method in (*methods, *([PRUNED] if sparsities else [])):
        start = METHODS[method].start
        check(
            method in methods and (start is None or start in methods),
            f"{where}: methods leave out {start if method in methods else method}, which others need: add it",
        )
    default = Distillation("", ())
    return Distillation(
        teacher=entry.text("teacher"),
        students=students,
        methods=tuple(
            method for method in METHODS if method in methods
        ),  # a start before what goes on from it
        beam=entry.number("beam", default.beam, least=2),
        top_k=entry.number("top-k", default.top_k),
        shards=entry.number("shards", default.shards),
        tune_updates=entry.number("tune-updates", default.tune_updates),
        sparsities=sparsities,
        speeds=entry.numbers("speeds"),
    )


def _student(where: str, content: object) -> Student:
    keys = ("own-loss-options", "word-loss-options")
    system = _system(where, content, " ".join(keys))
    entry = Entry(
        where, {} if isinstance(content, str) else content, f"name like options title {' '.join(keys)}"
    )
    return Student(system, *map(entry.options, keys))


# ---- what a plan stands for --------------------------------------------------------------------------------


def _distilled_rows(distillation: Distillation, protocol: Protocol) -> Iterator[Row]:
    """Students by every method, then the pruned ones."""
    for student in distillation.students:
        for name in distillation.methods:
            yield _taught(student, METHODS[name], name, distillation, protocol)
    first = distillation.students[0]
    for percent in distillation.sparsities:
        method = Method(f"{METHODS[PRUNED].title}, {percent} % pruned", CLOSEST, start=PRUNED)
        yield _taught(first, method, f"pruned{percent}", distillation, protocol, percent)


def _taught(
    student: Student,
    method: Method,
    name: str,
    distillation: Distillation,
    protocol: Protocol,
    sparsity: int = 0,
) -> Row:
    options = [*protocol.options, *student.system.own_options]
    if method.word_loss:
        options += [*student.word_loss_options, "--criterion", "word_distillation"]
        options += ["--teacher-cache", TEACHER_CACHE, "--image-free"]
    else:
        options += student.own_loss_options
    updates = distillation.tune_updates if method.start else protocol.updates
    if method.start:  # a small constant rate: "warms up" from the rate to itself
        options += ["--lr", "0.0005", "--warmup-init-lr", "0.0005", "--warmup-updates", str(updates)]
    return Row(
        replace(student.system, name=f"{student.system.name}-{name}", title=method.title),
        method.text,
        tuple(options),
        updates,
        f"{student.system.name}-{method.start}" if method.start else None,
        sparsity,
    )
