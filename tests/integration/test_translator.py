"""The interface for Python: where data are looked for, what pairs score, and what is refused."""

import math
import shutil

import pytest
import torch

from ikd_fairseq.errors import IkdError
from ikd_fairseq.models.ikd_transformer import IKDTransformerModel
from tests.closeness import assert_close_to_scale
from tests.integration.command_line import TASK, run


def load(folder, data=".", file="checkpoint_last.pt", **options):
    languages = {"source_lang": "en", "target_lang": "de"}  # there is no text to tell them from
    return IKDTransformerModel.from_pretrained(
        str(folder), file, data_name_or_path=str(data), **languages, **options
    )


@pytest.fixture
def folder(trained, tmp_path):
    """A folder with the checkpoint, and with the dictionaries of its data in ``data``."""
    shutil.copy(trained.last, tmp_path)
    (tmp_path / "data").mkdir()
    for language in ("en", "de"):
        shutil.copy(trained.data / f"dict.{language}.txt", tmp_path / "data")
    return tmp_path


def test_pairs_score_as_fairseq_generate_scores_them(trained, folder):
    log = run(
        "fairseq_cli.generate",
        [str(trained.data)],
        TASK,
        f"--path {trained.last} --score-reference --cpu --batch-size 7",
    )
    rows = [line.split("\t") for line in log.splitlines() if line.startswith("P-")]
    expected = {
        int(tag[2:]): [float(score) * math.log(2) for score in scores.split()] for tag, scores in rows
    }
    sides = [
        (trained.data.parent / f"test.{language}").read_text("utf-8").splitlines()
        for language in ("en", "de")
    ]
    translator = load(folder, "data")
    found = translator.score(*sides)
    assert len(found) == len(expected) == 39
    for number, scores in expected.items():
        assert found[number]["positional_scores"].tolist() == pytest.approx(scores, abs=2e-4)
    one = translator.score(sides[0][3], sides[1][3])
    assert_close_to_scale(one["positional_scores"], found[3]["positional_scores"])
    assert_close_to_scale(one["score"], one["positional_scores"].mean())


def test_scores_need_a_target_for_every_sentence(folder):
    translator = load(folder, "data")
    for sentences, targets in ((["a", "b"], ["c"]), ("a", ["b"])):
        with pytest.raises(IkdError, match="as many targets as sentences"):
            translator.score(sentences, targets)
    with pytest.raises(IkdError, match="a sentence has 1101 subwords, too many"):
        translator.score("a " * 1100, "b")


def test_data_are_looked_for_in_the_current_folder_then_beside_the_checkpoint(
    folder, monkeypatch, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert load(folder, "./data").task.cfg.data == str(folder / "data")
    shutil.copytree(folder / "data", elsewhere / "data")
    assert load(folder, "./data").task.cfg.data == str(elsewhere / "data")
    with pytest.raises(IkdError, match="nowhere is no folder, and the current folder holds none"):
        load(folder, "nowhere")
    with pytest.raises(IkdError, match="holds no other.pt"):
        load(folder, "data", file="other.pt")
    with pytest.raises(IkdError, match="gone is no folder: give that of the checkpoint"):
        load(elsewhere / "gone", "data")


def test_merges_are_found_in_the_data_folder_and_must_be_those_of_training(folder):
    (folder / "data" / "code").write_text("#version: 0.2\nb a\n")
    load(folder, "data", bpe="subword_nmt")  # trained without merges: nothing to hold them against
    state = torch.load(folder / "checkpoint_last.pt", weights_only=False)
    state["task_state"]["dictionaries"]["merges"] = "0" * 64
    torch.save(state, folder / "checkpoint_last.pt")
    with pytest.raises(IkdError, match="trained with other BPE merges"):
        load(folder, "data", bpe="subword_nmt")
    (folder / "data" / "code").rename(folder / "code")
    with pytest.raises(IkdError, match="code: the checkpoint was trained with other BPE merges"):
        load(folder, "data", bpe="subword_nmt")
