"""The stand-in's objects in the database behind it: Redshift's system views and functions, and the load errors.

It has its own connection, so that a client's rollback does not remove the load errors.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from local.redshift.copy import LoadError
from millrace.base.sql_files import SQL_FILES

SQL_DIRECTORY = SQL_FILES / "standin"
DOMAIN = re.compile(r"pg_catalog\.varbyte_(\d+)")
INSTALL_LOCK = 5439


class StandInCatalog:
    """The system objects of one database."""

    def __init__(self, backend_url: str) -> None:
        self._url, self._lock = backend_url, threading.Lock()
        self._domains: set[int] = set()
        self._connection = psycopg2.connect(backend_url)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with self._lock:
            if self._connection.closed:
                self._connection = psycopg2.connect(self._url)
            with self._connection, self._connection.cursor() as cursor:
                yield cursor

    def install(self) -> None:
        """Create or replace every object; safe to repeat and to run twice at once."""
        with self._cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (INSTALL_LOCK,))
            for path in sorted(SQL_DIRECTORY.glob("*.sql")):
                cursor.execute(path.read_text(encoding="utf-8"))

    def ensure_domains(self, sql: str) -> None:
        """Create the VARBYTE domains that a rewritten statement names."""
        for length_bytes in {int(found) for found in DOMAIN.findall(sql)} - self._domains:
            with self._cursor() as cursor:
                cursor.execute("CALL standin.ensure_varbyte(%s)", (length_bytes,))
            self._domains.add(length_bytes)

    def next_query_id(self) -> int:
        """Return a new number for a COPY or UNLOAD."""
        with self._cursor() as cursor:
            cursor.execute("SELECT nextval('standin.query_id')")
            return int(cursor.fetchone()[0])

    def record(self, copy_id: int, table_id: int, failure: LoadError) -> None:
        """Keep a load error, also when the client's transaction is rolled back."""
        column = failure.column
        values = (
            copy_id, table_id, failure.file_name, failure.line_number, column.name if column else "",
            column.type if column else "", str(column.length_bytes or "") if column else "",
            failure.error_code, failure.context,
        )  # fmt: skip
        with self._cursor() as cursor:
            cursor.execute("CALL standin.record_load_error(%s, %s, %s, %s, %s, %s, %s, %s, %s)", values)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
