"""Staging: a batch's files into a temporary table of the session, with every row counted.

Two ways in, by the dialect's capability: Redshift copies from the lake by a manifest, Postgres is sent the rows.
What does not belong here: applying the stage to the target (loader.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import psycopg2

from millrace.errors import CountMismatch, FatalError, KeyViolation
from millrace.lake.batch import Batch, Part
from millrace.lake.store import ObjectStore
from millrace.redact import redact
from millrace.shape.row_hash import HASH_LENGTH
from millrace.types import Kind, text
from millrace.warehouse import statements
from millrace.warehouse.dialect import Dialect

_LOAD_ERRORS = (
    "SELECT file_name, line_number, column_name, error_code, error_message FROM sys_load_error_detail "
    "WHERE query_id = pg_last_copy_id() ORDER BY line_number LIMIT 5"
)


class Stage:
    """The stage of one batch on one connection (a transaction of its own: no lock is held while files load)."""

    def __init__(self, connection: Any, store: ObjectStore, dialect: Dialect, iam_role: str) -> None:
        self._connection, self._store, self._dialect, self._iam_role = connection, store, dialect, iam_role

    def fill(self, batch: Batch, keys: Sequence[str]) -> None:
        """Create the stage, load every part, check counts and keys; commits.

        Raises CountMismatch, KeyViolation, FatalError (what COPY refused, and where).
        """
        place = f"stream {batch.stream}, batch {batch.batch_id}"
        self._create(batch)
        copied = 0
        by_columns = sorted(batch.parts, key=lambda part: part.columns)
        for index, (columns, parts) in enumerate(groupby(by_columns, key=lambda part: part.columns)):
            copied += self._load(batch, index, columns, list(parts))
        if copied != batch.written:
            raise CountMismatch(
                f"{batch.written} rows were written and {copied} copied",
                place=place,
                remedy="nothing was committed; run again, and report it if it stays",
            )
        self._check_keys(keys, batch.identity, place)
        self._connection.commit()

    def _create(self, batch: Batch) -> None:
        hash_type = self._dialect.stage_type(text(HASH_LENGTH), HASH_LENGTH)
        with self._connection.cursor() as cursor:
            cursor.execute(statements.drop_temporary(statements.STAGE))
            cursor.execute(statements.create_stage(batch.columns, batch.longest_bytes, hash_type, self._dialect))

    def _load(self, batch: Batch, index: int, columns: Sequence[str], parts: Sequence[Part]) -> int:
        if self._dialect.copies_from_lake:
            return self._copy_from_lake(batch, index, columns, parts)
        return sum(self._send(batch, columns, part) for part in parts)

    def _copy_from_lake(self, batch: Batch, index: int, columns: Sequence[str], parts: Sequence[Part]) -> int:
        manifest_key = f"{batch.prefix}/copy-{index:03d}.manifest"
        self._store.put_bytes(copy_manifest(self._store, parts), manifest_key)
        command = statements.copy_from_lake(columns, self._store.uri(manifest_key), self._iam_role)
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(command)
            except psycopg2.InternalError as error:
                raise self._copy_failure(batch, error) from None
            cursor.execute("SELECT pg_last_copy_count()")
            return int(cursor.fetchone()[0])

    def _copy_failure(self, batch: Batch, error: psycopg2.Error) -> FatalError:
        """What the warehouse itself recorded about this very COPY."""
        self._connection.rollback()
        with self._connection.cursor() as cursor:
            cursor.execute(_LOAD_ERRORS)
            recorded = [" ".join(str(value).strip() for value in row) for row in cursor.fetchall()]
        problem = "; ".join(recorded) or f"{error.diag.message_primary} {error.diag.message_detail or ''}"
        return FatalError(
            f"COPY failed: {redact(problem)}",
            place=f"stream {batch.stream}, {self._store.uri(batch.prefix)}",
            remedy="look at the file and column named; the warehouse is unchanged",
        )

    def _send(self, batch: Batch, columns: Sequence[str], part: Part) -> int:
        kinds = {column.name: column.type.kind for column in batch.columns}
        sent = [_as_csv(name, kinds.get(name)) for name in columns]
        with tempfile.TemporaryDirectory(prefix="millrace-") as directory:
            path, rows = Path(directory) / "part.parquet", Path(directory) / "part.csv"
            self._store.get_file(part.key, path)
            pl.scan_parquet(path).select(sent).sink_csv(rows, include_header=False)
            with rows.open("rb") as file, self._connection.cursor() as cursor:
                cursor.copy_expert(statements.copy_from_client(columns), file)
                return int(cursor.rowcount)

    def _check_keys(self, keys: Sequence[str], identity: str, place: str) -> None:
        for question, problem in (
            (statements.count_null_keys(keys), "rows have a NULL in the key"),
            (statements.count_repeated_keys(keys, identity), "keys are repeated in the source"),
        ):
            with self._connection.cursor() as cursor:
                cursor.execute(question)
                count = cursor.fetchone()[0]
            if count:
                raise KeyViolation(
                    f"{count} {problem} ({', '.join(keys)})",
                    place=place,
                    remedy="declare a key that is unique and never NULL, or mend the source",
                )


def copy_manifest(store: ObjectStore, parts: Sequence[Part]) -> bytes:
    """Redshift's manifest; ``mandatory`` because a missing file is skipped silently otherwise."""
    entries = [
        {"url": store.uri(part.key), "mandatory": True, "meta": {"content_length": part.size_bytes}} for part in parts
    ]
    return orjson.dumps({"entries": entries})


def _as_csv(name: str, kind: Kind | None) -> pl.Expr:
    """A column in the form that Postgres reads; documents lie as bytes in the lake, for Redshift's sake."""
    value = pl.col(name)
    if kind is Kind.BINARY:
        return pl.concat_str(pl.lit("\\x"), value.bin.encode("hex")).alias(name)
    return value.cast(pl.String) if kind is Kind.DOCUMENT else value
