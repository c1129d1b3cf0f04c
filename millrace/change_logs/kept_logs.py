"""The logs that a Postgres server keeps for readers of Millrace: listed, and given up when a person asks by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from millrace.base.errors import ConfigurationError
from millrace.drivers.psycopg_errors import database_errors, statement


@dataclass(frozen=True)
class KeptLog:
    """A replication slot, and the log that the server keeps because of it."""

    connection: str
    """The source, as a stream names it."""
    slot: str
    """Its name."""
    is_own: bool
    """Whether runs of the pipeline read it, with the warehouse that it has now. Another one may be of another pipeline
    or warehouse, or nobody reads it any more."""
    is_active: bool
    """Whether a session reads it now."""
    status: str
    """``reserved``, ``extended``, ``unreserved`` (the log may be removed soon) or ``lost``."""
    position: str
    """Up to here the server was told that the log is not needed any more."""
    retained_bytes: int
    """How much log the server keeps because of it."""
    remaining_bytes: int | None
    """How much more log may be written before it is lost; None: there is no limit."""


def list_kept_logs(connect: Callable[[], Any], own_slot: str, place: str) -> list[KeptLog]:
    """Return the slots of Millrace in a database; ``own_slot`` is the one of the pipeline that asks."""
    with database_errors(place), closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute(statement("postgres_log_slots"), ())
        rows = cursor.fetchall()
    return [
        KeptLog(place, name, name == own_slot, active, status or "lost", position or "", retained or 0, safe)
        for name, active, status, position, retained, safe in rows
    ]


def drop_kept_log(connect: Callable[[], Any], kept: KeptLog) -> None:
    """Drop a slot, so that the server frees its log. Raises ConfigurationError while a session reads it."""
    if kept.is_active:
        raise ConfigurationError(
            f"a session reads replication slot {kept.slot}", place=kept.connection, remedy="end that run first"
        )
    with database_errors(kept.connection), closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_drop_replication_slot(%s)", (kept.slot,))
        connection.commit()
