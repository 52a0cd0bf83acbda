"""Text that comes from data cannot become markup, wherever it stands."""

from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from ikd_fairseq.io.html import count, number, render

EVIL = "<script>alert('a' & \"b\")</script>"
TABLE = '{% from "macros.html.j2" import table %}{{ table(id, caption, columns, rows, right) }}'


@pytest.fixture
def rendered(tmp_path):
    """What becomes of a template's text."""

    def of(text, **values):
        (tmp_path / "own.html.j2").write_text(text, encoding="utf-8")
        return render("own.html.j2", tmp_path, **values)

    return of


def test_text_is_escaped_in_elements_and_attributes(rendered):
    assert rendered("<p>{{ it }}</p>", it=EVIL) == (
        "<p>&lt;script&gt;alert(&#39;a&#39; &amp; &#34;b&#34;)&lt;/script&gt;</p>"
    )
    assert rendered('<img alt="{{ it }}">', it='a"b') == '<img alt="a&#34;b">'
    assert rendered("{{ them|join(', ') }}", them=["<", "&"]) == "&lt;, &amp;"


def test_template_that_asks_for_what_is_not_there_fails(rendered):
    with pytest.raises(UndefinedError, match="missing"):
        rendered("{{ missing }}")


def test_numbers_have_a_true_minus_and_counts_a_plural():
    assert [number(-1.5), number(2, 1, sign=True), number(29000, 0)] == ["−1.50", "+2.0", "29,000"]
    assert [count(1, "run"), count(2000, "run")] == ["1 run", "2,000 runs"]


def test_table_has_caption_scopes_and_a_box_to_scroll_in(rendered):
    found = rendered(TABLE, id="t", caption=EVIL, columns=["", EVIL], rows=[[EVIL, EVIL]], right=[1])
    assert "<script" not in found and found.count("&lt;script") == 4
    assert found.count('scope="col"') == 2 and found.count('scope="row"') == 1
    assert found.count('class="right"') == 2  # head and cell of the second column
    box = '<div class="wide" role="region" aria-labelledby="t" tabindex="0">'
    assert "".join(found.split("\n")).startswith(f'{box}<table><caption id="t">&lt;')
    assert _balanced(found)


def test_page_carries_its_style_sheet_as_it_is(rendered):
    text = '{% extends "layout.html.j2" %}{% block main %}<p>x</p>{% endblock %}'
    page = rendered(text, title=EVIL, command=EVIL)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">') and "font: 1rem/1.55 system-ui" in page
    assert '"Segoe UI"' in page and "<script" not in page and page.count("&lt;script") == 3


def _balanced(text):
    opened = []

    class Parser(HTMLParser):
        def handle_starttag(self, name, attributes):
            opened.append(name)

        def handle_endtag(self, name):
            assert opened.pop() == name

    Parser().feed(text)
    return not opened
