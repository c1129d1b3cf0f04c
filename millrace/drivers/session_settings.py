"""Session settings that values and results depend on, of servers that speak Postgres's protocol.

A server, a database, a role or the machine where a run is may set them for every session; none of that must show in
what is read or written, so that every session of ours sets them all (docs/decisions/0014-sessions.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENCODING = "UTF8"
NOTHING_ELSE = "pg_catalog, pg_temp"
"""The schemas in which names that stand alone are looked for. Nobody but the owner of the server can put an operator, a
function or a type there that would take the place of one of the server."""

_POSTGRES_VALUES: Mapping[str, str] = {
    "search_path": NOTHING_ELSE,
    "DateStyle": "'ISO, MDY'",
    "IntervalStyle": "'iso_8601'",
    "TimeZone": "'UTC'",
    "extra_float_digits": "1",
    "bytea_output": "'hex'",
    "xmlbinary": "'base64'",
    "xmloption": "'content'",
    "standard_conforming_strings": "on",
    "backslash_quote": "'safe_encoding'",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    # A limit of rows that an index may give.
    "gin_fuzzy_search_limit": "0",
    # Postgres refuses a query from which a policy would take rows away.
    "row_security": "off",
}
MINUTE = 60_000
"""A minute in milliseconds, as Postgres counts."""

SOURCE: Mapping[str, str] = {
    **_POSTGRES_VALUES,
    "statement_timeout": f"{30 * MINUTE}",
    "lock_timeout": f"{MINUTE}",
    # A frozen run must not hold its table for ever; a run that is slow, or short of memory, takes rows every few
    # minutes. The first counts between two statements, the second while rows are on their way.
    "idle_in_transaction_session_timeout": f"{15 * MINUTE}",
    "tcp_user_timeout": f"{15 * MINUTE}",
    "transaction_timeout": "0",
    # By it other reads know that this transaction writes nothing (postgres_open_transactions.sql).
    "application_name": "'millrace read'",
}
"""The settings of a transaction that reads a source."""

POSTGRES_WAREHOUSE: Mapping[str, str] = {
    **_POSTGRES_VALUES,
    "lock_timeout": f"{5 * MINUTE}",
    # A comparison is idle while the source is read, whose statements may take half an hour.
    "idle_in_transaction_session_timeout": f"{60 * MINUTE}",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
"""The settings of a session in a Postgres warehouse."""

REDSHIFT_WAREHOUSE: Mapping[str, str] = {
    "search_path": NOTHING_ELSE,
    "datestyle": "'ISO, MDY'",
    "timezone": "'UTC'",
    "extra_float_digits": "2",
    # Else JSON_PARSE makes NULL of what it cannot read.
    "parse_super_null_on_error": "false",
    # Else JSON_PARSE refuses an object in which a name stands twice; the last one counts, as in Postgres and MySQL.
    "json_parse_dedup_attributes": "true",
}
"""The settings of a session in Redshift, which has none of the others: no timeout of locks, no end of idle
transactions."""

_SINCE = {"tcp_user_timeout": 120_000, "idle_session_timeout": 140_000, "transaction_timeout": 170_000}
"""The first version of the server that knows a setting."""
_PARAMETERS_ARE_GRANTED = 150_000
_OLDEST_POSTGRES = 90_000
"""The oldest version that Postgres has here. Redshift reports the version 8.0."""


def is_redshift(connection: Any) -> bool:
    """Return whether the server at the other end of a psycopg2 connection is Redshift."""
    return bool(connection.server_version < _OLDEST_POSTGRES)


def settle_session(connection: Any) -> None:
    """Set what a session of a warehouse needs, until the session ends.

    The connection is in no transaction, before and after.
    """
    settings = REDSHIFT_WAREHOUSE if is_redshift(connection) else POSTGRES_WAREHOUSE
    _set_encoding(connection)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_statements(connection, settings, "SET"))
        if settings is POSTGRES_WAREHOUSE:
            _ask_for_english(connection, cursor, is_local=False)
    connection.autocommit = False


def begin_reading(connection: Any, isolation_level: str, snapshot: str = "") -> None:
    """Begin a transaction that reads a source, with all settings that it needs.

    With ``snapshot`` it sees what another transaction sees, which exported a snapshot under this name.
    They are set for this transaction alone: behind a pooler the next one may be in another session of the server.
    """
    connection.rollback()
    _set_encoding(connection)
    connection.set_session(isolation_level=isolation_level, readonly=True, autocommit=False)
    with connection.cursor() as cursor:
        if snapshot:
            cursor.execute("SET TRANSACTION SNAPSHOT %s", (snapshot,))
        cursor.execute(_statements(connection, SOURCE, "SET LOCAL"))
        _ask_for_english(connection, cursor, is_local=True)


def _ask_for_english(connection: Any, cursor: Any, *, is_local: bool) -> None:
    """Ask for messages in the language that server_words.py knows, where this user may choose it."""
    may = (
        "has_parameter_privilege('lc_messages', 'SET')"
        if connection.server_version >= _PARAMETERS_ARE_GRANTED
        else ("current_setting('is_superuser')::boolean")
    )
    cursor.execute(f"SELECT set_config('lc_messages', 'C', {is_local}) WHERE {may}")


def _set_encoding(connection: Any) -> None:
    # The driver must know it too. It asks the server only where the encoding is another one.
    connection.set_client_encoding(ENCODING)


def _statements(connection: Any, settings: Mapping[str, str], verb: str) -> str:
    supported = {name: value for name, value in settings.items() if connection.server_version >= _SINCE.get(name, 0)}
    return "; ".join(f"{verb} {name} = {value}" for name, value in supported.items())
