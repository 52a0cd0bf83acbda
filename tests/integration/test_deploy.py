"""deploy.sh on a few drawn scenes: an image-must teacher, its translations, a text-only student, int8."""

import os
import subprocess

import pytest

from tests.integration.command_line import CHECKOUT, MODEL, OPTIMIZER, TASK, WIDTH, run, warm_environment

RECIPES = CHECKOUT / "examples" / "multi30k"
SMALL = f"{MODEL} {WIDTH} --dropout 0"
for package in ("ctranslate2", "transformers"):
    pytest.importorskip(package, reason=f"the extra `serving` is not installed ({package})")


@pytest.fixture(scope="module")
def folder(scenes, tmp_path_factory):
    """Where to deploy: ``teacher.pt`` is a system that looks at the images of drawn scenes."""
    folder = tmp_path_factory.mktemp("deploy")
    run(
        "fairseq_cli.train",
        [str(scenes)],
        TASK,
        f"--arch multimodal_transformer_tiny {SMALL} --backbone efficientnet_lite0 --image-size 64",
        "--criterion translation --max-epoch 20 --max-tokens 500 --no-epoch-checkpoints",
        OPTIMIZER,
        f"--save-dir {folder / 'teacher'}",
    )
    (folder / "teacher" / "checkpoint_last.pt").rename(folder / "teacher.pt")
    return folder


def deploy(scenes, folder, *options) -> subprocess.CompletedProcess:
    command = ["bash", RECIPES / "deploy.sh", scenes, folder / "teacher.pt", folder / "out"]
    small = [
        *MODEL.split(),
        "--max-tokens",
        "500",
        "--update-freq",
        "1",
        "--num-workers",
        "0",
        "--warmup-updates",
        "20",
    ]
    return subprocess.run(
        [*command, *options, "--", *small],
        env={**warm_environment(), "UPDATES": "180", "LAST": "1000"},  # more than there are
        capture_output=True,
        text=True,
    )


def test_a_teacher_with_images_becomes_an_int8_service_of_text_alone(scenes, folder):
    done = deploy(scenes, folder, "--with-images")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    out = folder / "out"
    rows = [line.split("\t") for line in (out / "stages.tsv").read_text().splitlines()]
    assert rows[0] == ["stage", "BLEU", "MB", "sentences/s", "signature"]
    assert [row[0] for row in rows[1:]] == ["teacher", "student", "ctranslate2", "int8", "onnx"]
    for _, *numbers, _ in rows[1:]:
        assert all(float(number) >= 0 for number in numbers)
    assert float(rows[4][2]) < float(rows[3][2])  # int8 is smaller
    lines = {
        name: (out / "test" / f"{name}.txt").read_text().splitlines() for name in ("student", "ctranslate2")
    }
    assert len(lines["student"]) == 20
    same = sum(one == other for one, other in zip(*lines.values()))
    assert same >= 15  # a student after a few updates has near ties
    assert {"config.json", "model.safetensors"} < set(os.listdir(out / "huggingface"))
    # Again, nothing is done anew.
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    again = deploy(scenes, folder, "--with-images")
    assert again.returncode == 0, again.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")} == written
    other = deploy(scenes, folder, "--with-images", "--arch", "transformer_mmt_tiny")
    assert other.returncode == 1 and "give the same, or another OUT" in other.stderr


def test_what_is_not_there_is_named_before_anything_is_made(scenes, folder, tmp_path):
    command = ["bash", RECIPES / "deploy.sh", scenes, tmp_path / "no.pt", tmp_path / "out"]
    done = subprocess.run(command, env=warm_environment(), capture_output=True, text=True)
    assert done.returncode == 1 and f"there is no checkpoint {tmp_path / 'no.pt'}" in done.stderr
    command[3] = folder / "teacher.pt"
    done = subprocess.run(
        [*command, "--arch", "ikd_transformer_tiny"], env=warm_environment(), capture_output=True, text=True
    )
    assert done.returncode == 1 and "ikd_transformer_tiny is no text-only architecture" in done.stderr
    assert not (tmp_path / "out").exists()
