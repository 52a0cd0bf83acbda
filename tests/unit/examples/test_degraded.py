"""degraded.sh over stand-ins of the scripts that it calls, and its table on translations written by hand."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.evaluation.metrics import compute_scores
from tests.prepared_data import write_test_sets

RECIPES = Path(__file__).resolve().parents[3] / "examples" / "multi30k"
sys.path.insert(0, str(RECIPES))

import degraded  # noqa: E402  the folder of the example is no package

# ---- the recipe --------------------------------------------------------------------------------------------

SAY = 'echo "$(basename "$0" .sh) $*" >>"$CALLS"\n'
ANALYSE = "#!/usr/bin/env bash\n" + SAY + '[[ "$*" != *"$FAILS"* ]] || exit 1\nmkdir "$5"\n'


@pytest.fixture
def recipe(tmp_path):
    """Runs degraded.sh beside stand-ins; gives status, output and the calls that it made."""
    recipes, bin_ = tmp_path / "examples" / "multi30k", tmp_path / "bin"
    for folder in (recipes, bin_, tmp_path / "folder" / "text", tmp_path / "data", tmp_path / "masks"):
        folder.mkdir(parents=True)
    shutil.copy(RECIPES / "degraded.sh", recipes)
    (tmp_path / "examples" / "set_up.sh").write_text("")
    (recipes / "prepare.sh").write_text(SAY)
    (recipes / "compare.sh").write_text(SAY)
    (recipes / "degraded.py").write_text("import sys; print('table', *sys.argv[1:])")
    (bin_ / "ikd-analyse").write_text(ANALYSE)
    (bin_ / "ikd-analyse").chmod(0o755)
    (tmp_path / "data" / "code").touch()
    (tmp_path / "data" / "made-from.txt").write_text("en-de, 10 merges, text 1 2\n")
    for name in ("color", "noun", "nouns", "people"):
        (tmp_path / "masks" / f"{name}.position").write_text("-1\n")

    def run(*arguments, masks=True, fails="nothing"):
        calls = tmp_path / "calls.txt"
        calls.write_text("")
        given = ["--folder", "folder", "--data", "data", "--out", "runs"]
        given += ["--masks", "masks"] if masks else []
        path = f"{bin_}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", str(recipes / "degraded.sh"), *given, *arguments],
            env={**os.environ, "PATH": path, "CALLS": str(calls), "FAILS": fails},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, calls.read_text().splitlines()

    return run


def test_both_maskings_are_prepared_like_the_original_and_all_three_are_run(recipe, tmp_path):
    status, output, calls = recipe("--seeds", "1 2", "--updates", "9", "--", "--lr", "1", "--data", "x")
    assert status == 0, output
    mask, like = "--language en --mask-token [U] --positions", "--pair en-de --like data --keep [U]"
    options = "--systems text image-must ikd --seeds 1 --seeds 1 2 --updates 9"  # the later seeds win
    end, runs = f"{options} -- --lr 1 --data x", "--pairs en-de --stages index runs"
    assert calls == [
        f"compare --data data --out runs/original --pairs en-de --stages index {end}",  # are options right?
        f"ikd-analyse degrade --folder folder --output runs/text-colour --mask colour {mask} "
        "masks/color.position",
        f"ikd-analyse degrade --folder folder --output runs/text-entity --mask entity {mask} "
        "masks/noun.position masks/nouns.position masks/people.position",
        f"prepare runs/text-colour runs/data-colour {like}",
        f"prepare runs/text-entity runs/data-entity {like}",
        f"compare --data data --out runs/original {runs} {end}",
        f"compare --data runs/data-colour --out runs/colour {runs} {end}",
        f"compare --data runs/data-entity --out runs/entity {runs} {end}",
    ]
    assert output.rstrip().endswith("table runs data --pair en-de")


def test_without_annotation_the_words_are_left_to_the_command(recipe):
    calls = recipe(masks=False)[2]
    assert [call for call in calls if "analyse" in call and "--positions" in call] == []
    assert len([call for call in calls if "analyse" in call]) == 2


def test_run_again_it_masks_only_what_is_not_masked_yet(recipe):
    status, _, calls = recipe(fails="--mask entity")
    assert status == 1 and not [call for call in calls if "prepare" in call or "index runs" in call]
    masked = [call for call in recipe()[2] if call.startswith("ikd-analyse")]
    assert len(masked) == 1 and "--mask entity" in masked[0]


def test_other_masks_do_not_go_into_the_same_folder(recipe, tmp_path):
    assert recipe()[0] == 0
    (tmp_path / "masks" / "noun.position").write_text("0\n")
    status, output, calls = recipe()
    assert status == 1 and not calls and "runs was made from other text or masks" in output


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--masks"], "--masks needs a value"),
        (["--masks", "folder"], "--masks folder has no color.position"),
        (["--data", "folder"], "--data folder is no folder that prepare.sh made"),
        (["--folder", "data"], "--folder data has no text/"),
        (["--pairs", "en-fr"], "--pairs is not to choose here"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(recipe, arguments, sentence):
    status, output, calls = recipe(*arguments)
    assert status == 1 and not calls
    (line,) = output.splitlines()
    assert re.search(sentence, line)


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
