"""Entries of a YAML file that a person wrote, each refused in one sentence if it is not what it should be."""

import dataclasses
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from ..errors import IkdError, check

# Takes file and entry, with which messages begin, a key and its value; returns what the field should have.
Reader = Callable[[str, str, Any], Any]
T = TypeVar("T")

_NAME = re.compile(r"[\w.+-]+")


def read_entry(kind: type[T], where: str, content: object) -> T:
    """The mapping *content* as the dataclass *kind*, whose fields say what may stand under their names.

    Raises:
        IkdError: a key is unknown, a value is not of its field's type, or one without a default is missing.
    """
    types = get_type_hints(kind)
    fields = {
        field.name.replace("_", "-"): field
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.init
    }
    keys = ", ".join(fields)
    if not isinstance(content, Mapping):
        raise IkdError(f"{where} is not a mapping of {keys}: write KEY: VALUE lines")
    unknown = ", ".join(str(key) for key in content if key not in fields)
    check(not unknown, f"{where} has {unknown}, which it does not know: the keys are {keys}")
    values = {}
    for key, field in fields.items():
        if content.get(key) is not None:
            read = field.metadata.get("read") or _reader_of(types[field.name])
            values[field.name] = read(where, key, content[key])
        else:
            required = field.default is dataclasses.MISSING
            check(not required, f"{where} has no {key}: add a line {key}: ...")
    return kind(**values)


def _reader_of(kind: Any) -> Reader:
    """For a dataclass, a number, a text, or a tuple of one of these, in place of which None may stand."""
    inner: Any
    inner, *more = [part for part in get_args(kind) if part is not NoneType] or [kind]
    nested: bool = dataclasses.is_dataclass(inner)
    if nested and more:
        return lambda where, key, value: tuple(
            read_entry(
                inner, f"{where}, {key}, entry {number}", {"name": item} if type(item) is str else item
            )
            for number, item in enumerate(value if isinstance(value, list) else [value], 1)
        )
    if nested:
        return lambda where, key, value: read_entry(inner, f"{where}, {key}", value)
    if inner is int:
        return whole(several=bool(more))
    if more:
        return fitting(is_name, "a list of names", several=True)
    return fitting(lambda value: isinstance(value, str) and bool(value.strip()), "a text")


def read_by(reader: Reader, default: Any = dataclasses.MISSING) -> Any:
    """A field with a reader of its own."""
    return dataclasses.field(default=default, metadata={"read": reader})


def is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _refusal(where: str, key: str, value: object, wanted: str) -> IkdError:
    return IkdError(f"{where}: {key} is {value!r}, but should be {wanted}")


def fitting(fits: Callable[[Any], bool], wanted: str, several: bool = False) -> Reader:
    """A reader of a value that *fits*: in words, what is *wanted*.

    Args:
        several: of a list of such values, none twice, of which one can stand for itself.
    """

    def read(where: str, key: str, value: Any) -> Any:
        found = value if several and isinstance(value, list) else [value]
        repeated = [str(item) for number, item in enumerate(found) if item in found[:number]]
        check(not repeated, f"{where}: {key} has {', '.join(repeated)} twice: leave one out")
        if not all(map(fits, found)):
            raise _refusal(where, key, value, wanted)
        return tuple(found) if several else value

    return read


def some_of(known: Collection[str]) -> Reader:
    return fitting(lambda value: value in known, f"a list of some of: {' '.join(known)}", several=True)


def whole(least: int = 1, several: bool = False) -> Reader:
    wanted = f"a whole number of at least {least}" + (", or a list of them" if several else "")
    return fitting(lambda value: type(value) is int and value >= least, wanted, several)


def options(where: str, key: str, value: Any) -> tuple[str, ...]:
    """Options of fairseq-train: a text as in a shell, or a list."""
    try:
        words = list(map(str, value)) if isinstance(value, list) else shlex.split(str(value))
    except ValueError as error:
        raise _refusal(where, key, value, f"options as in a shell ({error})") from error
    if isinstance(value, Mapping) or not words or not words[0].startswith("--"):
        raise _refusal(where, key, value, "options of fairseq-train, such as --dropout 0.1")
    return tuple(words)
