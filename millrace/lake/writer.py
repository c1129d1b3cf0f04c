"""Parquet as Redshift's COPY wants it: written through a temporary file, one file per part, into the lake.

A new part begins when the last one is large enough, or when the columns change: every file's columns are known
to the byte and COPY gets its column list from them.
What does not belong here: the values (they are final), the batch's manifest (batch.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.lake.batch import Part
from millrace.lake.store import ObjectStore
from millrace.space import temporary_space
from millrace.types import Column, arrow_type, text

PART_BYTES = 64 * 1024 * 1024
"""Inside Redshift's ideal of 1 to 125 MB."""

PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    # Dictionaries cost a third of the time, and made no measured file smaller than zstd alone.
    "use_dictionary": False,
    "store_schema": False,
}


class PartWriter:
    """Writes frames under ``prefix`` into files ``<stem>-<number>.parquet``; a context manager, so that no temporary
    file outlives it."""

    def __init__(self, store: ObjectStore, prefix: str, stem: str = "part", *, part_bytes: int = PART_BYTES) -> None:
        self.parts: list[Part] = []
        self._store, self._stem, self._part_bytes = store, f"{prefix}/{stem}", part_bytes
        self._directory = tempfile.TemporaryDirectory(prefix="millrace-")
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None
        self._rows = 0

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        self._directory.cleanup()

    def write(self, frame: pl.DataFrame, columns: Sequence[Column]) -> None:
        """Add rows; ``columns`` type them, and the frame may hold more (the row hash, as text)."""
        if not frame.height:
            return
        schema = _schema(frame, columns)
        if schema != self._schema:
            self.close()
            self._schema = schema
        with temporary_space(self._stem):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._path, schema, **PARQUET)
            self._writer.write_table(_table(frame, schema))
        self._rows += frame.height
        if self._path.stat().st_size >= self._part_bytes:
            self.close()

    def close(self) -> None:
        """Finish the file in hand and put it into the lake."""
        if self._writer is None or self._schema is None:
            return
        with temporary_space(self._stem):
            self._writer.close()
        self._writer = None
        key = f"{self._stem}-{len(self.parts):05d}.parquet"
        size_bytes = self._store.put_file(self._path, key)
        self.parts.append(Part(key, self._rows, size_bytes, tuple(self._schema.names)))
        self._path.unlink()
        self._rows = 0

    @property
    def _path(self) -> Path:
        return Path(self._directory.name) / "part.parquet"


def _schema(frame: pl.DataFrame, columns: Sequence[Column]) -> pa.Schema:
    types = {column.name: column.type for column in columns}
    return pa.schema([(name, arrow_type(types.get(name, text()))) for name in frame.columns])


def _table(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
