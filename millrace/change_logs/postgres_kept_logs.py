"""The logs that a Postgres server keeps for readers of Millrace: listed, and given up when a person asks by name."""

from __future__ import annotations

from contextlib import closing

from millrace.base.errors import ConfigurationError
from millrace.change_logs.reading import KeptLog
from millrace.change_logs.retention import Retention
from millrace.drivers.psycopg_errors import database_errors, statement
from millrace.sources.table_driver import Connect


def list_kept_slots(connect: Connect, own_slot: str, place: str) -> list[KeptLog]:
    """Return the slots of Millrace in a database; ``own_slot`` is the one of the pipeline that asks."""
    with database_errors(place), closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute(statement("postgres_log_slots"), ())
        rows = cursor.fetchall()
    return [
        KeptLog(
            place, name, name == own_slot, active, status or "lost", position or "", Retention(retained or 0, remaining)
        )
        for name, active, status, position, retained, remaining in rows
    ]


def drop_kept_slot(connect: Connect, kept: KeptLog) -> None:
    """Drop a slot, so that the server frees its log. Raises ConfigurationError while a session reads it."""
    if kept.is_active:
        raise ConfigurationError(
            f"a session reads replication slot {kept.slot}", place=kept.connection, remedy="end that run first"
        )
    with database_errors(kept.connection), closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_drop_replication_slot(%s)", (kept.slot,))
        connection.commit()
