"""A card has the scores of its own checkpoint, whatever else was scored in the folder."""

import hashlib
from dataclasses import replace

from ikd_fairseq.experiments.record import ALL, Record
from ikd_fairseq.serving.model_card import Card
from tests.records import REFERENCES, score_of


def test_scores_are_those_of_the_checkpoint_that_is_exported(tmp_path):
    scores = {}
    for split, name in (("test", "average.pt"), ("test1", "checkpoint_best.pt")):
        (tmp_path / name).write_text(name)
        new = score_of(REFERENCES, ALL, range(40), f"generate-{split}.txt")
        scores[split] = [replace(new, checkpoint=hashlib.sha256(name.encode()).hexdigest())]
    scores["test2"] = [score_of(REFERENCES, ALL, range(40), "generate-test2.txt")]  # as of an older version
    Record.update(tmp_path, scores=scores, model={"checkpoint": "checkpoint_best.pt"})
    found = {
        name: list(Card.of_checkpoint(str(tmp_path / name), "", "").scores)
        for name in ("average.pt", "checkpoint_best.pt")
    }
    assert found == {"average.pt": ["test"], "checkpoint_best.pt": ["test1", "test2"]}
