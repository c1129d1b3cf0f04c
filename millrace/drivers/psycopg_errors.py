"""psycopg2's errors as ours: which a person must correct, which pass by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from sqlalchemy.exc import DBAPIError

from millrace.base.errors import (
    CREDENTIALS_REMEDY,
    ConfigurationError,
    Conflict,
    FatalError,
    MillraceError,
    RetryableError,
    SchemaConflict,
    SourceMissing,
    Unreachable,
)
from millrace.base.sql_files import SQL_FILES
from millrace.declaration.width import WIDTH_REMEDY
from millrace.drivers.blockers import find_blockers
from millrace.drivers.meanings import WRONG_CONDITION, Meaning, Said, find_meaning
from millrace.drivers.server_words import is_raised, postgres_said, postgres_words

SQL_DIRECTORY = SQL_FILES / "millrace"


INSUFFICIENT_PRIVILEGE = "42501"
_LOCK_TIMEOUT = "55P03"
_INTERNAL = "XX"
_REDSHIFT_CONFLICTS = {"1023", "1018"}
"""What Redshift's conflicts of serializable isolation and of a table that is gone are called."""
_CONFLICT = Meaning(Conflict, "run again; the transaction was rolled back whole", states=("40001", "40P01"))
_UNREACHABLE = Meaning(
    Unreachable,
    "see that the server runs and that host and port are right",
    states=("57P01", "57P02", "57P03", "08"),
)
_BY_HAND = "run the statement by hand: `millrace plan` shows it, and the server's log has its words whole"
_UNKNOWN = Meaning(FatalError, _BY_HAND)
_LOST_IN_COPY = "no message from the libpq"
"""What psycopg2 says, as a bare DatabaseError, when the line breaks in the middle of a COPY."""

_MEANINGS = (
    # SQLSTATE 42701 as well, and no race.
    Meaning(ConfigurationError, "give the column another name", signs=("conflicts with a system column name",)),
    Meaning(
        SchemaConflict,
        f"{WIDTH_REMEDY}; columns that were dropped or replaced count as well, until the table is made again",
        states=("54011",),
        signs=("row is too big",),
    ),
    Meaning(
        Conflict,
        "run again; another session made it meanwhile",
        # Schema, table, column: IF NOT EXISTS loses against a session that makes the same thing at the same moment.
        states=("42P06", "42P07", "42701"),
        signs=(
            'unique constraint "pg_',
            "tuple concurrently updated",
            "conflict with concurrent transaction",
            # What Redshift says of a table that another session replaced or dropped.
            "could not open relation with OID",
        ),
    ),
    Meaning(
        Conflict,
        "run again; another session made the table meanwhile. If it stays: a type of this name is there, so drop it "
        "or give the stream another target",
        # Every table has a row type of its name.
        states=("42710",),
    ),
    _CONFLICT,
    Meaning(
        RetryableError,
        "run again; the server ended a session that was at rest",
        # Idle in a transaction, a transaction, idle outside of one.
        states=("25P03", "25P04", "57P05"),
    ),
    Meaning(
        SourceMissing,
        "create it, or correct the declaration or the URL",
        states=("42P01", "3F000", "3D000"),
    ),
    Meaning(
        ConfigurationError,
        "rows would be hidden, and taken for deleted: let the user of this connection see all of them (ALTER ROLE … "
        "BYPASSRLS), or read a view whose owner the policies do not concern",
        signs=("row-level security policy",),
    ),
    Meaning(
        ConfigurationError,
        "use a database with the encoding UTF8, or leave such texts out at the source",
        states=("22P05",),
        instead="a text has a character that the database's encoding lacks",
    ),
    Meaning(
        FatalError,
        "convert them at the source, or read a view that does (convert_from)",
        states=("22021",),
        instead="a text has bytes that are none in the encoding which the database declares",
    ),
    Meaning(
        ConfigurationError,
        "leave it out of the URL: a pooler refuses it, and settings are made in the session",
        # As PgBouncer and RDS Proxy say it.
        signs=("startup parameter", "command-line options"),
    ),
    Meaning(
        ConfigurationError,
        "grant it to the user of this connection",
        states=(INSUFFICIENT_PRIVILEGE,),
        signs=("permission denied for database",),
    ),
    Meaning(
        ConfigurationError,
        CREDENTIALS_REMEDY,
        states=("28000", "28P01"),
    ),
    Meaning(
        FatalError,
        "run the query that `millrace plan` shows by hand to see what it says",
        # PL/pgSQL's own: whoever wrote RAISE may have put a row's values into the text.
        states=("P0",),
        instead="a function in the database raised an exception",
    ),
    Meaning(
        ConfigurationError,
        "REFRESH MATERIALIZED VIEW fills it; or declare a source that is no materialized view",
        signs=("has not been populated",),
    ),
    Meaning(
        FatalError,
        "find the value with the query that `millrace plan` shows, and correct it; or read a view that converts it",
        states=("22",),
    ),
    # Syntax, column, function, types of an operator: a person writes SQL in a condition alone.
    Meaning(FatalError, f"{WRONG_CONDITION} {_BY_HAND}", states=("42601", "42703", "42883", "42804")),
    Meaning(RetryableError, "run again, or raise the statement timeout", states=("57014",)),
    Meaning(
        RetryableError, "run again; the server no longer keeps rows as they were (old_snapshot)", states=("72000",)
    ),
    Meaning(
        Unreachable,
        "run again later; the server has no connection, memory or disk left for it",
        states=("53",),
    ),
    _UNREACHABLE,
)
"""The first one that fits an error is what it means."""
_OF_CONNECTIONS = (
    Meaning(
        ConfigurationError,
        CREDENTIALS_REMEDY,
        signs=(
            "authentication failed",
            "no password supplied",
            'role "[^"]*" does not exist',
            "is not permitted to log in",
            "no such user",
            "(password that was provided|no credentials) for the role",
        ),
    ),
    Meaning(
        ConfigurationError,
        "let this user in from here (pg_hba.conf), or ask for TLS as the server does (sslmode)",
        signs=("pg_hba.conf",),
    ),
    Meaning(
        SourceMissing,
        "create it, or correct the database in the URL",
        signs=('database "[^"]*" does not exist', "no such database"),
    ),
    Meaning(
        ConfigurationError,
        "name the authority that signed the server's certificate in sslrootcert, and see that the certificate has not "
        "expired; or ask for less with sslmode=require, and nobody knows who answers",
        signs=("certificate verify failed",),
    ),
    Meaning(
        ConfigurationError,
        "write the host by the name that the certificate is for; sslmode=verify-ca does not look at the name",
        signs=("does not match host name",),
    ),
    Meaning(
        ConfigurationError,
        "switch TLS on at the server; or write sslmode=disable, and passwords and rows travel as they are",
        signs=("does not support SSL",),
    ),
    Meaning(
        ConfigurationError,
        "correct sslmode and the files of sslrootcert, sslcert and sslkey in the URL",
        signs=("certificate file", "private key file", "invalid sslmode"),
    ),
    Meaning(
        ConfigurationError,
        "correct this connection's URL",
        signs=(
            "invalid (dsn|connection option|integer value|[a-z_]+ value|port number)",
            "definition of service",
            "unrecognized configuration parameter",
            "invalid value for parameter",
            "GSSAPI encryption required",
        ),
    ),
    Meaning(Unreachable, "run again later; the server has no connection left", signs=("too many|connection slots",)),
    Meaning(
        Unreachable,
        "the server answers, and refuses the connection: see what it says, whether user, password and database of the "
        "URL are right, and run again",
        # Severity and text stand behind two blanks. Before it is connected, the server chooses the language.
        signs=("failed: [^ ]+:  (?!the database system)",),
    ),
)
"""What an error without a SQLSTATE means, which a connection gives that could not be opened. These meanings follow
those above."""


def statement(name: str) -> str:
    """Return the text of ``sql/millrace/<name>.sql``."""
    return (SQL_DIRECTORY / f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def database_errors(place: str) -> Iterator[None]:
    """Translate errors of psycopg2 (bare, or wrapped by SQLAlchemy) into those of Millrace, naming ``place``."""
    try:
        yield
    except DBAPIError as error:
        original = error.orig
        raise translate(original if isinstance(original, psycopg2.Error) else error, place) from None
    except psycopg2.Error as error:
        raise translate(error, place) from None


def translate(error: Exception, place: str) -> MillraceError:
    """Return the error of Millrace for an error of the driver: what failed, without secrets and values of rows."""
    code, problem = getattr(error, "pgcode", None) or "", postgres_words(error)
    if code == _LOCK_TIMEOUT:
        return _waited_in_vain(error, problem, place)
    meaning = _meaning_of(error, code)
    if meaning.kind is FatalError:
        problem = f"{problem} (SQLSTATE {code or 'unknown'})"
    return meaning.make_error(problem, place)


def _meaning_of(error: Exception, code: str) -> Meaning:
    said = "" if is_raised(error) else postgres_said(error)
    # Not in the detail: that of a COPY tells lengths and numbers of rows.
    if code.startswith(_INTERNAL) and not _REDSHIFT_CONFLICTS.isdisjoint(said.split()):
        return _CONFLICT
    meanings = _MEANINGS if code else (*_MEANINGS, *_OF_CONNECTIONS)
    return find_meaning(meanings, Said(error, code, said)) or (
        _UNREACHABLE if _is_connection_error(error, code) else _UNKNOWN
    )


def _waited_in_vain(error: Exception, problem: str, place: str) -> RetryableError:
    held_by = find_blockers(error, statement("postgres_blockers")) if isinstance(error, psycopg2.Error) else ""
    return RetryableError(
        f"{problem}; {held_by or 'who held it is gone, or may not be seen'}",
        place=place,
        remedy="wait for that session or end it (pg_terminate_backend), and run again",
    )


def _is_connection_error(error: Exception, code: str) -> bool:
    lost_in_copy = _LOST_IN_COPY in str(error)
    return not code and (lost_in_copy or isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError))
