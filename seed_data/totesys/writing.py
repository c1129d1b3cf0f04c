"""Changes of the world into the database: one event's in its transaction, or all of two years in bulk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg2 import sql
from psycopg2.extras import execute_values

from millrace.seed_data.totesys.world import TABLES, Row, RowChange, TotesysWorld, key_of

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (a class that is spelled small)

_INSERT = "INSERT INTO public.{table} ({columns}) VALUES ({values})"
_UPDATE = "UPDATE public.{table} SET {assignments} WHERE {key} = %s"
_DELETE = "DELETE FROM public.{table} WHERE {key} = %s"

_STAGE = """
CREATE TEMPORARY TABLE {stage} (LIKE public.{table}, _sequence bigint, _at timestamptz, _kind text) ON COMMIT DROP
"""
_FILL_STAGE = "INSERT INTO {stage} ({columns}, _sequence, _at, _kind) VALUES %s"
_FILL_TABLE = """
INSERT INTO public.{table} ({columns})
SELECT {columns}
FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY _sequence DESC) AS _age FROM {stage}) AS version
WHERE _age = 1 AND _kind <> 'deleted' ORDER BY {key}
"""
_FILL_HISTORY = """
INSERT INTO simulation.history (sequence, table_name, key, "row", changed_at, is_silent)
SELECT _sequence, %s, {key},
    CASE WHEN _kind <> 'deleted' THEN to_jsonb(version) - '{{_sequence,_at,_kind}}'::text[] END,
    _at, _kind = 'silent'
FROM {stage} AS version
"""
_CONTINUE_HISTORY = "SELECT setval('simulation.history_sequence_seq', %s)"
_PAGE_ROWS = 1_000


def load_world(cursor: Cursor) -> TotesysWorld:
    """Read the tables as they are."""
    world = TotesysWorld()
    for table in TABLES:
        cursor.execute(sql.SQL("SELECT * FROM public.{}").format(sql.Identifier(table)))
        names = [column.name for column in cursor.description]
        rows = (dict(zip(names, values, strict=True)) for values in cursor)
        world.tables[table] = {row[key_of(table)]: row for row in rows}
    return world


def write(cursor: Cursor, changes: Iterable[RowChange]) -> None:
    """Change by change, in order; triggers keep them in the history."""
    for change in changes:
        names = {"table": sql.Identifier(change.table), "key": sql.Identifier(key_of(change.table))}
        if change.kind == "inserted":
            columns = _identifiers(change.values)
            values = sql.SQL(", ").join([sql.Placeholder()] * len(change.values))
            statement = sql.SQL(_INSERT).format(**names, columns=columns, values=values)
            cursor.execute(statement, list(change.values.values()))
        elif change.kind == "deleted":
            cursor.execute(sql.SQL(_DELETE).format(**names), [change.key])
        else:
            assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in change.values)
            statement = sql.SQL(_UPDATE).format(**names, assignments=assignments)
            cursor.execute(statement, [*change.values.values(), change.key])


@dataclass(frozen=True)
class RowVersion:
    """A change, when it is committed, and the row after it (for a deleted row: the last one before)."""

    at: datetime
    change: RowChange
    row: Row


def write_bulk(cursor: Cursor, versions: Sequence[RowVersion]) -> None:
    """As ``write`` would have done it one by one, into empty tables and an empty history."""
    for table in TABLES:
        cursor.execute(_compose("ALTER TABLE public.{table} DISABLE TRIGGER USER", table))
        own = [(number, version) for number, version in enumerate(versions, 1) if version.change.table == table]
        if own:
            _write_table(cursor, table, own)
        cursor.execute(_compose("ALTER TABLE public.{table} ENABLE TRIGGER USER", table))
    if versions:
        cursor.execute(_CONTINUE_HISTORY, (len(versions),))


def _write_table(cursor: Cursor, table: str, own: list[tuple[int, RowVersion]]) -> None:
    names = list(own[0][1].row)
    cursor.execute(_compose(_STAGE, table))
    execute_values(cursor, _compose(_FILL_STAGE, table, names), _stage_rows(own, names), page_size=_PAGE_ROWS)
    cursor.execute(_compose(_FILL_TABLE, table, names))
    cursor.execute(_compose(_FILL_HISTORY, table), (table,))


def _stage_rows(own: list[tuple[int, RowVersion]], names: list[str]) -> Iterator[tuple[Any, ...]]:
    for number, version in own:
        yield (*(version.row[name] for name in names), number, version.at, version.change.kind)


def _compose(statement: str, table: str, columns: Iterable[str] = ()) -> sql.Composed:
    return sql.SQL(statement).format(
        table=sql.Identifier(table),
        key=sql.Identifier(key_of(table)),
        stage=sql.Identifier(f"_stage_{table}"),
        columns=_identifiers(columns),
    )


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
