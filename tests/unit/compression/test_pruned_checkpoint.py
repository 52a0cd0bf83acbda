"""ikd-prune: what it writes, counts and refuses."""

import os
from argparse import Namespace

import pytest
import torch
from fairseq.checkpoint_utils import load_checkpoint_to_cpu

from ikd_fairseq.cli.prune import main
from ikd_fairseq.compression import pruned_checkpoint as prune
from ikd_fairseq.compression.export import export_model
from ikd_fairseq.compression.pruning import MASK_SUFFIX, prunable_groups
from ikd_fairseq.distillation.teacher_models import check_teacher
from ikd_fairseq.errors import IkdError
from tests import toy
from tests.saved_checkpoints import toy_state
from tests.unit.models.image_free import imagination_model

WEIGHTS = {
    "embedding": 24 * 16,
    "attention": 4 * 4 * 16 * 16,
    "feed-forward": 3 * 2 * 24 * 16,
    "visual": 320 * 16 * 2 + 4 * 320,
}


def checkpoint(path, model, **model_settings):
    """A run of 7 updates, as fairseq's trainer saves it."""
    settings = {
        "model": {"_name": "ikd_transformer_tiny", **model_settings},
        "task": Namespace(data="bin", _name="multimodal_translation"),
    }
    torch.save(toy_state(model, updates=7, **settings), path)
    return str(path)


@pytest.fixture
def dense(tmp_path):
    return checkpoint(tmp_path / "dense.pt", toy.ikd_model(no_student=True).state_dict())


def loaded(path):
    return torch.load(path, weights_only=True)


def test_pruned_checkpoint_loads_in_fairseq_without_what_belongs_to_other_weights(dense, tmp_path):
    prune.prune_checkpoint(dense, tmp_path / "pruned.pt", 0.75)
    state = load_checkpoint_to_cpu(str(tmp_path / "pruned.pt"))
    assert "last_optimizer_state" not in state and state["optimizer_history"][-1]["num_updates"] == 7
    pruned = {"file": dense, "sparsity": 0.75}
    assert state["extra_state"] == {"train_iterator": {"epoch": 8}, "pruned": pruned}
    model = toy.ikd_model(no_student=True)
    model.load_state_dict(state["model"])
    weights = [value for _, value in model.named_parameters() if value.dim() > 1]
    total = sum(value.numel() for value in weights)
    assert sum(int((value == 0).sum()) for value in weights) == round(0.75 * total)


def test_report_counts_each_kind_and_every_parameter_once(dense, tmp_path):
    summary = prune.prune_checkpoint(dense, tmp_path / "pruned.pt", 0.75)
    assert {count.kind: count.parameters for count in summary.kinds} == WEIGHTS
    total = sum(WEIGHTS.values())
    assert (summary.prunable.parameters, summary.prunable.kept) == (total, total - round(0.75 * total))
    model = loaded(tmp_path / "pruned.pt")["model"]
    for count in summary.kinds:
        if count.kind == "feed-forward":
            masks = [model[name + MASK_SUFFIX] for name, *_ in prunable_groups(model) if ".fc" in name]
            assert count.kept == sum(int(mask.sum()) for mask in masks)
    everything = sum(value.numel() for value in toy.ikd_model(no_student=True).parameters())
    assert summary.all.parameters == everything
    assert summary.all.kept == everything - round(0.75 * total)
    assert summary.all.sparsity == pytest.approx(round(0.75 * total) / everything)


def test_student_network_is_left_alone_and_not_counted(tmp_path, caplog):
    model = toy.ikd_model().state_dict()
    summary = prune.prune_checkpoint(checkpoint(tmp_path / "whole.pt", model), tmp_path / "pruned.pt", 0.5)
    pruned = loaded(tmp_path / "pruned.pt")["model"]
    assert {count.kind: count.parameters for count in summary.kinds} == WEIGHTS
    assert "ikd-export before" in caplog.text
    for name in (name for name in model if name.startswith("student.")):
        assert torch.equal(pruned[name], model[name]) and name + MASK_SUFFIX not in pruned


def test_the_prediction_of_an_image_is_left_alone_by_every_step(tmp_path):
    model = imagination_model().state_dict()
    dense = checkpoint(tmp_path / "dense.pt", model, _name="imagination_transformer")
    summary = prune.prune_checkpoint(dense, tmp_path / "pruned.pt", 0.5)
    assert summary == prune.pack_checkpoint(tmp_path / "pruned.pt", tmp_path / "packed.pt")
    assert "other" not in {count.kind for count in summary.kinds}
    for file in ("pruned.pt", "packed.pt"):
        state = loaded(tmp_path / file)["model"]
        assert {name for name in state if "imagination" in name} == {
            name for name in model if "imagination" in name
        }
        imagination_model().load_state_dict(state)


def test_a_matrix_that_is_pruned_away_is_named(tmp_path, caplog):
    model = toy.ikd_model(no_student=True).state_dict()
    model["encoder.region_projection.weight"] *= 1e-6
    prune.prune_checkpoint(checkpoint(tmp_path / "dense.pt", model), tmp_path / "pruned.pt", 0.5)
    assert [record.getMessage() for record in caplog.records] == [
        "nothing is left of encoder.region_projection.weight: its weights were the smallest"
    ]


def test_packed_file_is_as_small_as_reported_and_unpacks_bit_by_bit(dense, tmp_path):
    pruned, packed, back = (tmp_path / name for name in ("pruned.pt", "packed.pt", "back.pt"))
    summary = prune.prune_checkpoint(dense, pruned, 0.9)
    assert prune.pack_checkpoint(pruned, packed) == summary
    assert prune.unpack_checkpoint(packed, back) == summary
    before, after = loaded(pruned), loaded(back)
    assert set(before["model"]) == set(after["model"])
    for name, value in before["model"].items():
        assert after["model"][name].dtype == value.dtype and torch.equal(after["model"][name], value)
    assert before["extra_state"] == after["extra_state"]
    total, kept = sum(WEIGHTS.values()), summary.prunable.kept
    tensors = {value.data_ptr(): value for value in loaded(packed)["model"].values()}
    assert sum(value.nbytes for value in tensors.values()) == summary.packed_bytes
    shapes = 26 * 2 * 8  # of so many matrices
    assert summary.dense_bytes - 4 * total == summary.packed_bytes - 4 * kept - total / 8 - shapes
    assert summary.packed_bytes < os.path.getsize(packed) < os.path.getsize(pruned)


def test_a_packed_teacher_is_held_against_the_dictionaries(dense, tmp_path):
    pruned, packed = str(tmp_path / "pruned.pt"), str(tmp_path / "packed.pt")
    prune.prune_checkpoint(dense, pruned, 0.5)
    prune.pack_checkpoint(pruned, packed)
    words = toy.dictionary()
    check_teacher(packed, words, words, "en", "de")
    with pytest.raises(IkdError, match=f"a source dictionary of {len(words)} words, and the student one of"):
        check_teacher(packed, toy.dictionary(19), words, "en", "de")


def test_exported_pruned_checkpoint_keeps_its_masks(dense, tmp_path):
    prune.prune_checkpoint(dense, tmp_path / "pruned.pt", 0.5)
    model = loaded(tmp_path / "pruned.pt")["model"]
    exported = export_model(model, half=True)
    assert set(exported) == set(model)
    assert exported["encoder.layers.0.fc1.weight_mask"].dtype == torch.bool


def test_command_prints_the_counts_and_the_sizes_of_the_files(dense, tmp_path, capsys):
    assert main([dense, str(tmp_path / "pruned.pt"), "--sparsity", "0.8"]) is None
    printed = capsys.readouterr().out
    assert "80.00%" in printed and "attention" in printed and "packed" in printed
    assert f"{tmp_path / 'pruned.pt'}: {os.path.getsize(tmp_path / 'pruned.pt') / 1e6:.3f} MB" in printed
    for source, output, options, share in (
        ("pruned.pt", "packed.pt", ["--pack"], "80.00%"),
        ("packed.pt", "back.pt", ["--unpack"], "80.00%"),
        ("packed.pt", "further.pt", ["--sparsity", "0.9"], "90.00%"),
    ):
        assert main([str(tmp_path / source), str(tmp_path / output), *options]) is None
        assert share in capsys.readouterr().out


@pytest.mark.parametrize("share", ["0", "1", "-0.2", "80", "nan"])
def test_a_share_that_is_none_is_refused(dense, tmp_path, capsys, share):
    assert main([dense, str(tmp_path / "pruned.pt"), f"--sparsity={share}"]) == 1
    assert "give a share above 0 and below 1" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["dense.pt"]


def test_what_cannot_be_pruned_or_packed_is_refused_and_writes_nothing(dense, tmp_path):
    pruned, output = tmp_path / "pruned.pt", tmp_path / "output.pt"
    prune.prune_checkpoint(dense, pruned, 0.6)
    foreign = checkpoint(tmp_path / "foreign.pt", {"weight": torch.ones(2, 2)}, _name="transformer")
    empty = checkpoint(tmp_path / "empty.pt", {})
    bias = checkpoint(tmp_path / "nan.pt", {"weight": torch.ones(2, 2), "bias": torch.tensor([torch.nan])})
    for action, message in (
        (lambda: prune.prune_checkpoint(bias, output, 0.5), r"nan.pt holds weights .*not finite \(bias\)"),
        (lambda: prune.prune_checkpoint(pruned, output, 0.5), "are pruned already: ask for more"),
        (lambda: prune.prune_checkpoint(foreign, output, 0.5), "architecture transformer,.*transformer_mmt"),
        (lambda: prune.prune_checkpoint(empty, output, 0.5), "empty.pt .*'model' holds no parameters"),
        (lambda: prune.prune_checkpoint(pruned, pruned, 0.8), "is one of the inputs"),
        (lambda: prune.pack_checkpoint(dense, output), "has no pruning mask"),
        (lambda: prune.unpack_checkpoint(dense, output), "has no pruning mask"),
        (lambda: prune.prune_checkpoint(tmp_path / "absent.pt", output, 0.5), "there is no such file"),
    ):
        with pytest.raises(IkdError, match=message):
            action()
        assert not output.exists()
