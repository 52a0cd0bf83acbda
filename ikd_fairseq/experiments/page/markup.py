"""HTML in which text cannot become markup: everything that is not :class:`Html` is escaped."""

import html
from collections.abc import Container, Iterable, Sequence
from typing import Any


class Html(str):
    """Text that is markup already."""


def markup(value: Any) -> Html:
    """*value* as it may stand in an element: :class:`Html` as it is, anything else as escaped text."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(parts: Iterable[Any]) -> Html:
    """The *parts* one after the other, escaped where they are not :class:`Html`."""
    return Html("".join(map(markup, parts)))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element.

    Args:
        name: of the element.
        children: what is in it, escaped where it is not :class:`Html`; without any it is void, as ``<img>``.
        attributes: a trailing underscore is dropped and others become hyphens (``class_``, ``aria_label``);
            None leaves the attribute out. Their values are escaped always.
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{shown}>" + (f"{join(children)}</{name}>" if children else ""))


def table(
    identifier: str,
    caption: Any,
    columns: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    right: Container[int] = (),
) -> Html:
    """A table that scrolls within its own box where the page is too narrow for it.

    Args:
        identifier: the ``id`` of its caption, unique on the page.
        caption: what it shows.
        columns: their heads.
        rows: cells, the first of which is the row's head.
        right: columns, counted from 0, that stand to the right, as numbers do.
    """

    def kind(column: int) -> str | None:
        return "right" if column in right else None

    head = (tag("th", name, scope="col", class_=kind(place)) for place, name in enumerate(columns))
    body = (
        tag(
            "tr",
            tag("th", first, scope="row"),
            *(tag("td", cell, class_=kind(place)) for place, cell in enumerate(cells, start=1)),
        )
        for first, *cells in rows
    )
    inside = tag(
        "table",
        tag("caption", caption, id=identifier),
        tag("thead", tag("tr", *head)),
        tag("tbody", join(body)),
    )
    return tag("div", inside, class_="wide", role="region", aria_labelledby=identifier, tabindex=0)
