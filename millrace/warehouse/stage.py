"""Staging: load files of the lake into temporary tables of the session, and count every row.

There are two ways, by the dialect's capability: Redshift copies from the lake by a manifest, Postgres gets the rows
through the connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson
import polars as pl
import psycopg2

from millrace.base.disk import TemporaryFolder, translate_full_disk
from millrace.base.errors import CountMismatch, KeyViolation
from millrace.base.naming import ROW_HASH, VERSION_HASH
from millrace.base.types import Column, Kind, row_id_columns, text
from millrace.declaration.load_mode_base import VERSION_HASH_COLUMN
from millrace.hashes.content_hash import CONTENT_HASH
from millrace.hashes.row_hash import HASH_LENGTH
from millrace.lake.batch import Batch, Part
from millrace.lake.store import ObjectStore
from millrace.warehouse import stage_statements
from millrace.warehouse.copy_errors import copy_error
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.distribution import distribution_of_batch
from millrace.warehouse.session import analyze_temporary, retry_on_conflict
from millrace.warehouse.statements import drop_temporary
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class Files:
    """Files of the lake that are loaded into one temporary table."""

    table: str
    """Name of the temporary table."""
    columns: Sequence[Column]
    """Its columns."""
    parts: Sequence[Part]
    """The files."""
    longest_bytes: Mapping[str, int]
    """The length of the longest value of every text, binary and document column."""
    prefix: str
    """The first part of the keys of COPY's manifests."""
    place: str
    """How errors name the batch."""
    distribution: str = ""
    """The clause that distributes its rows over nodes; '': the warehouse decides."""


HASH_BYTES = {ROW_HASH: HASH_LENGTH, VERSION_HASH: HASH_LENGTH, CONTENT_HASH: HASH_LENGTH}
HASH_COLUMN = Column(ROW_HASH, ROW_HASH, text(HASH_LENGTH))


def files_of(batch: Batch, target: Target) -> list[Files]:
    """Return the files of a batch, grouped by the temporary table that they are loaded into."""
    key_columns = [column for column in batch.columns if column.name in target.keys]
    root_columns = [column for column in batch.columns if column.name in target.derivation.root_columns]
    place = f"{target.place}, batch {batch.batch_id}"
    hashes = [HASH_COLUMN, *(column for column in target.trailing if column == VERSION_HASH_COLUMN)]
    tables = (
        (target.temporary.stage, [*batch.columns, *row_id_columns(batch.row_id_column), *hashes], batch.files.rows),
        (target.temporary.deleted_keys, key_columns, batch.files.deletes),
        (target.temporary.root_keys, root_columns, batch.files.root_keys),
        (target.temporary.sample, [*key_columns, HASH_COLUMN], batch.files.sample),
    )
    by_key = {target.temporary.stage, target.temporary.deleted_keys, target.temporary.sample}
    return [
        Files(
            table,
            columns,
            parts,
            batch.files.longest_bytes,
            batch.files.prefix,
            place,
            distribution_of_batch(target, sum(part.rows for part in parts)) if table in by_key else "",
        )
        for table, columns, parts in tables
        if parts
    ]


class Stage:
    """Fills temporary tables of one connection, each in its own transaction: no lock is held while files load."""

    def __init__(self, connection: Any, store: ObjectStore, dialect: Dialect, iam_role: str) -> None:
        self._connection, self._store, self._dialect, self._iam_role = connection, store, dialect, iam_role

    def fill(self, files: Files) -> None:
        """Create the table, load every file and check the count; commits.

        Raises CountMismatch, FatalError with what COPY refused, and RetryableError where that passes by itself.
        """
        retry_on_conflict(self._connection, lambda: self._fill(files), files.place)

    def _fill(self, files: Files) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(drop_temporary(files.table))
            cursor.execute(
                stage_statements.create_stage(
                    files.table, files.columns, {**files.longest_bytes, **HASH_BYTES}, self._dialect, files.distribution
                )
            )
        copied = 0
        by_columns = sorted(files.parts, key=lambda part: part.columns)
        for index, (columns, parts) in enumerate(groupby(by_columns, key=lambda part: part.columns)):
            copied += self._load(files, index, columns, list(parts))
        written = sum(part.rows for part in files.parts)
        if copied != written:
            raise CountMismatch(
                f"{written} rows were written and {copied} copied",
                place=files.place,
                remedy="nothing was committed; run again, and report it if it stays",
            )
        with self._connection.cursor() as cursor:
            analyze_temporary(cursor, self._dialect, files.table)
        self._connection.commit()

    def check_keys(
        self, files: Files, keys: Sequence[str], row_id_column: str, *, is_unique: bool = True, is_model: bool = False
    ) -> None:
        """Raise KeyViolation when a key is NULL.

        With ``is_unique`` it is also raised when a key belongs to two rows of the source, or to two rows that the
        function of a model gave.
        """
        given, remedy = (
            (
                "what its function gives",
                "let the function give one row per key, or declare a key that is unique and never NULL",
            )
            if is_model
            else ("the source", "declare a key that is unique and never NULL, or fix the source")
        )
        questions = [(stage_statements.count_null_keys(files.table, keys), "rows have a NULL in the key")]
        if is_unique:
            repeated = stage_statements.count_repeated_keys(files.table, keys, row_id_column)
            questions.append((repeated, f"keys are repeated in {given}"))
        for question, problem in questions:
            with self._connection.cursor() as cursor:
                cursor.execute(question)
                count = cursor.fetchone()[0]
            if count:
                raise KeyViolation(
                    f"{count} {problem} ({', '.join(keys)})",
                    place=files.place,
                    remedy=remedy,
                )

    def _load(self, files: Files, index: int, columns: Sequence[str], parts: Sequence[Part]) -> int:
        if self._dialect.copies_from_lake:
            return self._copy_from_lake(files, index, columns, parts)
        return sum(self._send(files, columns, part) for part in parts)

    def _copy_from_lake(self, files: Files, index: int, columns: Sequence[str], parts: Sequence[Part]) -> int:
        manifest_key = f"{files.prefix}/copy-{files.table}-{index:03d}.manifest"
        self._store.put_bytes(copy_manifest(self._store, parts), manifest_key)
        command = stage_statements.copy_from_lake(files.table, columns, self._store.uri(manifest_key), self._iam_role)
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(command)
            except psycopg2.InternalError as error:
                place = f"{files.place}, {self._store.uri(files.prefix)}"
                raise copy_error(self._connection, error, "COPY", place) from None
            cursor.execute("SELECT pg_last_copy_count()")
            return int(cursor.fetchone()[0])

    def _send(self, files: Files, columns: Sequence[str], part: Part) -> int:
        kinds = {column.name: column.type.kind for column in files.columns}
        sent = [_as_csv(name, kinds.get(name)) for name in columns]
        with TemporaryFolder() as directory:
            path, rows = directory / "part.parquet", directory / "part.csv"
            with translate_full_disk(files.place):
                self._store.get_file(part.key, path)
                pl.scan_parquet(path).select(sent).sink_csv(rows, include_header=False)
            with rows.open("rb") as file, self._connection.cursor() as cursor:
                cursor.copy_expert(stage_statements.copy_from_client(files.table, columns), file)
                return int(cursor.rowcount)


def copy_manifest(store: ObjectStore, parts: Sequence[Part]) -> bytes:
    """Return the manifest for COPY. Files are ``mandatory``, because COPY skips a missing file silently otherwise."""
    entries = [
        {"url": store.uri(part.key), "mandatory": True, "meta": {"content_length": part.size_bytes}} for part in parts
    ]
    return orjson.dumps({"entries": entries})


def _as_csv(name: str, kind: Kind | None) -> pl.Expr:
    """Return a column in the form that Postgres reads. Documents are bytes in the lake, because Redshift needs that."""
    value = pl.col(name)
    if kind is Kind.BINARY:
        return pl.concat_str(pl.lit("\\x"), value.bin.encode("hex")).alias(name)
    return value.cast(pl.String) if kind is Kind.DOCUMENT else value
