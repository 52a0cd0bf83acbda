"""Arrays on disk: rows in any order, mapped when used, pickled as a path, nothing left without a commit."""

import errno
import os
import pickle

import numpy as np
import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io import arrays
from ikd_fairseq.io.arrays import ArrayWriter, MappedArray, map_array
from ikd_fairseq.io.manifests import commit as commit_together

ROWS = np.arange(24, dtype=np.float16).reshape(4, 3, 2)


def write(path, order=(3, 0), commit=True):
    with ArrayWriter(str(path), ROWS.shape, np.float16) as writer:
        for row in order:
            writer.write(row, ROWS[row : row + 3 if row == 0 else row + 1].astype(np.float32))
        if commit:
            commit_together(str(path) + ".json", {}, [writer])
            os.remove(f"{path}.json")
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


@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "posix_fallocate"])
def test_what_the_system_says_is_told_and_nothing_is_left(tmp_path, monkeypatch, call):
    def refused(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(arrays.os, call, refused)
    with pytest.raises(IkdError, match=r"a\.npy cannot be written \(Read-only file system\)"):
        write(tmp_path / "a.npy")
    monkeypatch.undo()
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


def test_samples_are_all_rows_of_a_small_array_and_some_of_a_large_one(tmp_path, monkeypatch):
    write(tmp_path / "a.npy")
    array = MappedArray(str(tmp_path / "a.npy"), ROWS.shape, np.float16, "write it again")
    np.testing.assert_array_equal(np.concatenate(list(array.samples())), ROWS)
    monkeypatch.setattr(arrays, "_SAMPLE_BYTES", 12)  # a row
    monkeypatch.setattr(arrays, "SAMPLES", 3)
    drawn = {tuple(int(rows[0, 0, 0]) for rows in array.samples()) for _ in range(100)}
    assert len(drawn) == 4, "three of four rows, each time others"


HEADER = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


def objects(path):
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


def pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make, message",
    [
        (objects, r"\(it holds Python objects, not numbers\)"),
        (pipe, "is a pipe or a device"),
        (b"\x89HDF\r\n\x1a\n", "is not a .npy file, as numpy.save writes it"),
        (b"\x80\x04N.", "is not a .npy file"),
        (b"", "is not a .npy file"),
        (HEADER % b"4,", "cannot be read as an array"),
        (
            (HEADER % b"9223372036854775807, 9223372036854775807").ljust(128) + b"\n",
            "cannot be read as an array",
        ),
        ((HEADER % b"-4,").ljust(128) + b"\n", "cannot be read as an array"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'shape': ((((((", "cannot be read as an array"),
        (HEADER[:10] + b"(" * 118, "cannot be read as an array"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_without_bad_advice(tmp_path, make, message):
    path = str(tmp_path / "a.npy")
    if callable(make):
        make(path)
    else:
        (tmp_path / "a.npy").write_bytes(make)
    with pytest.raises(IkdError, match=message) as refused:
        map_array(path, "write it again")
    assert "trust" not in str(refused.value) and "allow_pickle" not in str(refused.value)
