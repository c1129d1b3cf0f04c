"""Changes of the world into the database, and the world out of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from millrace.seed_data.stocks.clock import epoch_seconds
from millrace.seed_data.stocks.script import add_schema_name
from millrace.seed_data.stocks.world import StocksWorld, key_of
from millrace.seed_data.totesys.world import Row, RowChange

if TYPE_CHECKING:
    from pymysql.cursors import Cursor

_SESSION_TIME = "SET @@timestamp = %s"
_REAL_TIME = "SET @@timestamp = DEFAULT"
_TRADES = "SELECT DISTINCT stock_id, user_id FROM `transaction`"
_LAST = "SELECT coalesce(max({0}_id), 0) FROM `simulation`.{0}_history"
_DELISTED = """
SELECT stock_id, company, category, price FROM `simulation`.stock_history WHERE operation = 'deleted' ORDER BY sequence
"""


def load_world(cursor: Cursor, schema: str) -> StocksWorld:
    """Read the state of the platform from its tables and their history."""
    world = StocksWorld()
    world.stocks = {row["stock_id"]: row for row in _rows(cursor, "SELECT * FROM `stock`")}
    world.users = {row["user_id"]: row for row in _rows(cursor, "SELECT * FROM `user`")}
    deleted = {row["stock_id"]: row for row in _rows(cursor, add_schema_name(_DELISTED, schema))}
    world.delisted = {key: row for key, row in deleted.items() if key not in world.stocks}
    world.relisted = deleted.keys() & world.stocks.keys()
    trades = _rows(cursor, _TRADES)
    world.traded = {row["stock_id"] for row in trades}
    world.traders = {row["user_id"] for row in trades if row["user_id"] is not None}
    world.last_user, world.last_transaction = (_last(cursor, table, schema) for table in ("user", "transaction"))
    return world


def begin_session(cursor: Cursor) -> None:
    """Set up a session: times in UTC, and the real clock even if other sessions have a simulated one."""
    cursor.execute("SET time_zone = '+00:00'")
    cursor.execute(_REAL_TIME)


def write(cursor: Cursor, moment: datetime, changes: Iterable[RowChange]) -> None:
    """Change by change, in order; triggers keep them in the history, at ``moment``."""
    cursor.execute(_SESSION_TIME, (epoch_seconds(moment),))
    for (table, kind), alike in groupby(changes, key=lambda change: (change.table, change.kind)):
        if kind == "inserted":
            _insert(cursor, table, [change.values for change in alike])
        elif kind == "deleted":
            cursor.executemany(f"DELETE FROM `{table}` WHERE {key_of(table)} = %s", [(change.key,) for change in alike])
        else:
            for change in alike:
                _update(cursor, change)
    cursor.execute(_REAL_TIME)


def _insert(cursor: Cursor, table: str, rows: Sequence[Row]) -> None:
    columns, places = ", ".join(rows[0]), ", ".join(["%s"] * len(rows[0]))
    cursor.executemany(f"INSERT INTO `{table}` ({columns}) VALUES ({places})", [tuple(row.values()) for row in rows])


def _update(cursor: Cursor, change: RowChange) -> None:
    assignments = ", ".join(f"{name} = %s" for name in change.values)
    statement = f"UPDATE `{change.table}` SET {assignments} WHERE {key_of(change.table)} = %s"
    cursor.execute(statement, (*change.values.values(), change.key))


def _last(cursor: Cursor, table: str, schema: str) -> int:
    cursor.execute(add_schema_name(_LAST.format(table), schema))
    [(last,)] = cursor.fetchall()
    return int(last)


def _rows(cursor: Cursor, query: str) -> list[dict[str, Any]]:
    cursor.execute(query)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
