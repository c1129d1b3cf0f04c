"""The SQL that writes differences into a target, for every warehouse, and the parts that other statements share.

It uses only what Redshift and Postgres have both: no MERGE, RETURNING or ON CONFLICT. A changed row is deleted and
inserted, which is what Redshift's MERGE does underneath. Names are quoted in naming.py; values are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millrace.base.naming import DELETED_AT, LOADED_AT, ROW_HASH, quote, quote_list
from millrace.base.types import Column
from millrace.warehouse.target import Target

IS_NEW, ORDINAL = "is_new$", "ordinal$"
"""Helper columns. No column or table of a user has a $ in its name, so that none can have the name of a helper."""


def match(left: str, right: str, keys: Sequence[str]) -> str:
    """Return the condition that two relations have the same key, column by column."""
    return " AND ".join(f"{left}.{quote(key)} = {right}.{quote(key)}" for key in keys)


def among(keys: Sequence[str], table: str, rows: str, columns: Sequence[str] = ()) -> str:
    """Return the condition that the key of ``rows``, as a query names them, is one of those in a table.

    ``columns`` are the columns of the table that correspond to the keys, by default those of the same names. Redshift
    has no IN for a subquery of several columns.
    """
    pairs = zip(columns or keys, keys, strict=True)
    same = " AND ".join(f"k$.{quote(column)} = {rows}.{quote(key)}" for column, key in pairs)
    return f"EXISTS (SELECT 1 FROM {quote(table)} AS k$ WHERE {same})"


def first_of_each(table: str, keys: Sequence[str], order: str) -> str:
    """Return a relation with the first row of each key of another relation."""
    numbered = f"row_number() OVER (PARTITION BY {quote_list(keys)} ORDER BY {order}) AS {quote(ORDINAL)}"
    return f"(SELECT * FROM (SELECT *, {numbered} FROM {table}) AS n WHERE {quote(ORDINAL)} = 1)"


def staged_values(target: Target, columns: Sequence[Column], row: str = "s") -> dict[str, str]:
    """Return the values of a row ``s`` of the stage, by column, as expressions of the type of the target's column."""
    return {column.name: target.dialect.unstage(column.type, f"{row}.{quote(column.name)}") for column in columns}


def staged_rows(target: Target, latest: str | None) -> str:
    """Return the stage as a relation, with one reading of each row that was read several times.

    It is the reading with the greatest value in the column ``latest``; if ``latest`` is '', rows have no such column,
    and it is any reading. None: no row was read twice.
    """
    stage = quote(target.temporary.stage)
    if latest is None:
        return stage
    order = f"{quote(latest)} DESC NULLS LAST, {quote(ROW_HASH)}" if latest else quote(ROW_HASH)
    return first_of_each(stage, target.keys, order)


def holds_other_values(target: Target, columns: Sequence[Column], row: str, arriving: Mapping[str, str]) -> str:
    """Return the condition that a ``row`` of the target has other values than the arriving row, whatever hashes say."""
    compared = [column for column in columns if column.name not in {*target.keys, *target.consumed_columns}]
    unlike = [
        target.dialect.unlike(column.type, f"{row}.{quote(column.name)}", arriving[column.name]) for column in compared
    ]
    return " OR ".join(unlike) or "1 = 0"


def count_changed(target: Target) -> str:
    """Count the new rows, and all rows, of the table of changed rows."""
    return f"SELECT coalesce(sum({quote(IS_NEW)}), 0), count(*) FROM {quote(target.temporary.changed_rows)}"


def count_repeated_in_target(target: Target) -> str:
    """Count the changed rows that match more than one row of the target."""
    changed, keys = quote(target.temporary.changed_rows), quote_list(target.keys)
    repeated = f"SELECT 1 AS one FROM {changed} WHERE {quote(IS_NEW)} = 0 GROUP BY {keys} HAVING count(*) > 1"
    return f"SELECT count(*) FROM ({repeated}) AS repeated"


def count_unlike_keys(target: Target, texts: Sequence[str]) -> str:
    """Count the keys of changed rows that differ from the equal key of the target in the length of a text."""
    changed, matches = quote(target.temporary.changed_rows), match("c$", "t", target.keys)
    unlike = " OR ".join(f"octet_length(c$.{quote(key)}) <> octet_length(t.{quote(key)})" for key in texts)
    keys = quote_list(target.keys, "c$.")
    found = f"SELECT DISTINCT {keys} FROM {changed} AS c$ JOIN {target.quoted} AS t ON {matches} WHERE {unlike}"
    return f"SELECT count(*) FROM ({found}) AS unlike_keys"


def delete_changed(target: Target) -> str:
    """Delete the rows of the target that changed rows replace."""
    changed, matches = quote(target.temporary.changed_rows), match(target.quoted, "d$", target.keys)
    return f"DELETE FROM {target.quoted} USING {changed} AS d$ WHERE {matches} AND d$.{quote(IS_NEW)} = 0"


def insert_changed(target: Target, columns: Sequence[Column]) -> str:
    """Insert the changed rows, with the joined columns. One parameter: the load time."""
    return insert_rows(target, [*(column.name for column in columns), ROW_HASH], quote(target.temporary.changed_rows))


def insert_rows(target: Target, names: Sequence[str], rows: str) -> str:
    """Insert these columns of a relation, with the joined columns. One parameter: the load time."""
    values = [f"d$.{quote(name)}" for name in names] + [joined.value for joined in target.joins]
    joins = "".join(f" {joined.join}" for joined in target.joins)
    return (
        f"INSERT INTO {target.quoted} ({quote_list([*names, *(joined.column for joined in target.joins), LOADED_AT])}) "
        f"SELECT {', '.join(values)}, %s::TIMESTAMPTZ FROM {rows} AS d${joins}"
    )


def delete_keys(target: Target) -> str:
    """Delete the rows of deleted keys."""
    deleted, matches = quote(target.temporary.deleted_keys), match(target.quoted, "d$", target.keys)
    return f"DELETE FROM {target.quoted} USING {deleted} AS d$ WHERE {matches}"


def mark_deleted(target: Target) -> str:
    """Mark the rows of deleted keys. Two parameters: the load time, twice."""
    marks = f"{quote(DELETED_AT)} = %s::TIMESTAMPTZ, {quote(LOADED_AT)} = %s::TIMESTAMPTZ"
    matches = f"{match(target.quoted, 'd$', target.keys)} AND {target.quoted}.{quote(DELETED_AT)} IS NULL"
    return f"UPDATE {target.quoted} SET {marks} FROM {quote(target.temporary.deleted_keys)} AS d$ WHERE {matches}"


def count_keys(table: str, keys: Sequence[str]) -> str:
    """Count the distinct keys of a table."""
    return f"SELECT count(*) FROM (SELECT DISTINCT {quote_list(keys)} FROM {quote(table)}) AS keys"


def count_query(query: str) -> str:
    """Count the rows of a query."""
    return f"SELECT count(*) FROM ({query}) AS counted"


def count_all(relation: str) -> str:
    """Count the rows of a relation (a quoted table, or a query in parentheses)."""
    return f"SELECT count(*) FROM {relation} AS t"


def count_first(table: str) -> str:
    """Return 1 when a table (quoted) has rows, else 0."""
    return f"SELECT count(*) FROM (SELECT 1 AS one FROM {table} LIMIT 1) AS first_row"


def count_live_rows(target: Target, live_rows: str, at_most: int = 0) -> str:
    """Count live rows of a target that are not marked as deleted; with ``at_most``, count no further than this."""
    there = f" WHERE {quote(DELETED_AT)} IS NULL" if target.marks_deleted else ""
    if at_most:
        return f"SELECT count(*) FROM (SELECT 1 AS one FROM {live_rows} AS t{there} LIMIT {at_most}) AS counted"
    return f"SELECT count(*) FROM {live_rows} AS t{there}"


def drop_temporary(table: str) -> str:
    """Drop a temporary table if it exists, so that the statement that creates it can be repeated."""
    return f"DROP TABLE IF EXISTS {quote(table)}"
