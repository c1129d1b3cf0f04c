"""What a server of MySQL or MariaDB must be set to, so that its change log can be read, and where the log ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pymysql

from millrace.base.errors import ConfigurationError
from millrace.drivers.psycopg_errors import statement
from millrace.drivers.pymysql_errors import code_of
from millrace.sources.mysql_replica import DENIED, find_following

NEW_STATUS_SINCE = (8, 2)
"""The first version of MySQL that knows SHOW BINARY LOG STATUS; 8.4 does not know the former statement any more."""
BACKUPS_ON_RDS = "on RDS and Aurora, switch automated backups on"


@dataclass(frozen=True)
class MySQLLogServer:
    """A server whose log can be read."""

    is_mariadb: bool
    origin: str
    """Which server it is."""
    row_image: str
    """Which columns the log has of a changed row: ``FULL``, ``NOBLOB``, ``MINIMAL`` or ``FULL_NODUP``."""
    file: str
    end: int
    """Where the log ended when it was asked."""
    logged_schemas: frozenset[str]
    """The only databases whose changes are logged; empty: those of all that are not ``ignored_schemas``."""
    ignored_schemas: frozenset[str]

    @property
    def tells_end_of_snapshot(self) -> bool:
        """Whether the server tells which position of its log a snapshot shows, so that both are of one moment.

        Otherwise a snapshot that is taken after a position was reached may show later changes as well.
        """
        return self.is_mariadb

    def logs(self, schema: str) -> bool:
        """Return whether changes of tables of a database are logged."""
        return schema not in self.ignored_schemas and (not self.logged_schemas or schema in self.logged_schemas)


def check_server(control: Any, place: str) -> MySQLLogServer:
    """Return the server. Raises ConfigurationError, with what to set, if its log cannot be read."""
    with control.cursor() as cursor:
        cursor.execute(statement("mysql_log_server"))
        variables = {name.lower(): value for name, value in cursor.fetchall()}
    is_mariadb = "mariadb" in variables["version"].lower()
    _refuse_settings(variables, place, is_mariadb=is_mariadb)
    _refuse_silent_replica(control, variables, place)
    status = _fetch_status(control, variables, place, is_mariadb=is_mariadb)
    file, end, logged, ignored, *_ = status
    origin = (
        f"mariadb/{variables['server_id']}/{variables.get('gtid_domain_id', '')}"
        if is_mariadb
        else f"mysql/{variables.get('server_uuid', '')}"
    )
    schemas = (frozenset(filter(None, names.split(","))) for names in (logged, ignored))
    return MySQLLogServer(
        is_mariadb, origin, variables.get("binlog_row_image", "FULL").upper(), file, int(end), *schemas
    )


def _refuse_settings(variables: Mapping[str, str], place: str, *, is_mariadb: bool) -> None:
    def refuse(problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(problem, place=place, remedy=remedy)

    if variables["log_bin"].upper() not in {"ON", "1"}:
        raise refuse(
            "the server writes no change log (log_bin is OFF)",
            f"set log_bin and server_id in its configuration and restart it; {BACKUPS_ON_RDS} and "
            "CALL mysql.rds_set_configuration('binlog retention hours', 24)",
        )
    if variables["binlog_format"].upper() != "ROW":
        raise refuse(
            f"binlog_format is {variables['binlog_format']}: the log tells statements and not which rows changed",
            "SET GLOBAL binlog_format = 'ROW', and in its configuration; sessions that are open keep the former one; "
            "on RDS and Aurora set it in the parameter group",
        )
    if variables.get("binlog_row_value_options", ""):
        raise refuse(
            "binlog_row_value_options is PARTIAL_JSON: rows of such changes cannot be read",
            "SET GLOBAL binlog_row_value_options = '', and in its configuration",
        )
    if variables.get("binlog_transaction_compression", "OFF").upper() in {"ON", "1"}:
        raise refuse(
            "binlog_transaction_compression is ON, and compressed transactions cannot be read",
            "SET GLOBAL binlog_transaction_compression = OFF, and in its configuration",
        )
    if not is_mariadb and variables.get("gtid_mode", "").upper() != "ON":
        raise refuse(
            "gtid_mode is not ON: MySQL does not tell then when a change of its log is visible in a table",
            "set gtid_mode = ON and enforce_gtid_consistency = ON; on RDS and Aurora in the parameter group",
        )


def _refuse_silent_replica(control: Any, variables: Mapping[str, str], place: str) -> None:
    """Refuse a replica that does not log what it receives."""
    logs_received = variables.get("log_replica_updates", variables.get("log_slave_updates", "ON"))
    if logs_received.upper() in {"ON", "1"}:
        return
    with control.cursor() as cursor:
        cursor.execute(statement("mysql_running_statements"))
        _, has_appliers = cursor.fetchone()
        cursor.execute(statement("mysql_server"))
        of_replicas = {name.lower(): value for name, value in cursor.fetchall()}
    if find_following(control, of_replicas, has_appliers=bool(has_appliers)).unseen_because:
        raise ConfigurationError(
            "this server is a replica that does not log what it receives (log_slave_updates is OFF)",
            place=place,
            remedy="name the primary in the URL of the connection, or set log_slave_updates = ON and restart it",
        )


def _fetch_status(control: Any, variables: Mapping[str, str], place: str, *, is_mariadb: bool) -> tuple[Any, ...]:
    """Return file, position, and the databases that are logged and not logged."""
    version = tuple(int(digits) for digits in re.findall(r"\d+", variables["version"])[:2])
    is_new = not is_mariadb and version >= NEW_STATUS_SINCE
    right = "BINLOG MONITOR" if is_mariadb else "REPLICATION CLIENT"
    try:
        with control.cursor() as cursor:
            cursor.execute("SHOW BINARY LOG STATUS" if is_new else "SHOW MASTER STATUS")
            row: tuple[Any, ...] = cursor.fetchone()
    except pymysql.MySQLError as error:
        if code_of(error) not in DENIED:
            raise
        raise ConfigurationError(
            "the user of this connection may not ask where the change log ends",
            place=place,
            remedy=f"GRANT REPLICATION SLAVE, {right} ON *.* TO …",
        ) from None
    return row
