"""A loss or gradient that is not finite ends training in a sentence, which names the last good checkpoint."""

import os

import pytest
import torch
from fairseq import trainer

from ikd_fairseq.errors import IkdError
from ikd_fairseq.tasks.divergence import Divergence, check_finite, last_good_checkpoint
from tests.saved_checkpoints import save

NAN = float("nan")


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    monkeypatch.setattr(Divergence, "folder", None)
    monkeypatch.setattr(Divergence, "update", 7)


@pytest.fixture
def saved(tmp_path):
    """Three checkpoints, each written after the one before it; the weights of the last are no numbers."""
    paths = [tmp_path / name for name in ("checkpoint1.pt", "checkpoint_1_5.pt", "checkpoint_last.pt")]
    for age, (path, value) in enumerate(zip(paths, (1.0, 2.0, NAN))):
        save(path, value)
        os.utime(path, (1000 + age, 1000 + age))
    return paths


def test_a_term_that_is_not_finite_is_named_with_its_update():
    check_finite({"loss": torch.tensor(2.5), "kd_irm": 0.0, "ntokens": 12, "many": torch.ones(2)})
    with pytest.raises(IkdError, match=r"diverged in update 7: kd_irm is nan; .*--lr.*no checkpoint yet"):
        check_finite({"loss": torch.tensor(2.5), "kd_irm": torch.tensor(NAN)})
    with pytest.raises(IkdError, match="update 7: loss is inf"):
        check_finite({"loss": float("inf")})


def test_a_device_is_waited_for_once_whatever_is_logged(monkeypatch):
    waits = []
    for name in ("item", "tolist", "__bool__", "__float__"):
        method = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, method=method, name=name: (waits.append(name), method(self))[1]
        )
    check_finite({name: torch.tensor(1.0) for name in ("loss", "nll_loss", "kd_irm", "kd_iam")})
    assert waits == ["tolist"]


def test_gradients_that_are_not_finite_are_told_where_fairseq_looks_for_their_cause():
    with pytest.raises(IkdError, match="update 7: its gradients are not finite"):
        with trainer.NanDetector(torch.nn.Linear(1, 1)):
            pass


def test_workers_that_disagree_have_not_diverged():
    with pytest.raises(IkdError, match="^update 7: the workers' gradients differ.* --ddp-backend legacy_ddp"):
        try:  # as fairseq's trainer does
            raise FloatingPointError("Fatal error: gradients are inconsistent between workers. Try ...")
        except FloatingPointError:
            with trainer.NanDetector(torch.nn.Linear(1, 1)):
                pass


def test_the_last_checkpoint_with_finite_weights_is_named(saved, tmp_path):
    assert last_good_checkpoint(tmp_path) == saved[1]
    saved[1].write_bytes(b"cut off")
    assert last_good_checkpoint(tmp_path) == saved[0]
    saved[0].unlink()
    assert last_good_checkpoint(tmp_path) is None


def test_the_sentence_names_it(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(Divergence, "folder", str(tmp_path))
    with pytest.raises(IkdError, match=rf"from {saved[1]}, the last good checkpoint"):
        check_finite({"loss": NAN})
