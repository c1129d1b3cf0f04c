"""Poolers between this program and a Postgres server: what may be shared by several clients, recognised and refused.

A pooler shows itself by the number of a server's process that it made up for its client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2

from millrace.base.errors import ConfigurationError
from millrace.drivers.session_settings import is_redshift


def refuse_shared_sessions(connection: Any, connect: Callable[[], Any], place: str) -> None:
    """Raise ConfigurationError where a client has the session of the server for a transaction or a statement only.

    Behind a pooler a second connection tells: it is given the session of the first, or the first is given another one.
    The connection is in no transaction, before and after.
    """
    if not _is_pooled(connection):
        return
    process = _find_process(connection)
    with closing(connect()) as second_connection:
        is_shared = process == _find_process(second_connection) or process != _find_process(connection)
    if is_shared:
        raise ConfigurationError(
            "a pooler in between gives every transaction another session (transaction pooling)",
            place=place,
            remedy="use the warehouse's own address, or session pooling: its temporary tables belong to a session",
        )


@contextmanager
def begin_transaction(connection: Any, connect: Callable[[], Any]) -> Iterator[None]:
    """Begin a transaction within this context.

    Raises ConfigurationError where a pooler has no transactions, which closes the connection of a client that begins
    one, and the error of the driver where the connection was lost.
    """
    is_pooled = _is_pooled(connection)
    try:
        yield
    except psycopg2.OperationalError:
        if is_pooled and connection.closed and _refuses_transactions(connect):
            raise ConfigurationError(
                "a pooler in between runs every statement in another session (statement pooling)",
                place="source",
                remedy="use transaction or session pooling, or the server's own address",
            ) from None
        raise


def _refuses_transactions(connect: Callable[[], Any]) -> bool:
    """Return whether a pooler answers single statements only, and closes the connection when a transaction begins.

    PgBouncer tells its client no reason. A connection that is lost at that moment looks the same once, but not twice.
    """
    with closing(connect()) as other:
        _find_process(other)
        other.autocommit = False
        try:
            with other.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.OperationalError:
            return bool(other.closed)
        return False


def _is_pooled(connection: Any) -> bool:
    return not is_redshift(connection) and _find_process(connection) != connection.info.backend_pid


def _find_process(connection: Any) -> int:
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_backend_pid()")
        return int(cursor.fetchone()[0])
