"""One training at a time saves into a folder."""

import os

import pytest
from fairseq import checkpoint_utils

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.locks import claim
from ikd_fairseq.tasks.save_folder import claim_save_folder


def test_fairseq_claims_the_folder_that_it_looks_at():
    assert checkpoint_utils.verify_checkpoint_directory is claim_save_folder


def test_a_second_training_is_refused_and_the_first_may_look_again(tmp_path):
    folder = tmp_path / "run"
    os.mkdir(folder)
    with claim(folder / "checkpoint_last.pt"):
        claim_save_folder(str(folder))
        child = os.fork()
        if child == 0:
            try:
                claim_save_folder(str(folder))
            except IkdError as error:
                os._exit(0 if "checkpoint_last.pt is being written by process" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
    assert os.listdir(folder) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IkdError, match="--save-dir .*file/run cannot be written to .Not a directory"):
        claim_save_folder(str(tmp_path / "file" / "run"))
