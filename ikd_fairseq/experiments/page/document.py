"""The page as a whole: heading, contents, sections. Each section has a module of its own.

A section says in a sentence what is missing, and shows nothing in its place.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...version import __version__
from .markup import Html, join, tag
from .runs import Systems

ABSENT = "–"  # where a table has no value

_STYLE = Path(__file__).with_name("style.css")


class Section(NamedTuple):
    """A part of the page: its address, its title, and what is in it."""

    identifier: str
    title: str
    content: Html


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """*value* with a true minus."""
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def count(how_many: int, what: str) -> str:
    """How many of *what* there are, such as "1 run" or "2 runs"."""
    return f"{how_many:,} {what}{'' if how_many == 1 else 's'}"


def render(title: str, systems: Systems, sections: Sequence[Section], command: str) -> str:
    """The whole document.

    Args:
        title: of the page.
        systems: runs by system, the baseline first.
        sections: in their order.
        command: what was called to make the page.
    """
    runs = sum(map(len, systems.values()))
    what = f"{count(len(systems), 'system')} ({', '.join(systems)}), {count(runs, 'run')}"
    links = (tag("li", tag("a", section.title, href=f"#{section.identifier}")) for section in sections)
    header = tag(
        "header",
        tag("h1", title),
        tag("p", f"{what}; baseline: {next(iter(systems))}", class_="quiet"),
        tag("nav", tag("ol", *links), aria_label="Contents"),
    )
    parts = (
        tag("section", tag("h2", name, id=identifier), content, aria_labelledby=identifier)
        for identifier, name, content in sections
    )
    footer = tag("footer", tag("p", f"Made by ikd_fairseq {__version__}: ", tag("code", command)))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(_STYLE.read_text(encoding="utf-8"))),
    )
    body = tag("body", join([header, tag("main", *parts), footer]))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"
