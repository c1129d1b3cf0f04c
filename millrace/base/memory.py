"""Settings of the C library's memory allocator."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3
"""The parameter's number in glibc's malloc.h."""


def return_large_blocks(threshold_bytes: int) -> None:
    """Make glibc return freed blocks of ``threshold_bytes`` or more to the system at once.

    By default glibc keeps such blocks after the first ones, which took 60 MB more for rows of 9 MB. Other C libraries,
    for example that of macOS, have no such option.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, threshold_bytes)
