"""Every analysis of ``ikd-analyse`` on a trained toy model, in this process."""

import pytest

from ikd_fairseq.cli.analyse import main

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


def test_split_without_images_is_refused_where_they_are_needed(analyse, trained, tmp_path, capsys):
    text_only = tmp_path / "text-only"
    text_only.mkdir()
    for file in trained.data.iterdir():
        if ".images." not in file.name:
            (text_only / file.name).symlink_to(file)
    status, _ = analyse("retrieval", "--split", "valid", data=text_only)
    assert status == 1
    assert f"error: valid in {text_only} has no images" in capsys.readouterr().err
