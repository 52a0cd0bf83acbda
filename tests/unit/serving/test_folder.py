"""What an exported folder says of its text, and how long that may be."""

import json
from types import SimpleNamespace

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.serving.folder import FACTS_FILE, Limits, read_facts, write_facts
from ikd_fairseq.serving.text import TextFacts

FACTS = TextFacts("en", "de", ("a",), ("a",), True)


def model(source: int, target: int):
    sides = {"encoder": source, "decoder": target}
    return SimpleNamespace(
        **{side: SimpleNamespace(max_positions=lambda most=most: most) for side, most in sides.items()}
    )


@pytest.mark.parametrize(("target", "longest"), [(30, 29), (201, 200), (1024, 200)])
def test_limits_leave_a_position_for_the_end_and_are_those_of_the_search(target, longest):
    assert Limits.of_model(model(512, target)) == (511, longest)


def test_facts_and_limits_come_back_and_an_earlier_folder_has_the_limit_of_the_search(tmp_path):
    write_facts(str(tmp_path), FACTS, Limits(511, 29))
    assert read_facts(str(tmp_path)) == (FACTS, (511, 29))
    path = tmp_path / FACTS_FILE
    record = json.loads(path.read_text("utf-8"))
    del record["longest_target"]
    path.write_text(json.dumps(record), encoding="utf-8")
    assert read_facts(str(tmp_path)) == (FACTS, (511, 200))


@pytest.mark.parametrize("limits", [{"longest": 0}, {"longest_target": "29"}, {"longest": None}])
def test_limits_that_cannot_be_are_refused(tmp_path, limits):
    record = {**FACTS.record(), "longest": 511, "longest_target": 29, **limits}
    (tmp_path / FACTS_FILE).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(IkdError, match="ikd_text.json is damaged: export the model again"):
        read_facts(str(tmp_path))
