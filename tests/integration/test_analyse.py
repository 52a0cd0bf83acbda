"""Every analysis of ``ikd-analyse`` on a trained toy model, in this process."""

import json
import sys

import pytest

from ikd_fairseq.cli.analyse import main
from ikd_fairseq.cli.export import main as export

pytest.importorskip("matplotlib")


@pytest.fixture
def analyse(trained, tmp_path):
    """Runs an analysis; returns its status and the folder of its results."""

    def run(analysis, *options, checkpoint=trained.last, data=trained.data):
        output = tmp_path / analysis
        arguments = ["--data", str(data), "--checkpoint", str(checkpoint), "--output", str(output)]
        return main([analysis, *arguments, *map(str, options)]), output

    return run


def table(path):
    """A tab-separated file: a dictionary for each line."""
    names, *rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [dict(zip(names, row)) for row in rows]


def test_retrieval_has_a_row_for_each_split_with_the_chance_level(analyse, capsys):
    status, output = analyse("retrieval", "--split", "valid", "test", "--teacher-weights", "random")
    assert not status
    valid, test = table(output / "retrieval.tsv")
    assert (valid["split"], valid["sentences"], test["sentences"]) == ("valid", "7", "13")
    images = int(test["images"])  # four plain pictures at most, which sentences share
    assert 1 < images <= 4
    assert float(test["chance@1"]) == pytest.approx(100 / images, rel=1e-3)
    assert test["R@5"] == test["chance@5"] == "100"
    assert (output / "retrieval.png").read_bytes().startswith(b"\x89PNG")
    assert "chance@15" in capsys.readouterr().out


def test_unknown_analysis_is_answered_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        main(["retrieve"])
    error = capsys.readouterr().err
    assert "invalid choice: 'retrieve'" in error and "retrieval" in error


def test_split_without_images_is_refused_where_they_are_needed(analyse, text_only, capsys):
    status, _ = analyse("retrieval", "--split", "valid", data=text_only)
    assert status == 1
    assert f"error: valid in {text_only} has no images" in capsys.readouterr().err


def test_inverse_shows_the_images_asked_for_and_refuses_what_has_none(analyse, trained, tmp_path, capsys):
    status, output = analyse("inverse", "--split", "test", "--sentences", 6, 0, 6)
    assert not status
    assert [row["sentence"] for row in table(output / "inverse.tsv")] == ["6", "0"]
    assert (output / "inverse.png").exists()
    assert "to the real image" in capsys.readouterr().out

    status, _ = analyse("inverse", "--split", "test", "--sentences", 1)
    assert status == 1 and "--sentences 1: this sentence of test has no image" in capsys.readouterr().err

    exported = tmp_path / "exported.pt"
    assert not export([str(trained.last), str(exported)])
    status, _ = analyse("inverse", "--split", "test", checkpoint=exported)
    assert status == 1 and "exported.pt has no student to paint with" in capsys.readouterr().err


def test_attention_has_weights_for_every_word_without_images(analyse, capsys):
    status, output = analyse("attention", "--split", "test", "--sentences", 1, 0)
    assert not status
    entries = json.loads((output / "attention.json").read_text(encoding="utf-8"))["sentences"]
    assert [entry["sentence"] for entry in entries] == [1, 0]
    for entry in entries:
        words = len(entry["words"])
        assert entry["words"][-1] == "</s>"
        assert [len(head) for head in entry["weights"]] == [words + 4] * 2  # heads; 2 x 2 regions
        assert all(sum(row) == pytest.approx(1, abs=1e-5) for head in entry["weights"] for row in head)
    assert {file.name for file in output.glob("*.png")} == {"attention.0.png", "attention.1.png"}
    assert "bits of regions" in capsys.readouterr().out

    status, _ = analyse("attention", "--split", "test", "--sentences", 39)
    assert status == 1 and "test has 39 sentences, numbered 0 to 38" in capsys.readouterr().err


def test_clusters_place_every_sentence_with_an_image(analyse, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    options = ["--split", "test", "--projection", "pca", "--teacher-weights", "random"]
    status, output = analyse("clusters", *options, "--clusters", 3, "--neighbours", 2)
    assert not status
    points = table(output / "clusters.points.tsv")
    assert [point["sentence"] for point in points] == [str(number) for number in range(0, 39, 3)]
    clusters = table(output / "clusters.tsv")
    assert [int(row["sentences"]) for row in clusters] == [
        sum(point["cluster"] == row["cluster"] for point in points) for row in clusters
    ]
    assert all(len(row["nearest others"].split()) == 2 for row in clusters)
    assert (output / "clusters.png").exists()
    assert "nearest others" in capsys.readouterr().out

    status, _ = analyse("clusters", *options, "--clusters", 14)
    assert status == 1 and "test has 13 sentences with an image" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "sklearn", None)
    status, _ = analyse("clusters", *options)
    assert status == 1 and 'needs sklearn: pip install "ikd-fairseq[analysis]"' in capsys.readouterr().err
