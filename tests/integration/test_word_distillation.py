"""Word-level distillation by fairseq's commands: an image-must teacher, a student that sees no image."""

import json
import shutil

import pytest
import torch
from fairseq.data import Dictionary

from ikd_fairseq.cli.cache_teacher import main as cache_teacher
from tests.integration.command_line import MODEL, OPTIMIZER, TASK, run

DISTILLED = "--criterion word_distillation --label-smoothing 0.1"
STUDENT = f"--arch transformer {MODEL} --share-all-embeddings --dropout 0.1"  # fairseq's own takes no image
RUN = "--max-tokens 200 --max-update 3 --seed 3 --no-epoch-checkpoints"


def logged(log: str, kind: str = "train_inner") -> list:
    """What each line of *kind* says, without speed and time."""
    lines = [json.loads(line[line.index("{") :]) for line in log.splitlines() if f"| {kind} |" in line]
    kept = (
        "loss",
        "nll_loss",
        "word_kd",
        "teacher_match",
        "gnorm",
        "num_updates",
        "valid_word_kd",
        "valid_bleu",
    )
    return [{key: values[key] for key in kept if key in values} for values in lines]


@pytest.fixture(scope="module")
def data(toy_data, tmp_path_factory):
    """A data folder of this module's own, which caches are written into."""
    return shutil.copytree(toy_data, tmp_path_factory.mktemp("word") / "data")


@pytest.fixture(scope="module")
def train(data, tmp_path_factory):
    """Trains the student with further options; gives the log and the checkpoint."""

    def train_student(*options):
        folder = tmp_path_factory.mktemp("student")
        where = f"--save-dir {folder}"
        log = run("fairseq_cli.train", [str(data)], TASK, STUDENT, OPTIMIZER, RUN, where, *options)
        return log, torch.load(folder / "checkpoint_last.pt", weights_only=True)

    return train_student


def test_student_learns_from_images_that_it_never_sees_live_or_from_a_cache(data, image_must, train):
    log, state = train(
        f"{DISTILLED} --distillation-alpha 0.5 --teacher-path {image_must}",
        "--eval-bleu --eval-bleu-detok space",
    )
    assert "train: 40 of 64 sentences have an image" in log
    assert all(entry["word_kd"] for entry in logged(log)) and logged(log, "valid")[0]["valid_word_kd"]
    assert "valid_bleu" in logged(log, "valid")[0]
    assert not state["criterion"] and not any("region" in key or "teacher" in key for key in state["model"])

    words = len(Dictionary.load(str(data / "dict.de.txt")))
    options = ["--teacher-path", str(image_must), "--top-k", str(words), "--name", "all", "--device", "cpu"]
    assert not cache_teacher([str(data), *options])
    cached_log, _ = train(f"{DISTILLED} --distillation-alpha 0.5 --teacher-cache all")
    assert "have an image" not in cached_log
    assert "valid_word_kd" not in logged(cached_log, "valid")[0]  # valid has no cache
    for live, cached in zip(logged(log), logged(cached_log)):
        for name in ("loss", "nll_loss", "word_kd", "gnorm"):
            assert float(cached[name]) == pytest.approx(float(live[name]), rel=5e-3, abs=2e-3), name
