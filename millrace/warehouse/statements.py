"""The one builder of the SQL that stages and applies a batch, for every warehouse.

Written in what Redshift and Postgres share: no MERGE, RETURNING or ON CONFLICT. A changed row is deleted and
inserted, which is what Redshift's MERGE does underneath. Names are quoted in naming.py; values are parameters.
What does not belong here: running statements (loader.py), types (dialect.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from millrace.naming import LOADED_AT, ROW_HASH, literal, quote, quote_list
from millrace.types import Column
from millrace.warehouse.dialect import Dialect

STAGE, DELTA = "millrace_stage", "millrace_delta"
IS_NEW, ORDINAL = "_is_new", "_ordinal"


def create_stage(columns: Sequence[Column], longest_bytes: dict[str, int], hash_type: str, dialect: Dialect) -> str:
    """A temporary table that holds the batch as it lies in the files, for this session only."""
    typed = [
        f"{quote(column.name)} {dialect.stage_type(column.type, longest_bytes.get(column.name, 0))}"
        for column in columns
    ]
    return f"CREATE TEMPORARY TABLE {quote(STAGE)} ({', '.join([*typed, f'{quote(ROW_HASH)} {hash_type}'])})"


def copy_from_lake(columns: Sequence[str], manifest_uri: str, iam_role: str) -> str:
    """Redshift's COPY; columns map by position, so the list is that of the very files."""
    role = "DEFAULT" if iam_role.lower() == "default" else literal(iam_role)
    return (
        f"COPY {quote(STAGE)} ({quote_list(columns)}) FROM {literal(manifest_uri)} "
        f"IAM_ROLE {role} FORMAT AS PARQUET MANIFEST"
    )


def copy_from_client(columns: Sequence[str]) -> str:
    """Postgres's COPY through the connection."""
    return f"COPY {quote(STAGE)} ({quote_list(columns)}) FROM STDIN (FORMAT csv)"


def count_null_keys(keys: Sequence[str]) -> str:
    """Rows of the stage whose key is not whole."""
    return f"SELECT count(*) FROM {quote(STAGE)} WHERE {' OR '.join(f'{quote(key)} IS NULL' for key in keys)}"


def count_repeated_keys(keys: Sequence[str], identity: str) -> str:
    """Keys that the stage holds for more than one row of the source."""
    rows = f"count(DISTINCT {quote(identity)})" if identity else "count(*)"
    grouped = f"SELECT 1 AS one FROM {quote(STAGE)} GROUP BY {quote_list(keys)} HAVING {rows} > 1"
    return f"SELECT count(*) FROM ({grouped}) AS repeated"


def create_delta(
    target: str, columns: Sequence[Column], keys: Sequence[str], cursor: str | None, dialect: Dialect
) -> str:
    """What differs from the target, decided by the row hash. ``cursor`` (a column) is given where one row may have
    been read twice: then its latest reading counts."""
    own = [f"{dialect.unstage(column.type, f's.{quote(column.name)}')} AS {quote(column.name)}" for column in columns]
    matches = " AND ".join(f"t.{quote(key)} = s.{quote(key)}" for key in keys)
    is_new = f"CASE WHEN t.{quote(keys[0])} IS NULL THEN 1 ELSE 0 END AS {quote(IS_NEW)}"
    row_hash = quote(ROW_HASH)
    return (
        f"CREATE TEMPORARY TABLE {quote(DELTA)} AS SELECT {', '.join(own)}, s.{row_hash} AS {row_hash}, {is_new} "
        f"FROM {_rows(keys, cursor)} AS s LEFT JOIN {target} AS t ON {matches} "
        f"WHERE t.{quote(keys[0])} IS NULL OR t.{row_hash} IS NULL OR t.{row_hash} <> s.{row_hash}"
    )


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
    matches = " AND ".join(f"{target}.{quote(key)} = d.{quote(key)}" for key in keys)
    return f"DELETE FROM {target} USING {quote(DELTA)} AS d WHERE {matches} AND d.{quote(IS_NEW)} = 0"


def insert_delta(target: str, columns: Sequence[Column]) -> str:
    """Put in new and changed rows. One parameter: the batch's load time."""
    names = [*(column.name for column in columns), ROW_HASH]
    return (
        f"INSERT INTO {target} ({quote_list([*names, LOADED_AT])}) "
        f"SELECT {quote_list(names, 'd.')}, %s::TIMESTAMPTZ FROM {quote(DELTA)} AS d"
    )


def drop_temporary(table: str) -> str:
    """At the end of a load, and before a repeated one."""
    return f"DROP TABLE IF EXISTS {quote(table)}"
