"""Files outside of the lake: folders that outlive no run for long, on a disk that may be full."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from millrace.base.errors import RetryableError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


_IN_TEXT = re.compile(r"\(os error (\d+)\)")
"""Polars raises OSErrors without a number."""


FOLDER_PREFIX = "millrace-rows-"


class TemporaryFolder:
    """A folder with rows of tables that nobody else may look into. It is removed at the end (``remove``, or as a
    context manager); if its process is killed, by a later run (``remove_abandoned``).

    Its process holds a lock on it, which a system gives back however the process ends, and which other containers with
    the same disk see as well.
    """

    def __init__(self) -> None:
        # It gets its lasting name only when it is locked: no other process sees it unlocked.
        unnamed = Path(tempfile.mkdtemp(prefix="millrace-new-"))
        self._descriptor = os.open(unnamed, os.O_RDONLY | os.O_DIRECTORY)
        # Where a disk knows no locks, nobody takes the folder for abandoned.
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = unnamed.rename(unnamed.with_name(unnamed.name.replace("millrace-new-", FOLDER_PREFIX)))

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove it with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)


def remove_abandoned() -> list[Path]:
    """Remove this user's folders whose processes were killed; their paths."""
    removed = []
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        # Another process may hold it, or remove it between any two of these steps.
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
                    removed.append(path)
            finally:
                os.close(descriptor)
    return removed


@contextmanager
def translate_full_disk(place: str) -> Iterator[None]:
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
