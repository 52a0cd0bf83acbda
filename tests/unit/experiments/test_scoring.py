"""What a translation is worth: of which sentences, against which references, and what is refused."""

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.metrics import compute_scores
from ikd_fairseq.experiments.record import ALL, WITH_IMAGE, Sentences
from ikd_fairseq.experiments.scoring import find_references, languages, score_output
from tests.prepared_data import write_test_sets
from tests.records import PICTURED, REFERENCES, bleu, spoilt, write_output

TRANSLATED = "| Translated 1,002 sentences (9 tokens) in 2.0s (1,501.25 sentences/s, 2.0 tokens/s)"


@pytest.fixture
def data(tmp_path, write_text_split):
    """Two test sets of 40 sentences: every other one of ``test`` has an image, none of ``test1``."""
    folder = tmp_path / "data"
    for split in ("test", "test1"):
        write_text_split(folder, split, 40)
    write_test_sets(folder, ("test", "test1"), REFERENCES, PICTURED)
    return folder


@pytest.fixture
def output(tmp_path):
    write_output(tmp_path / "generate-test.txt", spoilt(PICTURED))
    return tmp_path / "generate-test.txt"


def test_every_sentence_and_those_with_an_image_are_scored_apart(data, output):
    every, pictured = score_output(output, data, "test", metrics=["bleu"], beam=4, checkpoint="5a")
    assert every.sentences == Sentences.of(ALL, dict(enumerate(REFERENCES)))
    assert every.metrics["bleu"].value == pytest.approx(bleu(spoilt(PICTURED)))
    assert pictured.sentences.group == WITH_IMAGE and pictured.sentences.places() == PICTURED
    assert pictured.metrics["bleu"].value == pytest.approx(bleu(spoilt(PICTURED), PICTURED))
    assert (every.beam, every.checkpoint, every.output) == (4, "5a", "generate-test.txt")
    signature = compute_scores(["a"], ["a"], metrics=["bleu"])["bleu"]["signature"]
    assert every.metrics["bleu"].signature == signature
    assert [score.sentences.group for score in score_output(output, data, "test1")] == [ALL]


def test_a_system_that_needs_images_counts_where_there_are_some(data, output, tmp_path, write_text_split):
    (score,) = score_output(output, data, "test", needs_images=True, metrics=["bleu"])
    assert score.sentences.group == WITH_IMAGE
    with pytest.raises(IkdError, match="no sentence of test1 .* has an image"):
        score_output(output, data, "test1", needs_images=True)
    everywhere = tmp_path / "everywhere"
    write_text_split(everywhere, "test", 40)
    write_test_sets(everywhere, ("test",), REFERENCES, range(40))
    scores = score_output(output, everywhere, "test", needs_images=True, metrics=["bleu"])
    assert [score.sentences.group for score in scores] == [ALL, WITH_IMAGE]
    assert len({score.sentences.fingerprint for score in scores}) == 1


def test_meteor_is_scored_where_it_is_given(data, output):
    class Half:
        def score(self, hypotheses, references):
            share = sum(map(str.__eq__, hypotheses, references)) / len(references)
            return {"name": "METEOR", "score": 100 * share, "signature": "halved"}

    every, pictured = score_output(output, data, "test", metrics=["bleu"], meteor=Half())
    assert (every.metrics["meteor"].value, pictured.metrics["meteor"].value) == (50.0, 0.0)
    assert every.metrics["meteor"].signature == "halved"


def test_speed_and_probability_are_those_of_the_output_and_its_log(data, output):
    assert score_output(output, data, "test1", metrics=["bleu"])[0].sentences_per_second is None
    output.with_suffix(".log").write_text(TRANSLATED)
    lines = output.read_text(encoding="utf-8")
    output.write_text(lines + "P-1\t-0.5000 -1.0000 -0.5000\nP-0\t-1.0000 -2.0000\n", encoding="utf-8")
    (score,) = score_output(output, data, "test1", metrics=["bleu"])
    assert score.sentences_per_second == 1501.25 and score.probability == pytest.approx((2**-2 + 2**-3) / 2)


def test_references_are_the_text_or_else_its_subwords_joined(data, output):
    (data / "reference" / "test1.de").unlink()
    (data / "bpe").mkdir()
    lines = "".join(f"{line[:1]}@@ {line[1:]}\n" for line in REFERENCES)
    (data / "bpe" / "test1.de").write_text(lines, encoding="utf-8")
    assert find_references(data, "test1", "de") == data / "bpe" / "test1.de"
    (score,) = score_output(output, data, "test1", metrics=["bleu"])
    assert score.metrics["bleu"].value == pytest.approx(bleu(spoilt(PICTURED)))
    assert score.references == str((data / "bpe" / "test1.de").resolve())
    assert languages(data, "test1") == ("en", "de")


def test_the_other_direction_is_scored_by_the_references_of_its_language(data, output):
    (data / "reference" / "test1.en").write_text("a b c d\n" * len(REFERENCES))
    (score,) = score_output(output, data, "test1", metrics=["bleu"], target="en")
    assert score.metrics["bleu"].value < 1 and score.references.endswith("test1.en")


def test_what_does_not_fit_is_refused(data, output, write_text_split):
    text = output.read_text(encoding="utf-8")
    output.write_text(text.replace("-7\t", "-5000\t"), encoding="utf-8")
    with pytest.raises(IkdError, match="5000"):
        score_output(output, data, "test")
    (data / "reference" / "test.de").write_text("a\n")
    with pytest.raises(IkdError, match="has 40 sentences of test, but .* has 1: prepare it again"):
        score_output(output, data, "test")
    (data / "reference" / "test.de").unlink()
    with pytest.raises(IkdError, match="no references of test .*: put its target side there"):
        score_output(output, data, "test")
