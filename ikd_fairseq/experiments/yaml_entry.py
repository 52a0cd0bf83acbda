"""Entries of a YAML file that a person wrote, each refused in one sentence if it is not what it should be."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence

from ..errors import IkdError, check

_NAME = re.compile(r"[\w.+-]+")


class Entry:
    """A mapping of a YAML file, whose values are taken out by kind.

    Every method raises :class:`~ikd_fairseq.errors.IkdError` where the value is of another kind.

    Args:
        where: file and entry, with which messages begin.
        known: the keys that it may have, separated by spaces.
    """

    def __init__(self, where: str, value: object, known: str):
        self.where, keys = where, known.split()
        check(
            isinstance(value, Mapping),
            f"{where} is not a mapping of {', '.join(keys)}: write KEY: VALUE lines",
        )
        self.values: Mapping[object, object] = value if isinstance(value, Mapping) else {}
        unknown = [str(key) for key in self.values if key not in keys]
        check(
            not unknown,
            f"{where} has {', '.join(unknown)}, which it does not know: the keys are {', '.join(keys)}",
        )

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def refuse(self, key: str, wanted: str) -> IkdError:
        return IkdError(f"{self.where}: {key} is {self.values.get(key)!r}, but should be {wanted}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        check(value is not None, f"{self.where} has no {key}: add a line {key}: ...")
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(key, "a text")
        return value

    def number(self, key: str, default: int, least: int = 1) -> int:
        return self._whole(key, self.values.get(key, default), least)

    def numbers(self, key: str, default: Sequence[int] = (), least: int = 1) -> tuple[int, ...]:
        return tuple(self._whole(key, value, least) for value in self.items(key, default))

    def _whole(self, key: str, value: object, least: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.refuse(key, f"a whole number of at least {least}, or a list of them")
        return value

    def names(self, key: str, default: Sequence[str] = (), known: Collection[str] = ()) -> tuple[str, ...]:
        """A list of names without white space, of *known* ones if there are any."""
        found = self.items(key, default)
        for name in found:
            if not isinstance(name, str) or not _NAME.fullmatch(name) or (known and name not in known):
                raise self.refuse(key, f"a list of {'some of: ' + ' '.join(known) if known else 'names'}")
        return tuple(map(str, found))

    def items(self, key: str, default: Sequence[object] = ()) -> Sequence[object]:
        """A list, of which one item can stand for itself; without repetitions."""
        value = self.values.get(key)
        found = default if value is None else value if isinstance(value, list) else [value]
        repeated = [item for number, item in enumerate(found) if item in found[:number]]
        check(not repeated, f"{self.where}: {key} has {', '.join(map(str, repeated))} twice: leave one out")
        return found

    def options(self, key: str = "options") -> tuple[str, ...]:
        """Options of fairseq-train: a text as in a shell, or a list."""
        value = self.values.get(key)
        if value is None:
            return ()
        if isinstance(value, list):
            words = [str(word) for word in value]
        else:
            try:
                words = shlex.split(str(value))
            except ValueError as error:
                raise self.refuse(key, f"options as in a shell ({error})") from error
        if isinstance(value, Mapping) or not words or not words[0].startswith("--"):
            raise self.refuse(key, "options of fairseq-train, such as --dropout 0.1")
        return tuple(words)
