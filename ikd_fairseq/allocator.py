"""The memory allocator of glibc, told to keep what training gives back and soon asks for again.

By default it returns large tensors to the system, which clears every page of them again for the next step.
Results are the same. Nothing happens under another C library, nor to another allocator (jemalloc, tcmalloc)
that was loaded in its place: glibc's then allocates nothing.
"""

import ctypes
import os

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
# Return free memory at the end of the heap only beyond 2 GB; ask the system for so many bytes more than
# needed; take no memory from it outside of the heap.
SETTINGS = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20, _MMAP_MAX: 0}

SWITCH = "IKD_KEEP_MEMORY"  # environment variable; 0 leaves the allocator alone


def keep_memory() -> bool:
    """Changes glibc's settings unless the user has chosen some, or has set ``IKD_KEEP_MEMORY=0``.

    Returns:
        Whether they were changed.
    """
    environment = os.environ
    chosen = any(name.startswith("MALLOC_") for name in environment)
    chosen = chosen or "glibc.malloc" in environment.get("GLIBC_TUNABLES", "")
    if chosen or environment.get(SWITCH) == "0" or os.name != "posix":
        return False
    process = ctypes.CDLL(None)
    if not hasattr(process, "gnu_get_libc_version"):  # macOS, musl
        return False
    return all([process.mallopt(setting, value) for setting, value in SETTINGS.items()])
