"""Analyses: tables and pictures that ``ikd-analyse`` left behind, one analysis after the other."""

from collections.abc import Mapping, Sequence

from .document import Section
from .markup import Html, join, table, tag
from .pictures import Findings, Picture, data_uri, read_table

ROWS_SHOWN = 40  # of a table; the rest is in its file
LARGE = 800  # pixels: pictures that are wider scroll on a small screen, or nothing could be made out


def analysis_section(found: Mapping[str, Sequence[Findings]], summaries: Mapping[str, str]) -> Section:
    """The section.

    Args:
        found: by name of the analysis.
        summaries: by the name of every analysis, what it shows.

    Raises:
        IkdError: a file cannot be read.
    """
    content: list[Html] = []
    for name, findings in found.items():
        summary = summaries[name]
        content.append(tag("h3", name.replace("-", " ").capitalize()))
        content.append(tag("p", f"{summary[0].upper()}{summary[1:]}."))
        for place, of_one in enumerate(findings):
            title = f"{of_one.owner}: {name}"
            if of_one.table:
                content.append(_table(f"table-{name}-{place}", title, of_one))
            content += [_picture(title, summary, picture) for picture in of_one.pictures]
    lacking = ", ".join(name for name in summaries if name not in found)
    if lacking:
        hint = "ikd-analyse NAME --output RUN/NAME puts it where this page looks."
        content.append(tag("p", f"Nothing was found of {lacking}. {hint}", class_="quiet"))
    return Section("analyses", "Analyses", join(content))


def _table(identifier: str, title: str, findings: Findings) -> Html:
    columns, rows = read_table(findings.table)
    right = [place for place in range(1, len(columns)) if all(_is_number(row[place]) for row in rows)]
    if len(rows) > ROWS_SHOWN:
        title += f", the first {ROWS_SHOWN} of {len(rows):,} rows of {findings.table.name}"
    return table(identifier, title, columns, rows[:ROWS_SHOWN], right)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _picture(caption: str, summary: str, picture: Picture) -> Html:
    address, width, height = data_uri(picture.path)
    if picture.sentence is not None:
        caption += f", sentence {picture.sentence}"
        caption += f", “{picture.words}”" if picture.words else ""
    large = "large" if width > LARGE else None
    image = tag("img", src=address, width=width, height=height, alt=f"{caption}: {summary}", class_=large)
    box = tag("div", image, class_="wide", role="region", aria_label=caption, tabindex=0)
    return tag("figure", box, tag("figcaption", caption))
