"""The SQL that creates, fills and checks temporary tables of staged files, and that unloads a target into files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millrace.base.naming import literal, quote, quote_list
from millrace.base.types import Column
from millrace.drivers.session_settings import ENCODING
from millrace.warehouse.dialect import Dialect


def create_stage(
    table: str, columns: Sequence[Column], longest_bytes: Mapping[str, int], dialect: Dialect, distribution: str = ""
) -> str:
    """Create a temporary table for the files of a batch."""
    typed = [
        f"{quote(column.name)} {dialect.stage_type(column.type, longest_bytes.get(column.name, 0))}"
        for column in columns
    ]
    return f"CREATE TEMPORARY TABLE {quote(table)} ({', '.join(typed)}){distribution}"


def copy_from_lake(table: str, columns: Sequence[str], manifest_uri: str, iam_role: str) -> str:
    """Copy files into a table by Redshift's COPY.

    COPY maps columns by position, so that the list must be that of the files.
    """
    return (
        f"COPY {quote(table)} ({quote_list(columns)}) FROM {literal(manifest_uri)} "
        f"IAM_ROLE {_role(iam_role)} FORMAT AS PARQUET MANIFEST"
    )


def unload_to_lake(query: str, uri: str, iam_role: str) -> str:
    """Unload the rows of a query by Redshift's UNLOAD into files with this prefix.

    Each file is small enough for a local temporary file.
    """
    return f"UNLOAD ({literal(query)}) TO {literal(uri)} IAM_ROLE {_role(iam_role)} FORMAT AS PARQUET MAXFILESIZE 64 MB"


def copy_from_client(table: str, columns: Sequence[str]) -> str:
    """Copy rows into a table by Postgres's COPY through the connection."""
    return f"COPY {quote(table)} ({quote_list(columns)}) FROM STDIN (FORMAT csv, ENCODING '{ENCODING}')"


def count_null_keys(table: str, keys: Sequence[str]) -> str:
    """Count the rows of a stage with NULL in the key."""
    return f"SELECT count(*) FROM {quote(table)} WHERE {' OR '.join(f'{quote(key)} IS NULL' for key in keys)}"


def count_repeated_keys(table: str, keys: Sequence[str], row_id_column: str) -> str:
    """Count the keys of a stage that belong to several rows of the source."""
    rows = f"count(DISTINCT {quote(row_id_column)})" if row_id_column else "count(*)"
    grouped = f"SELECT 1 AS one FROM {quote(table)} GROUP BY {quote_list(keys)} HAVING {rows} > 1"
    return f"SELECT count(*) FROM ({grouped}) AS repeated"


def _role(iam_role: str) -> str:
    return "DEFAULT" if iam_role.lower() == "default" else literal(iam_role)
