"""What the process asks of the C library's allocator."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3
"""Of glibc's malloc.h."""


def return_large_blocks(threshold_bytes: int) -> None:
    """Let glibc give blocks of so many bytes back to the system when they are freed. By itself it keeps them once it
    has seen some, which took 60 MB more for rows of 9 MB. Other C libraries, as of macOS, have no such option."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, threshold_bytes)
