"""The sessions of MySQL and MariaDB that read: their settings, and the transaction that keeps one snapshot."""

from __future__ import annotations

from typing import Any

from millrace.sources.mysql_values import UTF8

IDLE_SECONDS = 900
"""How long the server keeps the snapshot of a run that neither queries nor takes rows.

A paused read goes on after minutes, a frozen one does not hold its table for ever.
"""
LOCK_SECONDS = 60
"""How long a read waits for a table that somebody is altering."""
NO_LIMIT = 18_446_744_073_709_551_615
SETTINGS = (
    f"SET NAMES {UTF8}",
    "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES', time_zone = '+00:00', sql_auto_is_null = 0, lc_messages = 'en_US', "
    # The first of these three changes the second. DEFAULT would be what the server sets for everybody.
    f"max_join_size = {NO_LIMIT}, sql_big_selects = 1, sql_select_limit = {NO_LIMIT}, "
    f"group_concat_max_len = {2**32 - 1}, lock_wait_timeout = {LOCK_SECONDS}, "
    f"net_write_timeout = {IDLE_SECONDS}, wait_timeout = {IDLE_SECONDS}"
    f" /*M!100302 , idle_transaction_timeout = {IDLE_SECONDS}, idle_readonly_transaction_timeout = {IDLE_SECONDS} */"
    f" /*M!100202 , max_recursive_iterations = {2**32 - 1} */"
    " /*M!100304 , system_versioning_asof = DEFAULT */"
    " /*M!100303 , in_predicate_conversion_threshold = 0 */",
)
"""Settings on which values and the number of rows depend, and how long the server waits.

See docs/decisions/0014-sessions.md.

MariaDB would turn long lists of keys into tables, whose collations do not mix with the columns'.
"""
SNAPSHOT = (
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)

HELD_SECONDS = 3600
HELD = (
    f"SET SESSION wait_timeout = {HELD_SECONDS}"
    f" /*M!100302 , idle_transaction_timeout = {HELD_SECONDS}, idle_readonly_transaction_timeout = {HELD_SECONDS} */"
)
"""A setting of a session that keeps its snapshot while others are at work: the warehouse compares, or other tables are
read."""


def run(connection: Any, *statements: str) -> None:
    """Run statements one after the other."""
    with connection.cursor() as cursor:
        for statement_text in statements:
            cursor.execute(statement_text)


def fetch_row(connection: Any, query: str) -> Any:
    """Return the first row of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()
