"""Rows of MySQL tables by their keys, and tables by their names and by the rights on them."""

from __future__ import annotations

import pytest

from local.mysql import MySQLServer
from millrace import Incremental, Stream
from millrace.base.errors import SourceMissing
from millrace.base.naming import quote_in_backticks
from millrace.sources.chunk import Keys
from tests.conftest import unique
from tests.support.engine import Engine, counts
from tests.support.key_cases import MYSQL_TABLES
from tests.support.keyed_sources import KeyedMySQLTable
from tests.support.mysql_places import (
    database,
    source_at,
    taken,
)


@pytest.mark.parametrize("kind", MYSQL_TABLES)
async def test_rows_are_found_by_their_keys_and_no_others(mysql_shop: Engine, blind_mysql_url: str, kind: str) -> None:
    table = KeyedMySQLTable(mysql_shop, MYSQL_TABLES[kind])
    table.insert_all()
    stream, names = table.stream, MYSQL_TABLES[kind].columns
    source = source_at(blind_mysql_url)
    _, frame = await taken(source, stream)
    rows = frame.sort("number").select(names).rows()
    assert len(set(rows)) == table.rows
    every_other = list(range(0, table.rows, 2))
    _, found = await taken(source, stream, Keys(names, [rows[number] for number in every_other]))
    assert sorted(found["number"]) == every_other
    table.delete(0)
    assert await source.find_existing(stream, (), Keys(names, rows)) == set(rows[1:])


async def test_a_row_with_a_binary_key_is_replayed(mysql_shop: Engine) -> None:
    name = unique("prices")
    mysql_shop.mysql(
        f"CREATE TABLE {name} (id varbinary(9) PRIMARY KEY, day date, changed datetime)",
        f"INSERT INTO {name} VALUES (X'00ff', '0000-00-00', NOW()), (X'61', NULL, NOW()), (X'41', NULL, NOW())",
    )
    stream = Stream(name, f"mysql:{database(mysql_shop)}.{name}", "id", Incremental("changed"))
    assert counts(await mysql_shop.deliver(stream)) == {"read": 3, "inserted": 2, "rejected": 1}
    mysql_shop.mysql(f"UPDATE {name} SET day = '2024-02-29' WHERE id = X'00ff'")
    assert counts(await mysql_shop.replay(stream)) == {"read": 1, "inserted": 1}


async def test_a_key_whose_case_changes_is_another_key(mysql_shop: Engine) -> None:
    """To the table, whose collation ignores case, it is the same."""
    name = unique("codes")
    mysql_shop.mysql(
        f"CREATE TABLE {name} (id varchar(9) COLLATE utf8mb4_unicode_ci PRIMARY KEY, changed datetime)",
        f"INSERT INTO {name} VALUES ('a', NOW()), ('b', NOW())",
    )
    stream = Stream(name, f"mysql:{database(mysql_shop)}.{name}", "id", Incremental("changed"))
    await mysql_shop.deliver(stream)
    mysql_shop.mysql(f"UPDATE {name} SET id = 'A' WHERE id = 'a'")
    assert counts(await mysql_shop.sweep(stream)) == {"read": 3, "inserted": 1, "deleted": 1, "unchanged": 1}
    assert {row[0] for row in mysql_shop.rows(name, "id")} == {"A", "b"}


async def test_names_are_quoted_wherever_they_stand(mysql_shop: Engine, mysql: MySQLServer) -> None:
    """Of database, table, key and cursor: in windows, sweeps and replays."""
    home, table, key, cursor = (unique(f"{kind} `%s' \"ü") for kind in ("home", "table", "key", "cursor"))
    place = f"{quote_in_backticks(home)}.{quote_in_backticks(table)}"
    mysql.create_database(home, owner=database(mysql_shop))
    mysql_shop.mysql(
        f"CREATE TABLE {place} ({quote_in_backticks(key)} varchar(9) PRIMARY KEY, {quote_in_backticks(cursor)} "
        "datetime, `d%` date)",
        f"INSERT INTO {place} VALUES ('a', NOW(), NULL), ('b', NOW(), NULL), ('c', NOW(), '0000-00-00')",
    )
    stream = Stream(unique("awkward"), f"mysql:{home}.{table}", key, Incremental(cursor))
    assert counts(await mysql_shop.deliver(stream)) == {"read": 3, "inserted": 2, "rejected": 1}
    mysql_shop.mysql(f"DELETE FROM {place} WHERE {quote_in_backticks(key)} = 'a'", f"UPDATE {place} SET `d%` = NULL")
    assert counts(await mysql_shop.replay(stream)) == {"read": 1, "inserted": 1}
    assert counts(await mysql_shop.sweep(stream)) == {"read": 3, "deleted": 1, "unchanged": 2}
    mysql.drop_database(home)


async def test_a_table_that_may_not_be_read_is_told_by_name(
    mysql_shop: Engine, mysql: MySQLServer, mysql_notes: Stream
) -> None:
    stranger, home = unique("stranger"), unique("home")
    url = mysql.create_database(home, owner=stranger)
    with pytest.raises(SourceMissing, match=rf"no table {database(mysql_shop)}\.{mysql_notes.name} .*grant SELECT"):
        await taken(source_at(url), mysql_notes)
    mysql.drop_database(home)
    mysql.drop_user(stranger)
