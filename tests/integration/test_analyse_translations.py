"""The analyses that translate, on toy models: without the text, and with the images of other sentences."""

import json

import pytest
import torch

from ikd_fairseq.cli.analyse import main
from tests.integration.command_line import IKD, OPTIMIZER, TASK, run, translations

pytest.importorskip("matplotlib")

TRAINING = "--max-tokens 200 --max-epoch 1 --seed 3 --no-epoch-checkpoints --disable-validation"


@pytest.fixture
def analyse(toy_data, tmp_path):
    """Runs an analysis; returns its status and the folder of its results."""

    def run_analysis(analysis, checkpoint, *options):
        output = tmp_path / analysis
        required = ["--data", str(toy_data), "--checkpoint", str(checkpoint), "--output", str(output)]
        return main([analysis, *required, "--beam", "2", *map(str, options)]), output

    return run_analysis


def table(path):
    """A tab-separated file: a dictionary for each line."""
    names, *rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [dict(zip(names, row)) for row in rows]


def test_no_text_compares_taking_the_text_away_with_training_without_it(
    analyse, toy_data, trained, tmp_path, capsys
):
    saved = f"--save-dir {tmp_path}"
    run("fairseq_cli.train", [str(toy_data)], TASK, IKD, "--no-text", OPTIMIZER, TRAINING, saved)
    without = tmp_path / "checkpoint_last.pt"
    # Regions that are hidden at test are shown where there is nothing else.
    state = torch.load(trained.last, weights_only=False)
    state["cfg"]["model"]["regions_at_test"] = "hidden"
    hiding = tmp_path / "hiding.pt"
    torch.save(state, hiding)
    status, output = analyse("no-text", hiding, "--retrained", without, "--split", "test", "valid")
    assert not status
    rows = table(output / "no-text.tsv")
    systems = ["with text", "text taken away at test", "trained without text"]
    assert [row["system"] for row in rows] == systems
    assert list(rows[0]) == ["system", "BLEU test", "BLEU valid"]
    texts = [(output / f"test.{name.replace(' ', '-')}.txt").read_text().splitlines() for name in systems]
    assert [len(lines) for lines in texts] == [39] * 3
    assert len({tuple(lines) for lines in texts}) == 3
    report = json.loads((output / "no-text.json").read_text(encoding="utf-8"))
    assert [entry["checkpoint"] for entry in report["systems"]] == [str(hiding)] * 2 + [str(without)]
    assert "tok:none" in report["systems"][2]["scores"]["valid"][0]["signature"]
    assert (output / "no-text.png").read_bytes().startswith(b"\x89PNG")

    status = main(
        [
            "attention",
            "--data",
            str(toy_data),
            "--checkpoint",
            str(without),
            "--split",
            "test",
            "--output",
            str(tmp_path),
        ]
    )
    assert status == 1 and "was trained with --no-text" in capsys.readouterr().err


def test_regions_are_hidden_and_the_ensemble_is_that_of_fairseqs_own_commands(analyse, toy_data, trained):
    status, output = analyse("regions", trained.last, "--split", "valid")
    assert not status
    figures = {row["what"]: row["value"] for row in table(output / "regions.tsv")}
    assert 0 < float(figures["decoder layer 1: attention on regions, %"]) < 100
    assert 0 <= float(figures["variance of generated regions between sentences, %"]) <= 100
    assert {"bits a token, regions shown", "bits a token, regions hidden"} <= figures.keys()
    texts = {}
    for view in ("shown", "hidden", "ensemble"):
        lines = (output / f"regions.{view}.txt").read_text(encoding="utf-8").splitlines()
        decoding = f"--path {trained.last} --gen-subset valid --beam 2 --num-workers 0 --cpu"
        overrides = ["--model-overrides", repr({"regions_at_test": view})]
        found = translations(run("fairseq_cli.generate", [str(toy_data)], TASK, decoding, overrides))
        assert [found[number] for number in range(len(lines))] == lines
        texts[view] = lines
    assert "BLEU, regions ensemble of both" in figures and len(texts["shown"]) == 13


def test_incongruent_images_are_those_of_other_sentences(analyse, trained, image_must, capsys):
    status, output = analyse("incongruent", image_must, "--split", "test", "--shuffles", 3)
    assert not status
    rows = table(output / "incongruent.tsv")
    shuffles = [f"another's, shuffle {number}" for number in (1, 2, 3)]
    assert [row["images"] for row in rows] == ["own", *shuffles, "another's, mean", "none"]
    assert rows[0]["p"] == "" and all(0 < float(row["p"]) <= 1 for row in rows[1:4])
    report = json.loads((output / "incongruent.json").read_text(encoding="utf-8"))
    assert [entry["sentence"] for entry in report["sentences"]] == list(range(0, 39, 3))
    pictures = {entry["sentence"]: entry["source"].split()[0] for entry in report["sentences"]}  # colours
    for entry in report["sentences"]:
        assert all(pictures[other] != pictures[entry["sentence"]] for other in entry["images of"])
        assert list(entry["translations"]) == ["own", *shuffles, "none"]
    assert (output / "incongruent.png").read_bytes().startswith(b"\x89PNG")

    status, _ = analyse("incongruent", trained.last, "--split", "test")
    assert status == 1 and "never looks at any" in capsys.readouterr().err
