"""What a target really holds: its rows as typed frames, in bounded memory, whatever its stored hashes say.

Two ways out, by the dialect's capability: Redshift unloads Parquet into the lake, Postgres sends rows through the
connection, as it does as a source.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psycopg2

from millrace.base.disk import translate_full_disk
from millrace.base.errors import FatalError
from millrace.base.naming import quote
from millrace.base.redact import redact
from millrace.base.types import POSTGRES, Column, Kind, polars_type
from millrace.declaration.stream import Stream
from millrace.drivers.pipe import CHUNK_BYTES
from millrace.drivers.server_words import without_quoted
from millrace.hashes.content_hash import CONTENT_HASH, add_content_hash
from millrace.lake.formats import FORMATS
from millrace.lake.store import ObjectStore
from millrace.sources.postgres import PostgresDriver
from millrace.sources.postgres_values import render
from millrace.sources.rows import SourceColumn, decode
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.schema.widening import supertype
from millrace.warehouse.stage_statements import unload_to_lake

UNLOADED = "unload-"
"""How the files begin that Redshift unloads; its role may write no others."""
UNKNOWN = ""
"""The content hash of a row with a value that the source's type cannot hold: it is like no other."""


@dataclass(frozen=True)
class Contents:
    """Rows of ``relation`` (SQL, of a stream's target), as the ``columns`` that the target holds."""

    connection: Any
    dialect: Dialect
    store: ObjectStore
    iam_role: str
    prefix: str
    stream: Stream
    relation: str
    columns: tuple[Column, ...]

    def frames(self) -> Iterator[pl.DataFrame]:
        """All rows. On Postgres a row with a value that no column type of ours holds (an infinite date) is left out."""
        return self._unloaded() if self.dialect.copies_from_lake else self._sent()

    def hashes(self, keys: Sequence[str], wanted: Sequence[Column]) -> Iterator[pl.DataFrame]:
        """Key and content hash of all rows, made of the ``wanted`` columns in the types they have in the source."""
        held = {column.name: column for column in self.columns}
        present = [column for column in wanted if column.name in held]
        fitted = [_as_wanted(held[column.name], column) for column in present]
        misfits = [_misfit(held[column.name], column) for column in present]
        is_misfit = pl.any_horizontal(pl.lit(value=False), *misfits).alias("is misfit")
        for frame in self.frames():
            hashes = add_content_hash(frame.select(fitted), present)[CONTENT_HASH]
            misfit = frame.with_columns(is_misfit)["is misfit"]
            yield frame.select(keys).with_columns(hashes.set(misfit, UNKNOWN))

    def _sent(self) -> Iterator[pl.DataFrame]:
        columns = tuple(
            SourceColumn(column, render(quote(column.name), POSTGRES[column.type.kind].lower(), column.type.kind))
            for column in self.columns
        )
        query = f"SELECT {', '.join(column.rendered for column in columns)} FROM {self.relation} AS t"
        with closing(PostgresDriver().stream_csv(self.connection, query, CHUNK_BYTES)) as blocks:
            for block in blocks:
                yield decode(block, columns, self.stream).frame

    def _unloaded(self) -> Iterator[pl.DataFrame]:
        values = ", ".join(
            f"{quote(column.name)}::VARCHAR AS {quote(column.name)}"
            if column.type.kind is Kind.TIME
            else quote(column.name)
            for column in self.columns
        )
        query = f"SELECT {values} FROM {self.relation} AS t"
        files = f"{self.prefix}/{UNLOADED}"
        self._unload(query, files)
        for key in self.store.list_keys(files):
            with tempfile.TemporaryDirectory(prefix="millrace-") as directory, translate_full_disk(files):
                path = Path(directory) / "part.parquet"
                self.store.get_file(key, path)
                yield from FORMATS["parquet"].read(path, self.columns)

    def _unload(self, query: str, files: str) -> None:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(unload_to_lake(query, self.store.uri(files), self.iam_role))
        except psycopg2.InternalError as error:
            said = redact(without_quoted(f"{error.diag.message_primary} {error.diag.message_detail or ''}"))
            raise FatalError(
                f"UNLOAD failed: {said}",
                place=f"stream {self.stream.name}, {self.store.uri(files)}*",
                remedy="allow WAREHOUSE_IAM_ROLE s3:PutObject there (docs/security.md)",
            ) from None


def _as_wanted(held: Column, wanted: Column) -> pl.Expr:
    """The value in the kind that the source's hash is made of: a float's and a whole number's differ."""
    value = pl.col(held.name)
    if _is_of_one_form(held.type.kind, wanted.type.kind):
        return value
    return value.cast(polars_type(wanted.type), strict=False)


def _misfit(held: Column, wanted: Column) -> pl.Expr:
    """Whether the value is none that the source's type has."""
    value = pl.col(held.name)
    if supertype(held.type, wanted.type) is None:
        return pl.lit(value=True)
    if _is_of_one_form(held.type.kind, wanted.type.kind):
        return pl.lit(value=False)
    back = _as_wanted(held, wanted).cast(polars_type(held.type), strict=False)
    return (value.is_not_null() & (back.is_null() | (back != value))).fill_null(value=True)


_WHOLE = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.DECIMAL})
_FLOATS = frozenset({Kind.FLOAT32, Kind.FLOAT64})


def _is_of_one_form(one: Kind, other: Kind) -> bool:
    """Kinds whose equal values have equal hashes."""
    return one is other or {one, other} <= _WHOLE or {one, other} <= _FLOATS
