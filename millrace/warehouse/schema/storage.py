"""How Redshift stores a table: its distribution key, its sort key and the encodings of its columns.

Redshift neither drops a column of a key nor alters one with a dictionary encoding (AWS, "ALTER TABLE"), also where it
chose key and encoding itself. So what a table has is asked before a column is widened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millrace.base.naming import literal, quote, quote_list
from millrace.warehouse.table import Table

FIXED_ENCODINGS = frozenset({"bytedict", "runlength", "text255", "text32k"})
"""Encodings with which ALTER COLUMN TYPE refuses a column."""
AUTOMATIC_KEY = 12
"""The value of pg_class_info.releffectivediststyle for a distribution key that Redshift chose itself."""


@dataclass(frozen=True)
class TableStorage:
    """How a table is stored."""

    distribution_key: str = ""
    """The column by which rows are distributed ('': none)."""
    is_automatic: bool = False
    """Whether Redshift chose that column itself."""
    sort_key: tuple[str, ...] = ()
    """The columns by which rows are sorted."""
    is_sort_key_automatic: bool = False
    """Whether Redshift chose these columns itself, as far as this user may know."""
    encodings: Mapping[str, str] = field(default_factory=dict)
    """The encoding of each column."""

    def is_fixed(self, column: str) -> bool:
        """Return whether the length of a column cannot be altered in place."""
        return self.encodings.get(column, "").strip().lower() in FIXED_ENCODINGS

    def release(self, table: Table, column: str) -> tuple[str, ...]:
        """Return the statements after which a column is part of no key, so that it can be dropped."""
        released = ["ALTER SORTKEY NONE"] if column in self.sort_key else []
        released += ["ALTER DISTSTYLE EVEN"] if column == self.distribution_key else []
        return tuple(f"ALTER TABLE {table.quoted} {one}" for one in released)

    def restore(self, table: Table, column: str) -> tuple[str, ...]:
        """Return the statements that make the keys again which ``release`` took away."""
        restored = []
        if column == self.distribution_key:
            by_key = f"ALTER DISTSTYLE KEY DISTKEY {quote(column)}"
            restored.append("ALTER DISTSTYLE AUTO" if self.is_automatic else by_key)
        if column in self.sort_key:
            by_columns = f"ALTER SORTKEY ({quote_list(self.sort_key)})"
            restored.append("ALTER SORTKEY AUTO" if self.is_sort_key_automatic else by_columns)
        return tuple(f"ALTER TABLE {table.quoted} {one}" for one in restored)


def read_storage(connection: Any, table: Table) -> TableStorage:
    """Return how a table is stored; everything is empty in a warehouse where tables are not stored by keys."""
    if not table.dialect.sorting:
        return TableStorage()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.attname, a.attisdistkey, a.attsortkeyord, format_encoding(a.attencodingtype::INTEGER), "
            "i.releffectivediststyle FROM pg_attribute a JOIN pg_class_info i ON i.reloid = a.attrelid "
            "JOIN pg_namespace n ON n.oid = i.relnamespace WHERE a.attnum > 0 AND NOT a.attisdropped "
            f"AND n.nspname = {literal(table.schema)} AND i.relname = {literal(table.name)}"
        )
        rows = cursor.fetchall()
        is_sorted = any(number for _, _, number, *_ in rows)
        is_sort_key_automatic = is_sorted and _is_sort_key_automatic(cursor, table)
    sorted_by = sorted((abs(number), name) for name, _, number, *_ in rows if number)
    distribution_key = next((name for name, is_key, *_ in rows if is_key), "")
    is_automatic = any(style == AUTOMATIC_KEY for *_, style in rows)
    encodings = {name: encoding for name, _, _, encoding, _ in rows if encoding}
    sort_key = tuple(name for _, name in sorted_by)
    return TableStorage(distribution_key, is_automatic, sort_key, is_sort_key_automatic, encodings)


def _is_sort_key_automatic(cursor: Any, table: Table) -> bool:
    """Return whether Redshift chose the sort key of a table.

    Only svv_table_info tells it: to superusers and to users that were granted SELECT on it, of tables that have a row.
    """
    cursor.execute("SELECT has_table_privilege('svv_table_info', 'SELECT')")
    if not cursor.fetchone()[0]:
        return False
    cursor.execute(
        'SELECT sortkey1 FROM svv_table_info WHERE "schema" = '
        f'{literal(table.schema)} AND "table" = {literal(table.name)}'
    )
    found = cursor.fetchone()
    return bool(found and found[0] and found[0].startswith("AUTO("))
