"""A checkpoint whose settings hold an expression is refused by every way in, and runs in none of them."""

from types import SimpleNamespace

import pytest
import torch

from ikd_fairseq.cli.analyse import main as analyse
from ikd_fairseq.cli.cache_teacher import main as cache_teacher
from ikd_fairseq.cli.distil_data import main as distil_data
from ikd_fairseq.compression.export import export_checkpoint
from ikd_fairseq.compression.pruned_checkpoint import prune_checkpoint
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.checkpoints import average_checkpoints
from ikd_fairseq.models.ikd_transformer import IKDTransformerModel
from ikd_fairseq.tasks.open_task import open_task
from tests.integration.command_line import IKD, MODEL, OPTIMIZER, TASK, refusal, run


@pytest.fixture
def hostile(trained, tmp_path):
    """A trained model, of which one option of the Transformer is code that would leave a mark."""
    marker = tmp_path / "marker"
    state = torch.load(trained.last, weights_only=False)
    code = f"__import__('pathlib').Path({str(marker)!r}).touch() or [9]"
    state["cfg"]["model"]["adaptive_softmax_cutoff"] = code
    path = tmp_path / "hostile.pt"
    torch.save(state, path)
    yield SimpleNamespace(path=path, marker=marker, data=str(trained.data), state=state)
    assert not marker.exists()


def test_fairseqs_commands_refuse_it(hostile, tmp_path):
    training = [
        "fairseq_cli.train",
        [hostile.data],
        TASK,
        OPTIMIZER,
        f"--max-tokens 100 --save-dir {tmp_path / 'new'}",
    ]
    decoding = [[hostile.data], TASK, f"--path {hostile.path} --cpu"]
    distilled = (
        f"--arch transformer_mmt_tiny {MODEL} --criterion word_distillation --teacher-path {hostile.path}"
    )
    for command in (
        ["fairseq_cli.generate", *decoding],
        ["fairseq_cli.interactive", *decoding],
        ["fairseq_cli.validate", *decoding, "--valid-subset valid --batch-size 8"],
        [*training, IKD, f"--restore-file {hostile.path}"],
        [*training, IKD, f"--finetune-from-model {hostile.path}"],
        [*training, IKD, f"--init-from {hostile.path}"],
        [*training, distilled],
    ):
        sentence = refusal(run(*command, fails=True))
        assert "hostile.pt is refused: fairseq would run its option adaptive_softmax_cutoff" in sentence, (
            command
        )


def test_our_commands_and_programs_refuse_it(hostile, tmp_path, capfd):
    path, out = str(hostile.path), str(tmp_path / "out")
    for command, argv in (
        (cache_teacher, [hostile.data, "--teacher-path", path, "--name", "x", "--device", "cpu"]),
        (distil_data, [hostile.data, out, "--teacher-path", path, "--cpu"]),
        (
            analyse,
            ["clusters", "--data", hostile.data, "--checkpoint", path, "--split", "test", "--output", out],
        ),
    ):
        assert command(argv) == 1
        assert "hostile.pt is refused" in capfd.readouterr().err
    with pytest.raises(IkdError, match="hostile.pt is refused"):
        IKDTransformerModel.from_pretrained(str(tmp_path), "hostile.pt", data_name_or_path=hostile.data)
    with pytest.raises(IkdError, match="hostile.pt is refused"):
        open_task(hostile.data).load_teachers([path])


def test_what_only_copies_its_settings_runs_none_of_them(hostile, tmp_path):
    copy = tmp_path / "copy.pt"
    for make in (
        lambda: average_checkpoints([hostile.path], copy),
        lambda: export_checkpoint(hostile.path, copy),
        lambda: prune_checkpoint(hostile.path, copy, 0.5),
    ):
        make()
        with pytest.raises(IkdError, match="copy.pt is refused"):
            IKDTransformerModel.from_pretrained(str(tmp_path), "copy.pt", data_name_or_path=hostile.data)
        copy.unlink()


def test_the_code_folder_that_a_checkpoint_names_is_not_imported(hostile, tmp_path):
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(f"import pathlib; pathlib.Path({str(hostile.marker)!r}).touch()")
    hostile.state["cfg"]["model"]["adaptive_softmax_cutoff"] = None
    hostile.state["cfg"]["common"]["user_dir"] = str(plugin)
    torch.save(hostile.state, tmp_path / "plugin.pt")
    model = IKDTransformerModel.from_pretrained(str(tmp_path), "plugin.pt", data_name_or_path=hostile.data)
    assert model.translate("red ball here") and not hostile.marker.exists()
