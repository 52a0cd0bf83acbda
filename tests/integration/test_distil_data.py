"""A teacher's translations, made by fairseq-generate in shards, become the data that a student trains on."""

import os

import pytest
from sacrebleu.metrics import BLEU

from ikd_fairseq.cli.distil_data import main as distil_data
from ikd_fairseq.distillation.text_split import Split
from tests.integration.command_line import IKD, OPTIMIZER, TASK, hypotheses, run


def sentences(folder, side: str) -> list:
    """One side of the training set as text, by fairseq's own reader."""
    split = Split.open(str(folder), "train")
    dictionary = split.source_dictionary if side == "en" else split.target_dictionary
    ids = split.token_ids(side)
    return [dictionary.string(ids[number]) for number in range(split.sentences)]


@pytest.fixture(scope="module")
def distilled(trained, tmp_path_factory):
    """Seq-KD data in two shards of batches of 7, the second of them translated on its own before."""
    out = tmp_path_factory.mktemp("distilled") / "best"
    command = [str(trained.data), str(out), "--teacher-path", str(trained.last), "--beam", "3", "--cpu"]
    options = ["--", "--batch-size", "7"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        assert not distil_data([*command, "--shards", "2", "--only-shard", "1", *options])
        assert os.listdir(out) == ["generated"]
        second = (out / "generated" / "shard-1-of-2.txt").stat()
        assert not distil_data([*command, *options])
    assert (out / "generated" / "shard-1-of-2.txt").stat().st_mtime_ns == second.st_mtime_ns
    return out


def test_every_sentence_of_train_is_translated_as_by_fairseq_generate_alone(trained, distilled):
    output = run(
        "fairseq_cli.generate",
        [str(trained.data)],
        TASK,
        f"--path {trained.last}",
        "--gen-subset train --beam 3 --nbest 3 --cpu --batch-size 7",
    )
    found = hypotheses(output)
    assert sorted(found) == list(range(64))
    assert sentences(distilled, "de") == [found[number][0][1] for number in range(64)]
    assert sentences(distilled, "en") == sentences(trained.data, "en")


def test_closest_reuses_the_translations_and_nowhere_comes_out_worse(trained, distilled, tmp_path):
    outputs = [str(path) for path in (distilled / "generated").glob("shard-*.txt")]
    command = [str(trained.data), str(tmp_path / "closest"), "--generate-output", *outputs]
    assert not distil_data([*command, "--select", "closest", "--nbest", "3"])
    bleu = BLEU(tokenize="none", effective_order=True)
    first, closest = sentences(distilled, "de"), sentences(tmp_path / "closest", "de")
    for reference, one, other in zip(sentences(trained.data, "de"), first, closest):
        assert bleu.sentence_score(other, [reference]).score >= bleu.sentence_score(one, [reference]).score
    assert first != closest


def test_a_student_trains_on_the_folder_with_its_images(distilled, tmp_path):
    log = run(
        "fairseq_cli.train",
        [str(distilled)],
        TASK,
        IKD,
        OPTIMIZER,
        f"--max-tokens 200 --max-epoch 1 --save-dir {tmp_path} --kd-images-per-batch 1",
    )
    assert f"{distilled} train: 40 of 64 sentences have an image" in log
    assert (tmp_path / "checkpoint_last.pt").exists()
