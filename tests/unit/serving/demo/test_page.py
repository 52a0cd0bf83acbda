"""The answer as markup: texts as text, a picture for every part, a reason where there is none."""

import html
import re
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ikd_fairseq.errors import IkdError
from ikd_fairseq.serving.demo.explorer import ATTENTION, INVERSE, NEAREST, Answer, Neighbour
from ikd_fairseq.serving.demo.page import answer, listen
from ikd_fairseq.serving.translator import Translation

MARKUP = "<script>alert(1)</script><img src=x onerror=\"alert('2')\">"


def explorer(found):
    """One that has *found* an answer, or fails."""

    def explore(sentence):
        if isinstance(found, Exception):
            raise found
        return found

    facts = SimpleNamespace(source="en", target="de")
    gallery = SimpleNamespace(split="valid", features=SimpleNamespace(seen=torch.zeros(1234, 2)))
    return SimpleNamespace(explore=explore, engine=SimpleNamespace(facts=facts), gallery=gallery)


def pictures(markup):
    return re.findall('<img src="(data:image/png;base64,[A-Za-z0-9+/=]+)"', markup)


def test_markup_is_shown_as_text_wherever_it_comes_from():
    pytest.importorskip("matplotlib")
    image = np.zeros((4, 4, 3), np.uint8)
    found = Answer(
        [Translation(MARKUP, -0.5)],
        [MARKUP, "</s>"],
        [MARKUP],
        {},
        torch.full((2, 3, 2), 0.5),
        image,
        [Neighbour(image, 0.25, MARKUP)],
    )
    markup = answer(explorer(found), MARKUP)
    assert len(pictures(markup)) == markup.count("<img") == 3
    assert "<script" not in markup and ' onerror="' not in markup
    assert html.unescape(markup).count(MARKUP) == 5  # translation twice, words, unknown word, caption
    assert "1,234 images of valid" in markup and "−0.500" in markup and "0.250" in markup
    assert "onerror" in answer(explorer(IkdError(MARKUP)), "") and "<script" not in answer(
        explorer(IkdError(MARKUP)), ""
    )


def test_a_reason_stands_where_a_part_is_missing():
    words = [Translation("", -1.0)], ["a", "</s>"], []
    missing = {ATTENTION: "too long", INVERSE: "no student", NEAREST: "no images"}
    markup = answer(explorer(Answer(*words, missing)), "a")
    for reason in ("Too long.", "No student.", "No images."):
        assert f'<p class="quiet">{reason}</p>' in markup
    assert not pictures(markup)
    once = answer(explorer(Answer(*words, dict.fromkeys(missing, "no generator"))), "a")
    assert once.count("No generator.") == 1  # one reason for all is given once
    assert '<p class="error" role="alert">Type.</p>' in answer(explorer(IkdError("type")), "")


def test_a_place_that_cannot_be_had_is_refused():
    with listen("127.0.0.1", 0) as place:
        host, port = place.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(IkdError, match=f"--host 127.0.0.1 --port {port}: .*in use"):
            listen("127.0.0.1", port)
    with pytest.raises(IkdError, match="--port 99999"):
        listen("127.0.0.1", 99999)
    with pytest.raises(IkdError, match="--host no.such.host.invalid"):
        listen("no.such.host.invalid", 0)
    assert isinstance(listen("localhost", port), socket.socket)
