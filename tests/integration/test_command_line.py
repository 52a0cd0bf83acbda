"""The plugin through fairseq's own commands: train, validate, generate, interactive, hydra, hub."""

import json

import pytest
import torch

from ikd_fairseq.cli.average_checkpoints import main as average_checkpoints
from ikd_fairseq.cli.export import main as export
from ikd_fairseq.cli.score import main as score
from ikd_fairseq.models.ikd_transformer import IKDTransformerModel
from tests.integration.command_line import (
    CHECKOUT,
    IKD,
    OPTIMIZER,
    TASK,
    USER_DIR,
    refusal,
    run,
    translations,
)
from tests.integration.conftest import prepare

RECIPES = CHECKOUT / "examples" / "multi30k"


def generate(data, checkpoint, *options, fails=False):
    return run(
        "fairseq_cli.generate",
        [str(data)],
        TASK,
        f"--path {checkpoint} --beam 3 --cpu",
        *options,
        fails=fails,
    )


# ------------------------------------------------------------------ training and validation


def test_training_logs_every_term_in_training_and_validation(trained):
    for line in ('"kd_irm"', '"kd_iam"', '"kd_image"', '"nll_loss"'):
        assert line in trained.log
    for name in ("valid_kd_irm", "valid_kd_iam", "valid_kd_image", "valid_bleu"):
        assert f'"{name}"' in trained.log
    assert list((trained.folder / "tensorboard").rglob("events.*"))
    assert (trained.folder / "checkpoint_best.pt").exists()


def test_checkpoint_holds_generator_and_student_and_no_teacher(trained):
    state = torch.load(trained.last, weights_only=True)
    keys = set(state["model"])
    assert any(key.startswith("student.") for key in keys)
    assert any(key.startswith("encoder.generator.") for key in keys)
    assert not any("teacher" in key or "cnn" in key for key in keys)
    assert not state["criterion"]


def test_validate_uses_every_sentence_and_gives_the_loss_of_training(trained):
    output = run(
        "fairseq_cli.validate",
        [str(trained.data)],
        TASK,
        f"--path {trained.last} --valid-subset valid --max-tokens 100 --cpu --log-format json",
    )
    (line,) = [line for line in output.splitlines() if '"valid_nll_loss"' in line]
    found = json.loads(line[line.index("{") :])
    losses = [line for line in trained.log.splitlines() if '"valid_nll_loss"' in line]
    last = json.loads(losses[-1][losses[-1].index("{") :])
    assert float(found["valid_nll_loss"]) == pytest.approx(float(last["valid_nll_loss"]), abs=2e-3)
    assert float(found["valid_kd_irm"]) == pytest.approx(float(last["valid_kd_irm"]), abs=2e-3)


def test_hydra_trains_the_recipes_configuration(toy_data, tmp_path):
    run(
        "fairseq_cli.hydra_train",
        "--config-dir",
        [str(RECIPES / "config")],
        f"""--config-name ikd common.user_dir={USER_DIR} task.data={toy_data}
        checkpoint.save_dir={tmp_path / "run"} hydra.run.dir={tmp_path / "hydra"} common.cpu=true
        model.image_size=64 +model.encoder_layers=1
        +model.unpool=repeat dataset.num_workers=0 dataset.max_tokens=100 optimization.max_update=2""",
    )
    state = torch.load(tmp_path / "run" / "checkpoint_last.pt", weights_only=True)
    assert any(key.startswith("student.") for key in state["model"])
    assert state["model"]["encoder.embed_tokens.weight"].shape[1] == 128  # the preset's
    assert "encoder.layers.1.fc1.weight" not in state["model"]  # and what overrides it
    assert "decoder.layers.3.fc1.weight" in state["model"]
    assert len(translations(generate(toy_data, tmp_path / "run" / "checkpoint_last.pt"))) == 39


def test_shards_with_and_without_packs_train_in_turn_with_worker_processes(toy_data, tmp_path):
    shard = prepare(tmp_path / "shard", {"train": (24, [])}, dictionary=toy_data / "dict.en.txt")
    log = run(
        "fairseq_cli.train",
        [f"{toy_data}:{shard}"],
        TASK,
        IKD,
        OPTIMIZER,
        "--max-tokens 100 --max-epoch 2 --kd-images-per-batch 2 --num-workers 2",
        f"--skip-invalid-size-inputs-valid-test --save-dir {tmp_path / 'run'}",
    )
    assert f"{toy_data} train: 40 of 64 sentences have an image" in log
    assert f"{shard} train: no images, text only" in log
    assert f"{shard} train has no images, so nothing is distilled" in log
    assert log.count('"train_nll_loss"') == 2


# ------------------------------------------------------------------ translating without images


@pytest.fixture(scope="module")
def reference(trained):
    """Translations of the test split by fairseq-generate, packs in place."""
    return translations(generate(trained.data, trained.last, "--batch-size 8"), "D")


def test_every_sentence_is_translated_alike_in_any_batch(trained, reference):
    assert sorted(reference) == list(range(39))
    assert translations(generate(trained.data, trained.last, "--max-tokens 60"), "D") == reference


def test_translations_are_the_same_with_and_without_packs(trained, reference, text_only):
    assert translations(generate(text_only, trained.last, "--batch-size 8"), "D") == reference
    assert translations(generate(trained.data, trained.last, "--batch-size 8 --image-free"), "D") == reference


def test_interactive_and_hub_give_what_generate_gives(trained, reference, text_only):
    sources = (trained.data.parent / "test.en").read_text(encoding="utf-8").splitlines()
    output = run(
        "fairseq_cli.interactive",
        [str(text_only)],
        TASK,
        f"--path {trained.last} --beam 3 --cpu --batch-size 8 --buffer-size 64",
        f"--input {trained.data.parent / 'test.en'}",
    )
    assert translations(output, "D") == reference
    hub = IKDTransformerModel.from_pretrained(
        str(trained.folder), "checkpoint_last.pt", data_name_or_path=str(text_only)
    )
    assert dict(enumerate(hub.translate(sources, beam=3))) == reference
    assert hub.translate(sources[0], beam=3) == reference[0]


def test_average_and_export_translate_alike_and_stand_alone(trained, text_only, tmp_path):
    averaged, exported = tmp_path / "averaged.pt", tmp_path / "exported.pt"
    assert not average_checkpoints(["--last", "2", "--output", str(averaged), str(trained.folder)])
    assert not export([str(averaged), str(exported)])
    expected = translations(generate(trained.data, averaged))
    assert translations(generate(text_only, exported)) == expected
    run(
        "fairseq_cli.validate",
        [str(text_only)],
        TASK,
        f"--path {exported} --valid-subset valid --max-tokens 100 --cpu",
    )
    keys = torch.load(exported, weights_only=True)["model"]
    assert not any(key.startswith("student.") for key in keys)
    assert exported.stat().st_size < trained.last.stat().st_size / 5


def test_score_reads_what_generate_wrote(trained, tmp_path, capsys):
    output = tmp_path / "generated.txt"
    output.write_text(generate(trained.data, trained.last), encoding="utf-8")
    assert not score(["--generate-output", str(output), "--data", str(trained.data), "--split", "test"])
    printed = capsys.readouterr().out
    assert "BLEU" in printed and "tok:none" in printed
    lines = output.read_text(encoding="utf-8").splitlines(keepends=True)
    output.write_text("".join(line for line in lines if line[1:5] != "-38\t"), encoding="utf-8")
    assert score(["--generate-output", str(output), "--data", str(trained.data), "--split", "test"]) == 1
    assert "38" in capsys.readouterr().err


# ------------------------------------------------------------------ image-must and text-only


def test_image_must_model_needs_its_images_and_says_so(toy_data, image_must, text_only):
    assert len(translations(generate(toy_data, image_must))) == 39
    sentence = refusal(generate(text_only, image_must, fails=True))
    assert "test.images.npy is missing" in sentence and "--image-free" in sentence
    assert len(translations(generate(text_only, image_must, "--image-free"))) == 39


def test_image_must_model_is_refused_where_no_image_can_be(toy_data, image_must):
    interactive = [
        "fairseq_cli.interactive",
        [str(toy_data)],
        f"--path {image_must} --cpu",
        f"--input {toy_data.parent / 'test.en'}",
    ]
    assert "--image-free" in refusal(run(*interactive, TASK, fails=True))
    # Without --task, fairseq's own translation task would feed it text alone.
    assert "--task multimodal_translation" in refusal(run(*interactive, f"--user-dir {USER_DIR}", fails=True))


def test_ensemble_reads_images_for_the_model_that_needs_them(toy_data, trained, image_must, text_only):
    for members in (f"{image_must}:{trained.last}", f"{trained.last}:{image_must}"):
        assert len(translations(generate(toy_data, members))) == 39
        assert "test.images.npy is missing" in refusal(generate(text_only, members, fails=True))


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "option, choices",
    [
        ("--backbone resnet51", "unknown; choose from resnet50"),
        ("--unpool max", "invalid choice: 'max' (choose from 'conv', 'depthwise'"),
        ("--distance l7", "invalid choice: 'l7'"),
    ],
)
def test_unknown_choices_are_answered_with_the_known_ones(toy_data, option, choices, tmp_path):
    command = ["fairseq_cli.train", [str(toy_data)], TASK, IKD, OPTIMIZER, f"--save-dir {tmp_path}"]
    output = run(*command, "--max-tokens 100", option, fails=True)
    assert choices in output and "Traceback" not in output
