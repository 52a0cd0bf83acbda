"""Stored files are held against their checksums: small ones whole, large ones in samples, once each."""

import hashlib
import zlib

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.io import checksums
from ikd_fairseq.io.checksums import Checksum, checksum_of_file, verify

CONTENT = bytes(range(256)) * 10


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(checksums, "_LEAST_BLOCK", 1000)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    return path


def test_a_checksum_equals_that_of_hashlib_and_zlib_in_whatever_parts_it_comes(file):
    checksum = Checksum(len(CONTENT))
    for start in range(0, len(CONTENT), 700):
        checksum.update(CONTENT[start : start + 700])
    crcs = [zlib.crc32(CONTENT[start : start + 1000]) for start in range(0, len(CONTENT), 1000)]
    assert checksum.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert checksum.blocks == {"bytes": 1000, "crc32": "".join(f"{crc:08x}" for crc in crcs)}
    assert checksum_of_file(str(file)).blocks == checksum.blocks
    assert Checksum(10_000_000_000).blocks["bytes"] == 9765625, "no more than 1,024 blocks"


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_small_file_is_compared_whole(file):
    recorded = checksum_of_file(str(file))
    verify(str(file), recorded.sha256, recorded.blocks, "copy it again")
    flip(file, 1234)
    with pytest.raises(IkdError, match="a does not have the SHA-256 of its manifest: copy it again"):
        verify(str(file), recorded.sha256, None, "copy it again")
    verify(str(file), None, None, "copy it again")  # of an old version, with nothing recorded


def test_of_a_large_file_samples_are_compared(file, monkeypatch):
    recorded = checksum_of_file(str(file))
    monkeypatch.setattr(checksums, "WHOLE", 100)
    verify(str(file), recorded.sha256, recorded.blocks, "copy it again")
    flip(file, 2100)  # in the last of three blocks, which is shorter
    with pytest.raises(IkdError, match="checksum of its manifest, in its block 2: copy it again"):
        verify(str(file), recorded.sha256, recorded.blocks, "copy it again")
    monkeypatch.setattr(checksums, "SAMPLES", 1)
    found = 0
    for _ in range(60):
        try:
            verify(str(file), recorded.sha256, recorded.blocks, "copy it again")
        except IkdError:
            found += 1
    assert 0 < found < 60, "another block each time"
    for damaged in ({}, [], {"bytes": 0, "crc32": ""}, {**recorded.blocks, "crc32": "0"}):
        with pytest.raises(IkdError, match="checksums of .*a in its manifest are damaged"):
            verify(str(file), recorded.sha256, damaged, "copy it again")


def test_a_file_is_read_once_in_a_process(file, monkeypatch):
    monkeypatch.setattr(checksums, "_ALWAYS", 0)
    recorded = checksum_of_file(str(file))
    verify(str(file), recorded.sha256, None, "")
    monkeypatch.setattr(checksums, "check_sha256", None)  # would fail
    verify(str(file), recorded.sha256, None, "")
