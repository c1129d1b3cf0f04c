"""Make views for analysts from a file of CREATE OR REPLACE VIEW statements, in one transaction."""

from __future__ import annotations

import re
from typing import Any

from millrace.warehouse.dialect import Dialect

_END = re.compile(r";[ \t]*(?:\n|$)")
_COMMENTS = re.compile(r"^\s*--.*\n?", re.MULTILINE)
_NAME = re.compile(r"CREATE OR REPLACE VIEW\s+(\S+)", re.IGNORECASE)


def make_views(connection: Any, text: str, dialect: Dialect) -> list[str]:
    """Make or replace every view of ``text``, and return their names. Commits.

    Its statements end with a semicolon at the end of a line.
    """
    with connection.cursor() as cursor:
        for statement in statements_of(text):
            cursor.execute(statement + dialect.view_binding)
    connection.commit()
    return names_of(text)


def names_of(text: str) -> list[str]:
    """Return the names of the views of a file, as they are written there."""
    return [name for statement in statements_of(text) for name in _NAME.findall(statement)]


def statements_of(text: str) -> list[str]:
    """Return the statements of a file, without the comments before them."""
    return [statement for part in _END.split(text) if (statement := _COMMENTS.sub("", part).strip())]
