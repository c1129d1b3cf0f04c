"""Read the rows of a target as typed frames, in bounded memory, whatever its stored hashes say.

There are two ways, by the dialect's capability: Redshift unloads Parquet into the lake, Postgres sends rows through the
connection, as it does as a source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import polars as pl
import psycopg2

from millrace.base.disk import TemporaryFolder, translate_full_disk
from millrace.base.naming import quote
from millrace.base.types import POSTGRES, Column, Kind, polars_type
from millrace.declaration.stream import Stream
from millrace.drivers.pipe import CHUNK_BYTES
from millrace.hashes.content_hash import CONTENT_HASH, add_content_hash
from millrace.lake.formats import FORMATS
from millrace.lake.store import ObjectStore
from millrace.sources.postgres import PostgresDriver
from millrace.sources.postgres_values import render
from millrace.sources.rows import SourceColumn, decode
from millrace.warehouse.copy_errors import copy_error
from millrace.warehouse.schema.widening import supertype
from millrace.warehouse.stage_statements import unload_to_lake
from millrace.warehouse.target import Target

UNLOADED = "unload-"
"""The beginning of the names of files that Redshift unloads; its role may write no other files."""
UNKNOWN = ""
"""The content hash of a row with a value that the source's type cannot hold. It equals no other hash."""


@dataclass(frozen=True)
class Unloading:
    """Where and how Redshift unloads rows; not used on Postgres."""

    store: ObjectStore
    """The zone of the lake that it unloads into."""
    prefix: str
    """The first part of the keys of the files."""
    iam_role: str
    """The role with which Redshift writes there."""


@dataclass(frozen=True)
class Contents:
    """Reads the rows that the target of a stream has now."""

    connection: Any
    """The session that reads the rows."""
    target: Target
    """The target whose rows are read."""
    stream: Stream
    """The stream that is loaded into it."""
    relation: str
    """The relation that gives the rows, as SQL."""
    columns: tuple[Column, ...]
    """The columns to read, as the target has them."""
    unloading: Unloading
    """Where and how Redshift unloads the rows."""

    def read_frames(self) -> Iterator[pl.DataFrame]:
        """Yield all rows.

        On Postgres a row is left out if it has a value that no column type of Millrace holds, such as an infinite date.
        """
        return self._read_unloaded_files() if self.target.dialect.copies_from_lake else self._read_through_connection()

    def read_hashes(self, keys: Sequence[str], wanted: Sequence[Column]) -> Iterator[pl.DataFrame]:
        """Yield key and content hash of all rows.

        Hashes are made of the ``wanted`` columns, in the types that these have in the source.
        """
        stored = {column.name: column for column in self.columns}
        present = [column for column in wanted if column.name in stored]
        fitted = [_as_wanted(stored[column.name], column) for column in present]
        misfits = [_misfit(stored[column.name], column) for column in present]
        is_misfit = pl.any_horizontal(pl.lit(value=False), *misfits).alias("is misfit")
        for frame in self.read_frames():
            hashes = add_content_hash(frame.select(fitted), present)[CONTENT_HASH]
            misfit = frame.with_columns(is_misfit)["is misfit"]
            yield frame.select(keys).with_columns(hashes.set(misfit, UNKNOWN))

    def _read_through_connection(self) -> Iterator[pl.DataFrame]:
        columns = tuple(
            SourceColumn(column, render(quote(column.name), POSTGRES[column.type.kind].lower(), column.type.kind))
            for column in (Column(column.name, column.name, column.type) for column in self.columns)
        )
        query = f"SELECT {', '.join(column.rendered for column in columns)} FROM {self.relation} AS t"
        with closing(PostgresDriver().stream_csv(self.connection, query, CHUNK_BYTES)) as blocks:
            for block in blocks:
                yield decode(block, columns, self.stream).frame

    def _read_unloaded_files(self) -> Iterator[pl.DataFrame]:
        values = ", ".join(
            f"{quote(column.name)}::VARCHAR AS {quote(column.name)}"
            if column.type.kind is Kind.TIME
            else quote(column.name)
            for column in self.columns
        )
        query = f"SELECT {values} FROM {self.relation} AS t"
        files = f"{self.unloading.prefix}/{UNLOADED}"
        self._unload(query, files)
        for key in self.unloading.store.list_keys(files):
            with translate_full_disk(files), TemporaryFolder() as folder:
                path = folder / "part.parquet"
                self.unloading.store.get_file(key, path)
                yield from FORMATS["parquet"].read(path, self.columns)

    def _unload(self, query: str, files: str) -> None:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(unload_to_lake(query, self.unloading.store.uri(files), self.unloading.iam_role))
        except psycopg2.InternalError as error:
            place = f"stream {self.stream.name}, {self.unloading.store.uri(files)}*"
            raise copy_error(self.connection, error, "UNLOAD", place) from None


def _as_wanted(stored: Column, wanted: Column) -> pl.Expr:
    """Return the value in the kind from which the hash of the source is made: the hashes of 1 and 1.0 differ."""
    value = pl.col(stored.name)
    if _is_of_one_form(stored.type.kind, wanted.type.kind):
        return value
    return value.cast(polars_type(wanted.type), strict=False)


def _misfit(stored: Column, wanted: Column) -> pl.Expr:
    """Return the condition that the type of the source cannot hold the value."""
    value = pl.col(stored.name)
    if supertype(stored.type, wanted.type) is None:
        return pl.lit(value=True)
    if _is_of_one_form(stored.type.kind, wanted.type.kind):
        return pl.lit(value=False)
    back = _as_wanted(stored, wanted).cast(polars_type(stored.type), strict=False)
    return (value.is_not_null() & (back.is_null() | (back != value))).fill_null(value=True)


_WHOLE = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.DECIMAL})
_FLOATS = frozenset({Kind.FLOAT32, Kind.FLOAT64})


def _is_of_one_form(stored: Kind, wanted: Kind) -> bool:
    """Return whether equal values of two kinds have equal hashes."""
    return stored is wanted or {stored, wanted} <= _WHOLE or {stored, wanted} <= _FLOATS
