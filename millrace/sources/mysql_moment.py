"""Look at a server of MySQL or MariaDB before a snapshot is taken: its clock, open transactions, what it follows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pymysql
from pymysql.constants import ER

from millrace.base.zones import zones_other_than_utc
from millrace.drivers.psycopg_errors import statement
from millrace.drivers.pymysql_errors import code_of
from millrace.sources.mysql_replica import find_following
from millrace.sources.mysql_sessions import SNAPSHOT, fetch_row, run
from millrace.sources.position import SourceMoment, join_notes

LOOKS, BETWEEN_LOOKS_SECONDS = 15, 0.2
NOT_GRANTED = "grant PROCESS"
STALE = "another session reads information_schema.innodb_trx without a pause, so that it is not renewed"


def read_clock(connection: Any) -> datetime:
    """Return the time of the server now, in UTC."""
    moment: datetime = fetch_row(connection, "SELECT UTC_TIMESTAMP(6)")[0]
    return moment.replace(tzinfo=UTC)


def look_at_server(connection: Any, given_zone: str) -> SourceMoment:
    """Look at the server before the snapshot is taken.

    It looks at the clock, then at running statements, then at the server that this one follows, then at open
    transactions. ``given_zone`` is the time zone that the session had before it was set to UTC.
    """
    read_at = read_clock(connection)
    running, has_appliers = fetch_row(connection, statement("mysql_running_statements"))
    with connection.cursor() as cursor:
        cursor.execute(statement("mysql_server"))
        variables = {name.lower(): value for name, value in cursor.fetchall()}
    server = find_following(connection, variables, has_appliers=bool(has_appliers))
    oldest, oldest_writer, blind = _find_oldest_transactions(connection)
    return SourceMoment(
        read_at,
        min((start.replace(tzinfo=UTC) for start in (oldest, running) if start is not None), default=None),
        oldest_writer.replace(tzinfo=UTC) if oldest_writer else None,
        unseen_because=join_notes(server.unseen_because, blind),
        replayed_until=None if server.behind is None else read_at - server.behind,
        halted_because=server.halted_because,
        zones=_zones_of(variables, given_zone),
    )


def _find_oldest_transactions(connection: Any) -> tuple[datetime | None, datetime | None, str]:
    """Return when the oldest open transaction began, and the oldest that may write; and the reason if neither is seen.

    InnoDB renews its list of transactions only when nobody has asked for 0.1 s. A transaction of our own, which the
    next look replaces, is the marker: when the list has it, the list is current. It stays open between looks, so that
    one renewal serves all reads that wait for it.
    """
    run(connection, *SNAPSHOT)
    try:
        for _ in range(LOOKS):
            is_fresh, oldest, oldest_writer = fetch_row(connection, statement("mysql_open_transactions"))
            if is_fresh:
                return oldest, oldest_writer, ""
            # All who wait look at the same moments, so that the list has the pauses that it needs.
            time.sleep(BETWEEN_LOOKS_SECONDS - time.time() % BETWEEN_LOOKS_SECONDS)
    except pymysql.MySQLError as error:
        if code_of(error) != ER.SPECIFIC_ACCESS_DENIED_ERROR:
            raise
        return None, None, NOT_GRANTED
    return None, None, STALE


def _zones_of(variables: Mapping[str, str], given: str) -> tuple[str, ...]:
    """Return the time zones other than UTC that the server gives to sessions, by default and by its init_connect."""
    names = {variables["time_zone"], given}
    return zones_other_than_utc({variables["system_time_zone"] if name == "SYSTEM" else name for name in names})
