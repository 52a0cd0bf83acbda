"""Training begins with every tensor of another checkpoint that fits, and with nothing else of it."""

import logging

import pytest
import torch

from ikd_fairseq.errors import IkdError
from ikd_fairseq.models.base import FlatTransformerModel
from ikd_fairseq.tasks.init_from import table, take_weights
from tests import toy
from tests.saved_checkpoints import toy_state


def text_model(**options):
    torch.manual_seed(8)
    cfg = toy.IKDTransformerConfig(**{**toy.SIZES, **options})
    return FlatTransformerModel.build_model(cfg, toy.toy_task())


def save(model, path, **more):
    state = toy_state(model.state_dict())
    state["cfg"] = {"model": {"_name": "transformer_mmt"}, "task": {"_name": "translation"}}
    torch.save({**state, **more}, path)
    return str(path)


def test_text_weights_are_taken_into_ikd_and_the_rest_stays(tmp_path, caplog):
    text, ikd = text_model(), toy.ikd_model()
    before = {name: value.clone() for name, value in ikd.state_dict().items()}
    path = save(text, tmp_path / "text.pt", task_state={"dictionaries": 1})
    with caplog.at_level(logging.INFO):
        assert take_weights(ikd, path)["dictionaries"] == 1
    theirs = text.state_dict()
    shared = [name for name in before if name in theirs]
    assert any("decoder.layers" in name for name in shared) and any("encoder.layers" in n for n in shared)
    for name, value in ikd.state_dict().items():
        expected = theirs[name] if name in theirs else before[name]
        assert torch.equal(value, expected), name
    rows = {line.split()[0]: line.split()[1:] for line in caplog.text.splitlines() if " " in line}
    assert rows["encoder.generator"][0] == "-" and int(rows["encoder.generator"][3]) > 0
    assert rows["all"][0] == str(len(shared)) and rows["all"][2] == "-"


def test_tensors_of_another_shape_are_left_and_named():
    theirs = {"a.b.w": torch.zeros(2, 3), "a.b.x": torch.zeros(2), "a.c.w": torch.zeros(1)}
    ours = {"a.b.w": torch.zeros(2, 4), "a.b.x": torch.zeros(2), "d.w": torch.zeros(5)}
    lines = table(theirs, ours).splitlines()
    assert lines[0].split() == ["part", "taken", "of", "another", "shape", "left", "missing"]
    assert [line.split() for line in lines[1:5]] == [
        ["a.b", "1", "1", "-", "-"],
        ["d.w", "-", "-", "-", "1"],
        ["a.c", "-", "-", "1", "-"],
        ["all", "1", "1", "1", "1"],
    ]
    assert lines[5:] == ["a.b.w: (2, 3) there, (2, 4) here"]


def test_a_checkpoint_of_which_no_matrix_fits_is_refused_and_nothing_is_changed(tmp_path):
    ikd = toy.ikd_model()
    before = {name: value.clone() for name, value in ikd.state_dict().items()}
    wide = text_model(encoder_embed_dim=32, decoder_embed_dim=32)
    with pytest.raises(IkdError, match=r"--init-from .*wide\.pt: not one of its \d+ tensors fits"):
        take_weights(ikd, save(wide, tmp_path / "wide.pt"))
    assert all(torch.equal(value, before[name]) for name, value in ikd.state_dict().items())


def test_a_file_that_is_missing_or_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(IkdError, match="there is no such file"):
        take_weights(toy.ikd_model(), str(tmp_path / "none.pt"))
    (tmp_path / "bad.pt").write_bytes(b"bad")
    with pytest.raises(IkdError, match=r"bad\.pt is truncated"):
        take_weights(toy.ikd_model(), str(tmp_path / "bad.pt"))
