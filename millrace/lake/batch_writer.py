"""The files of one batch while they are written: rows, keys, rejects, and what is counted and measured on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Literal

import polars as pl

from millrace.base.types import Column
from millrace.declaration.captures import LandingFormat
from millrace.lake.batch import BatchFiles, Part, RejectCount
from millrace.lake.formats import FORMATS
from millrace.lake.part_writer import PartWriter
from millrace.lake.store import ObjectStore

FileKind = Literal["part", "delete", "sample", "former", "root-key"]
"""What the rows of a file are; its name begins with the word."""


class BatchWriter:
    """Writes the files of one batch under ``prefix``; a context manager, so that no temporary file outlives it.

    Different kinds of files may be written by different threads.
    """

    def __init__(self, store: ObjectStore, prefix: str, form: LandingFormat = "parquet") -> None:
        self.prefix = prefix
        self._store, self._form = store, form
        self._writers: dict[FileKind, PartWriter] = {}
        self._reject_files: list[str] = []
        self.reject_counts: Counter[tuple[str, str]] = Counter()
        """Rejected rows by reason and field."""

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.__exit__(kind, error, traceback)

    def write(self, kind: FileKind, frame: pl.DataFrame, columns: Sequence[Column]) -> None:
        """Add rows to the files of a kind; ``columns`` are as in ``PartWriter.write``."""
        if kind not in self._writers:
            self._writers[kind] = PartWriter(self._store, self.prefix, kind, FORMATS[self._form])
        self._writers[kind].write(frame, columns)

    def write_rejects(self, rejected: pl.DataFrame) -> None:
        """Put rejected rows (REJECT_SCHEMA) into a file of their own, and count them."""
        if not rejected.height:
            return
        key = f"{self.prefix}/rejects-{len(self._reject_files):05d}.ndjson"
        self._store.put_bytes(rejected.write_ndjson().encode(), key)
        self._reject_files.append(key)
        self.reject_counts.update(rejected.select("reason", "field").rows())

    def finish(self) -> BatchFiles:
        """Put the last file of every kind into the lake, and return all files."""
        for writer in self._writers.values():
            writer.close()
        return BatchFiles(
            prefix=self.prefix,
            form=self._form,
            rows=self._parts("part"),
            deletes=self._parts("delete"),
            sample=self._parts("sample"),
            former=self._parts("former"),
            root_keys=self._parts("root-key"),
            rejects=tuple(self._reject_files),
            longest_bytes=self._longest_bytes(),
        )

    @property
    def counted_rejects(self) -> tuple[RejectCount, ...]:
        """The rejected rows by reason and field, in order."""
        return tuple(RejectCount(*why, rows) for why, rows in sorted(self.reject_counts.items()))

    def _parts(self, kind: FileKind) -> tuple[Part, ...]:
        return tuple(self._writers[kind].parts) if kind in self._writers else ()

    def _longest_bytes(self) -> dict[str, int]:
        """Return how long the longest value of every column is, in all kinds of files together."""
        longest: dict[str, int] = {}
        for writer in self._writers.values():
            for name, length in writer.longest_bytes.items():
                longest[name] = max(length, longest.get(name, 0))
        return longest
