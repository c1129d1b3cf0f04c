"""Create the ledger, and upgrade a ledger of an earlier version in place, by numbered files of SQL.

The ledger itself says which version it has. All files that it lacks are run in one transaction, so that a crash leaves
the version as it was; two runs that upgrade at once wait for each other (docs/decisions/0016-ledger-versions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg2

from millrace.base.errors import ConfigurationError
from millrace.drivers.psycopg_errors import INSUFFICIENT_PRIVILEGE, SQL_DIRECTORY
from millrace.warehouse.session import lock_table

STEPS = tuple(path.read_text(encoding="utf-8") for path in sorted((SQL_DIRECTORY / "ledger").glob("[0-9]*.sql")))
"""The SQL that upgrades the ledger from each version to the next, beginning with no ledger."""
VERSION = len(STEPS)
"""The version that this program reads and writes."""
LEDGER = "millrace.batches"
"""The table that every transaction locks before it writes the ledger."""

_TABLES_OF_VERSION_1 = frozenset({"leases", "columns", "rejects", "collected", "batches"})
_PLACE = "ledger (schema millrace of the warehouse)"


def read_version(connection: Any) -> int:
    """Return the version of the ledger in the warehouse; 0 when there is none, or not all of it.

    Raises ConfigurationError when it is newer than this program knows.
    """
    with connection.cursor() as cursor:
        # Also those that this user may not read: information_schema leaves them out, and the ledger would seem older.
        cursor.execute("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'millrace'")
        tables = {name for (name,) in cursor.fetchall()}
        if "version" not in tables:
            return 1 if tables >= _TABLES_OF_VERSION_1 else 0
        cursor.execute("SELECT coalesce(max(version), 1) FROM millrace.version")
        version = int(cursor.fetchone()[0])
    if version > VERSION:
        raise ConfigurationError(
            f"it has version {version}, and this program knows versions up to {VERSION}",
            place=_PLACE,
            remedy="run the version of Millrace that upgraded it, or a later one; an older one would overlook what "
            "the new tables say",
        )
    return version


def upgrade(connection: Any) -> None:
    """Create the ledger, or upgrade it to this program's version. Commits.

    Raises ConfigurationError when it is newer, or when the user has no right to change it; Conflict (of the driver)
    when another session creates it at the same moment.
    """
    found = read_version(connection)
    try:
        if 0 < found < VERSION:
            lock_table(connection, LEDGER)
            found = read_version(connection)
        if found < VERSION:
            _run(connection, STEPS[found:])
        connection.commit()
    except psycopg2.Error as error:
        if error.pgcode != INSUFFICIENT_PRIVILEGE:
            raise
        raise _not_allowed(error, found) from None


def _run(connection: Any, steps: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        # It is not sent where the schema is there: IF NOT EXISTS needs the right to create schemas all the same.
        cursor.execute("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'millrace'")
        if cursor.fetchone() is None:
            cursor.execute("CREATE SCHEMA IF NOT EXISTS millrace")
        for step in steps:
            cursor.execute(step)
        cursor.execute("INSERT INTO millrace.version (version, since) VALUES (%s, %s)", (VERSION, datetime.now(UTC)))


def _not_allowed(error: psycopg2.Error, found: int) -> ConfigurationError:
    done = f"be upgraded from version {found} to {VERSION}" if found else "be made"
    return ConfigurationError(
        f"it must {done}, and the user of this connection may not do that ({error.diag.message_primary})",
        place=_PLACE,
        remedy="run any stream once as the user that owns the schema millrace, or make this user its owner",
    )
