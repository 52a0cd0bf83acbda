"""HTML from jinja2 templates. Everything is escaped that is not markup already, so that text stays text.

``templates/`` beside this module holds what pages share: their frame, their style sheet, macros for tables
and for translations side by side.
"""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..version import __version__

ABSENT = "–"  # where a table has no value

_SHARED = Path(__file__).with_name("templates")


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """*value* with a true minus, thousands apart."""
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def count(how_many: int, what: str) -> str:
    """How many of *what* there are, such as "1 run" or "2 runs"."""
    return f"{how_many:,} {what}{'' if how_many == 1 else 's'}"


def png_address(content: bytes) -> str:
    """A picture as a ``data:`` address, from what its PNG file holds."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def render(template: str, *folders: Path, **values: Any) -> str:
    """The text of a template, whose file is in one of *folders* or among the shared ones.

    *values* have the names that the template has for them. A template that asks for another fails.
    """
    environment = Environment(
        loader=FileSystemLoader([*folders, _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, count=count)
    environment.globals.update(version=__version__, absent=ABSENT)
    return environment.get_template(template).render(values)
