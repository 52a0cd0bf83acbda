"""The comparison's table: which sentences count for whom, marks of significance, layout, costs, refusals."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.metrics import compute_scores
from tests.prepared_data import write_test_sets

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "multi30k"))

import comparison_table as table  # noqa: E402  the folder of the examples is no package
import finished_run  # noqa: E402

NOUNS = "hund katze mann frau kind ball haus baum auto boot".split()
REFERENCES = [f"ein {NOUNS[i % 10]} und ein {NOUNS[i // 10]} im garten ." for i in range(40)]
PICTURED = list(range(0, 40, 2))
SETTINGS = {
    "images": "none",
    "updates": "10",
    "epochs averaged": "2",
    "CNN": "efficientnet_lite0",
    "data": "en-de",
    "options": "",
    "own options": "",
}


def spoilt(sentences) -> list:
    """The references, with a wrong word in the middle of the given *sentences*."""
    return [
        text.replace(" und ", " oder ") if i in set(sentences) else text for i, text in enumerate(REFERENCES)
    ]


def add_run(runs, name, translations, meteor=None, **settings) -> Path:
    """A finished run, as compare.sh leaves it: *translations* by test set, written in another order."""
    folder = runs / "en-de" / name
    folder.mkdir(parents=True)
    lines = (f"{key}: {value}\n" for key, value in {**SETTINGS, **settings}.items())
    (folder / "made-with.txt").write_text("".join(lines), encoding="utf-8")
    for split, texts in translations.items():
        blocks = [f"S-{i}\tx\nH-{i}\t-1.0\t{text}\nD-{i}\t-1.0\t{text}\n" for i, text in enumerate(texts)]
        (folder / f"generate-{split}.txt").write_text("".join(reversed(blocks)), encoding="utf-8")
        scores = {"meteor": {"score": meteor}} if meteor else {}
        (folder / f"score-{split}.json").write_text(json.dumps({"scores": scores}), encoding="utf-8")
        log = "x | INFO | Translated 40 sentences (9 tokens) in 2.0s (20.00 sentences/s, 4.50 tokens/s)"
        (folder / f"translate-{split}.log").write_text(log, encoding="utf-8")
    tied = torch.zeros(3, 4)
    student = {"student.w": torch.zeros(5), "student.bn.running_mean": torch.zeros(7)}
    state = {
        "model": {"encoder.embed": tied, "decoder.embed": tied, **student},
        "optimizer_history": [{}],
        "extra_state": {"previous_training_time": 90.0},
        "cfg": {},
    }
    torch.save(state, folder / "average.pt")
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    """Two test sets of 40 sentences: every other one of ``test`` has an image, none of ``test1``."""
    folder = tmp_path / "data"
    write_test_sets(
        folder, ("test", "test1", "valid"), REFERENCES, PICTURED
    )  # the last by ablations.sh: no test set
    return folder


@pytest.fixture
def runs(tmp_path) -> Path:
    """Two seeds of the baseline, wrong in every sentence, and of two systems that are right in half of them.

    ``gated-fusion`` is right where there are images and ``ikd`` where there are none.
    """
    folder = tmp_path / "runs"
    unpictured = range(1, 40, 2)
    for seed in (1, 2):
        add_run(folder, f"text-seed{seed}", {split: spoilt(range(40)) for split in ("test", "test1")})
        add_run(folder, f"gated-fusion-seed{seed}", {"test": spoilt(unpictured)}, images="test")
        ikd = {split: spoilt(PICTURED) for split in ("test", "test1")}
        add_run(folder, f"ikd-seed{seed}", ikd, images="training", **{"own options": "--kd-weight 2"})
    return folder


def tables_of(runs, data):
    splits = table.read_test_sets(data, "en-de")
    return splits, table.build_tables("en-de", table.find_runs(runs / "en-de", splits), splits)


def figures_of(found, title) -> dict:
    (row,) = [row for row in found.rows if row.title.startswith(title)]
    return row.figures


def bleu(hypotheses, references) -> float:
    return compute_scores(hypotheses, references, metrics=["bleu"])["bleu"]["score"]


def test_all_systems_are_scored_on_pictured_sentences_and_image_free_ones_on_every_sentence(runs, data):
    splits, (pictured, every) = tables_of(runs, data)
    assert [split.pictured for split in splits] == [PICTURED, []]
    assert pictured.sizes == {"test": 20} and every.sizes == {"test": 40, "test1": 40}
    assert figures_of(pictured, "Gated Fusion")["BLEU", "test"].scores == pytest.approx((100, 100))
    wrong = [spoilt(range(40))[i] for i in PICTURED]
    expected = bleu(wrong, [REFERENCES[i] for i in PICTURED])
    assert figures_of(pictured, "IKD-MMT")["BLEU", "test"].scores == pytest.approx((expected, expected))
    half = bleu(spoilt(PICTURED), REFERENCES)
    assert figures_of(every, "IKD-MMT")["BLEU", "test1"].scores == pytest.approx((half, half))
    assert [row.block for row in pictured.rows] == ["image-must", "image-free", "image-free"]
    assert [row.title.split(" (")[0] for row in every.rows] == ["Transformer", "IKD-MMT"]


def test_an_image_must_system_enters_the_full_table_where_every_sentence_has_an_image(runs, data):
    splits = [table.Split("test", REFERENCES, list(range(40)))]
    _, every = table.build_tables("en-de", table.find_runs(runs / "en-de", splits), splits)
    expected = bleu(spoilt(range(1, 40, 2)), REFERENCES)
    assert figures_of(every, "Gated Fusion")["BLEU", "test"].mean == pytest.approx(expected)


def test_differences_are_marked_only_where_each_seed_has_its_baseline():
    good, bad = spoilt([]), spoilt(range(40))
    texts = {("text", 1): bad, ("ikd", 1): good, ("copy", 1): bad}
    found = table.bleu_outcomes(texts, REFERENCES, range(40))
    assert [found[name].mark for name in ("text", "ikd", "copy")] == ["", "‡", ""]
    found = table.bleu_outcomes({**texts, ("text", 2): bad}, REFERENCES, range(40))
    assert [found[name].mark for name in ("text", "ikd", "copy")] == ["", "‡", ""]
    found = table.bleu_outcomes({**texts, ("ikd", 2): good}, REFERENCES, range(40))
    assert found["ikd"].mark == "" and found["ikd"].scores == pytest.approx((100, 100))


def test_deviation_stands_in_a_cell_only_where_there_are_several_seeds():
    assert table.cell(table.Outcome((10.0, 12.0), (1.0, 2.0), (0.01, 0.02))) == "11.00 ± 1.41†"
    assert table.cell(table.Outcome((10.0,))) == "10.00"
    assert table.cell("38.7") == "38.7"  # published: not more precise than it is


def test_costs_count_tied_weights_once_and_leave_out_what_only_training_uses(runs, data):
    _, (pictured, _) = tables_of(runs, data)
    assert pictured.rows[0].costs == {
        "parameters, training": 17,
        "parameters, translating": 12,
        "training, min": 1.5,
        "sentences/s": 20.0,
    }


def test_both_files_hold_the_same_numbers_and_the_options_of_single_systems(runs, data):
    text = table.write_tables(runs, {"en-de": data})
    assert (runs / "table.md").read_text(encoding="utf-8") == text
    assert "IKD-MMT (Peng et al. 2022): `--kd-weight 2`." in text
    (line,) = [line for line in text.splitlines() if line.startswith("| Gated Fusion")]
    assert line == "| Gated Fusion (Wu et al. 2021) | 100.00 ± 0.00‡ | 2 | 0.00 M | 0.00 M | 1.5 | 20.0 |"
    with open(runs / "table.tsv", encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream, delimiter="\t"))
    (found,) = [n for n in lines if n["system"].startswith("Gated Fusion") and n["measure"] == "BLEU"]
    written = [found[name] for name in ("mean", "deviation", "mark", "sentences")]
    assert written == ["100.00", "0.00", "‡", "20"]
    assert {n["mean"] for n in lines if n["measure"] == "parameters, training"} == {"17"}
    assert "METEOR test" not in text and "published: " not in text  # the test sets are not Multi30K's


def test_meteor_has_a_column_where_all_seeds_of_a_system_have_it(tmp_path, data):
    whole = {split: REFERENCES for split in ("test", "test1")}
    add_run(tmp_path / "runs", "text-seed1", whole, meteor=50.0)
    add_run(tmp_path / "runs", "text-seed2", whole, meteor=52.0)
    add_run(tmp_path / "runs", "ikd-seed1", whole, meteor=53.0)
    add_run(tmp_path / "runs", "ikd-seed2", whole)
    _, (pictured, every) = tables_of(tmp_path / "runs", data)
    assert figures_of(every, "Transformer")["METEOR", "test"].scores == (50, 52)
    assert ("METEOR", "test") not in figures_of(every, "IKD-MMT")
    assert not any(metric == "METEOR" for row in pictured.rows for metric, _ in row.figures)


def test_published_figures_stand_beside_whole_test_sets_of_multi30k_alone():
    rows = table.published_rows("en-de", {"test": 1000, "test1": 999, "test2": 461})
    (ikd,) = [row for row in rows if row.title == "IKD-MMT" and ("BLEU", "test") in row.figures]
    assert ikd.figures["BLEU", "test"] == "41.28" and ikd.source.startswith("Peng et al. 2022")
    assert not any(split == "test1" for row in rows for _, split in row.figures)
    assert table.published_rows("en-cs", {"test": 1000}) == []


def test_published_meteor_alone_makes_no_column():
    ours = table.Row("image-free", "x", {("BLEU", "test"): table.Outcome((10.0,))}, {})
    rows = [ours, *table.published_rows("en-de", {"test": 1000})]
    lines = table.markdown(table.Table("t", {"test": 1000}, rows))
    assert any(line.startswith("| IKD-MMT | 41.28 |") for line in lines)
    assert not any("METEOR" in line or "58.93" in line for line in lines)


def test_an_unfinished_run_is_left_out_and_said_so(runs, data, caplog):
    (runs / "en-de" / "ikd-seed2" / "score-test1.json").unlink()
    found = table.find_runs(runs / "en-de", table.read_test_sets(data, "en-de"))
    assert [(run.system, run.seed) for run in found if run.system == "ikd"] == [("ikd", 1)]
    assert "ikd-seed2 is not finished" in caplog.text


@pytest.mark.parametrize(
    "settings, words",
    [({"updates": "20"}, "updates '20'"), ({"options": "--lr 1"}, "options '--lr 1'")],
)
def test_runs_of_different_budgets_share_no_table(runs, data, settings, words):
    add_run(runs, "text-seed3", {split: REFERENCES for split in ("test", "test1")}, **settings)
    with pytest.raises(IkdError, match=f"text-seed3 was made with {words}"):
        table.find_runs(runs / "en-de", table.read_test_sets(data, "en-de"))


def test_a_missing_sentence_and_a_folder_without_runs_are_refused(runs, data, tmp_path):
    path = runs / "en-de" / "ikd-seed1" / "generate-test.txt"
    text = path.read_text(encoding="utf-8").replace("-7\t", "-5000\t")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(IkdError, match="5000"):
        tables_of(runs, data)
    with pytest.raises(IkdError, match="no finished run"):
        table.find_runs(tmp_path, [])


def test_speed_is_unknown_without_a_log(tmp_path):
    assert finished_run.decoding_speed(tmp_path / "none.log") is None


def test_a_pair_without_its_folder_is_refused(runs, capsys):
    assert table.main([str(runs), "en-de"]) == 1
    assert "give PAIR=DATA" in capsys.readouterr().err
