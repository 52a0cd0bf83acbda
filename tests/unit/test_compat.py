"""What the plugin changes in fairseq, and how it answers a fairseq that it cannot extend."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from ikd_fairseq.errors import IkdError

CHECKOUT = Path(__file__).resolve().parents[2]


def import_with(tmp_path, fairseq: str) -> str:
    """What importing the models prints where ``fairseq/__init__.py`` reads *fairseq*."""
    (tmp_path / "fairseq").mkdir()
    (tmp_path / "fairseq" / "__init__.py").write_text(fairseq)
    run = subprocess.run(
        [sys.executable, "-c", "import ikd_fairseq.models"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"},
    )
    assert run.returncode == 1 and "Traceback" not in run.stderr
    (line,) = run.stderr.splitlines()
    return line


def test_missing_fairseq_is_said_in_a_sentence(tmp_path):
    line = import_with(tmp_path, "raise ModuleNotFoundError(\"No module named 'fairseq'\")")
    assert "fairseq cannot be imported" in line and "pip install" in line


def test_fairseq_that_python_3_11_refuses_is_said_in_a_sentence(tmp_path):
    line = import_with(
        tmp_path, "raise ValueError('mutable default <class X> for field common is not allowed')"
    )
    assert "does not run on Python 3.11" in line and "fairseq-fixed" in line


def test_another_fairseq_is_said_in_a_sentence(tmp_path):
    assert "but fairseq 2.1 is installed" in import_with(tmp_path, "__version__ = '2.1'")


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (Path(self.marker),)


def test_fairseq_loads_no_checkpoint_that_would_run_code(tmp_path):
    path = tmp_path / "bad.pt"
    torch.save({"model": {}, "extra": RunsCode(tmp_path / "marker")}, path)
    with pytest.raises(IkdError, match=r"bad\.pt is refused"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert not (tmp_path / "marker").exists()


HARMLESS = {"model": {"_name": "transformer"}, "task": {"_name": "translation"}, "criterion": None}


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.tensor([1.0, float("nan")]), r"holds weights that are not finite \(encoder\.weight\)"),
        (torch.tensor([float("inf")]).half(), "holds weights that are not finite"),
        (torch.zeros(1).expand(10**13), "entry encoder.weight is no tensor that is in the file"),
        (torch.eye(3).to_sparse(), "entry encoder.weight is no tensor that is in the file"),
        (3.0, "entry encoder.weight is no tensor that is in the file"),
    ],
)
def test_weights_that_are_none_are_refused_wherever_fairseq_loads(tmp_path, weight, message):
    path = str(tmp_path / "bad.pt")
    torch.save({"model": {"encoder.weight": weight}, "args": None, "cfg": HARMLESS}, path)
    with pytest.raises(IkdError, match=f"bad.pt .*{message}"):
        checkpoint_utils.load_checkpoint_to_cpu(path)


def test_copying_a_checkpoint_is_all_or_nothing(tmp_path, monkeypatch):
    new, last = tmp_path / "checkpoint3.pt", tmp_path / "checkpoint_last.pt"
    new.write_bytes(b"new")
    last.write_bytes(b"old, and whole")

    def interrupted(source, target):
        with open(target, "wb") as partial:
            partial.write(b"n")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", interrupted)
        with pytest.raises(KeyboardInterrupt):
            PathManager.copy(str(new), str(last), overwrite=True)
    assert last.read_bytes() == b"old, and whole"

    def full(source, target):
        Path(target).write_bytes(b"n")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", full)
        with pytest.raises(IkdError, match=r"checkpoint_last.pt cannot be written \(No space left"):
            PathManager.copy(str(new), str(last), overwrite=True)
    assert last.read_bytes() == b"old, and whole" and not list(tmp_path.glob("*.tmp"))
    PathManager.copy(str(new), str(last), overwrite=True)
    assert last.read_bytes() == b"new"


def test_debug_lines_that_an_import_of_fairseq_switches_on_are_off_again():
    for variables, level in (({}, "20"), ({"LOGLEVEL": "debug"}, "10")):
        environment = {key: value for key, value in os.environ.items() if key != "LOGLEVEL"}
        code = "import ikd_fairseq.models, logging; print(logging.getLogger().level)"
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
            env={**environment, **variables},
        )
        assert run.stdout.split() == [level]


def test_a_run_that_ends_while_a_batch_is_loaded_ends_well():
    code = """
import ikd_fairseq.models, torch
from fairseq.data.iterators import BufferedIterator

class Batches:
    def __len__(self):
        return 10_000

    def __iter__(self):
        return (torch.randn(20_000).sort() for _ in range(len(self)))

next(BufferedIterator({size}, Batches()))
"""
    for size in (1, 1_000):  # a thread that waits for room, and one at work, which PyTorch would abort
        run = subprocess.run(
            [sys.executable, "-c", code.format(size=size)], cwd=CHECKOUT, capture_output=True
        )
        assert run.returncode == 0, run.stderr


def test_files_that_went_into_the_weights_long_ago_are_not_looked_for(tmp_path):
    cfg = {
        "task": {"_name": "translation"},
        "criterion": None,
        "model": {"_name": "transformer", "encoder_embed_path": "/nowhere"},
    }
    history = [{"num_updates": 1, "optimizer_name": "A", "lr_scheduler_state": {}}]
    state = {"model": {}, "args": None, "cfg": cfg, "optimizer_history": history, "extra_state": {}}
    torch.save(state, tmp_path / "a.pt")
    assert (
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "a.pt"))["cfg"].model.encoder_embed_path
        is None
    )


def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(IkdError, match=r"pipe\.pt is a pipe or a device"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "pipe.pt"))


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda state: state.pop("extra_state"), "checkpoint .*a.pt is malformed"),
        (lambda state: state.update(optimizer_history=[]), "checkpoint .*a.pt is malformed"),
        (
            lambda state: state["optimizer_history"][-1].update(num_updates="many"),
            "'optimizer_history' is mal",
        ),
        (lambda state: state.update(model={"weight": torch.zeros(1)}), "a.pt does not fit the model"),
        (lambda state: state["cfg"]["model"].update(encoder_layers="many"), "a.pt does not fit the model"),
    ],
)
def test_checkpoints_with_other_content_are_told_in_a_sentence(tmp_path, change, wrong):
    task = {"_name": "translation", "source_lang": "en", "target_lang": "de", "data": str(tmp_path)}
    cfg = {"model": {"_name": "transformer"}, "task": task, "criterion": None}
    history = [{"num_updates": 1, "optimizer_name": "A", "lr_scheduler_state": {}}]
    state = {"model": {}, "args": None, "cfg": cfg, "optimizer_history": history, "extra_state": {}}
    change(state)
    for language in ("en", "de"):
        (tmp_path / f"dict.{language}.txt").write_text("the 1\n")
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(IkdError, match=wrong):
        checkpoint_utils.load_model_ensemble_and_task([str(tmp_path / "a.pt")])
    with pytest.raises(IkdError, match="b.pt: there is no such file"):
        checkpoint_utils.load_model_ensemble([str(tmp_path / "b.pt")])
