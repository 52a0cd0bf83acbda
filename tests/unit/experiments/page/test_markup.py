"""Text that comes from data cannot become markup, wherever it stands."""

from html.parser import HTMLParser

from ikd_fairseq.experiments.page.markup import Html, join, table, tag

EVIL = "<script>alert('a' & \"b\")</script>"


def test_text_is_escaped_in_elements_attributes_and_joins_and_markup_is_not():
    assert tag("p", EVIL) == "<p>&lt;script&gt;alert(&#x27;a&#x27; &amp; &quot;b&quot;)&lt;/script&gt;</p>"
    assert tag("img", alt='a"b') == '<img alt="a&quot;b">'
    assert tag("p", tag("b", "x"), " & ", 3) == "<p><b>x</b> &amp; 3</p>"
    assert join(["<", Html("<br>")]) == "&lt;<br>" and isinstance(join([]), Html)


def test_attributes_are_named_as_in_html_and_left_out_when_none():
    cell = tag("td", "x", class_="right", aria_label="y", id=None)
    assert cell == '<td class="right" aria-label="y">x</td>'
    assert tag("meta", name="viewport") == '<meta name="viewport">'


def test_table_has_caption_scopes_and_a_box_to_scroll_in():
    found = table("t", EVIL, ["", EVIL], [[EVIL, EVIL]], right=[1])
    assert "<script" not in found
    assert found.count('scope="col"') == 2 and found.count('scope="row"') == 1
    assert found.count('class="right"') == 2  # head and cell of the second column
    assert found.startswith('<div class="wide" role="region" aria-labelledby="t" tabindex="0"><table>')
    assert '<table><caption id="t">&lt;' in found
    assert _balanced(found)


def _balanced(text):
    opened = []

    class Parser(HTMLParser):
        def handle_starttag(self, name, attributes):
            opened.append(name)

        def handle_endtag(self, name):
            assert opened.pop() == name

    Parser().feed(text)
    return not opened
