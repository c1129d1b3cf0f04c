"""The scan of a sweep: key, row id and hashes of every row of the source, written into the lake."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import polars as pl

from millrace.base.errors import ConfigurationError
from millrace.base.naming import ROW_HASH, column_name
from millrace.base.rejects import no_rejects
from millrace.base.types import Column, Kind, row_id_columns
from millrace.contract.limits import reject_beyond_limits
from millrace.declaration.stream import Stream
from millrace.hashes.content_hash import CONTENT_HASH, add_content_hash
from millrace.hashes.row_hash import add_row_hash
from millrace.lake.part_writer import PartWriter
from millrace.runs.destination import BatchDestination
from millrace.sources.chunk import Chunk, ReadFacts
from millrace.warehouse.compare import Scan

COMPARABLE_KINDS = frozenset({
    Kind.BOOLEAN, Kind.INT16, Kind.INT32, Kind.INT64, Kind.DECIMAL, Kind.TEXT, Kind.DATE, Kind.TIMESTAMP,
    Kind.TIMESTAMP_UTC,
})  # fmt: skip
"""Kinds of keys that a warehouse's driver gives back equal to what the source gave."""
CANARIES, CANARIES_OF_A_CHUNK = 100, 10
"""Keys that the scan saw and that every look-up must find."""


class ScanWriter:
    """Writes chunks as the scan of a sweep: ``write`` them, then ``finish``. A context manager.

    In a deep sweep the scan also holds a hash of the content of every row.
    """

    def __init__(
        self,
        destination: BatchDestination,
        stream: Stream,
        read: ReadFacts,
        target_columns: Sequence[Column],
        prefix: str,
        *,
        is_deep: bool,
    ) -> None:
        self._stream, self._limits, self._prefix, self._is_deep = stream, destination.limits, prefix, is_deep
        self._writer = PartWriter(destination.working_store, prefix, "scan")
        self._keys = [column_name(key) for key in stream.keys]
        self._row_id = read.row_id_column
        self._location = list(read.location_columns) or self._keys
        self._key_columns = {column.name: column for column in target_columns if column.name in self._keys}
        self._source_columns: dict[str, Column] = {}
        self._canaries: list[tuple[Any, ...]] = []
        self.rows = 0
        """Number of rows that were written."""

    def __enter__(self) -> ScanWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, traceback)

    def write(self, chunk: Chunk) -> pl.DataFrame:
        """Add the rows of a chunk. Return the rows with a key that is too long for the warehouse, as rejects.

        Raises ConfigurationError when keys of this type cannot be compared.
        """
        if not {*self._keys} <= {*chunk.frame.columns}:
            return no_rejects()  # Nothing but rejects, whose key has no known type.
        self._source_columns |= {column.name: column for column in chunk.columns}
        self._key_columns |= {column.name: column for column in chunk.columns if column.name in self._keys}
        self._refuse_incomparable()
        frame, too_long = reject_beyond_limits(chunk.frame, self._ordered_keys, self._location, self._limits)
        hashed, hashes = add_row_hash(frame, chunk.columns), [ROW_HASH]
        if self._is_deep:
            hashed, hashes = add_content_hash(hashed, chunk.columns), [ROW_HASH, CONTENT_HASH]
        scanned = hashed.select(*(column.name for column in self._columns), *hashes)
        if len(self._canaries) < CANARIES:
            self._canaries += scanned.select(self._keys).head(CANARIES_OF_A_CHUNK).rows()
        self._writer.write(scanned, self._columns)
        self.rows += scanned.height
        return too_long

    def finish(self) -> Scan:
        """Put the last file into the lake, and return the scan."""
        self._writer.close()
        return Scan(
            columns=tuple(self._columns),
            keys=tuple(self._keys),
            parts=tuple(self._writer.parts),
            prefix=self._prefix,
            row_id_column=self._row_id,
            longest_bytes=dict(self._writer.longest_bytes),
            canaries=tuple(self._canaries),
            carried=tuple(self._source_columns.values()) if self._is_deep else (),
        )

    def _refuse_incomparable(self) -> None:
        for column in self._ordered_keys:
            if column.type.kind not in COMPARABLE_KINDS:
                raise ConfigurationError(
                    f"a sweep cannot compare keys of type {column.type}",
                    place=self._stream.place,
                    remedy="declare a key of numbers, text or timestamps, or no sweep",
                )

    @property
    def _ordered_keys(self) -> list[Column]:
        return [self._key_columns[name] for name in self._keys if name in self._key_columns]

    @property
    def _columns(self) -> list[Column]:
        return [*self._ordered_keys, *row_id_columns(self._row_id)]
