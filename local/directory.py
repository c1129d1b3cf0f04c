"""The directory of one stack: one process at a time locks it, and it is removed if that process was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from millrace.base.errors import ConfigurationError

PREFIX = "millrace-stack-"
LOCK_NAME = "lock"


@contextmanager
def stack_directory(kept: Path | None) -> Iterator[Path]:
    """Provide a directory for this process.

    It is ``kept`` for good, or a temporary one that is removed at the end.
    """
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        with _hold(kept):
            yield kept.resolve()
        return
    sweep()
    directory, lock = _temporary()
    with lock:
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def sweep() -> list[Path]:
    """Remove the temporary directories of this user's stacks that no process locks; return their paths."""
    removed = []
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # Its holder may end, and remove it, between any two of these steps.
        with suppress(ConfigurationError, FileNotFoundError):
            if directory.stat(follow_symlinks=False).st_uid == os.getuid():
                with _hold(directory):
                    shutil.rmtree(directory, ignore_errors=True)
                    removed.append(directory)
    return removed


def _temporary() -> tuple[Path, IO[bytes]]:
    # It gets its lasting name only when it is locked: a sweep in another process never sees it unlocked.
    unnamed = Path(tempfile.mkdtemp(prefix="millrace-new-"))
    unnamed.chmod(0o711)
    lock = _lock(unnamed)
    return unnamed.rename(unnamed.with_name(unnamed.name.replace("millrace-new-", PREFIX))), lock


@contextmanager
def _hold(directory: Path) -> Iterator[None]:
    with _lock(directory):
        yield


def _lock(directory: Path) -> IO[bytes]:
    lock = (directory / LOCK_NAME).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise ConfigurationError(
            "another stack runs in this directory", place=str(directory), remedy="Stop it or name another directory"
        ) from error
    return lock
