"""The order of steps that MySQL needs, which tells no position of a snapshot: on MariaDB, which has its statements but
one. MySQL itself was not there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from millrace.base.errors import RetryableError
from millrace.change_logs.binlog_changes import BinlogChanges, TableKey
from millrace.change_logs.binlog_keys import find_key_column
from millrace.change_logs.binlog_position import BinlogPosition
from millrace.change_logs.binlog_stream import LogEvent
from millrace.change_logs.binlog_transactions import GtidSet
from millrace.change_logs.mysql_server import check_server
from tests.support.engine import counts
from tests.support.mysql_logs import FollowedRows

SERVER = UUID("3e11fa47-71ca-11e1-9e33-c80aa9429562")


@pytest.fixture
def as_of_mysql(followed_rows: FollowedRows, monkeypatch: pytest.MonkeyPatch) -> FollowedRows:
    """The table, read in the order of MySQL. A function has the name of the one that MariaDB does not have."""
    monkeypatch.setattr(
        "millrace.change_logs.mysql_log.check_server", lambda *given: replace(check_server(*given), is_mariadb=False)
    )
    return followed_rows


def answer_the_wait(rows: FollowedRows, is_timed_out: int) -> None:
    rows.change(
        "CREATE OR REPLACE FUNCTION WAIT_FOR_EXECUTED_GTID_SET(gtids text, seconds int) RETURNS int "
        f"RETURN {is_timed_out}"
    )


async def test_changes_arrive_in_the_order_of_mysql(as_of_mysql: FollowedRows) -> None:
    answer_the_wait(as_of_mysql, 0)
    assert counts(await as_of_mysql.follow()) == {"read": 5, "inserted": 5}
    as_of_mysql.change("UPDATE {} SET id = 9 WHERE id = 1", "DELETE FROM {} WHERE id = 2")
    assert counts(await as_of_mysql.follow()) == {"read": 3, "inserted": 1, "deleted": 2}
    as_of_mysql.assert_equal()
    assert not await as_of_mysql.has_changed()
    as_of_mysql.change("DELETE FROM {} WHERE id = 3")
    answer_the_wait(as_of_mysql, 1)
    with pytest.raises(RetryableError, match="was not visible after 60 seconds"):
        await as_of_mysql.follow()


async def test_what_the_snapshot_shows_beyond_the_position_is_of_one_moment(
    as_of_mysql: FollowedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction changes a row that changed before the position as well, and one that did not."""
    answer_the_wait(as_of_mysql, 0)
    await as_of_mysql.follow()

    def wait_while_somebody_commits(*_: Any) -> None:
        as_of_mysql.change("UPDATE {} SET id = id + 10 WHERE id IN (8, 4)")

    as_of_mysql.change("UPDATE {} SET id = 8 WHERE id = 1")
    with monkeypatch.context() as patch:
        patch.setattr("millrace.change_logs.mysql_log.await_visible", wait_while_somebody_commits)
        await as_of_mysql.follow()
    as_of_mysql.assert_equal()
    assert counts(await as_of_mysql.follow()) == {"read": 4, "unchanged": 4}
    assert not await as_of_mysql.has_changed()


def make_event(kind: int, begin: int, body: bytes) -> LogEvent:
    return LogEvent(kind, "bin.000001", begin, begin + 10, 1_700_000_000, 1, 0, body, 7)


def say(text: str) -> bytes:
    return b"\x00" * 13 + b"\x00" + text.encode()


def test_a_transaction_of_mysql_begins_by_a_statement() -> None:
    """MariaDB tells by its GTID that a transaction begins; MySQL has BEGIN behind it."""
    column = find_key_column(0, "int", None)
    assert column is not None
    changes = BinlogChanges([TableKey("shop", "orders", [column])], BinlogPosition("bin.000001", 4))
    gtids = [b"\x01" + SERVER.bytes + number.to_bytes(8, "little") + b"\x02" * 17 for number in (5, 6, 9)]
    form = b"\x09" + b"\x00" * 7 + b"\x04shop\x00\x06orders\x00" + b"\x01\x03\x00\x00"
    row = b"\x09" + b"\x00" * 7 + b"\x02\x00" + b"\x01\xff\x00" + (42).to_bytes(4, "little")
    events: list[tuple[int, Any]] = [
        (33, gtids[0]), (2, say("BEGIN")), (19, form), (30, row), (16, b"\x00" * 8),
        (33, gtids[1]), (2, say("TRUNCATE TABLE `orders`")),
        (33, gtids[2]), (2, say("BEGIN")), (19, form), (32, row),
    ]  # fmt: skip
    for index, (kind, body) in enumerate(events):
        changes.add(make_event(kind, index * 10, body))
    assert changes.of(0, 0).select("is_deleted", "key 0").rows() == [(False, "42")]
    assert "TRUNCATE" in changes.find_gap(0, 0)
    # The third transaction has not ended: its delete does not count, and the position is before it.
    now = changes.transactions.list_ended()["committed_at"][0]
    assert str(changes.transactions.find_position(now)) == f"bin.000001:70;10;00000007;{SERVER}:6"
    assert str(changes.transactions.gtids) == f"{SERVER}:5-6:9-9"
    assert str(GtidSet()) == ""
