"""Connections to the warehouse, one for each piece of work, and steps that are repeated after a conflict."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg2

from millrace.base.errors import Conflict, Unreachable
from millrace.base.naming import quote
from millrace.drivers.poolers import refuse_shared_sessions
from millrace.drivers.psycopg_errors import database_errors, translate
from millrace.drivers.session_settings import MINUTE, is_redshift, settle_session
from millrace.warehouse.dialect import Dialect

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.2
LOCKED_IDLE_MILLISECONDS = 2 * MINUTE
JITTER = random.SystemRandom()
Done = TypeVar("Done")


@contextmanager
def open_session(connect: Callable[[], Any], place: str) -> Iterator[Any]:
    """Open a connection with the settings of a load, and close it at the end.

    Errors of the driver become errors of Millrace that name ``place``; a lost connection names the warehouse too,
    because the place of a stream names its source. Raises ConfigurationError if a pooler gives a session for one
    transaction only.
    """
    with database_errors(place), _name_lost_warehouse(f"warehouse, {place}"):
        connection = connect()
        try:
            refuse_shared_sessions(connection, connect, place)
            settle_session(connection)
            yield connection
        finally:
            connection.close()


@contextmanager
def _name_lost_warehouse(place: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        if isinstance(lost := translate(error, place), Unreachable):
            raise lost from None
        raise


def retry_on_conflict(connection: Any, step: Callable[[], Done], place: str = "warehouse") -> Done:
    """Repeat a whole step when another session caused a conflict, with a growing, random pause.

    Two loads that create the same schema at once conflict as well: the second one finds it when it repeats.
    """
    for attempt in range(ATTEMPTS):
        try:
            with database_errors(place):
                return step()
        except Conflict:
            connection.rollback()
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(JITTER.uniform(0.5, 1.5) * FIRST_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def lock_table(connection: Any, table: str) -> None:
    """Begin a transaction that locks a table before it reads it, and wait until others have ended.

    LOCK is its first statement. After a query it would come too late: where one snapshot serves the whole transaction
    (Redshift, Postgres with REPEATABLE READ) the transaction would not see what another session committed meanwhile.
    ``table`` is the name as it stands in SQL. If the server can, it ends the session of a run that is frozen meanwhile,
    which would hold up all others.
    """
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table}")
        if not is_redshift(connection):
            cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = {LOCKED_IDLE_MILLISECONDS}")


def fetch_count(cursor: Any, query: str) -> int:
    """Return the number that a query gives."""
    cursor.execute(query)
    return int(cursor.fetchone()[0])


def analyze_temporary(cursor: Any, dialect: Dialect, table: str) -> None:
    """Let the server analyze a temporary table, if it does not do that by itself.

    Otherwise it takes a few rows for many, and reads a whole table to find their counterparts.
    """
    if dialect.analyzes:
        cursor.execute(f"ANALYZE {quote(table)}")
