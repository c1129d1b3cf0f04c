"""What a database says of an error, without values of rows.

A server's words may quote a row (``invalid input syntax for type integer: "…"``), hold one unquoted (``RAISE EXCEPTION
'%', NEW.email``), and be in any language. So nothing is passed on but what is known to hold names only: by its code,
or by its English form with all that is quoted left out. Of the rest the code's own name is told.
"""

from __future__ import annotations

import re
from typing import Any

from psycopg2 import errorcodes
from pymysql.constants import ER

from millrace.base.redact import redact
from millrace.drivers.session_settings import is_redshift

HIDDEN = "the server's own words may hold a row's values and are not shown"

_QUOTED = re.compile("(['\"`„“”«»‹›‘’「」]).*['\"`„“”«»‹›‘’「」]", re.DOTALL)
"""What servers quote in one language or another, from the first mark to the last: a value may hold quotes itself."""

_NAMES_ONLY = (
    *("08", "0B", "23", "24", "25", "26", "28", "2B", "2D", "34", "3B", "3D", "3F", "40", "42", "44"),
    *("53", "54", "55", "57", "58", "72", "F0"),
)
"""Classes of SQLSTATE whose messages name connections, settings, tables, columns and constraints."""
_LOOKED_UP = ("0A000", "3D000", "3F000", "42601", "42602", "42703", "42704", "42725", "42883", "42P01")
"""Codes that a value can cause too, when a query reads it as a name or as a search (``name::regclass``).

The error tells a position if the name stands in the statement itself.
"""

_ENGLISH = re.compile(
    "|".join(
        (
            r'invalid input (syntax|value) for (type |enum )?[\w ]+(: "…")?',
            r'value "…" is out of range for type [\w ]+',
            r'(smallint|integer|bigint|oid|timestamp|date|interval|value|time zone displacement) out of range(: "…")?',
            r'(date/time|interval) field value out of range: "…"',
            r'(malformed|invalid) (array|record|range|multirange) literal: "…"',
            r"(division by zero|numeric field overflow|negative substring length not allowed)",
            r"value too long for type [\w ]+\(\d+\)",
            r'(missing data for|extra data after last expected) column( "…")?',
            r'(relation|column|type|role|schema|function|operator|collation) "…" does not exist',
            r'syntax error (at or near|in tsquery:) "…"',
            r"(syntax error at end of input|invalid name syntax|unsupported Unicode escape sequence)",
            r'time zone "…" not recognized',
            r'invalid value for parameter "…"',
            r"invalid regular expression: [a-z ()\[\]{},]+",
            r"more than one row returned by a subquery used as an expression",
            r"cannot (cast|set path in|get array length of|call \w+ on) (jsonb?|an?) ?[\w ]*",
            r"could not complete because of conflict with concurrent transaction",
            r"(out of memory|cache lookup failed for \w+ \d+|\d+)",
        )
    )
)
"""Forms of English messages, with what was quoted left out."""

_POSITION_OF_COPY = re.compile(r"^COPY [^:]+, \w+ \d+, \w+ ([^:]+):")
_STATEMENT = re.compile(
    r"\s*((?:CREATE|ALTER|DROP|LOCK|TRUNCATE|REFRESH)(?:\s+OR\s+REPLACE)?(?:\s+TEMP\w*)?\s+[A-Z]+|INSERT|UPDATE|DELETE"
    r"|MERGE|COPY|UNLOAD|SELECT|WITH|SET|SHOW|CALL|BEGIN|COMMIT|GRANT|ANALYZE)\b"
)

_ENGLISH_OF_MYSQL = (
    (re.compile(r"(Duplicate entry) '.*' (for key '[^']*')", re.DOTALL), r"\1 '…' \2"),
    (re.compile(r"(Incorrect [\w ]+ value:) '.*' (for (?:column|function) [^\n]*)", re.DOTALL), r"\1 '…' \2"),
    (re.compile(r"(Truncated incorrect [\w ]+ value:) '.*'", re.DOTALL), r"\1 '…'"),
    (re.compile(r"([\w ]+ value is out of range in) '.*'", re.DOTALL), r"\1 '…'"),
    (re.compile(r"(Invalid JSON text).* (in value for column '[^']*'\.?)", re.DOTALL), r"\1 \2"),
    (re.compile(r"((?:Data truncated|Data too long|Out of range value) for column '[^']*' at row \d+)"), r"\1"),
    (re.compile(r"((?:Table|View|Unknown (?:database|table|column)) '[^']*' [\w', ]*)"), r"\1"),
    (re.compile(r"(Unknown (?:database|table) '[^']*')"), r"\1"),
    (re.compile(r"(View '[^']*' references invalid .*)"), r"\1"),
    (re.compile(r"((?:[A-Z ]+ command denied|Access denied).*)"), r"\1"),
    (re.compile(r"(Query execution was interrupted.*|Deadlock found when .*|Lock wait timeout exceeded.*)"), r"\1"),
    (re.compile(r"(Table definition has changed.*|Record has changed since last read in table '[^']*'.*)"), r"\1"),
    (re.compile(r"(You have an error in your SQL syntax).*", re.DOTALL), r"\1"),
)


def without_quoted(text: str) -> str:
    """Return ``text`` without all that stands in quotation marks of any language."""
    return _QUOTED.sub('"…"', text)


def postgres_words(error: Exception) -> str:
    """Return why a statement failed, and which. The words of an error without a SQLSTATE are those of the driver."""
    code, said = getattr(error, "pgcode", None) or "", postgres_said(error)
    if not code:
        return redact(said)
    return redact(f"{_doing(error)}{_choose_words(error, code, said)}")


def postgres_said(error: Exception) -> str:
    """Return the words of the server as they are, to look for signs in and not to show.

    Where a connection could not be opened, these are the words of every attempt: a name may stand for several
    addresses, and each is tried with TLS and without.
    """
    diagnostics = getattr(error, "diag", None)
    if said := getattr(diagnostics, "message_primary", None):
        return str(said)
    first, *others = str(error).strip().split("\n")
    attempts = [first, *(line for line in others if line.startswith("connection to server"))]
    return "; ".join(dict.fromkeys(attempts))


def is_raised(error: Exception) -> bool:
    """Return whether an error was raised in a function or trigger of the database.

    There anybody may say anything, with any code.
    """
    context = getattr(getattr(error, "diag", None), "context", None) or ""
    return bool(context) and not context.startswith(("COPY ", "while "))


def mysql_words(code: int, said: str) -> str:
    """Return why a statement of MySQL failed.

    A function or trigger may raise an error with any number, so that only the form of the words decides what is shown.
    """
    for form, shown in _ENGLISH_OF_MYSQL:
        if found := form.fullmatch(said):
            return redact(found.expand(shown))
    return f"{_NAMES_OF_MYSQL.get(code, 'an error of its own')} ({HIDDEN})"


def _choose_words(error: Exception, code: str, said: str) -> str:
    if not is_raised(error):
        if code.startswith(_NAMES_ONLY) and (code not in _LOOKED_UP or _is_in_statement(error)):
            return said
        if _ENGLISH.fullmatch(masked := without_quoted(said)):
            return masked
    where = ", in a function of the database" if is_raised(error) else ""
    return f"{_condition(code)}{where} ({HIDDEN})"


def _is_in_statement(error: Exception) -> bool:
    """Return whether the name that was not found stands in the statement.

    Redshift tells no position in the statement, and looks up no value.
    """
    connection = getattr(getattr(error, "cursor", None), "connection", None)
    if connection is not None and is_redshift(connection):
        return True
    return bool(getattr(getattr(error, "diag", None), "statement_position", None))


def _condition(code: str) -> str:
    try:
        return str(errorcodes.lookup(code)).lower().replace("_", " ")
    except KeyError:
        return "an error of its own"


def _doing(error: Exception) -> str:
    """Return the kind of the failed statement and, for a COPY, the column that failed: ``COPY, column price: ``."""
    cursor: Any = getattr(error, "cursor", None)
    query = getattr(cursor, "query", None) or b""
    kind = _STATEMENT.match(query[:200].decode(errors="replace").upper())
    context = getattr(getattr(error, "diag", None), "context", None) or ""
    column = _POSITION_OF_COPY.match(context)
    words = [*([" ".join(kind[1].split())] if kind else []), *([f"column {column[1]}"] if column else [])]
    return f"{', '.join(words)}: " if words else ""


_SIGNALLED = 1644
_NAMES_OF_MYSQL = {
    number: name.lower().replace("_", " ") for name, number in vars(ER).items() if isinstance(number, int)
} | {_SIGNALLED: "a function, procedure or trigger signalled an error"}
