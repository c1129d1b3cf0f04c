"""Find whether a MySQL server follows another server, and how far behind it is.

Rows that a replica receives got their times when they were written on the primary, whose open transactions the replica
does not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pymysql
from pymysql.constants import ER
from pymysql.cursors import DictCursor

from millrace.drivers.psycopg_errors import statement
from millrace.drivers.pymysql_errors import code_of

READ_ONLY = ("read_only", "super_read_only", "innodb_read_only")
CLUSTER_ADDRESS, GROUP_NAME = "wsrep_cluster_address", "group_replication_group_name"
STATUS_QUERIES = ("SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS", "SHOW SLAVE STATUS")
"""The query of MariaDB for all its sources, that of MySQL, and that of MySQL before 8.0.22."""
BEHIND = ("Seconds_Behind_Source", "Seconds_Behind_Master")
DENIED = frozenset({ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.ACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR})
REPLICA = "this server is read-only, as a replica is, and hides those of the primary"
LAG_UNKNOWN = (
    "this server is a replica, hides those of the primary and does not say how far behind it is; read from the "
    "primary, grant REPLICATION CLIENT (MariaDB: SLAVE MONITOR), or declare an overlap longer than its lag"
)
CLUSTER = "this server is one of a cluster, and hides those of the others"
HALTED = (
    "this server is a replica and replication is not running (see SHOW REPLICA STATUS; of one that was promoted, "
    "RESET REPLICA ALL)"
)


@dataclass(frozen=True)
class Following:
    """What a server says about the servers that it follows."""

    unseen_because: str = ""
    """Why transactions of other servers cannot be seen; '': the server follows none."""
    behind: timedelta | None = None
    """How far this server is behind; None: it does not say."""
    halted_because: str = ""
    """Why the server does not follow now; '': it does, or it follows none."""


def find_following(connection: Any, variables: Mapping[str, str], *, has_appliers: bool) -> Following:
    """Return what a server says about the servers that it follows.

    ``variables`` are its global variables; ``has_appliers`` tells whether threads of replication run.
    """
    is_read_only = any(_is_on(variables, name) for name in READ_ONLY)
    if is_read_only and "aurora_server_id" in variables:
        return _find_aurora_lag(connection)
    seconds = _fetch_seconds_behind(connection)
    if seconds is None and (is_read_only or has_appliers):
        return Following(LAG_UNKNOWN)
    if seconds:
        known_lags = [lag for lag in seconds if lag is not None]
        if len(known_lags) < len(seconds):
            return Following(REPLICA, halted_because=HALTED)
        return Following(REPLICA, timedelta(seconds=max(known_lags) + 1))
    if is_read_only:
        return Following(REPLICA)
    return Following(CLUSTER if _is_in_cluster(variables) else "")


def _is_in_cluster(variables: Mapping[str, str]) -> bool:
    """Return whether the server is a member of Galera or of group replication."""
    galera = _is_on(variables, "wsrep_on") and variables.get(CLUSTER_ADDRESS, "")
    return bool(galera or variables.get(GROUP_NAME, ""))


def _is_on(variables: Mapping[str, str], name: str) -> bool:
    """Return whether the server has a switch that is not off. Versions have several words for on."""
    return variables.get(name, "OFF").upper() not in {"OFF", "0"}


def _find_aurora_lag(connection: Any) -> Following:
    (row,) = _fetch_if_allowed(connection, statement("mysql_aurora_reader")) or [{"lag": None}]
    if row["lag"] is None:
        return Following(LAG_UNKNOWN)
    return Following(REPLICA, timedelta(milliseconds=float(row["lag"])))


def _fetch_seconds_behind(connection: Any) -> list[int | None] | None:
    """Return how far behind this server is for each server that it follows.

    An entry is None if the server does not follow that one now; the whole is None if this user may not ask.
    """
    for query in STATUS_QUERIES:
        try:
            rows = _fetch_if_allowed(connection, query)
        except pymysql.err.ProgrammingError as error:
            if code_of(error) != ER.PARSE_ERROR:
                raise
            continue
        return None if rows is None else [next(row[name] for name in BEHIND if name in row) for row in rows]
    return None


def _fetch_if_allowed(connection: Any, query: str) -> list[dict[str, Any]] | None:
    """Return the rows of a query; None if this user may not run it."""
    try:
        with connection.cursor(DictCursor) as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())
    except pymysql.MySQLError as error:
        if code_of(error) not in DENIED:
            raise
        return None
