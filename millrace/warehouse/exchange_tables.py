"""Put a new table in the place of a target, in the transaction of the caller.

The old table is dropped and the new one renamed, with the owner and the grants of the old one. If views, triggers,
policies, publications or foreign keys depend on the old table and the columns are the same, the rows are exchanged.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import psycopg2.errors

from millrace.base.errors import SchemaConflict
from millrace.base.naming import quote, quote_list
from millrace.declaration.scd2 import EVENTS
from millrace.warehouse.schema.catalog import Catalog
from millrace.warehouse.target import Target

SUFFIX = "$n"
"""The end of the name of a new table. No name of a user has a $.

With the name of a table beside it (`$events`), the longest name that may be declared has 62 of 63 bytes.
"""
_OF_TABLE = "n.nspname = %s AND c.relname = %s"
_DEPENDENTS = f"""
SELECT 1 FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class AS kind ON kind.oid = d.classid
WHERE {_OF_TABLE} AND kind.relname IN ('pg_rewrite', 'pg_trigger', 'pg_policy', 'pg_publication_rel')
UNION ALL
SELECT 1 FROM pg_catalog.pg_constraint AS o JOIN pg_catalog.pg_class AS c ON c.oid = o.confrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OF_TABLE} AND o.contype = 'f'
LIMIT 1
"""
_OWNER = f"""
SELECT pg_get_userbyid(c.relowner), pg_get_userbyid(c.relowner) = current_user FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OF_TABLE}
"""
_GRANTS_OF_POSTGRES = f"""
SELECT a.privilege_type, '', CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END, a.is_grantable, 'role'
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace,
LATERAL aclexplode(c.relacl) AS a WHERE {_OF_TABLE} AND a.grantee <> c.relowner
UNION ALL
SELECT a.privilege_type, t.attname, CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END, a.is_grantable,
    'role'
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS t ON t.attrelid = c.oid,
LATERAL aclexplode(t.attacl) AS a WHERE {_OF_TABLE} AND a.grantee <> c.relowner
"""
_GRANTS_OF_REDSHIFT = """
SELECT privilege_type, '', identity_name, admin_option, identity_type FROM svv_relation_privileges
WHERE namespace_name = %s AND relation_name = %s
UNION ALL
SELECT privilege_type, column_name, identity_name, FALSE, identity_type FROM svv_column_privileges
WHERE namespace_name = %s AND relation_name = %s
"""


@dataclass(frozen=True)
class Grant:
    """A right on a table that somebody other than its owner has."""

    privilege: str
    """The right, such as SELECT."""
    column: str
    """The column that it is limited to; '': the whole table."""
    grantee: str
    """Who has it; '': everybody."""
    can_grant: bool
    """Whether the grantee may give it to others."""
    grantee_kind: str
    """What the grantee is: ``role`` (Postgres), ``user``, ``group`` or ``role`` (Redshift), ``public``."""

    def make_statement(self, table: Target) -> str:
        """Return the statement that gives the right on a table."""
        column = f" ({quote(self.column)})" if self.column else ""
        kind = self.grantee_kind.lower()
        # Postgres knows no such word before the name of a role.
        word = {"group": "GROUP ", "role": "ROLE " if table.dialect.copies_from_lake else ""}.get(kind, "")
        grantee = f"{word}{quote(self.grantee)}" if self.grantee and kind != "public" else "PUBLIC"
        option = " WITH GRANT OPTION" if self.can_grant else ""
        return f"GRANT {self.privilege}{column} ON {table.quoted} TO {grantee}{option}"


def exchange_tables(cursor: Any, catalog: Catalog, target: Target, new_target: Target) -> None:
    """Put the new table, and those beside it, in the place of the old ones. The caller commits.

    Where there is no new table, because it would have no row, the old one is emptied. Raises SchemaConflict when
    something depends on the old table and the columns differ.
    """
    for old, new in zip(_tables(target), _tables(new_target), strict=True):
        _exchange(cursor, catalog, old, new)
    if EVENTS not in target.load.beside:
        # The former load mode may have kept it.
        events = replace(target.table, name=f"{target.table.name}{EVENTS}")
        cursor.execute(f"DROP TABLE IF EXISTS {events.quoted}")


def drop_tables(cursor: Any, target: Target) -> None:
    """Drop a table and those beside it, if they exist."""
    for table in _tables(target):
        cursor.execute(f"DROP TABLE IF EXISTS {table.quoted}")


def _tables(target: Target) -> tuple[Target, ...]:
    return (target, *target.tables_beside)


def _exchange(cursor: Any, catalog: Catalog, old: Target, new: Target) -> None:
    former, made = catalog.find_columns(old), catalog.find_columns(new)
    if made is None:
        if former is not None:
            cursor.execute(f"DELETE FROM {old.quoted}")
    elif former is None:
        cursor.execute(f"ALTER TABLE {new.quoted} RENAME TO {quote(old.table.name)}")
    elif former == made and _has_dependents(cursor, old):
        names = quote_list(made)
        cursor.execute(f"DELETE FROM {old.quoted}")
        cursor.execute(f"INSERT INTO {old.quoted} ({names}) SELECT {names} FROM {new.quoted}")
        cursor.execute(f"DROP TABLE {new.quoted}")
    else:
        _rename(cursor, old, new, made)


def _has_dependents(cursor: Any, table: Target) -> bool:
    name = (table.table.schema, table.table.name)
    cursor.execute(_DEPENDENTS, name * 2)
    return cursor.fetchone() is not None


def _rename(cursor: Any, old: Target, new: Target, columns: Collection[str]) -> None:
    name = (old.table.schema, old.table.name)
    cursor.execute(_OWNER, name)
    owner, is_own = cursor.fetchone()
    grants = _find_grants(cursor, old)
    _drop(cursor, old)
    cursor.execute(f"ALTER TABLE {new.quoted} RENAME TO {quote(old.table.name)}")
    for grant in grants:
        if not grant.column or grant.column in columns:
            cursor.execute(grant.make_statement(old))
    if not is_own:
        cursor.execute(f"ALTER TABLE {old.quoted} OWNER TO {quote(owner)}")


def _find_grants(cursor: Any, table: Target) -> list[Grant]:
    name = (table.table.schema, table.table.name)
    cursor.execute(_GRANTS_OF_REDSHIFT if table.dialect.copies_from_lake else _GRANTS_OF_POSTGRES, name * 2)
    return [Grant(*row) for row in cursor.fetchall()]


def _drop(cursor: Any, table: Target) -> None:
    """Drop a table. Raises SchemaConflict when something depends on it, such as a view."""
    try:
        cursor.execute(f"DROP TABLE {table.quoted}")
    except psycopg2.errors.DependentObjectsStillExist:
        raise SchemaConflict(
            f"the columns of {table.name} would be others, and views or keys depend on it; nothing was changed",
            place=table.place,
            remedy="drop the views over it, reload again, and make them again (`millrace views`)",
        ) from None
