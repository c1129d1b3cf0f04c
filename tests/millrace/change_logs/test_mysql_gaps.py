"""What the change log of MariaDB does not tell, or not any more: the table is compared as a whole, in place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from millrace.base.errors import RetryableError
from millrace.change_logs.binlog_position import BinlogPosition
from tests.support.engine import counts
from tests.support.mysql_logs import FollowedRows
from tests.support.replicas import until

ALTERED, STATEMENT = "the form of the table changed", "the log tells a statement"


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["TRUNCATE {}", "INSERT INTO {} VALUES (9, 'new')"], ALTERED),
        (["SET STATEMENT max_statement_time = 100 FOR ALTER TABLE {} ADD COLUMN price int DEFAULT 4"], ALTERED),
        (["SET sql_log_bin = 0", "ALTER TABLE {} ADD COLUMN price int DEFAULT 4"], ALTERED),
        (["SET sql_log_bin = 0", "TRUNCATE {}", "INSERT INTO {} VALUES (9, 'new')"], ALTERED),
        (["CREATE TABLE other_{} LIKE {}", "INSERT INTO other_{} VALUES (7, 'other')",
          "RENAME TABLE {} TO old_{}, other_{} TO {}"], ALTERED),
        (["SET binlog_format = STATEMENT", "UPDATE {} SET note = 'silent' WHERE id = 2"], f"{STATEMENT} (UPDATE)"),
        (["OPTIMIZE TABLE {}"], ALTERED),
    ],
    ids=["truncate", "added default", "silent definition", "silent truncate", "swapped tables", "statement", "rebuilt"],
)  # fmt: skip
async def test_what_the_log_of_mariadb_does_not_tell_is_compared_once(
    followed_rows: FollowedRows, statements: list[str], reason: str
) -> None:
    await followed_rows.follow()
    followed_rows.change_as_superuser("DELETE FROM {} WHERE id = 1", *statements)
    result = await followed_rows.follow()
    assert result.kind == "sweep"
    assert reason in "; ".join(result.warnings)
    followed_rows.assert_equal()
    followed_rows.change("INSERT INTO {} (id, note) VALUES (20, 'later')")
    assert counts(await followed_rows.follow()) == {"read": 1, "inserted": 1}


async def test_statements_that_change_no_followed_table_cost_no_comparison(followed_rows: FollowedRows) -> None:
    await followed_rows.follow()
    followed_rows.change_as_superuser(
        "CREATE TABLE beside_{} (id int)",
        "/* the name of {} in a comment */ TRUNCATE beside_{} -- {}",
        "ANALYZE TABLE {}",
        "CREATE INDEX notes ON {} (id, note(9))",
        "CREATE VIEW view_{} AS SELECT * FROM {}",
        "CREATE TRIGGER trigger_{} BEFORE INSERT ON {} FOR EACH ROW INSERT INTO beside_{} VALUES (1)",
        "SET binlog_format = STATEMENT",
        "INSERT INTO mysql.time_zone (time_zone_id) VALUES (NULL)",
        "SET binlog_format = ROW",
        "DELETE FROM {} WHERE id = 1",
    )
    result = await followed_rows.follow()
    # The index is part of the form; the log alone would not have said so.
    assert (result.kind, STATEMENT in "; ".join(result.warnings)) == ("sweep", False)


async def purge(rows: FollowedRows) -> None:
    rows.change_as_superuser("FLUSH BINARY LOGS")
    ((file, *_),) = rows.server.execute("SHOW MASTER STATUS")
    purging = f"PURGE BINARY LOGS TO '{file}'"
    # The server keeps a file until the tables are on disk.
    until(lambda: not rows.server.execute(purging) and rows.server.execute("SHOW BINARY LOGS")[0][0] == file)


async def move_server(rows: FollowedRows) -> None:
    rows.engine.query("UPDATE millrace.logs SET origin = 'mariadb/9/0'")


async def begin_the_log_again(rows: FollowedRows) -> None:
    """As a restored server does: the same name of the file, and another event at the position."""
    rows.change_as_superuser("RESET MASTER", *[f"UPDATE {{}} SET note = '{turn}' WHERE id = 5" for turn in range(40)])


async def lose_the_end(rows: FollowedRows) -> None:
    rows.change_as_superuser("RESET MASTER")


async def change_what_was_read(rows: FollowedRows) -> None:
    """As a server does whose disk was restored, and that has gone on with other changes of the same size."""
    ((text,),) = rows.engine.query(f"SELECT position FROM millrace.logs WHERE stream = '{rows.table}'")
    position = BinlogPosition.parse(text)
    assert position.size
    other = str(BinlogPosition(position.file, position.end, position.size, position.checksum ^ 1))
    rows.engine.query(f"UPDATE millrace.logs SET position = '{other}' WHERE stream = '{rows.table}'")


@pytest.mark.parametrize("lose", [purge, move_server, begin_the_log_again, lose_the_end, change_what_was_read])
async def test_a_log_of_mariadb_that_does_not_go_on(followed_rows: FollowedRows, lose: Callable[..., object]) -> None:
    await followed_rows.follow()
    followed_rows.change("UPDATE {} SET note = 'followed'")
    await followed_rows.follow()
    followed_rows.change("DELETE FROM {} WHERE id = 1", "UPDATE {} SET note = 'changed' WHERE id = 2")
    await lose(followed_rows)  # type: ignore[misc]  # each is a coroutine function
    result = await followed_rows.follow()
    assert result.kind == "sweep"
    assert "does not go on where the last read ended" in "; ".join(result.warnings)
    followed_rows.assert_equal()
    followed_rows.change("DELETE FROM {} WHERE id = 2")
    assert counts(await followed_rows.follow()) == {"read": 1, "deleted": 1}


async def test_a_transaction_that_is_prepared_holds_the_position_back(followed_rows: FollowedRows) -> None:
    await followed_rows.follow()
    followed_rows.change("UPDATE {} SET note = 'earlier' WHERE id = 4")
    followed_rows.change_as_superuser(
        "XA START 'held'", "DELETE FROM {} WHERE id = 4", "XA END 'held'", "XA PREPARE 'held'"
    )
    followed_rows.change("DELETE FROM {} WHERE id = 5")
    assert counts(await followed_rows.follow()) == {"read": 2, "updated": 1, "deleted": 1}
    followed_rows.change_as_superuser("XA COMMIT 'held'")
    assert counts(await followed_rows.follow())["deleted"] == 1
    followed_rows.assert_equal()


async def test_a_transaction_that_was_prepared_before_the_first_read(followed_rows: FollowedRows) -> None:
    followed_rows.change_as_superuser(
        "XA START 'early'", "DELETE FROM {} WHERE id = 4", "XA END 'early'", "XA PREPARE 'early'"
    )
    await followed_rows.follow()
    followed_rows.change_as_superuser("XA COMMIT 'early'")
    result = await followed_rows.follow()
    assert (result.kind, "prepared before" in "; ".join(result.warnings)) == ("sweep", True)
    followed_rows.assert_equal()


async def test_a_position_that_the_log_left_behind_is_recorded_although_nothing_changed(
    followed_rows: FollowedRows,
) -> None:
    await followed_rows.follow()
    followed_rows.change_as_superuser("FLUSH BINARY LOGS")
    assert counts(await followed_rows.follow()) == {}
    assert not await followed_rows.has_changed()


async def test_a_table_that_is_altered_while_it_is_read_is_read_again(
    followed_rows: FollowedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    await followed_rows.follow()

    def alter_first(*_: object) -> None:
        followed_rows.change("ALTER TABLE {} ADD COLUMN price int DEFAULT 4")
        monkeypatch.undo()

    monkeypatch.setattr("millrace.change_logs.mysql_log.hold_tables", alter_first)
    with pytest.raises(RetryableError):
        await followed_rows.follow()
    assert (await followed_rows.follow()).kind == "sweep"
    followed_rows.assert_equal(("id", "note", "price"))
