"""Arrays on disk: rows in any order, mapped when used, pickled as a path, nothing left without a commit."""

import os
import pickle

import numpy as np
import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.arrays import ArrayWriter, MappedArray

ROWS = np.arange(24, dtype=np.float16).reshape(4, 3, 2)


def write(path, order=(3, 0), commit=True):
    with ArrayWriter(str(path), ROWS.shape, np.float16) as writer:
        for row in order:
            writer.write(row, ROWS[row : row + 3 if row == 0 else row + 1].astype(np.float32))
        if commit:
            writer.commit()
    return writer


def test_rows_written_in_any_order_are_a_plain_npy_file(tmp_path):
    writer = write(tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), ROWS)
    np.save(tmp_path / "plain.npy", ROWS)
    plain = (tmp_path / "plain.npy").read_bytes()
    assert (tmp_path / "a.npy").read_bytes() == plain and writer.bytes == len(plain)


def test_without_a_commit_nothing_is_left(tmp_path):
    write(tmp_path / "a.npy", commit=False)
    assert os.listdir(tmp_path) == []


def test_an_array_is_mapped_when_used_and_pickled_as_a_path(tmp_path):
    write(tmp_path / "a.npy")
    array = MappedArray(str(tmp_path / "a.npy"), ROWS.shape, np.float16, "write it again")
    assert array._array is None
    np.testing.assert_array_equal(array.array, ROWS)
    copy = pickle.loads(pickle.dumps(array))
    assert copy._array is None
    np.testing.assert_array_equal(copy.array, ROWS)


@pytest.mark.parametrize(
    "shape, dtype, message",
    [((4, 6), np.float16, "where its manifest says float16 .4, 6."), (ROWS.shape, np.uint8, "says uint8")],
)
def test_an_array_of_another_form_is_refused_with_the_remedy(tmp_path, shape, dtype, message):
    write(tmp_path / "a.npy")
    with pytest.raises(IkdError, match=f"a.npy holds float16 .4, 3, 2. .*{message}.*: write it again"):
        MappedArray(str(tmp_path / "a.npy"), shape, dtype, "write it again")
