"""The table of masked text on translations written by hand."""

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.metrics import compute_scores
from tests.prepared_data import write_test_sets

RECIPES = Path(__file__).resolve().parents[3] / "examples" / "multi30k"
sys.path.insert(0, str(RECIPES))

import degraded  # noqa: E402  the folder of the example is no package

# ---- the table ---------------------------------------------------------------------------------------------

REFERENCES = [f"das ist der satz {number} mit dem hund im garten ." for number in range(12)]
PICTURED = list(range(0, 12, 3))
SETTINGS = "images: {images}\nupdates: 9\nepochs averaged: 2\ndata: of {text}\nown options: \n"


def spoilt(sentences):
    return [
        line.replace("hund", "kind") if i in set(sentences) else line for i, line in enumerate(REFERENCES)
    ]


def add_run(runs, text, system, seed, wrong, images="none", splits=("test", "test1")):
    """A finished run whose translations of *wrong* sentences have a wrong word."""
    folder = runs / text / "en-de" / f"{system}-seed{seed}"
    folder.mkdir(parents=True)
    (folder / "made-with.txt").write_text(SETTINGS.format(images=images, text=text))
    for split in splits:
        lines = [f"S-{i}\tx\nH-{i}\t-1\t{line}\nD-{i}\t-1\t{line}\n" for i, line in enumerate(spoilt(wrong))]
        (folder / f"generate-{split}.txt").write_text("".join(lines), encoding="utf-8")
        (folder / f"score-{split}.json").write_text("{}")


@pytest.fixture
def data(tmp_path):
    """Two test sets of 12 sentences: four of ``test`` have an image, none of ``test1``."""
    folder = tmp_path / "data"
    write_test_sets(folder, ("test", "test1"), REFERENCES, PICTURED)
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(degraded.Meteor, "find", no_meteor)
    folder = tmp_path / "runs"
    for text, wrong in (("original", [0]), ("colour", [0, 3, 4]), ("entity", range(12))):
        add_run(folder, text, "text", 1, wrong)
        add_run(folder, text, "image-must", 1, wrong[:-1], images="test", splits=["test"])
    return folder


def no_meteor(*_):
    raise IkdError("METEOR's jar was not found")


def bleu(wrong, sentences=range(12)):
    lines = [spoilt(wrong)[i] for i in sentences], [REFERENCES[i] for i in sentences]
    return compute_scores(*lines, metrics=["bleu"])["bleu"]["score"]


def numbers(runs):
    with open(runs / "degraded.tsv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_differences_are_from_the_same_system_and_sentences_on_original_text(runs, data):
    text = degraded.write_table(runs, data, "en-de")
    d, colour, entity = (bleu(wrong) for wrong in ([0], [0, 3, 4], range(12)))
    row = f"{d:.2f} | {colour:.2f} ({colour - d:+.2f}) | {entity:.2f} ({entity - d:+.2f}) | 1 |"
    assert text.count(f"| Transformer (Vaswani et al. 2017) | {row}") == 2  # all sentences of both test sets
    d, colour = (bleu(wrong, PICTURED) for wrong in ([0], [0, 3, 4]))
    assert f"| Transformer (Vaswani et al. 2017) | {d:.2f} | {colour:.2f} ({colour - d:+.2f})" in text
    (found,) = (
        row
        for row in numbers(runs)
        if row["with_image"] == "only" and (row["system"], row["text"]) == ("text", "colour")
    )
    assert float(found["mean"]) == pytest.approx(colour, abs=1e-4) and found["sentences"] == "4"
    assert float(found["difference"]) == pytest.approx(colour - d, abs=1e-4) and found["deviation"] == ""
    assert (runs / "degraded.md").read_text(encoding="utf-8") == text


def test_an_image_must_system_stands_where_every_sentence_has_an_image(runs, data):
    text = degraded.write_table(runs, data, "en-de")
    titles = [line[4:] for line in text.splitlines() if line.startswith("### ")]
    assert titles == [
        "test: 4 sentences with an image",
        "test: 12 sentences in all",
        "test1: 12 sentences in all",
    ]
    rows = {(row["test_set"], row["with_image"]) for row in numbers(runs) if row["system"] == "image-must"}
    assert rows == {("test", "only")}
    assert "No METEOR: METEOR's jar was not found." in text.splitlines()


def test_several_seeds_have_a_deviation_and_count_only_where_all_texts_have_them(runs, data, caplog):
    for text, wrong in (("original", []), ("colour", [1]), ("entity", [1, 2])):
        add_run(runs, text, "text", 2, wrong)
    add_run(runs, "original", "text", 3, range(12))
    text = degraded.write_table(runs, data, "en-de")
    (line,) = [line for line in text.splitlines() if line.startswith("| Transformer")][-1:]
    assert f"| {(bleu([0]) + 100) / 2:.2f} ± {(100 - bleu([0])) / 2**0.5:.2f} |" in line
    assert line.endswith("| 2 |")
    assert "text-seed3 is not finished on every text" in caplog.text


def test_meteor_has_columns_beside_bleu_where_it_is_there(runs, data, monkeypatch):
    class Half:
        def score(self, hypotheses, references):
            share = sum(map(str.__eq__, hypotheses, references)) / len(references)
            return {"name": "METEOR", "score": 100 * share, "signature": "halved"}

    monkeypatch.setattr(degraded.Meteor, "find", lambda *_: Half())
    text = degraded.write_table(runs, data, "en-de")
    assert "| BLEU D_E | METEOR D | METEOR D_C | METEOR D_E |" in text
    assert "| 75.00 | 50.00 (-25.00) | 0.00 (-75.00) | 1 |" in text  # of sentences 0, 3, 6, 9
    assert "METEOR: `halved`." in text and "No METEOR" not in text


def test_a_system_of_ones_own_stands_under_its_own_name_behind_the_others(runs, data):
    for text, wrong in (("original", [0]), ("colour", [0, 3]), ("entity", [0, 3, 4])):
        add_run(runs, text, "mine", 1, wrong)
    lines = degraded.write_table(runs, data, "en-de").splitlines()
    first = [line.split(" |")[0] for line in lines if line.startswith("| ")]
    assert "| mine" in first and first.index("| mine") > first.index("| " + degraded.TITLES["image-must"])


def test_shares_of_masked_words_stand_below(runs, data):
    (runs / "text-colour").mkdir()
    splits = [{"split": "train", "percent": 3.2577}, {"split": "val", "percent": 3.0}]
    (runs / "text-colour" / "degrade.json").write_text(json.dumps({"token": "[U]", "splits": splits}))
    text = degraded.write_table(runs, data, "en-de")
    assert "D_C: colour words masked by [U]: train 3.26 %, val 3.00 %." in text.splitlines()


def test_a_text_without_runs_is_refused_in_a_sentence(runs, data):
    shutil.rmtree(runs / "entity")
    with pytest.raises(IkdError, match="entity/en-de holds no finished run"):
        degraded.write_table(runs, data, "en-de")
    add_run(runs, "entity", "text", 7, [])
    with pytest.raises(IkdError, match="no run that is finished on original, colour, entity alike"):
        degraded.write_table(runs, data, "en-de")
