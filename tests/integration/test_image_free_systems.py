"""The image-free rivals through fairseq's own commands: trained with images, decoded where there are none."""

import shutil
import sys

import pytest
from fairseq_cli.generate import cli_main as generate_main

from ikd_fairseq.errors import IkdError
from ikd_fairseq.modules.image_index_builder import build_image_index
from ikd_fairseq.serving.engine import SearchOptions
from ikd_fairseq.serving.translator import SentenceTranslator
from tests.integration.command_line import MODEL, OPTIMIZER, TASK, USER_DIR, run, translations

WITH_IMAGES = """--backbone efficientnet_lite0 --image-size 64
    --criterion auxiliary_losses --backbone-weights random"""
SYSTEMS = {
    "imagination": (f"--arch imagination_transformer_tiny {WITH_IMAGES}", ["aux_margin"]),
    "hallucination": (
        f"--arch hallucination_transformer_tiny {WITH_IMAGES} --hallucination-layers 1",
        ["aux_real", "aux_feature", "aux_consistency"],
    ),
    "topic": ("--arch retrieval_transformer_tiny --criterion label_smoothed_cross_entropy", ["gate"]),
    "dense": (
        "--arch retrieval_transformer_tiny --retriever dense --criterion label_smoothed_cross_entropy",
        ["gate"],
    ),
}


@pytest.fixture(scope="module")
def folders(toy_data, tmp_path_factory):
    """The toy data with both indices, and what is left of it without packs: text and indices."""
    folder = tmp_path_factory.mktemp("image-free")
    with_packs, without = folder / "data", folder / "without-packs"
    shutil.copytree(toy_data, with_packs)
    cnn = {"backbone": "efficientnet_lite0", "backbone_weights": "random"}
    build_image_index(str(with_packs), "topic", stop_share=0.9, topics=4, **cnn)
    build_image_index(str(with_packs), "dense", width=8, epochs=3, **cnn)
    shutil.copytree(with_packs, without, ignore=shutil.ignore_patterns("*.images.*"))
    return with_packs, without


@pytest.fixture
def generate(monkeypatch, capsys):
    """fairseq-generate in this process: hypotheses by sentence."""

    def run_command(data, checkpoint, batch_size):
        command = ["fairseq-generate", str(data), "--user-dir", USER_DIR, "--task", "multimodal_translation"]
        command += ["--path", str(checkpoint), "--beam", "3", "--cpu", "--batch-size", str(batch_size)]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        generate_main()
        return translations(capsys.readouterr().out)

    return run_command


@pytest.mark.parametrize("system", SYSTEMS)
def test_trains_with_its_terms_logged_and_decodes_without_packs_alike_in_any_batch(
    folders, toy_data, generate, tmp_path, system
):
    with_packs, without = folders
    options, logged = SYSTEMS[system]
    log = run(
        "fairseq_cli.train",
        [str(with_packs)],
        TASK,
        MODEL,
        options,
        OPTIMIZER,
        f"--label-smoothing 0.1 --max-tokens 100 --max-update 8 --no-epoch-checkpoints --save-dir {tmp_path}",
    )
    for name in logged:
        assert f'"train_{name}"' in log and f'"valid_{name}"' in log
    checkpoint = tmp_path / "checkpoint_last.pt"
    found = generate(without, checkpoint, batch_size=7)
    assert sorted(found) == list(range(39))
    assert generate(without, checkpoint, batch_size=39) == found
    translator = SentenceTranslator.load(checkpoint, data=str(without), tokenizer="none", cpu=True)
    lines = (toy_data.parent / "test.en").read_text(encoding="utf-8").splitlines()
    best = translator.translate(lines, SearchOptions(beam=3))
    assert [one[0].text for one in best] == [found[number] for number in range(39)]
    if "retrieval" in options:
        (without / f"image-index.{system}.pt").unlink()
        with pytest.raises(IkdError, match=f"image-index.{system}.pt does not exist: run ikd-build-image"):
            generate(without, checkpoint, batch_size=7)
