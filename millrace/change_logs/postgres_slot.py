"""The replication slot that keeps the log for a reader: it is created, moved on and watched here.

The ledger is the position, never the slot: a slot forgets after a crash of its server, is moved by people and is lost
in a failover (docs/decisions/0024-change-logs.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg2

from millrace.base.errors import ConfigurationError, RetryableError
from millrace.change_logs.lsn import parse_lsn
from millrace.drivers.psycopg_errors import statement

PLUGIN = "pgoutput"
WAIT_SECONDS = 60
"""How long to wait for transactions that were open when a slot was created or a table was published."""
_QUERY_CANCELED = "57014"
_LOST = "lost"


@dataclass(frozen=True)
class Slot:
    """A replication slot as the server tells it."""

    plugin: str
    is_of_this_database: bool
    status: str
    """``reserved``, ``extended``, ``unreserved`` (the log may be removed at the next checkpoint) or ``lost``."""
    confirmed: str
    """The position up to which the server was told that the log is not needed any more."""
    retained_bytes: int
    """How much log the server keeps because of the slot."""
    safe_bytes: int | None
    """How much more log may be written before the slot is lost; None: there is no limit."""
    invalidated_because: str | None


def find_slot(connection: Any, name: str) -> Slot | None:
    """Return the slot with this name; None if there is none."""
    with connection.cursor() as cursor:
        cursor.execute(statement("postgres_log_slot"), {"slot": name})
        row = cursor.fetchone()
    return Slot(*row) if row else None


def ensure_slot(connection: Any, name: str, place: str) -> tuple[Slot, bool]:
    """Return the slot, and whether it was created now: then no earlier change is in its log.

    A slot that the server invalidated keeps no log and cannot be used again, so it is dropped and created again. Raises
    ConfigurationError when the name is taken by a slot of somebody else.
    """
    slot = find_slot(connection, name)
    if slot is not None and (slot.plugin != PLUGIN or not slot.is_of_this_database):
        raise ConfigurationError(
            f"replication slot {name} is of plugin {slot.plugin} or of another database",
            place=place,
            remedy="rename the pipeline, or drop that slot if nobody uses it (pg_drop_replication_slot)",
        )
    if slot is not None and (slot.status == _LOST or slot.invalidated_because):
        drop_slot(connection, name)
        slot = None
    if slot is not None:
        return slot, False
    _create(connection, name, place)
    created = find_slot(connection, name)
    if created is None:
        raise RetryableError(
            f"replication slot {name} was dropped as soon as it was created", place=place, remedy="run again"
        )
    return created, True


def advance(connection: Any, name: str, slot: Slot, position: str) -> None:
    """Tell the server that the log up to a position is not needed any more. A slot never goes back."""
    if parse_lsn(slot.confirmed) < parse_lsn(position):
        # It decodes what it passes, which may take longer than a role may wait, and keeps no progress when cancelled.
        _run_alone(connection, "0", "SELECT pg_replication_slot_advance(%s, %s)", (name, position))


def drop_slot(connection: Any, name: str) -> None:
    """Drop a slot: the server frees its log."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def _run_alone(connection: Any, timeout: str, query: str, parameters: tuple[str, ...]) -> None:
    """Run a statement in a transaction of its own, with this ``statement_timeout``.

    Behind a pooler a setting of the session would stay with the session of the server, which others use.
    """
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", (timeout,))
            cursor.execute(query, parameters)
        except psycopg2.Error:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def wait_until(is_reached: Callable[[], bool], seconds: float = WAIT_SECONDS) -> bool:
    """Ask again and again until the answer is yes, or the time is over. Return the last answer."""
    deadline = time.monotonic() + seconds
    while not is_reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def describe_open_transactions(connection: Any) -> str:
    """Return which sessions have been in a transaction for longest, in all databases, without their statements."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(format('process %s (user %s, database %s) since %s', pid, usename, datname, "
            "xact_start::timestamp(0)), ', ') FROM (SELECT pid, usename, datname, xact_start FROM "
            "pg_catalog.pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' ORDER BY xact_start LIMIT 3) AS oldest"
        )
        return cursor.fetchone()[0] or "sessions that this user may not see"


def _create(connection: Any, name: str, place: str) -> None:
    """Create the slot. The server waits until every transaction that is open now, in any database, has ended."""
    try:
        create = "SELECT pg_create_logical_replication_slot(%s, %s)"
        _run_alone(connection, str(WAIT_SECONDS * 1000), create, (name, PLUGIN))
    except psycopg2.Error as error:
        if error.pgcode != _QUERY_CANCELED:
            raise
        raise RetryableError(
            f"replication slot {name} waited {WAIT_SECONDS} seconds in vain for open transactions to end: "
            f"{describe_open_transactions(connection)}",
            place=place,
            remedy="end them, or run again when they have ended",
        ) from None
