"""The SQL of the stock platform, with the name of its simulation's schema put in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from millrace.base.naming import quote_in_backticks
from millrace.base.sql_files import SQL_FILES

if TYPE_CHECKING:
    from pymysql.cursors import Cursor

SQL_DIRECTORY = SQL_FILES / "stocks"
SCHEMA = "`simulation`"
"""Stands for it in every statement."""
SUFFIX = "_simulation"
_END_OF_STATEMENT = re.compile(r";\s*$", re.MULTILINE)


def schema_of(cursor: Cursor) -> str:
    """Return the quoted schema of the simulation in this session's database."""
    cursor.execute("SELECT DATABASE()")
    [(database,)] = cursor.fetchall()
    return quote_in_backticks(f"{database}{SUFFIX}")


def add_schema_name(statement: str, schema: str) -> str:
    """Put the schema's name into a statement."""
    return statement.replace(SCHEMA, schema)


def statements(name: str) -> list[str]:
    """Return the statements of ``sql/stocks/<name>.sql``; the driver runs one at a time."""
    text = (SQL_DIRECTORY / f"{name}.sql").read_text(encoding="utf-8")
    return split_statements(text)


def split_statements(text: str) -> list[str]:
    """Split a script at every semicolon that ends a line; the driver of MySQL runs one statement at a time."""
    return [statement for statement in _END_OF_STATEMENT.split(text) if statement.strip()]
