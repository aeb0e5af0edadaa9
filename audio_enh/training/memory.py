"""Memory on the CPU: what one training step frees is what the next one needs."""

from __future__ import annotations

import ctypes
import platform

# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, up to 1 GB, instead of giving it back to the system.

    glibc maps large tensors one by one and returns them when they are freed; the system then clears every page of
    them again in the next step. Other C libraries have no such setting, and are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_TRIM_THRESHOLD, _KEPT)
    # Earlier versions of glibc allow 32 MB at most.
    if not library.mallopt(_MMAP_THRESHOLD, _KEPT):
        library.mallopt(_MMAP_THRESHOLD, 1 << 25)
