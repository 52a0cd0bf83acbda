"""train.sh: the command of fairseq-train that it makes of system, protocol, environment and options."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
SYSTEMS = f'exec {sys.executable} -c "from ikd_fairseq.cli.systems import main; main()" "$@"'
STAND_INS = {
    "fairseq-train": 'printf "%s\\n" "$@"',
    "ikd-systems": SYSTEMS,
    "ikd-record": 'echo "record $*"',
    "ikd-fairseq-dir": "echo USER_DIR",
    "python": "exit 1",  # asked for a GPU
    "nvidia-smi": "true",
}


@pytest.fixture
def train(recipes, tmp_path):
    """The recipe over stand-ins; gives the options of fairseq-train by name, and all that was said."""
    folder, found = recipes(STAND_INS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "code").touch()
    (tmp_path / "data" / "train.images.json").write_text('{"images": 3, "image_size": 96}')

    def run(*arguments: str, **environment: str) -> tuple[dict[str, str], str]:
        command = ["bash", folder / "train.sh", tmp_path / "data", tmp_path / "run"]
        env = {**found, **environment, "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run([*command, *arguments], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        words = done.stdout.splitlines()
        return dict(zip(words, words[1:])), done.stdout + done.stderr

    return run


def test_options_are_those_of_the_system_the_protocol_and_the_environment_and_later_ones_win(train):
    options, said = train(
        "ikd", "--lr", "0.001", UPDATES="3600", SEED="2", SYSTEM_NAME="mine", LABELS="text=colour"
    )
    wanted = {"--arch": "ikd_transformer_tiny", "--criterion": "inversion_distillation", "--image-size": "96"}
    wanted |= {"--backbone": "efficientnet_lite0", "--max-update": "3600", "--seed": "2", "--lr": "0.001"}
    assert wanted.items() <= options.items() and "--cpu" in options
    assert "--system mine --like ikd --label text=colour" in said


def test_a_gpu_that_pytorch_cannot_use_is_not_passed_over_in_silence(train):
    for visible, expected in (("0", True), ("", False)):
        options, said = train("text", CUDA_VISIBLE_DEVICES=visible)
        assert "--cpu" in options and ("PyTorch cannot use the GPU" in said) == expected


def test_a_folder_of_other_merges_is_refused_and_keeps_them(train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "code").write_text("others")
    with pytest.raises(AssertionError, match="run is of other BPE merges than those of "):
        train("text")
    assert (tmp_path / "run" / "code").read_text() == "others"


def test_the_published_protocol_is_that_of_the_systems_authors(train):
    options, _ = train("ikd", PROTOCOL="published")
    wanted = {"--arch": "ikd_transformer_tiny_paper", "--lr": "0.004", "--max-update": "70000"}
    assert wanted.items() <= options.items() and options["--max-tokens"] == "1024"


def test_a_system_without_images_needs_no_pack(train, tmp_path):
    (tmp_path / "data" / "train.images.json").unlink()
    options, _ = train("text", BACKBONE="resnet50")
    assert options["--arch"] == "transformer_mmt_tiny" and "--backbone" not in options
