"""Tables over runs: which sentences count for whom, marks, layout, differences, costs, refusals."""

import csv
import dataclasses
import io
import shutil
import statistics
from itertools import product

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.significance import Outcome
from ikd_fairseq.experiments.budget import unlike_options
from ikd_fairseq.experiments.columns import score_cell
from ikd_fairseq.experiments.plan import Place
from ikd_fairseq.experiments.record import ALL, Metric, Record, Score, find_records
from ikd_fairseq.experiments.systems import SYSTEMS, derive
from ikd_fairseq.experiments.table import Column, Row, Table, as_html, as_markdown, as_tsv
from ikd_fairseq.experiments.tables import make_tables, published_rows
from tests.records import PICTURED, REFERENCES, add_run, bleu, facts_of, score_of, spoilt, write_output

TEXT = "Transformer (Vaswani et al. 2017)"
UNPICTURED = range(1, 40, 2)


def tables_of(runs, layout="systems", **request):
    return make_tables(find_records([runs]), layout, trials=100, **request)


def places(*systems, pairs=("en-de",), texts=("original",), seeds=(1, 2)):
    """What a plan of these would have."""
    return [Place(pair, text, *run) for pair in pairs for text in texts for run in product(systems, seeds)]


def numbers(tables, **wanted):
    lines = csv.DictReader(io.StringIO(as_tsv(tables)), delimiter="\t")
    return [line for line in lines if all(line[name] == value for name, value in wanted.items())]


def lines_of(tables, notes=()):
    return as_markdown(tables, notes).splitlines()


# ---- systems (Table 1) -------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    """Two seeds of the baseline, wrong in every sentence, and of two systems that are right in half of them.

    ``gated-fusion`` is right where there are images and ``ikd`` where there are none.
    """
    folder = tmp_path / "runs"
    for seed in (1, 2):
        add_run(folder, f"text-seed{seed}", {split: spoilt(range(40)) for split in ("test", "test1")})
        add_run(folder, f"gated-fusion-seed{seed}", {"test": spoilt(UNPICTURED)}, images="test")
        ikd = {split: spoilt(PICTURED) for split in ("test", "test1")}
        add_run(folder, f"ikd-seed{seed}", ikd, images="training")
    return folder


def test_all_systems_are_scored_on_pictured_sentences_and_image_free_ones_on_every_sentence(runs):
    (pictured, every), _ = tables_of(runs)
    sizes = [[(c.test_set, c.sentences) for c in table.columns if c.sentences] for table in (pictured, every)]
    assert sizes == [[("test", 20)], [("test", 40), ("test1", 40)]]
    assert [row.block for row in pictured.rows] == ["image-must", "image-free", "image-free"]
    assert [row.name for row in pictured.rows] == ["gated-fusion", "text", "ikd"]
    assert [row.name for row in every.rows] == ["text", "ikd"]
    (found,) = numbers([pictured], system="Gated Fusion (Wu et al. 2021)", measure="BLEU")
    assert float(found["mean"]) == pytest.approx(100) and found["mark"] == "‡" and found["sentences"] == "20"
    (found,) = numbers([pictured], system="IKD-MMT (Peng et al. 2022)", measure="BLEU")
    assert float(found["mean"]) == pytest.approx(bleu(spoilt(range(40)), PICTURED))
    (found,) = numbers([every], system="IKD-MMT (Peng et al. 2022)", measure="BLEU", test_set="test1")
    assert float(found["mean"]) == pytest.approx(bleu(spoilt(PICTURED)))


def test_an_image_must_system_enters_the_full_table_where_every_sentence_has_an_image(runs):
    for seed in (1, 2):  # as ikd-record scores it then
        lines = spoilt(UNPICTURED)
        scores = {"test": [score_of(lines, ALL, range(40), "generate-test.txt")]}
        Record.update(runs / "en-de" / f"gated-fusion-seed{seed}", scores=scores)
    _, every = tables_of(runs)[0]
    (found,) = numbers([every], system="Gated Fusion (Wu et al. 2021)", measure="BLEU")
    assert float(found["mean"]) == pytest.approx(bleu(spoilt(UNPICTURED)))


def test_differences_are_marked_only_where_each_seed_has_its_baseline(tmp_path):
    good, bad = spoilt([]), spoilt(range(40))

    def marks():
        (_, every), _ = tables_of(tmp_path, splits=("test",))
        return {row.name: row.cells["BLEU test (40)"].mark for row in every.rows}

    for name, lines in (("text", bad), ("ikd", good), ("copy", bad)):
        add_run(tmp_path, f"{name}-seed1", {"test": lines})
    assert marks() == {"text": "", "ikd": "‡", "copy": ""}
    add_run(tmp_path, "text-seed2", {"test": bad})
    assert marks() == {"text": "", "ikd": "‡", "copy": ""}
    shutil.rmtree(tmp_path / "en-de" / "text-seed2")
    add_run(tmp_path, "ikd-seed2", {"test": good})
    assert marks() == {"text": "", "ikd": "", "copy": ""}


def test_deviation_stands_in_a_cell_only_where_there_are_several_seeds():
    assert score_cell(Outcome((10.0, 12.0), (1.0, 2.0), (0.01, 0.02))).text == "11.00 ± 1.41†"
    assert score_cell(Outcome((10.0,))).text == "10.00"


def test_costs_are_those_of_the_records(runs):
    (pictured, _), _ = tables_of(runs)
    costs = {heading: cell.exact for heading, cell in pictured.rows[0].cells.items() if "BLEU" not in heading}
    assert costs == {
        "seeds": "",
        "parameters, training": "17",
        "parameters, translating": "12",
        "training, min": "1.5",
        "sentences/s": "20",
    }
    Record.update(runs / "en-de" / "ikd-seed2", steps={"train": {}})
    (pictured, _), _ = tables_of(runs)
    assert "training, min" not in pictured.rows[2].cells  # known of one seed alone


def test_all_forms_hold_the_same_numbers_and_the_options_of_single_systems(runs):
    systems = {**SYSTEMS, "ikd": derive("ikd", "ikd", ["--kd-weight", "2"])}
    tables, notes = tables_of(runs, systems=systems)
    text = as_markdown(tables, notes)
    assert "IKD-MMT (Peng et al. 2022): `--kd-weight 2`." in text
    (line,) = [line for line in text.splitlines() if line.startswith("| Gated Fusion")]
    assert line == "| Gated Fusion (Wu et al. 2021) | 100.00 ± 0.00‡ | 2 | 0.00 M | 0.00 M | 1.5 | 20.0 |"
    (found,) = numbers(tables, system="Gated Fusion (Wu et al. 2021)", measure="BLEU")
    assert [found[name] for name in ("mean", "deviation", "mark", "seeds", "source")] == [
        "100",
        "0.0000",
        "‡",
        "2",
        "this run",
    ]
    page = as_html(tables, notes, "a < b")
    assert "<td>100.00 ± 0.00‡</td>" in page and "<h1>a &lt; b</h1>" in page
    assert "METEOR test" not in text and "published: " not in text  # the test sets are not Multi30K's
    assert "At most 10 updates of 8192 tokens, mean of the last 2 epochs" in text
    assert "en-de: 90 sentences to train on, images of 64 px for 20 of them." in text


def test_meteor_has_a_cell_where_all_seeds_of_a_system_have_it(tmp_path):
    whole = {"test": REFERENCES, "test1": REFERENCES}
    for name, meteor in (
        ("text-seed1", 50.0),
        ("text-seed2", 52.0),
        ("ikd-seed1", 53.0),
        ("ikd-seed2", None),
    ):
        add_run(tmp_path, name, whole, meteor=meteor)
    (pictured, every), _ = tables_of(tmp_path)
    assert every.rows[0].cells["METEOR test (40)"].text == "51.00 ± 1.41"
    assert "METEOR test (40)" not in every.rows[1].cells
    assert not any("METEOR" in column.heading for column in pictured.columns)


def test_published_figures_stand_beside_whole_test_sets_of_multi30k_alone():
    columns = [
        Column(f"b{size}", "BLEU", name, size)
        for name, size in (("test", 1000), ("test1", 999), ("test2", 461))
    ]
    rows = published_rows("en-de", columns)
    (ikd,) = [row for row in rows if row.title == "IKD-MMT" and "b1000" in row.cells]
    assert ikd.cells["b1000"].text == "41.28" and ikd.source.startswith("Peng et al. 2022")
    assert not any("b999" in row.cells for row in rows) and any("b461" in row.cells for row in rows)
    assert published_rows("en-cs", columns) == []


def test_published_meteor_alone_makes_no_column_and_figures_stand_as_published():
    columns = [Column("BLEU test (1,000)", "BLEU", "test", 1000)]
    rows = [Row("x", "x", {}, "image-free"), *published_rows("en-de", columns)]
    lines = lines_of([Table("en-de", "t", columns, rows, {"image-free": "I"})])
    assert "| IKD-MMT | 41.28 |" in lines and "| Imagination | 36.8 |" in lines
    assert not any("METEOR" in line or "58.93" in line for line in lines)


def test_an_unfinished_run_is_left_out_and_said_so(runs, caplog):
    run = Record.load(runs / "en-de" / "ikd-seed2")
    del run.scores["test1"]
    shutil.rmtree(run.folder)
    facts = {**facts_of("ikd", 2, "training"), "scores": run.scores}
    Record.update(run.folder, **facts)
    (_, every), notes = tables_of(runs, planned=places("text", "ikd"))
    assert {row.name: row.seeds for row in every.rows} == {"text": 2, "ikd": 1}
    assert "ikd-seed2 has no scores yet" in caplog.text
    assert "Not finished, and not counted: ikd-seed2." in notes


def test_runs_outside_the_plan_are_left_out_and_the_log_says_so(runs, caplog):
    right = {split: REFERENCES for split in ("test", "test1")}
    planned = places("text", "ikd")
    expected = tables_of(runs, planned=planned)
    add_run(runs, "text-seed3", right)
    add_run(runs, "old-seed1", right)
    add_run(runs / "other", "ikd-seed1", right, pair="en-fr")
    add_run(runs / "colour", "text-seed1", right, labels={"text": "colour"})
    caplog.clear()
    assert tables_of(runs, planned=planned) == expected
    (left_out,) = [text for text in caplog.messages if text.startswith("not in the plan, and left out: ")]
    for name in ("text-seed3", "old-seed1", "other/en-de/ikd-seed1", "colour/en-de/text-seed1", "gated-"):
        assert name in left_out
    assert "en-de/ikd-seed2" not in left_out


def test_a_run_that_one_of_two_pairs_lacks_is_not_finished(runs):
    right = {split: REFERENCES for split in ("test", "test1")}
    for name in ("text-seed1", "text-seed2", "ikd-seed1"):
        add_run(runs / "fr", name, right, pair="en-fr")
    planned = places("text", "ikd", pairs=("en-de", "en-fr"))
    tables, notes = tables_of(runs, planned=planned)
    assert "Not finished, and not counted: en-fr/ikd-seed2." in notes
    assert [(row.name, row.seeds) for row in tables[-1].rows] == [("text", 2), ("ikd", 1)]


def test_seeds_of_other_methods_are_noted_with_what_differs(runs):
    right = {split: REFERENCES for split in ("test", "test1")}

    def notes_of(**sections):
        for seed, changes in ((1, {}), (2, sections)):
            options = facts_of("ikd", seed)["options"]
            # What differs between any two runs.
            options["checkpoint"] = {"save_dir": f"runs/ikd-seed{seed}", "keep_last_epochs": seed}
            options["task"] = {"data": f"data{seed}", "seed": seed, "init_from": f"runs/text-seed{seed}/a.pt"}
            options["model"] = {"_name": "ikd_transformer_tiny", "backbone": "efficientnet_lite0"}
            options["model"] |= {"kd_gradient": "generator", "encoder_layers": 4}
            for section, own in changes.items():
                options[section] = {**options[section], **own}
            code = {"commit": f"{seed}" * 40}
            Record.update(runs / "en-de" / f"ikd-seed{seed}", options=options, code=code)
        add_run(runs, "ikd-seed3", right, options=options, code=code)
        found = [note for note in tables_of(runs)[1] if "differ in more than their seed" in note]
        shutil.rmtree(runs / "en-de" / "ikd-seed3")
        return found

    assert notes_of() == []
    assert notes_of(model={"kd_gradient": "embeddings"}, task={"init_from": None}) == [
        "ikd: its runs differ in more than their seed, `kd_gradient` generator (seed 1), embeddings (seeds "
        "2, 3); `init_from` a file (seed 1), None (seeds 2, 3); `commit` 1111111 (seed 1), 2222222 (seeds 2, "
        "3)."
    ]


def test_an_option_that_an_older_seed_lacks_is_as_all_was_before_it():
    def run(seed, **model):
        options = {"model": {"_name": "ikd_transformer_tiny", **model}, "task": {"_name": "translation"}}
        return Record(f"ikd-seed{seed}", "ikd", seed=seed, options=options)

    # The preset's own is "learned", but what was trained before had none.
    old, same, other = run(1), run(2, region_bias="none", dropout=0.3), run(3, region_bias="learned")
    assert unlike_options([old, same]) == {}
    assert unlike_options([old, other]) == {"region_bias": {"none": [old], "learned": [other]}}
    assert unlike_options([same, Record("teacher", "ikd")]) == {}  # which is of no training here


def test_a_difference_is_of_the_seeds_that_both_have(tmp_path):
    for values in (("base", 1, 40.0), ("l1", 1, 41.0), ("l1", 2, 31.0), ("other", 3, 50.0)):
        add_scores(tmp_path, *values)
    tables, notes = tables_of(tmp_path, **{**BASE, "splits": ("test",)})
    assert "| L1 | 36.00 ± 7.07 | 36.00 ± 7.07 | +1.00 | 2 |" in lines_of(tables)
    paired, *_ = (note for note in notes if note.startswith("l1: "))
    assert paired.startswith("l1: differences from base are of 1 of its 2 runs, those of a seed that both")
    assert "other and base have no run of the same seed, so they were not compared." in notes


def test_a_run_translated_by_several_checkpoints_is_refused(runs):
    run = runs / "en-de" / "ikd-seed1"
    lines = spoilt(PICTURED)

    def score(split, checkpoint):
        new = score_of(lines, ALL, range(40), f"generate-{split}.txt")
        return {"scores": {split: [dataclasses.replace(new, checkpoint=checkpoint)]}}

    Record.update(run, **score("test", "5a"))  # of test1 nobody knows
    tables_of(runs)
    Record.update(run, **score("test1", "9f"))
    with pytest.raises(IkdError, match="ikd-seed1: test1 was translated by another .* than that of test: "):
        tables_of(runs)
    Record.update(run, **score("test1", "5a"), model={"checkpoint": "best.pt", "sha256": "9f"})
    with pytest.raises(IkdError, match="ikd-seed1: test was .* than best.pt, which was scored last: "):
        tables_of(runs)


def test_scores_by_another_search_enter_no_table(runs):
    expected = tables_of(runs)
    for name in ("text-seed1", "ikd-seed1"):
        new = score_of(REFERENCES, ALL, range(40), "generate-test.lenpen-2.txt")
        searched = dataclasses.replace(new, beam=9, search="--lenpen 2")
        Record.update(runs / "en-de" / name, scores={"test": [searched], "valid": [searched]})
    assert tables_of(runs) == expected


@pytest.mark.parametrize(
    "settings, words",
    [
        (
            {"updates": 20},
            "max_update 20, but .* with 10",
        ),
        ({"dropout": 0.1}, "dropout 0.1, but .* with 0.3"),
        ({"lr": 1.0}, r"lr \[1.0\], but .* with \[0.005\]"),
    ],
)
def test_runs_of_different_budgets_share_no_table(runs, settings, words):
    add_run(runs, "text-seed3", {split: REFERENCES for split in ("test", "test1")}, **settings)
    with pytest.raises(IkdError, match=f"text-seed3 was made with {words}: .*do not compare"):
        tables_of(runs)


def test_runs_on_other_text_share_no_table_but_own_options_may_differ(runs):
    lines = {split: REFERENCES for split in ("test", "test1")}
    add_run(runs, "mine-seed1", lines, lr=1.0)
    systems = {**SYSTEMS, "mine": derive("mine", "text", ["--lr", "1"], "Mine")}
    _, every = tables_of(runs, systems=systems)[0]
    assert every.rows[-1].title == "Mine"
    data = facts_of("mine", 2)["data"]
    data["splits"]["train"]["files"] = {"train.en-de.de.bin": "t2"}
    Record.update(runs / "en-de" / "mine-seed1", data=data)
    with pytest.raises(IkdError, match="training text"):
        tables_of(runs, systems=systems)


def test_a_folder_without_finished_runs_and_an_unknown_layout_are_refused(tmp_path):
    Record.update(tmp_path / "text-seed1", **facts_of("text", 1))
    with pytest.raises(IkdError, match="no run is finished"):
        tables_of(tmp_path)
    with pytest.raises(IkdError, match="table none is none of: systems"):
        tables_of(tmp_path, "none")


# ---- variants (Tables 2, 3 and 5) --------------------------------------------------------------------------


VARIANTS = {name: derive(name, "ikd", title=title) for name, title in (("base", "all"), ("l1", "L1"))}
BASE = {"layout": "variants", "baseline": "base", "systems": VARIANTS, "splits": ("test", "test1")}


def add_scores(folder, system, seed, *figures, signature="case:lc", meteor=None):
    """A run of BLEU *figures* on test and test1, and of one METEOR on both."""
    sentences = score_of(REFERENCES, ALL, range(40), "").sentences
    further = {"meteor": Metric("METEOR", meteor, "1.5")} if meteor else {}
    scores = {
        split: [Score(sentences, {"bleu": Metric("BLEU", value, signature), **further})]
        for split, value in zip(("test", "test1"), figures)
    }
    Record.update(folder / f"{system}-seed{seed}", scores=scores, **facts_of(system, seed, like="ikd"))


def test_variants_have_means_deviations_averages_and_differences(tmp_path):
    for values in (
        ("base", 1, 40.0, 30.0),
        ("base", 2, 42.0, 31.0),
        ("l1", 1, 39.5, 30.5),
        ("l1", 2, 40.5, 28.5),
    ):
        add_scores(tmp_path, *values)
    tables, notes = tables_of(tmp_path, **BASE)
    lines = lines_of(tables, notes)
    assert "| system | BLEU test (40) | BLEU test1 (40) | average | from base | seeds |" in lines
    assert "| all | 41.00 ± 1.41 | 30.50 ± 0.71 | 35.75 ± 1.06 |  | 2 |" in lines
    assert "| L1 | 40.00 ± 0.71 | 29.50 ± 1.41 | 34.75 ± 0.35 | -1.00 | 2 |" in lines
    assert "BLEU: `case:lc`." in lines and "there is no deviation" not in "".join(lines)
    (row,) = numbers(tables, system="L1", test_set="average")
    assert row["mean"] == "34.75" and row["difference"] == "-1.0000" and row["seeds"] == "2"
    assert row["deviation"] == f"{statistics.stdev([35.0, 34.5]):.4f}"
    (row,) = numbers(tables, system="all", test_set="average")
    assert row["difference"] == ""


def test_variants_have_averages_of_meteor_too_where_it_is_there(tmp_path):
    add_scores(tmp_path, "base", 1, 40.0, 30.0, meteor=50.0)
    add_scores(tmp_path, "l1", 1, 39.0, 30.0, meteor=51.0)
    lines = lines_of(*tables_of(tmp_path, **BASE))
    (head,) = [line for line in lines if line.startswith("| system")]
    assert "| average | from base | average, METEOR | from base, METEOR | seeds |" in head
    assert "| L1 | 39.00 | 30.00 | 51.00 | 51.00 | 34.50 | -0.50 | 51.00 | +1.00 | 1 |" in lines


def test_one_seed_has_no_deviation_and_says_so(tmp_path):
    add_scores(tmp_path, "base", 1, 40.0)
    add_scores(tmp_path, "l1", 1, 39.0)
    tables, notes = tables_of(tmp_path, **{**BASE, "splits": ("test",)})
    text = as_markdown(tables, notes)
    assert "| L1 | 39.00 | 39.00 | -1.00 | 1 |" in text and "±" not in text
    assert "Every system: one run, so there is no deviation" in text


def test_without_the_baseline_there_are_no_differences_and_the_table_says_so(tmp_path):
    add_scores(tmp_path, "l1", 1, 39.0)
    tables, notes = tables_of(
        tmp_path, **{**BASE, "splits": ("test",)}, planned=places("base", "l1", seeds=(1,))
    )
    text = as_markdown(tables, notes)
    assert "| L1 | 39.00 | 39.00 | 1 |" in text
    assert "No finished run of base" in text and "not counted: base-seed1." in text


def test_scores_by_other_settings_are_refused(tmp_path):
    add_scores(tmp_path, "base", 1, 40.0)
    add_scores(tmp_path, "l1", 1, 39.0, signature="case:mixed")
    with pytest.raises(IkdError, match="case:lc.*does not compare.*case:mixed"):
        tables_of(tmp_path, **{**BASE, "splits": ("test",)})


# ---- texts (Table 6) ---------------------------------------------------------------------------------------


def add_on_text(runs, text, system, seed, wrong, images="none", splits=("test", "test1"), **facts):
    """A run on a source *text* whose translations of *wrong* sentences have a wrong word."""
    folder = runs / text
    translations = {split: spoilt(wrong) for split in splits}
    return add_run(folder, f"{system}-seed{seed}", translations, images, labels={"text": text}, **facts)


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "runs"
    for text, wrong in (("original", [0]), ("colour", [0, 3, 4]), ("entity", range(40))):
        add_on_text(folder, text, "text", 1, wrong)
        add_on_text(folder, text, "image-must", 1, wrong[:-1], images="test", splits=["test"])
    return folder


def test_differences_are_from_the_same_system_and_sentences_on_original_text(texts):
    tables, notes = tables_of(texts, "texts")
    lines = lines_of(tables, notes)
    d, colour, entity = (bleu(spoilt(wrong)) for wrong in ([0], [0, 3, 4], range(40)))
    row = f"{d:.2f} | {colour:.2f} ({colour - d:+.2f}) | {entity:.2f} ({entity - d:+.2f}) | 1 |"
    assert lines.count(f"| {TEXT} | {row}") == 2  # all sentences of both test sets
    d, colour = (bleu(spoilt(wrong), PICTURED) for wrong in ([0], [0, 3, 4]))
    assert any(line.startswith(f"| {TEXT} | {d:.2f} | {colour:.2f} ({colour - d:+.2f})") for line in lines)
    (found,) = numbers(tables, sentences="20", system=TEXT, measure="BLEU D_C")
    assert float(found["mean"]) == pytest.approx(colour) and found["deviation"] == ""
    assert float(found["difference"]) == pytest.approx(colour - d, abs=1e-4)
    assert "Figures of all sentences do not compare with those of sentences with an image." in lines


def test_an_image_must_system_stands_where_every_sentence_has_an_image(texts):
    tables, notes = tables_of(texts, "texts")
    assert [table.title for table in tables] == [
        "test: 20 sentences with an image",
        "test: 40 sentences in all",
        "test1: 40 sentences in all",
    ]
    rows = {row["table"] for row in numbers(tables, system=SYSTEMS["image-must"].title)}
    assert rows == {"test: 20 sentences with an image"}
    assert any(note.startswith("No METEOR: ") for note in notes)


def test_several_seeds_have_a_deviation_and_count_only_where_all_texts_have_them(texts, caplog):
    for text, wrong in (("original", []), ("colour", [1]), ("entity", [1, 2])):
        add_on_text(texts, text, "text", 2, wrong)
    add_on_text(texts, "original", "text", 3, range(40))
    (line,) = [line for line in lines_of(tables_of(texts, "texts")[0]) if line.startswith("| Transformer")][
        -1:
    ]
    first = bleu(spoilt([0]))
    assert f"| {(first + 100) / 2:.2f} ± {(100 - first) / 2**0.5:.2f} |" in line
    assert line.endswith("| 2 |")
    assert "text-seed3 is not finished on every text" in caplog.text
    planned = places("text", texts=("original", "colour", "entity"), seeds=(1, 2, 3))
    notes = tables_of(texts, "texts", planned=planned)[1]
    assert "Not finished, and not counted: colour/text-seed3, entity/text-seed3." in notes
    assert "Not finished on every text, and not counted: original/text-seed3." in notes


def test_meteor_has_columns_beside_bleu_where_it_is_there(texts):
    for text, value in (("original", 50.0), ("colour", 25.0), ("entity", 0.0)):
        add_on_text(texts, text, "ikd", 1, [0], splits=["test", "test1"], meteor=value)
    text = as_markdown(*tables_of(texts, "texts"))
    assert "| BLEU D_E | METEOR D | METEOR D_C | METEOR D_E |" in text
    assert "| 50.00 | 25.00 (-25.00) | 0.00 (-50.00) | 1 |" in text
    assert "METEOR: `METEOR 1.5`." in text and "No METEOR" not in text


def test_the_baseline_is_first_and_a_system_of_ones_own_last_under_its_own_name(texts):
    for text, wrong in (("original", [0]), ("colour", [0, 3]), ("entity", [0, 3, 4])):
        add_on_text(texts, text, "mine", 1, wrong)
    pictured = tables_of(texts, "texts")[0][0]
    assert [row.title for row in pictured.rows] == [TEXT, SYSTEMS["image-must"].title, "mine"]


def test_shares_of_masked_words_stand_below(texts):
    splits = [{"split": "train", "percent": 3.2577}, {"split": "val", "percent": 3.0}]
    run = texts / "colour" / "en-de" / "text-seed1"
    Record.update(run, data={"masked": {"token": "[U]", "splits": splits}})
    notes = tables_of(texts, "texts")[1]
    assert "D_C: colour words masked by [U]: train 3.26 %, val 3.00 %." in notes


def test_a_text_without_runs_is_refused_in_a_sentence(texts):
    shutil.rmtree(texts / "entity")
    add_on_text(texts, "entity", "text", 7, [])
    with pytest.raises(IkdError, match="no run that is finished on original, colour, entity alike"):
        tables_of(texts, "texts")


# ---- distillation (Kim and Rush) ---------------------------------------------------------------------------


def add_student(folder, name, greedy, wide, **facts):
    """A run with BLEU 10 by greedy and 12.345 by beam search."""
    folder = folder / name
    folder.mkdir(parents=True)
    scores = []
    for beam, value, lines in ((1, 10.0, greedy), (5, 12.345, wide)):
        output = f"generate-test.beam{beam}.txt"
        write_output(folder / output, lines)
        found = score_of(lines, ALL, range(40), output)
        bleu_score = {"bleu": Metric("BLEU", value, "case:lc")}
        scores.append(dataclasses.replace(found, beam=beam, metrics=bleu_score, probability=0.1875))
    Record.update(folder, scores={"test": scores}, **facts)


def test_students_compare_with_the_teacher_and_come_in_the_order_of_the_plan(tmp_path):
    names = ("nano-base", "nano-seq", "nano-pruned20", "nano-pruned80")
    titles = ("baseline", "Seq-KD", "Seq-KD, 20 % pruned", "Seq-KD, 80 % pruned")
    systems = {name: derive(name, "text", title=title) for name, title in zip(names, titles)}
    model = {"decoding_parameters": 7_000_000, "decoding_parameters_not_zero": 6_000_000, "megabytes": 1.25}
    for name in ("nano-pruned80", "nano-seq", "nano-base", "teacher", "nano-pruned20"):
        greedy = spoilt(range(20)) if name == "nano-seq" else REFERENCES
        add_student(tmp_path, name, greedy, REFERENCES, model=model)
    Record.update(tmp_path / "nano-base", speeds={"beam 1, batch 64": 1501.25, "beam 5, batch 1": 1501.25})
    Record.update(tmp_path / "teacher", speeds={"beam 5, batch 1": 500.4})
    ((table,), notes) = tables_of(tmp_path, "distillation", systems=systems, splits=("test",), baseline=None)
    assert [row.title for row in table.rows] == ["teacher", *titles]
    teacher, base, seq = (
        {heading: cell.text for heading, cell in row.cells.items()} for row in table.rows[:3]
    )
    assert (seq["BLEU, greedy"], seq["BLEU, beam 5"], seq["p(t = ŷ)"]) == ("10.00", "12.35", "18.8 %")
    assert (seq["as teacher"], base["as teacher"]) == ("50.0 %", "100.0 %")
    assert (base["weights"], base["file"]) == ("6.00 M not 0", "1.25 MB")
    assert (base["beam 1, batch 64"], base["beam 5, batch 1"]) == ("1501.2", "1501.2 (3.0x)")
    assert teacher["beam 5, batch 1"] == "500.4" and "beam 1, batch 1" not in teacher
    assert [column.heading for column in table.columns][-2:] == ["beam 1, batch 64", "beam 5, batch 1"]


def test_a_missing_greedy_score_is_named(tmp_path):
    lines = score_of(REFERENCES, ALL, range(40), "generate-test.txt")
    Record.update(tmp_path / "nano-base", scores={"test": [lines]})
    with pytest.raises(IkdError, match="nano-base has no score of test by greedy search"):
        tables_of(tmp_path, "distillation", splits=("test",), baseline=None)
