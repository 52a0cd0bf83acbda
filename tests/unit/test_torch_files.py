"""What a file of torch.save may hold, and what is said of one that holds something else."""

import pickle
from argparse import Namespace

import numpy as np
import pytest
import torch

from ikd_fairseq.errors import IkdError
from ikd_fairseq.torch_files import load_safely, reading


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_plain_values_of_fairseqs_checkpoints_are_safe_whatever_numpy_wrote_them(tmp_path, module):
    content = {"args": Namespace(lr=[0.1]), "counts": np.arange(4), "best": np.float64(31.5)}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "a.pt").read_bytes()
    here = np.empty(0).__reduce__()[0].__module__.encode()
    (tmp_path / "a.pt").write_bytes(data.replace(b"c" + here + b"\n", b"c" + module.encode() + b"\n"))
    loaded = load_safely(tmp_path / "a.pt")
    assert loaded["args"].lr == [0.1] and loaded["best"] == 31.5
    np.testing.assert_array_equal(loaded["counts"], content["counts"])


def test_unreadable_checkpoint_is_named():
    with pytest.raises(IkdError, match=r"checkpoint a\.pt is truncated or is no checkpoint"):
        with reading("a.pt"):
            raise EOFError
    with pytest.raises(IkdError, match=r"weights a\.pt is refused: it holds posix\.system"):
        with reading("a.pt", "weights"):
            raise pickle.UnpicklingError("Unsupported global: GLOBAL posix.system was not an allowed global")
    with pytest.raises(IkdError, match="^as it was$"):
        with reading("a.pt"):
            raise IkdError("as it was")
