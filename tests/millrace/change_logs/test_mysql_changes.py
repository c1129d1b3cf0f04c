"""Capture by the change log of MariaDB: what changed arrives with the next run, and nothing else is read."""

from __future__ import annotations

import pytest

from tests.support.engine import counts
from tests.support.mysql_logs import FollowedRows


async def test_every_change_of_mariadb_arrives_with_the_next_run(followed_rows: FollowedRows) -> None:
    rows = followed_rows
    assert counts(await rows.follow()) == {"read": 5, "inserted": 5}
    assert not await rows.has_changed()
    rows.change(
        "INSERT INTO {} VALUES (6, 'new')",
        "UPDATE {} SET note = 'changed' WHERE id = 1",
        "UPDATE {} SET id = 20 WHERE id = 2",
        "DELETE FROM {} WHERE id = 3",
    )
    result = await rows.follow()
    assert (result.kind, counts(result)) == ("log", {"read": 5, "inserted": 2, "updated": 1, "deleted": 2})
    rows.assert_equal()
    assert not await rows.has_changed()


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["UPDATE {} SET note = 'same'", "UPDATE {} SET note = 'first'"], {"read": 5, "unchanged": 5}),
        (["BEGIN", "DELETE FROM {}", "ROLLBACK"], None),
        (["BEGIN", "SAVEPOINT s", "DELETE FROM {}", "ROLLBACK TO s", "DELETE FROM {} WHERE id = 1", "COMMIT"],
         {"read": 1, "deleted": 1}),
        (["BEGIN", "DELETE FROM {} WHERE id = 1", "INSERT INTO {} VALUES (1, 'again')", "COMMIT"],
         {"read": 1, "updated": 1}),
        (["REPLACE INTO {} VALUES (1, 'again')", "INSERT INTO {} VALUES (2, 'x') ON DUPLICATE KEY UPDATE note = 'two'"],
         {"read": 2, "updated": 2}),
        (["INSERT INTO {} VALUES (9, 'short-lived')", "DELETE FROM {} WHERE id = 9"], {"read": 1, "unchanged": 1}),
        (
            ["BEGIN", "UPDATE {} SET id = -1 WHERE id = 1", "UPDATE {} SET id = 1 WHERE id = 2",
             "UPDATE {} SET id = 2 WHERE id = -1", "UPDATE {} SET note = 'swapped' WHERE id = 2", "COMMIT"],
            {"read": 3, "updated": 1, "unchanged": 2},
        ),
        (["SET binlog_row_image = MINIMAL", "UPDATE {} SET note = 'm' WHERE id = 1",
          "UPDATE {} SET id = 7 WHERE id = 2", "INSERT INTO {} VALUES (8, 'm')", "DELETE FROM {} WHERE id = 3"],
         {"read": 5, "inserted": 2, "updated": 1, "deleted": 2}),
        (["FLUSH BINARY LOGS", "DELETE FROM {} WHERE id = 1", "FLUSH BINARY LOGS", "DELETE FROM {} WHERE id = 2"],
         {"read": 2, "deleted": 2}),
        (["XA START 'x'", "DELETE FROM {} WHERE id = 4", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'"],
         {"read": 1, "deleted": 1}),
        (["XA START 'y'", "DELETE FROM {} WHERE id = 4", "XA END 'y'", "XA PREPARE 'y'", "XA ROLLBACK 'y'"], None),
        (["CREATE TEMPORARY TABLE temporary_{} (id int)", "INSERT INTO temporary_{} VALUES (1)",
          "DELETE FROM {} WHERE id IN (SELECT id FROM temporary_{})", "DROP TEMPORARY TABLE temporary_{}"],
         {"read": 1, "deleted": 1}),
    ],
    ids=["back again", "rolled back", "savepoint", "put in again", "replaced", "short-lived", "keys swapped", "minimal",
         "rotated", "prepared", "prepared and rolled back", "temporary table"],
)  # fmt: skip
async def test_changes_within_and_across_transactions_of_mariadb(
    followed_rows: FollowedRows, statements: list[str], expected: dict[str, int] | None
) -> None:
    await followed_rows.follow()
    followed_rows.change_as_superuser(*statements)
    result = (await followed_rows.engine.follow(followed_rows.stream)).get(followed_rows.table)
    assert (counts(result) if result else None) == expected
    followed_rows.assert_equal()
