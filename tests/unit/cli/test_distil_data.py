"""``ikd-distil-data`` on ready-made output: what is chosen, counted and refused, and a second run."""

import json
import os

import pytest
import torch
from fairseq.data.indexed_dataset import make_builder

from ikd_fairseq.cli.distil_data import main
from ikd_fairseq.distillation import sequence_distillation
from ikd_fairseq.distillation.text_split import Split
from tests import toy

SOURCES = ["w1 w2 w3", "w4", "w5 w6"]
REFERENCES = ["w7 w8 w9 w10", "w11", "w12 w13"]
HYPOTHESES = [
    ["w7 w8 w0 w0", "w7 w8 w9 w10"],  # the second is the reference
    ["w11", "w0"],  # the first is
    ["w0 <unk> w0", "w12 w0"],  # the second is closer
]


def generated(sources=SOURCES, hypotheses=HYPOTHESES, order=(1, 2, 0)) -> str:
    """As fairseq-generate prints it, sorted by length."""
    lines = []
    for sentence in order:
        lines += [f"S-{sentence}\t{sources[sentence]}", f"T-{sentence}\t{REFERENCES[sentence]}"]
        lines += [f"H-{sentence}\t-0.1\t{text}" for text in hypotheses[sentence]]
    return "\n".join(lines) + "\n"


OUTPUT = generated()


@pytest.fixture
def data(tmp_path):
    words, folder = toy.dictionary(), tmp_path / "data"
    for language, sentences in (("en", SOURCES), ("de", REFERENCES)):
        words.save(str(folder / f"dict.{language}.txt"))
        builder = make_builder(str(folder / f"train.en-de.{language}.bin"), "mmap", len(words))
        for sentence in sentences:
            builder.add_item(torch.tensor([words.index(word) for word in sentence.split()] + [words.eos()]))
        builder.finalize(str(folder / f"train.en-de.{language}.idx"))
    return folder


@pytest.fixture
def distil(data, tmp_path, capsys):
    """Runs the command on generated text; returns its status and what it printed as an error."""

    def distil(*options, content=OUTPUT, out="out"):
        output = tmp_path / "output.txt"
        output.write_text(content, encoding="utf-8")
        status = main([str(data), str(tmp_path / out), "--generate-output", str(output), *options])
        return status, capsys.readouterr().err.strip().splitlines()[-1]

    return distil


def targets(folder):
    """The training targets as text, by fairseq's own reader."""
    split = Split.open(str(folder), "train")
    ids = split.token_ids("de")
    assert all(ids[number][-1] == split.target_dictionary.eos() for number in range(len(ids)))
    return [split.target_dictionary.string(ids[number]) for number in range(len(ids))]


def record(folder):
    return json.loads((folder / "distilled.json").read_text(encoding="utf-8"))


def test_best_takes_the_models_first_and_counts(distil, tmp_path):
    assert distil("--select", "best")[0] is None
    assert targets(tmp_path / "out") == ["w7 w8 w0 w0", "w11", "w0 <unk> w0"]
    found = record(tmp_path / "out")
    assert found["finished"] is True and found["sentences"] == 3 and found["unknown_words"] == 1
    assert found["length_ratio"] == round(8 / 7, 4) and found["equal_to_reference"] == round(1 / 3, 4)
    assert "sentence_bleu_of_first" not in found


def test_closest_takes_the_known_best_and_counts(distil, tmp_path):
    assert distil("--select", "closest", "--nbest", "2")[0] is None
    assert targets(tmp_path / "out") == ["w7 w8 w9 w10", "w11", "w12 w0"]
    found = record(tmp_path / "out")
    assert found["equal_to_reference"] == round(2 / 3, 4) and found["length_ratio"] == 1
    # By hand. First ones: of 4, 3, 2 and 1 n-grams 2, 1, 0 and 0 match, the last two smoothed to 1/2 and 1/4;
    # 100; 0. Selected: 100; 100; of 2 and 1 n-grams 1 and 0 match, smoothed to 1/2.
    first = 100 * (2 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1) ** 0.25
    assert found["sentence_bleu_of_first"] == pytest.approx((first + 100 + 0) / 3, abs=0.006)
    assert found["sentence_bleu_of_selected"] == pytest.approx((100 + 100 + 50) / 3, abs=0.006)


def test_an_unknown_word_of_the_reference_matches_no_hypothesis(data, tmp_path, distil):
    words = toy.dictionary()
    builder = make_builder(str(data / "train.en-de.de.bin"), "mmap", len(words))
    for _ in SOURCES:
        builder.add_item(torch.tensor([words.unk(), words.index("w1"), words.eos()]))
    builder.finalize(str(data / "train.en-de.de.idx"))
    content = generated(hypotheses=[["<unk> w0", "w0 w1"]] * 3)
    assert distil("--select", "closest", "--nbest", "2", content=content)[0] is None
    assert targets(tmp_path / "out")[0] == "w0 w1"  # if <unk> matched, both would match one word of two


def test_a_second_run_does_nothing_and_one_with_other_options_is_refused(distil, tmp_path, monkeypatch):
    distil("--select", "best")
    monkeypatch.setattr(sequence_distillation, "write_distilled_folder", None)  # it must not be called
    assert "is complete: nothing to do" in distil("--select", "best")[1]
    status, sentence = distil("--select", "closest", "--nbest", "2")
    assert status == 1 and "was made from other select (best, now closest), nbest (1, now 2)" in sentence
    status, sentence = distil("--select", "best", content=generated(order=(0, 1, 2)))
    assert status == 1 and "other generate-output" in sentence


def test_a_run_that_was_killed_in_its_first_write_is_started_again(distil, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".distilled.json.1.tmp").touch()
    (tmp_path / "out" / ".distilled.json.ikd-lock").touch()
    assert distil("--select", "best")[0] is None
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]


def test_an_interrupted_run_is_finished_by_the_next(distil, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sequence_distillation, "write_distilled_folder", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distil("--select", "best")
    assert record(tmp_path / "out")["finished"] is False
    assert distil("--select", "best")[0] is None
    assert record(tmp_path / "out")["finished"] is True and len(targets(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"order": (1, 0)}, "of 1 of 3 sentences (ids 2)"),
        ({"hypotheses": [["w1", "w2"], ["wort"] * 2, ["w1", "w2"]]}, "1 of sentence 1 (from 0): 'wort'"),
        ({"sources": ["w1 w2 w3", "w4", "w5 w7"]}, "sentence 2 (from 0) is not that of"),
    ],
)
def test_unusable_output_is_refused_with_the_sentence_before_anything_is_written(
    distil, tmp_path, changes, words
):
    status, sentence = distil("--select", "closest", "--nbest", "2", content=generated(**changes))
    assert status == 1 and sentence.startswith("distil-data: error: ") and words in sentence
    assert not (tmp_path / "out" / "distilled.json").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        (["--select", "closest", "--nbest", "1"], "several hypotheses"),
        (["--beam", "3"], "--beam is about translating"),
        (["--only-shard", "0"], "--only-shard is about translating"),
        (["--cpu"], "--cpu is about translating"),
        (["--", "--max-tokens", "9"], "options after --"),
        (["--split", "test9"], "holds no split test9"),
        (["-s", "en", "-t", "fr"], "not in en-fr"),
    ],
)
def test_options_that_do_not_fit_are_refused(distil, options, words):
    status, sentence = distil(*options)
    assert status == 1 and words in sentence


def test_closest_looks_at_five_by_default(distil):
    status, sentence = distil("--select", "closest")
    assert status == 1 and "has 2 hypotheses and 5 are asked for" in sentence


def test_the_data_folder_itself_and_folders_of_others_are_not_written_to(distil, data, tmp_path):
    before = sorted(os.listdir(data))
    status, sentence = distil(out="data")
    assert status == 1 and "is the data folder itself" in sentence
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint_last.pt").write_bytes(b"")
    status, sentence = distil(out="run")
    assert status == 1 and "did not make" in sentence
    status, sentence = distil(out="output.txt")
    assert status == 1 and "is a file" in sentence
    status, sentence = distil(out="output.txt/out")
    assert status == 1 and "cannot be made" in sentence
    assert sorted(os.listdir(data)) == before and os.listdir(tmp_path / "run") == ["checkpoint_last.pt"]


def test_further_parts_of_the_training_set_are_pointed_out(data, capsys):
    for name in os.listdir(data):
        if name.startswith("train."):
            (data / name.replace("train.", "train1.")).write_bytes((data / name).read_bytes())
    output = data.parent / "output.txt"
    output.write_text(OUTPUT)
    assert not main([str(data), str(data.parent / "out"), "--generate-output", str(output)])
    assert "also holds train1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, words",
    [
        (["--nbest", "6"], "--nbest 6 wants more hypotheses than --beam 5"),
        (["--beam", "1", "--select", "closest"], "several hypotheses"),
        (["--shards", "3", "--only-shard", "3"], "are 0 to 2"),
        (["--", "--remove-bpe"], "--remove-bpe cannot be passed on"),
    ],
)
def test_options_for_translating_are_checked_before_it(data, tmp_path, capsys, options, words):
    assert main([str(data), str(tmp_path / "out"), "--teacher-path", "nowhere.pt", *options]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_several_data_folders_at_once_are_refused(data, tmp_path, capsys):
    assert main([f"{data}:{data}", str(tmp_path / "out"), "--teacher-path", "nowhere.pt"]) == 1
    assert "one folder at a time" in capsys.readouterr().err
