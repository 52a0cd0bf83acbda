"""The parser of ikd-analyse: a subcommand an analysis, made without importing any of them."""

import subprocess
import sys
from pathlib import Path

import pytest

import ikd_fairseq
from ikd_fairseq.analysis import SUMMARIES, attention, inverse
from ikd_fairseq.cli.analyse import build_parser, main

MODEL = ["--data", "d", "--checkpoint", "c", "--split", "test", "--output", "o"]

# The package without its own imports, which register everything with fairseq.
LIGHT = """
import sys, types
package = types.ModuleType("ikd_fairseq")
package.__path__ = [sys.argv[1]]
sys.modules["ikd_fairseq"] = package
from ikd_fairseq.cli.analyse import build_parser
build_parser().format_help()
print(*sorted({"fairseq", "matplotlib", "sklearn", "torch"} & set(sys.modules)))
"""


def help_of(analysis, capsys) -> str:
    with pytest.raises(SystemExit):
        main([analysis, "--help"])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("analysis", SUMMARIES)
def test_help_of_an_analysis_has_its_paper_and_its_options(analysis, capsys):
    text = help_of(analysis, capsys)
    assert "Peng et al. 2022" in text or "Elliott 2018" in text
    assert "--output FOLDER" in text


def test_help_lists_every_analysis_with_its_summary():
    text = " ".join(build_parser().format_help().split())
    assert all(f"{name} {summary}" in text for name, summary in SUMMARIES.items())


def test_sentences_shown_by_default_are_as_many_as_the_help_says(capsys):
    for module, rest in ((attention, ")"), (inverse, " that have an image)")):
        name = module.__name__.rpartition(".")[2]
        assert f"(default: the first {module.DEFAULT_COUNT}{rest}" in help_of(name, capsys)


def test_features_are_centred_unless_told_otherwise():
    assert build_parser().parse_args(["clusters", *MODEL]).centre
    assert not build_parser().parse_args(["retrieval", *MODEL, "--no-centre"]).centre


@pytest.mark.parametrize("number", ["-1", "1.5", "x"])
def test_sentence_that_is_no_number_is_refused(number, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["attention", *MODEL, f"--sentences={number}"])
    assert f"'{number}' is not a sentence number: they count from 0" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_seed_that_no_generator_takes_is_refused(seed, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["clusters", *MODEL, f"--seed={seed}"])
    assert f"'{seed}' is no seed: give a number from 0 to 2^32 - 1" in capsys.readouterr().err


def test_help_imports_nothing_that_takes_seconds():
    folder = Path(ikd_fairseq.__file__).parent
    found = subprocess.run(
        [sys.executable, "-c", LIGHT, str(folder)], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == []
