"""PyMySQL's errors as ours: which a person has to fix, which pass by themselves."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pymysql
from pymysql.constants import CR, ER
from sqlalchemy.exc import DBAPIError

from millrace.base.errors import (
    CREDENTIALS_REMEDY,
    ConfigurationError,
    FatalError,
    MillraceError,
    RetryableError,
    SourceMissing,
    Unreachable,
)
from millrace.base.redact import redact
from millrace.drivers.meanings import WRONG_CONDITION, Meaning, Said, find_meaning
from millrace.drivers.server_words import mysql_words

ACCOUNT_HAS_EXPIRED_PASSWORD, MUST_CHANGE_PASSWORD, ACCESS_DENIED_NO_PASSWORD, ACCOUNT_LOCKED = 1862, 1820, 1698, 3118
STATEMENT_TIMEOUT_OF_MARIADB, STATEMENT_TIMEOUT_OF_MYSQL = 1969, 3024
KILLED, IDLE_TOO_LONG = 1927, 4031
TOO_MANY_TRANSACTIONS = 1637
NOT_PREPARED = ER.UNKNOWN_COM_ERROR
"""What a member of a Galera cluster answers that is not in step with the others yet."""

_CREDENTIALS = frozenset(
    {ER.ACCESS_DENIED_ERROR, ER.HOST_NOT_PRIVILEGED, ER.HOST_IS_BLOCKED, ACCOUNT_HAS_EXPIRED_PASSWORD}
    | {MUST_CHANGE_PASSWORD, ACCESS_DENIED_NO_PASSWORD, ACCOUNT_LOCKED}
)
_PERMISSION = frozenset(
    {ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR}
    | {ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.VIEW_NO_EXPLAIN, ER.VIEW_INVALID}
    | {ER.BINLOG_CREATE_ROUTINE_NEED_SUPER}
)
_MISSING = frozenset({ER.NO_SUCH_TABLE, ER.BAD_DB_ERROR, ER.BAD_TABLE_ERROR})
_WRONG_SQL = frozenset({ER.BAD_FIELD_ERROR, ER.PARSE_ERROR, ER.SP_DOES_NOT_EXIST})
_BY_HAND = "run the query by hand: `millrace plan` shows it, and what the server says then names the value"
_PASSING = frozenset(
    {ER.LOCK_DEADLOCK, ER.TABLE_DEF_CHANGED, ER.QUERY_INTERRUPTED, ER.CHECKREAD, NOT_PREPARED}
    | {STATEMENT_TIMEOUT_OF_MARIADB, STATEMENT_TIMEOUT_OF_MYSQL}
)
_EXHAUSTED = frozenset(
    {ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED, ER.DISK_FULL, ER.OUTOFMEMORY}
    | {ER.OUT_OF_RESOURCES, ER.CANT_CREATE_THREAD, ER.LOCK_TABLE_FULL, TOO_MANY_TRANSACTIONS}
)
_CONNECTION = frozenset(
    {CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR, CR.CR_UNKNOWN_HOST, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST}
    | {ER.SERVER_SHUTDOWN, KILLED}
    | {ER.NORMAL_SHUTDOWN, ER.NET_READ_ERROR, ER.NET_READ_INTERRUPTED, ER.NET_ERROR_ON_WRITE, ER.NET_WRITE_INTERRUPTED}
    | {ER.ABORTING_CONNECTION, ER.NEW_ABORTING_CONNECTION, IDLE_TOO_LONG, 0}
)
_OF_CONNECTIONS = _CREDENTIALS | _CONNECTION | _EXHAUSTED
"""Their messages come before the language is set, and name users and hosts."""
_CERTIFICATE = Meaning(
    ConfigurationError,
    "name the authority that signed the server's certificate in ssl_ca, and write the host by the name that the "
    "certificate is for; or ask for less with ssl_mode",
    codes={CR.CR_SSL_CONNECTION_ERROR},
    # What Python says of a certificate, within the error of the connection.
    signs=("CERTIFICATE_VERIFY_FAILED",),
)
_MEANINGS = (
    Meaning(ConfigurationError, CREDENTIALS_REMEDY, codes=_CREDENTIALS),
    _CERTIFICATE,
    Meaning(ConfigurationError, "grant it to the user of this connection", codes=_PERMISSION),
    Meaning(SourceMissing, "create it, or correct the declaration or the URL", codes=_MISSING),
    Meaning(
        RetryableError,
        "look for it in SHOW PROCESSLIST (an ALTER TABLE, say), end it or wait, and run again",
        instead="another session holds the table for longer than a read waits",
        codes={ER.LOCK_WAIT_TIMEOUT},
    ),
    Meaning(FatalError, f"{WRONG_CONDITION} {_BY_HAND}", codes=_WRONG_SQL),
    Meaning(RetryableError, "run again, or raise the statement timeout", codes=_PASSING),
    Meaning(Unreachable, "run again later; the server has no connection, memory or disk left for it", codes=_EXHAUSTED),
    Meaning(Unreachable, "see that the server runs and that host and port are right", codes=_CONNECTION),
)
"""The first meaning that fits an error is what it means."""


@contextmanager
def mysql_errors(place: str) -> Iterator[None]:
    """Translate errors of PyMySQL (bare, or wrapped by SQLAlchemy) into those of Millrace, naming ``place``."""
    try:
        yield
    except DBAPIError as error:
        raise translate(error.orig if isinstance(error.orig, pymysql.MySQLError) else error, place) from None
    except pymysql.MySQLError as error:
        raise translate(error, place) from None
    except (FileNotFoundError, PermissionError, ssl.SSLError) as error:
        raise ConfigurationError(
            redact(error), place=place, remedy="see that the files of ssl_ca, ssl_cert and ssl_key are there and right"
        ) from None


def translate(error: BaseException, place: str) -> MillraceError:
    """Return the error of Millrace for an error of the driver, without secrets and values of rows."""
    words = str(error.args[-1] if error.args else error) or type(error).__name__
    said = Said(error, code := code_of(error), words)
    meaning = find_meaning(_MEANINGS, said)
    is_of_driver = code in _OF_CONNECTIONS or CR.CR_ERROR_FIRST <= code <= CR.CR_ERROR_LAST or _CERTIFICATE.fits(said)
    problem = redact(words) if is_of_driver else mysql_words(code, words)
    if meaning is not None:
        return meaning.make_error(problem, place)
    return FatalError(f"a statement failed: {problem} (MySQL error {code})", place=place, remedy=_BY_HAND)


def code_of(error: BaseException) -> int:
    """Return the number that the server or the driver gives an error; -1 where it has none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else -1
