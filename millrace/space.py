"""Files outside of the lake: the temporary folder may be full.

What does not belong here: what is in the files.
"""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from millrace.errors import RetryableError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


_IN_TEXT = re.compile(r"\(os error (\d+)\)")
"""Polars raises OSErrors without a number."""


@contextmanager
def temporary_space(place: str) -> Iterator[None]:
    """Within it, a full disk is a RetryableError naming ``place``: another machine may have room."""
    try:
        yield
    except OSError as error:
        if _number(error) not in _FULL:
            raise
        raise RetryableError(
            f"there is no room for a file in {tempfile.gettempdir()}",
            place=place,
            remedy="give the task more ephemeral storage, or let TMPDIR name a larger folder",
        ) from None


def _number(error: OSError) -> int | None:
    found = _IN_TEXT.search(str(error))
    return error.errno or (int(found[1]) if found else None)
