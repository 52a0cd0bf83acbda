"""A pruned checkpoint through fairseq's commands: retrained under its mask, resumed, averaged, decoded."""

import torch

from ikd_fairseq.compression.export import export_checkpoint
from ikd_fairseq.compression.pruned_checkpoint import pack_checkpoint, prune_checkpoint
from ikd_fairseq.io.checkpoints import average_checkpoints
from tests.integration.command_line import MODEL, OPTIMIZER, TASK, refusal, run, translations


def loaded(path):
    return torch.load(path, weights_only=True)


def test_zeros_survive_retraining_resuming_averaging_and_packing(trained, tmp_path):
    dense, pruned, folder = tmp_path / "dense.pt", tmp_path / "pruned.pt", tmp_path / "run"
    export_checkpoint(trained.last, dense)
    summary = prune_checkpoint(dense, pruned, 0.6)
    start = loaded(pruned)["model"]
    masks = {name: value for name, value in start.items() if name.endswith("_mask")}

    def train(*options, **expected):
        return run(
            "fairseq_cli.train",
            [str(trained.data)],
            TASK,
            OPTIMIZER,
            "--weight-decay 0.01 --clip-norm 1",
            f"--arch ikd_transformer_tiny {MODEL} --backbone efficientnet_lite0 --image-size 64",
            "--unpool depthwise --no-student --criterion label_smoothed_cross_entropy --max-tokens 100",
            f"--update-freq 2 --save-dir {folder}",
            *options,
            **expected,
        )

    # The second run goes on from the checkpoint_last.pt of the first.
    for epochs in (1, 2):
        log = train(f"--finetune-from-model {pruned} --max-epoch {epochs}")
        prunable = summary.prunable
        assert f"{prunable.parameters - prunable.kept} of {prunable.parameters} weights stay at zero" in log
        state = loaded(folder / "checkpoint_last.pt")
        assert state["extra_state"]["train_iterator"]["epoch"] == epochs + 1
        for name, mask in masks.items():
            weight = state["model"][name[: -len("_mask")]]
            assert torch.equal(state["model"][name], mask)
            assert not weight[~mask].any()
            if "fc1" in name:
                assert not torch.equal(weight, start[name[: -len("_mask")]])

    mean, packed = tmp_path / "mean.pt", tmp_path / "packed.pt"
    average_checkpoints([folder / "checkpoint1.pt", folder / "checkpoint2.pt"], mean)
    assert pack_checkpoint(mean, packed).prunable == summary.prunable
    assert packed.stat().st_size < dense.stat().st_size < mean.stat().st_size
    output = run("fairseq_cli.generate", [str(trained.data)], TASK, f"--path {packed} --beam 2 --cpu")
    assert len(translations(output)) == 39

    # A tool that knows parameters alone would leave the masks out.
    state = loaded(folder / "checkpoint_last.pt")
    state["model"] = {name: value for name, value in state["model"].items() if name not in masks}
    torch.save(state, folder / "checkpoint_last.pt")
    assert "has lost the pruning mask" in refusal(train("--max-epoch 3", fails=True))
