"""Let all entries of a stream in the ledger go by another name."""

from __future__ import annotations

from typing import Any

from millrace.warehouse.ledger.lease import LEASES
from millrace.warehouse.ledger.ledger import OF_STREAM, Ledger
from millrace.warehouse.session import lock_table

TABLES = {
    "batches": "stream",
    "columns": "stream",
    "rejects": "stream",
    "collected": "stream",
    "sources": "stream",
    "pauses": "stream",
    "selections": "stream",
    "logs": "stream",
    "forms": "member",
}
"""Tables of the ledger with entries of streams, and the column of each that names the stream."""


def find_target(ledger: Ledger, pipeline: str, stream: str) -> str:
    """Return ``schema.table`` of the target into which the newest batch of a stream was applied; '' if none was."""
    row = ledger.fetch_first(
        f"SELECT target FROM millrace.batches WHERE {OF_STREAM} ORDER BY token DESC, applied_at DESC LIMIT 1",
        (pipeline, stream),
    )
    return str(row[0]) if row else ""


def rename_entries(ledger: Ledger, pipeline: str, old: str, new: str, target: str) -> None:
    """Rename all entries but the lease. The caller locked the ledger, and commits."""
    with ledger.connection.cursor() as cursor:
        for name, column in TABLES.items():
            cursor.execute(
                f"UPDATE millrace.{name} SET {column} = %s WHERE pipeline = %s AND {column} = %s", (new, pipeline, old)
            )
        # The stream of a wildcard has the name that the declaration gives it now.
        cursor.execute(f"DELETE FROM millrace.found_streams WHERE {OF_STREAM}", (pipeline, old))
        cursor.execute(f"UPDATE millrace.batches SET target = %s WHERE {OF_STREAM}", (target, pipeline, new))


def rename_lease(connection: Any, pipeline: str, old: str, new: str) -> None:
    """Let the lease go by the new name, so that tokens go on. Commits."""
    lock_table(connection, LEASES)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM millrace.leases WHERE {OF_STREAM}", (pipeline, new))
        cursor.execute(f"UPDATE millrace.leases SET stream = %s WHERE {OF_STREAM}", (new, pipeline, old))
    connection.commit()
