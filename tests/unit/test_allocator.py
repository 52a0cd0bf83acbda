"""glibc's allocator before and after, in processes of their own."""

import os
import platform
import subprocess
import sys

import pytest

from ikd_fairseq.allocator import keep_memory

# Says what keep_memory() returned, and whether 64 MB then come from the heap (1) or from outside of it (0).
PROGRAM = """
import ctypes
from ikd_fairseq.allocator import keep_memory
changed = keep_memory()
process = ctypes.CDLL(None)
process.malloc.restype = ctypes.c_void_p
class Figures(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
        "fsmblks", "uordblks", "fordblks", "keepcost")]
process.mallinfo.restype = Figures
outside = process.mallinfo().hblks
process.malloc(ctypes.c_size_t(64 << 20))
print(changed, int(process.mallinfo().hblks == outside))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize(
    "variables, found",
    [
        ({}, "True 1"),
        ({"IKD_KEEP_MEMORY": "1"}, "True 1"),
        ({"IKD_KEEP_MEMORY": "0"}, "False 0"),
        ({"MALLOC_TOP_PAD_": "1000000"}, "False 0"),
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1000000"}, "False 0"),
        ({"GLIBC_TUNABLES": "glibc.cpu.x86_ibt=off"}, "True 1"),
    ],
)
def test_memory_is_kept_unless_the_user_says_otherwise(variables, found):
    chosen = ("MALLOC_", "GLIBC_TUNABLES", "IKD_KEEP_MEMORY")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(chosen)}
    line = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(line, env={**environment, **variables}, capture_output=True, text=True)
    assert result.stdout.split() == found.split(), result.stderr


def test_another_c_library_is_left_alone(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("IKD_KEEP_MEMORY", raising=False)
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_memory()
    monkeypatch.setattr("os.name", "nt")
    monkeypatch.setattr("ctypes.CDLL", None)
    assert not keep_memory()
