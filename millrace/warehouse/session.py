"""Connections to the warehouse: one per piece of work, and steps that are repeated when another session won."""

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
def session(connect: Callable[[], Any], place: str) -> Iterator[Any]:
    """A connection that is closed at the end, in a session of the server's own and with our settings; the driver's
    errors as ours, naming ``place``; of a lost connection the warehouse too, as the place of a stream names its
    source. Raises ConfigurationError where a pooler lends a session for a transaction only.
    """
    with database_errors(place), _losses(f"warehouse, {place}"):
        connection = connect()
        try:
            refuse_shared_sessions(connection, connect, place)
            settle_session(connection)
            yield connection
        finally:
            connection.close()


@contextmanager
def _losses(place: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        if isinstance(lost := translate(error, place), Unreachable):
            raise lost from None
        raise


def patiently(connection: Any, step: Callable[[], Done], place: str = "warehouse") -> Done:
    """Repeat a whole step when another session won, with a growing, random pause.

    Two loads that create the same schema at once conflict as well: whoever comes second finds it there.
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


def lock(connection: Any, table: str) -> None:
    """Begin a transaction that decides by what a table says (a name as it stands in SQL); it waits for its turn.

    LOCK is its first statement. After a query it would come too late: where one snapshot serves the whole transaction
    (Redshift, Postgres with REPEATABLE READ) the transaction would not see what another session committed meanwhile.
    Where the server can, it ends the session of a run that is frozen meanwhile, which would hold up all others.
    """
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table}")
        if not is_redshift(connection):
            cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = {LOCKED_IDLE_MILLISECONDS}")


def count(cursor: Any, question: str) -> int:
    """The number that a query gives."""
    cursor.execute(question)
    return int(cursor.fetchone()[0])


def analyze(cursor: Any, dialect: Dialect, table: str) -> None:
    """Count what a temporary table holds, where the server does not do it by itself: otherwise it takes a few rows for
    many, and reads a whole table to find their counterparts."""
    if dialect.analyzes:
        cursor.execute(f"ANALYZE {quote(table)}")
