"""Export: the same translations from a smaller file that asks for nothing of training's."""

import os
from argparse import Namespace
from dataclasses import asdict

import pytest
import torch
from fairseq.checkpoint_utils import load_checkpoint_to_cpu
from fairseq.criterions import build_criterion
from omegaconf import OmegaConf

from ikd_fairseq.cli.export import main
from ikd_fairseq.compression import export
from ikd_fairseq.errors import IkdError
from ikd_fairseq.models.ikd_transformer import IKDTransformerConfig
from tests import saved_checkpoints, toy
from tests.unit.models.image_free import imagination_model

IKD = {"_name": "ikd_transformer"}


def toy_state(model, model_cfg=None, task_cfg=None):
    """A run of two updates, as fairseq's trainer saves it."""
    settings = {"model": model_cfg or {"_name": "transformer"}, "task": task_cfg or {"_name": "translation"}}
    return saved_checkpoints.toy_state(model, updates=2, **settings)


def exported(tmp_path, state, **options):
    torch.save(state, tmp_path / "full.pt")
    export.export_checkpoint(tmp_path / "full.pt", tmp_path / "small.pt", **options)
    return torch.load(tmp_path / "small.pt", weights_only=True)


def ikd_state():
    model = toy.ikd_model().eval()
    model_cfg = asdict(IKDTransformerConfig(**toy.SIZES, unpool="depthwise"))
    model_cfg["_name"] = "ikd_transformer_tiny"
    task_cfg = {"_name": "multimodal_translation", "image_free": False, "require_images": True}
    return model, toy_state(model.state_dict(), model_cfg, task_cfg)


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    with pytest.raises(IkdError, match=r"full\.pt holds weights that are not finite \(weight\)"):
        exported(tmp_path, toy_state({"weight": torch.tensor([float("nan")])}))
    assert os.listdir(tmp_path) == ["full.pt"]


def test_exported_model_is_built_without_student_and_encodes_and_decodes_the_same(tmp_path):
    model, state = ikd_state()
    assert any(key.startswith("student.") for key in state["model"])
    small = exported(tmp_path, state)

    lean = toy.ikd_model(no_student=small["cfg"]["model"]["no_student"]).eval()
    assert lean.student is None and set(small["model"]) == set(lean.state_dict())
    for parameter in lean.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    lean.load_state_dict(small["model"], strict=True)
    batch = toy.batch(toy.tokens([1, 2, 3], [4, 5]), toy.tokens([6, 7], [8, 9, 10]))["net_input"]
    with torch.no_grad():
        assert torch.equal(lean(**batch)[0], model(**batch)[0])


def test_an_exported_imagination_predicts_no_image_and_translates_the_same(tmp_path):
    model = imagination_model().eval()
    # An older checkpoint, whose settings do not know the option yet.
    state = toy_state(model.state_dict(), {"_name": "imagination_transformer_tiny"})
    small = exported(tmp_path, state)
    assert small["cfg"]["model"]["no_imagination"] is True
    lean = imagination_model(no_imagination=True).eval()
    assert set(model.state_dict()) - set(small["model"]) == {
        "imagination.projection.weight",
        "imagination.projection.bias",
    }
    for parameter in lean.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    batch = toy.batch(toy.tokens([1, 2, 3], [4, 5]), toy.tokens([6, 7], [8, 9, 10]))["net_input"]
    for weights in (small["model"], model.state_dict()):  # exported, and whole
        lean.load_state_dict(weights)
        with torch.no_grad():
            assert torch.equal(lean(**batch)[0], model(**batch)[0])


def test_task_of_an_image_free_model_asks_for_no_images(tmp_path):
    task = exported(tmp_path, ikd_state()[1])["cfg"]["task"]
    assert task["image_free"] is True and task["require_images"] is False


def test_task_of_an_image_must_model_keeps_its_demand(tmp_path):
    state = toy_state(
        {"weight": torch.zeros(1)},
        {"_name": "multimodal_transformer_tiny"},
        {"_name": "multimodal_translation", "image_free": False, "require_images": True},
    )
    assert exported(tmp_path, state)["cfg"]["task"] == state["cfg"]["task"]


def test_options_are_not_added_to_parts_that_do_not_know_them(tmp_path):
    state = toy_state({"weight": torch.zeros(1)}, {"_name": "ikd_transformer_other"})
    assert exported(tmp_path, state)["cfg"] == state["cfg"]


def test_initial_embedding_files_are_not_asked_for_again(tmp_path):
    model_cfg = Namespace(_name="transformer", encoder_embed_path="vectors.txt")
    state = toy_state({"weight": torch.zeros(1)}, model_cfg)
    assert exported(tmp_path, state)["cfg"]["model"].encoder_embed_path is None


@pytest.mark.parametrize(
    "architecture, image_free",
    [
        ("imagination_transformer", True),
        ("hallucination_transformer_tiny", True),
        ("retrieval_transformer", True),
        ("gated_fusion_tiny", False),
        ("transformer", False),
    ],
)
def test_the_task_of_an_export_is_image_free_if_the_architecture_is(tmp_path, architecture, image_free):
    state = toy_state({"weight": torch.zeros(1)}, {"_name": architecture})
    state["cfg"]["task"] = {"_name": "multimodal_translation", "image_free": False, "require_images": False}
    assert exported(tmp_path, state)["cfg"]["task"]["image_free"] is image_free


def test_settings_of_old_checkpoints_are_changed_too(tmp_path):
    state = toy_state({"weight": torch.zeros(1)})
    state["cfg"] = None
    state["args"] = Namespace(arch="ikd_transformer", no_student=False, image_free=False)
    args = exported(tmp_path, state)["args"]
    assert args.no_student is True and args.image_free is True


DISTILLATION = {
    "_name": "inversion_distillation",
    "label_smoothing": 0.1,
    "report_accuracy": True,
    "ignore_prefix_size": 1,
    "sentence_avg": False,
    "teacher_weights": "imagenet",
    "kd_weight": 1.0,
}


WORD_DISTILLATION = {**DISTILLATION, "_name": "word_distillation"}
AUXILIARY_LOSSES = {**DISTILLATION, "_name": "auxiliary_losses"}


@pytest.mark.parametrize(
    "section", [DISTILLATION, Namespace(**DISTILLATION), WORD_DISTILLATION, AUXILIARY_LOSSES]
)
def test_validation_of_an_export_takes_the_translation_loss_with_its_options(tmp_path, section):
    state = ikd_state()[1]
    state["cfg"]["criterion"] = section
    criterion = exported(tmp_path, state)["cfg"]["criterion"]
    assert criterion == {
        "_name": "label_smoothed_cross_entropy",
        "label_smoothing": 0.1,
        "report_accuracy": True,
        "ignore_prefix_size": 1,
        "sentence_avg": False,
    }
    task = Namespace(target_dictionary=None, model=toy.ikd_model(no_student=True))
    built = build_criterion(OmegaConf.create(criterion), task)
    assert (built.eps, built.report_accuracy, built.ignore_prefix_size) == (0.1, True, 1)


def test_an_export_of_an_export_knows_the_cnn_that_taught(tmp_path):
    state = ikd_state()[1]
    state["cfg"]["criterion"] = {**DISTILLATION, "teacher_weights": "random"}
    once = exported(tmp_path, state)
    assert once["cfg"]["criterion"]["_name"] == "label_smoothed_cross_entropy"
    export.export_checkpoint(tmp_path / "small.pt", tmp_path / "again.pt")
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert [export.teacher_weights_of(state) for state in (once, again)] == ["random"] * 2


def test_validation_of_an_old_checkpoint_takes_the_translation_loss_too(tmp_path):
    state = toy_state({"weight": torch.zeros(1)})
    state["args"] = Namespace(arch="ikd_transformer", criterion="inversion_distillation", label_smoothing=0.1)
    args = exported(tmp_path, state)["args"]
    assert (args.criterion, args.label_smoothing) == ("label_smoothed_cross_entropy", 0.1)


def test_another_criterion_stays(tmp_path):
    state = toy_state({"weight": torch.zeros(1)})
    alignment = {"_name": "label_smoothed_cross_entropy_with_alignment", "alignment_lambda": 0.05}
    state["cfg"]["criterion"] = dict(alignment)
    assert exported(tmp_path, state)["cfg"]["criterion"] == alignment


def test_training_state_goes_and_what_fairseq_reads_stays(tmp_path):
    state = toy_state({"encoder.weight": torch.ones(2), "student.weight": torch.ones(100000)}, IKD)
    state["extra_state"]["averaged_checkpoints"] = [{"file": "a.pt", "num_updates": 2}]
    state |= {"criterion": {"bias": torch.zeros(1000)}, "task_state": {"state": 1}}
    state["optimizer_history"].insert(0, {**state["optimizer_history"][0], "num_updates": 1})
    small = exported(tmp_path, state)
    assert set(small["model"]) == {"encoder.weight"}
    assert "last_optimizer_state" not in small and small["criterion"] is None
    assert [entry["num_updates"] for entry in small["optimizer_history"]] == [2]
    assert small["task_state"] == {"state": 1}
    assert small["extra_state"] == {
        "train_iterator": {"epoch": 3},
        "averaged_checkpoints": [{"file": "a.pt", "num_updates": 2}],
        "exported": {"file": str(tmp_path / "full.pt"), "half": False},
    }
    assert os.path.getsize(tmp_path / "small.pt") < 10000
    assert load_checkpoint_to_cpu(str(tmp_path / "small.pt"))["cfg"].task._name == "translation"


def test_a_parameter_outside_the_student_with_student_in_its_name_stays(tmp_path):
    model = {"encoder.student.weight": torch.ones(1), "students": torch.ones(1)}
    assert set(exported(tmp_path, toy_state(model, IKD))["model"]) == set(model)


def test_views_take_their_own_memory_with_them_and_no_more(tmp_path):
    flat = torch.arange(100000.0)
    small = exported(tmp_path, toy_state({"a": flat[:2], "b": flat[2:4], "student.c": flat}, IKD))
    assert small["model"]["a"].tolist() == [0, 1] and small["model"]["b"].tolist() == [2, 3]
    assert os.path.getsize(tmp_path / "small.pt") < 10000


@pytest.mark.parametrize("half, bytes_each", [(False, 4), (True, 2)])
def test_tied_parameters_are_stored_once(tmp_path, half, bytes_each):
    embedding = torch.ones(500, 100)
    state = toy_state({"encoder.embed": embedding, "decoder.embed": embedding, "count": torch.tensor(7)})
    small = exported(tmp_path, state, half=half)["model"]
    assert small["encoder.embed"].data_ptr() == small["decoder.embed"].data_ptr()
    assert os.path.getsize(tmp_path / "small.pt") < 1.1 * 500 * 100 * bytes_each
    assert small["encoder.embed"].dtype == (torch.float16 if half else torch.float32)
    assert small["count"].dtype == torch.int64 and small["count"].item() == 7


def test_stored_half_precision_is_kept_without_the_option(tmp_path):
    assert exported(tmp_path, toy_state({"a": torch.ones(1).half()}))["model"]["a"].dtype == torch.float16


def test_values_beyond_half_precision_are_refused_with_their_name(tmp_path):
    with pytest.raises(IkdError, match="encoder.variance holds values beyond float16's range"):
        exported(tmp_path, toy_state({"encoder.variance": torch.tensor([70000.0])}), half=True)
    assert os.listdir(tmp_path) == ["full.pt"]


def test_exporting_an_export_is_noted_and_gives_the_same(tmp_path, caplog):
    caplog.set_level("INFO")
    once = exported(tmp_path, toy_state({"weight": torch.ones(3)}))
    assert "already" not in caplog.text
    export.export_checkpoint(tmp_path / "small.pt", tmp_path / "again.pt")
    assert "small.pt is an exported checkpoint already" in caplog.text
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert torch.equal(again["model"]["weight"], once["model"]["weight"])


def test_command_reports_both_sizes_and_refuses_its_input_as_output(tmp_path, capsys):
    path, output = tmp_path / "full.pt", tmp_path / "small.pt"
    torch.save(toy_state({"weight": torch.ones(3), "student.weight": torch.ones(500000)}, IKD), path)
    assert main([str(path), str(output), "--half"]) is None
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{path}: {os.path.getsize(path) / 1e6:.1f} MB"
    assert second.startswith(f"{output}: 0.0 MB (")
    assert main([str(path), str(path)]) == 1
    assert capsys.readouterr().err.endswith("is one of the inputs; choose another name\n")
