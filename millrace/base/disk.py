"""Temporary folders on the local disk: they are removed after a run, and the disk may be full."""

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
_NUMBER_IN_TEXT = re.compile(r"\(os error (\d+)\)")
"""The error number in a message of Polars, whose OSErrors have no ``errno``."""
FOLDER_PREFIX = "millrace-rows-"


class TemporaryFolder:
    """A folder for rows of tables, which only this user can read.

    ``remove`` or the end of the ``with`` block removes it. If its process is killed, a later run removes it
    (``remove_abandoned``). The process locks the folder: the system releases the lock however the process ends, and
    other containers with the same disk see it too.
    """

    def __init__(self) -> None:
        # The folder gets its final name only after it is locked, so that no other process sees it unlocked.
        unnamed = Path(tempfile.mkdtemp(prefix="millrace-new-"))
        self._descriptor = os.open(unnamed, os.O_RDONLY | os.O_DIRECTORY)
        # On a disk without locks no process takes the folder for abandoned.
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
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)


def remove_abandoned() -> list[Path]:
    """Remove the folders of this user's killed processes, and return their paths."""
    removed = []
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        # Another process may hold the lock, or remove the folder between any two of these steps.
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
    """Translate an OSError of a full disk into a RetryableError at ``place``: another machine may have space."""
    try:
        yield
    except OSError as error:
        if _number(error) not in _FULL:
            raise
        raise RetryableError(
            f"there is no space for a file in {tempfile.gettempdir()}",
            place=place,
            remedy="give the task more ephemeral storage, or set TMPDIR to a folder on a larger disk",
        ) from None


def _number(error: OSError) -> int | None:
    found = _NUMBER_IN_TEXT.search(str(error))
    return error.errno or (int(found[1]) if found else None)
