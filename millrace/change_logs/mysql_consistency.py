"""How a snapshot and a position in the log are brought together: MariaDB tells it, MySQL is waited for."""

from __future__ import annotations

from typing import Any

from millrace.base.errors import RetryableError
from millrace.change_logs.binlog_transactions import GtidSet

WAIT_SECONDS = 60


def find_end_of_snapshot(connection: Any) -> tuple[str, int]:
    """Return file and position up to which the snapshot of a MariaDB connection shows the log, and nothing beyond."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW STATUS LIKE 'binlog_snapshot_%'")
        status = {name.lower(): value for name, value in cursor.fetchall()}
    return status["binlog_snapshot_file"], int(status["binlog_snapshot_position"])


def await_visible(control: Any, gtids: GtidSet, place: str) -> None:
    """Wait until every transaction of a set is visible in MySQL, whose log tells it before its tables do."""
    with control.cursor() as cursor:
        cursor.execute("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", (str(gtids), WAIT_SECONDS))
        (is_timed_out,) = cursor.fetchone()
    if is_timed_out:
        raise RetryableError(
            f"a transaction of the change log was not visible after {WAIT_SECONDS} seconds: its commit waits, as for a "
            "replica that does not answer",
            place=place,
            remedy="see that the replicas of the server answer, and run again",
        )
