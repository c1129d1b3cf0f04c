"""psycopg2's errors as ours: which are the person's to mend, which pass by themselves.

What does not belong here: retrying, and statements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy.exc import DBAPIError

from millrace.errors import (
    ConfigurationError,
    Conflict,
    FatalError,
    MillraceError,
    RetryableError,
    SourceMissing,
    Unreachable,
)
from millrace.redact import redact

SQL_DIRECTORY = Path(__file__).parent.parent / "sql" / "millrace"

_SERIALIZATION = frozenset({"40001", "40P01"})
_MADE_MEANWHILE = frozenset({"42P06", "42P07", "42701"})
"""Schema, table, column: IF NOT EXISTS loses against a session that makes the same thing at the same moment."""
_CATALOG_RACES = ('unique constraint "pg_', "tuple concurrently updated")
_DATA_CLASS = "22"
"""Its messages quote the value that was wrong."""
_QUOTED = re.compile(r'".*"', re.DOTALL)
_CONNECTION_CLASS = "08"
_SHUTDOWN = frozenset({"57P01", "57P02", "57P03"})
_RESOURCES_CLASS = "53"
_MISSING = frozenset({"42P01", "3F000", "3D000"})
_CREDENTIALS = frozenset({"28000", "28P01"})
INSUFFICIENT_PRIVILEGE = "42501"
_CANCELLED = "57014"
REDSHIFT_CONFLICT = "1023"
_LOST_IN_COPY = "no message from the libpq"
"""What psycopg2 says, as a bare DatabaseError, when the line breaks in the middle of a COPY."""


def statement(name: str) -> str:
    """The text of ``sql/millrace/<name>.sql``."""
    return (SQL_DIRECTORY / f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def database_errors(place: str) -> Iterator[None]:
    """Within it, errors of psycopg2 (bare, or wrapped by SQLAlchemy) become the engine's, naming ``place``."""
    try:
        yield
    except DBAPIError as error:
        original = error.orig
        raise translate(original if isinstance(original, psycopg2.Error) else error, place) from None
    except psycopg2.Error as error:
        raise translate(error, place) from None


def translate(error: Exception, place: str) -> MillraceError:
    """The engine's error for a driver's error. Its text is redacted; values of rows (DETAIL) are left out."""
    code = getattr(error, "pgcode", None) or ""
    diagnostics = getattr(error, "diag", None)
    problem = redact(getattr(diagnostics, "message_primary", None) or str(error).strip().split("\n")[0])
    if code.startswith(_DATA_CLASS):
        problem = _QUOTED.sub('"…"', problem)
    detail = getattr(diagnostics, "message_detail", None) or ""
    if code in _MADE_MEANWHILE or any(sign in problem for sign in _CATALOG_RACES):
        return Conflict(problem, place=place, remedy="run again; another session made it meanwhile")
    if code in _SERIALIZATION or REDSHIFT_CONFLICT in f"{problem} {detail}".split():
        return Conflict(problem, place=place, remedy="run again; the transaction was rolled back whole")
    if code in _MISSING:
        return SourceMissing(problem, place=place, remedy="create it, or correct the declaration or the URL")
    if code == INSUFFICIENT_PRIVILEGE:
        return ConfigurationError(problem, place=place, remedy="grant it to the user of this connection")
    if code in _CREDENTIALS or "authentication failed" in problem:
        return ConfigurationError(
            problem, place=place, remedy="correct user and password in the block (see README, environment)"
        )
    if code == _CANCELLED:
        return RetryableError(problem, place=place, remedy="run again, or raise the statement timeout")
    if code in _SHUTDOWN or code.startswith((_CONNECTION_CLASS, _RESOURCES_CLASS)) or _is_connection_error(error, code):
        return Unreachable(problem, place=place, remedy="see that the server runs and that host and port are right")
    return FatalError(f"{problem} (SQLSTATE {code or 'unknown'})", place=place, remedy="look at the statement named")


def _is_connection_error(error: Exception, code: str) -> bool:
    lost_in_copy = _LOST_IN_COPY in str(error)
    return not code and (lost_in_copy or isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError))
