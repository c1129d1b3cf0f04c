"""txns.csv → Postgres ``public.transactions``: COPY in one transaction, each file once."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from psycopg2 import sql

from millrace.base.sql_files import SQL_FILES
from millrace.drivers.psycopg_errors import database_errors
from millrace.lake.store import ObjectStore
from millrace.seed_data.stori.outcome import Outcome, keep_rejects, sha256_of
from millrace.seed_data.stori.transaction_file import read_transactions

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 (classes that are spelled small)
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

PLACE = "postgres public.transactions"
SOURCE_SQL = SQL_FILES / "stori" / "source.sql"

_CLAIM = """
INSERT INTO public.imported_files (sha256, name, rows, rejected, rejects_key) VALUES (%s, %s, 0, 0, '')
ON CONFLICT (sha256) DO NOTHING
"""
_COUNT = "UPDATE public.imported_files SET rows = %s, rejected = %s, rejects_key = %s WHERE sha256 = %s"
_EARLIER = "SELECT rows, rejected, rejects_key FROM public.imported_files WHERE sha256 = %s"


def install_source(connection: Connection) -> None:
    """Create the tables of the source, where they are missing. Raises the errors of millrace.drivers.psycopg_errors."""
    with database_errors(PLACE), connection, connection.cursor() as cursor:
        cursor.execute(SOURCE_SQL.read_text(encoding="utf-8"))


def import_transactions(connection: Connection, path: Path, store: ObjectStore) -> Outcome:
    """Import a file that was not imported before; one that was counts as unchanged.

    Memory does not grow with the file. Rejected records go to the landing zone before the others are committed, so
    none can be lost. Of imports of the same file at the same time one waits for the other. Raises ConfigurationError
    when the file is not a CSV of transactions (nothing is imported then) and the errors of millrace.drivers.
    psycopg_errors.
    """
    sha256 = sha256_of(path)
    with database_errors(PLACE), connection, connection.cursor() as cursor:
        cursor.execute(_CLAIM, (sha256, path.name))
        if cursor.rowcount == 0:
            cursor.execute(_EARLIER, (sha256,))
            rows, rejected, key = cursor.fetchone()
            return Outcome(path.name, unchanged=rows, rejected=rejected, rejects_key=key)
        outcome = _copy_file(cursor, path, store, sha256)
        cursor.execute(_COUNT, (outcome.imported, outcome.rejected, outcome.rejects_key, sha256))
    return outcome


def _copy_file(cursor: Cursor, path: Path, store: ObjectStore, sha256: str) -> Outcome:
    imported = rejected = 0
    with tempfile.TemporaryDirectory() as directory:
        rejects = Path(directory) / "rejects.ndjson"
        with rejects.open("wb") as kept:
            for piece in read_transactions(path):
                copy_transactions(cursor, piece.accepted)
                piece.rejects.insert_column(0, pl.lit(path.name).alias("file")).write_ndjson(kept)
                imported, rejected = imported + len(piece.accepted), rejected + len(piece.rejects)
        key = keep_rejects(rejects, store, "transactions", sha256)
    return Outcome(path.name, imported=imported, rejected=rejected, rejects_key=key)


def copy_transactions(cursor: Cursor, records: pl.DataFrame) -> None:
    """COPY typed records into the table; the database adds key and stamps. NULL and '' stay apart."""
    columns = sql.SQL(", ").join(map(sql.Identifier, records.columns))
    statement = sql.SQL("COPY public.transactions ({}) FROM STDIN (FORMAT csv)").format(columns)
    text = io.BytesIO()
    records.write_csv(text, include_header=False)
    text.seek(0)
    cursor.copy_expert(statement, text)
