"""The one builder of the SQL that stages and applies a batch, for every warehouse.

Written in what Redshift and Postgres share: no MERGE, RETURNING or ON CONFLICT. A changed row is deleted and
inserted, which is what Redshift's MERGE does underneath. Names are quoted in naming.py; values are parameters.
What does not belong here: running statements (loader.py), types (dialect.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millrace.naming import DELETED_AT, LOADED_AT, ROW_HASH, literal, quote, quote_list
from millrace.types import Column
from millrace.warehouse.dialect import Dialect

STAGE, DELTA = "millrace_stage", "millrace_delta"
DELETES, SCAN, SAMPLE = "millrace_deletes", "millrace_scan", "millrace_sample"
IS_NEW, ORDINAL = "_is_new", "_ordinal"
CURSOR = "millrace_differences"


def create_stage(table: str, columns: Sequence[Column], longest_bytes: Mapping[str, int], dialect: Dialect) -> str:
    """A temporary table that holds files as they lie in the lake, for this session only."""
    typed = [
        f"{quote(column.name)} {dialect.stage_type(column.type, longest_bytes.get(column.name, 0))}"
        for column in columns
    ]
    return f"CREATE TEMPORARY TABLE {quote(table)} ({', '.join(typed)})"


def copy_from_lake(table: str, columns: Sequence[str], manifest_uri: str, iam_role: str) -> str:
    """Redshift's COPY; columns map by position, so the list is that of the very files."""
    role = "DEFAULT" if iam_role.lower() == "default" else literal(iam_role)
    return (
        f"COPY {quote(table)} ({quote_list(columns)}) FROM {literal(manifest_uri)} "
        f"IAM_ROLE {role} FORMAT AS PARQUET MANIFEST"
    )


def copy_from_client(table: str, columns: Sequence[str]) -> str:
    """Postgres's COPY through the connection."""
    return f"COPY {quote(table)} ({quote_list(columns)}) FROM STDIN (FORMAT csv)"


def count_null_keys(table: str, keys: Sequence[str]) -> str:
    """Rows of a stage whose key is not whole."""
    return f"SELECT count(*) FROM {quote(table)} WHERE {' OR '.join(f'{quote(key)} IS NULL' for key in keys)}"


def count_repeated_keys(table: str, keys: Sequence[str], identity: str) -> str:
    """Keys that a stage holds for more than one row of the source."""
    rows = f"count(DISTINCT {quote(identity)})" if identity else "count(*)"
    grouped = f"SELECT 1 AS one FROM {quote(table)} GROUP BY {quote_list(keys)} HAVING {rows} > 1"
    return f"SELECT count(*) FROM ({grouped}) AS repeated"


def create_delta(
    target: str,
    columns: Sequence[Column],
    keys: Sequence[str],
    cursor: str | None,
    dialect: Dialect,
    *,
    marks_deleted: bool = False,
) -> str:
    """What differs from the target, decided by the row hash. ``cursor`` (a column) is given where one row may have
    been read twice: then its latest reading counts. ``marks_deleted``: the target keeps deleted rows, and one that is
    back differs."""
    values = {column.name: dialect.unstage(column.type, f"s.{quote(column.name)}") for column in columns}
    own = [f"{value} AS {quote(name)}" for name, value in values.items()]
    matches = " AND ".join(f"t.{quote(key)} = {values[key]}" for key in keys)
    is_new = f"CASE WHEN t.{quote(keys[0])} IS NULL THEN 1 ELSE 0 END AS {quote(IS_NEW)}"
    row_hash = quote(ROW_HASH)
    return (
        f"CREATE TEMPORARY TABLE {quote(DELTA)} AS SELECT {', '.join(own)}, s.{row_hash} AS {row_hash}, {is_new} "
        f"FROM {_rows(keys, cursor)} AS s LEFT JOIN {target} AS t ON {matches} "
        f"WHERE {_differs(keys, marks_deleted=marks_deleted)}"
    )


def _match(left: str, right: str, keys: Sequence[str]) -> str:
    return " AND ".join(f"{left}.{quote(key)} = {right}.{quote(key)}" for key in keys)


def _differs(keys: Sequence[str], *, marks_deleted: bool) -> str:
    """Of a row ``s`` and the target's row ``t``, if there is any."""
    key, row_hash = quote(keys[0]), quote(ROW_HASH)
    is_back = f" OR t.{quote(DELETED_AT)} IS NOT NULL" if marks_deleted else ""
    return f"(t.{key} IS NULL OR t.{row_hash} IS NULL OR t.{row_hash} <> s.{row_hash}{is_back})"


def _rows(keys: Sequence[str], cursor: str | None) -> str:
    if cursor is None:
        return quote(STAGE)
    order = f"{quote(cursor)} DESC NULLS LAST, {quote(ROW_HASH)}"
    numbered = f"row_number() OVER (PARTITION BY {quote_list(keys)} ORDER BY {order}) AS {quote(ORDINAL)}"
    return f"(SELECT * FROM (SELECT *, {numbered} FROM {quote(STAGE)}) AS n WHERE {quote(ORDINAL)} = 1)"


def count_delta() -> str:
    """New rows and changed rows of the delta."""
    return f"SELECT coalesce(sum({quote(IS_NEW)}), 0), count(*) FROM {quote(DELTA)}"


def count_repeated_in_target(keys: Sequence[str]) -> str:
    """Changed rows that met more than one row of the target."""
    changed = f"SELECT 1 AS one FROM {quote(DELTA)} WHERE {quote(IS_NEW)} = 0 GROUP BY {quote_list(keys)}"
    return f"SELECT count(*) FROM ({changed} HAVING count(*) > 1) AS repeated"


def delete_changed(target: str, keys: Sequence[str]) -> str:
    """Take out the old version of every changed row."""
    matches = _match(target, "d", keys)
    return f"DELETE FROM {target} USING {quote(DELTA)} AS d WHERE {matches} AND d.{quote(IS_NEW)} = 0"


def insert_delta(target: str, columns: Sequence[Column]) -> str:
    """Put in new and changed rows. One parameter: the batch's load time."""
    names = [*(column.name for column in columns), ROW_HASH]
    return (
        f"INSERT INTO {target} ({quote_list([*names, LOADED_AT])}) "
        f"SELECT {quote_list(names, 'd.')}, %s::TIMESTAMPTZ FROM {quote(DELTA)} AS d"
    )


def delete_gone(target: str, keys: Sequence[str]) -> str:
    """Take out the rows that left the source."""
    return f"DELETE FROM {target} USING {quote(DELETES)} AS d WHERE {_match(target, 'd', keys)}"


def mark_gone(target: str, keys: Sequence[str]) -> str:
    """Mark the rows that left the source. Two parameters: the load time, twice."""
    marks = f"{quote(DELETED_AT)} = %s::TIMESTAMPTZ, {quote(LOADED_AT)} = %s::TIMESTAMPTZ"
    matches = f"{_match(target, 'd', keys)} AND {target}.{quote(DELETED_AT)} IS NULL"
    return f"UPDATE {target} SET {marks} FROM {quote(DELETES)} AS d WHERE {matches}"


def count_keys(table: str, keys: Sequence[str]) -> str:
    """Distinct keys of a stage."""
    return f"SELECT count(*) FROM (SELECT DISTINCT {quote_list(keys)} FROM {quote(table)}) AS keys"


def differing_keys(target: str, keys: Sequence[str], *, marks_deleted: bool) -> str:
    """Keys of the scan that the target lacks, or holds with another hash."""
    return (
        f"SELECT DISTINCT {quote_list(keys, 's.')} FROM {quote(SCAN)} AS s LEFT JOIN {target} AS t "
        f"ON {_match('t', 's', keys)} WHERE {_differs(keys, marks_deleted=marks_deleted)}"
    )


def missing_keys(target: str, keys: Sequence[str], *, marks_deleted: bool) -> str:
    """Keys of the target that the scan lacks; not those that are marked as deleted already."""
    known = f" AND t.{quote(DELETED_AT)} IS NULL" if marks_deleted else ""
    return (
        f"SELECT {quote_list(keys, 't.')} FROM {target} AS t LEFT JOIN {quote(SCAN)} AS s "
        f"ON {_match('t', 's', keys)} WHERE s.{quote(keys[0])} IS NULL{known}"
    )


def count(query: str) -> str:
    """The number of rows of a query."""
    return f"SELECT count(*) FROM ({query}) AS counted"


def declare_cursor(*queries: str) -> str:
    """A cursor over the rows of queries that have the same columns."""
    return f"DECLARE {CURSOR} CURSOR FOR {' UNION ALL '.join(queries)}"


def fetch(rows: int) -> str:
    """The next rows of the cursor."""
    return f"FETCH FORWARD {rows} FROM {CURSOR}"


def count_rows(target: str, *, marks_deleted: bool) -> str:
    """The target's rows, without those marked as deleted."""
    return f"SELECT count(*) FROM {target}" + (f" WHERE {quote(DELETED_AT)} IS NULL" if marks_deleted else "")


def count_unlike_sample(target: str, keys: Sequence[str]) -> str:
    """Rows of the sample that the target lacks, or holds with another hash."""
    return (
        f"SELECT count(*) FROM {quote(SAMPLE)} AS s LEFT JOIN {target} AS t ON {_match('t', 's', keys)} "
        f"WHERE {_differs(keys, marks_deleted=False)}"
    )


def drop_temporary(table: str) -> str:
    """At the end of a load, and before a repeated one."""
    return f"DROP TABLE IF EXISTS {quote(table)}"
