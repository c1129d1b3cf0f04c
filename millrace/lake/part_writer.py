"""Writes the files of one kind of a batch, each through a temporary file, into the lake.

A new file begins when the last one is large enough, or when the columns change: all rows of a file have the same
columns, and COPY gets its column list from them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import polars as pl

from millrace.base.disk import TemporaryFolder, translate_full_disk
from millrace.base.types import Column
from millrace.lake.batch import Part
from millrace.lake.formats import FORMATS, Format, OpenFile, find_columns
from millrace.lake.lengths import measure_longest_bytes
from millrace.lake.store import ObjectStore


class PartWriter:
    """Writes frames under ``prefix`` into files ``<stem>-<number>.<suffix>``.

    It is a context manager, so that no temporary file outlives it. ``part_bytes`` replaces the format's own limit.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        stem: str = "part",
        form: Format = FORMATS["parquet"],
        *,
        part_bytes: int | None = None,
    ) -> None:
        self.parts: list[Part] = []
        """The finished files."""
        self.longest_bytes: Counter[str] = Counter()
        """The length of the longest value of every text, binary and document column."""
        self._store, self._stem, self._form = store, f"{prefix}/{stem}", form
        self._part_bytes = form.part_bytes if part_bytes is None else part_bytes
        self._directory = TemporaryFolder()
        self._file: OpenFile | None = None
        self._columns: list[Column] = []
        self._rows = 0

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._directory.remove()

    def write(self, frame: pl.DataFrame, columns: Sequence[Column]) -> None:
        """Add rows, typed by ``columns``; a column of the frame that is not among these, as the row hash, is text."""
        if not frame.height:
            return
        found = find_columns(frame.columns, columns)
        if [(column.name, column.type) for column in found] != [(column.name, column.type) for column in self._columns]:
            self.close()
            self._columns = found
        with translate_full_disk(self._stem):
            if self._file is None:
                self._file = self._form.open(self._path, found)
            self._file.write(frame)
        self._rows += frame.height
        self._measure(frame, columns)
        if self._path.stat().st_size >= self._part_bytes:
            self.close()

    def _measure(self, frame: pl.DataFrame, columns: Sequence[Column]) -> None:
        present = [column for column in columns if column.name in frame.columns]
        for name, length in measure_longest_bytes(frame, present).items():
            self.longest_bytes[name] = max(length, self.longest_bytes[name])

    def close(self) -> None:
        """Finish the current file and put it into the lake."""
        if self._file is None:
            return
        with translate_full_disk(self._stem):
            self._file.close()
        self._file = None
        key = f"{self._stem}-{len(self.parts):05d}.{self._form.suffix}"
        with self._path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = self._store.put_file(self._path, key)
        self.parts.append(Part(key, self._rows, size_bytes, sha256, tuple(column.name for column in self._columns)))
        self._path.unlink()
        self._rows = 0

    @property
    def _path(self) -> Path:
        return self._directory.path / "part"
