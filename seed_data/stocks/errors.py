"""The driver's errors as ours, as far as the simulation meets them.

What does not belong here: retrying.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pymysql
from pymysql.constants import CR, ER

from millrace.errors import ConfigurationError, Conflict, FatalError, MillraceError, Unreachable
from millrace.redact import redact

_DENIED = frozenset(
    {
        ER.DBACCESS_DENIED_ERROR,
        ER.ACCESS_DENIED_ERROR,
        ER.TABLEACCESS_DENIED_ERROR,
        ER.SPECIFIC_ACCESS_DENIED_ERROR,
        ER.BINLOG_CREATE_ROUTINE_NEED_SUPER,
    }
)
_CONFLICTS = frozenset({ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT})


@contextmanager
def mysql_errors(place: str) -> Iterator[None]:
    """Within it, errors of the driver become the engine's, naming ``place``."""
    try:
        yield
    except pymysql.MySQLError as error:
        raise _translated(error, place) from None


def _translated(error: pymysql.MySQLError, place: str) -> MillraceError:
    code, problem = error.args[0] if error.args else 0, redact(str(error.args[-1] if error.args else error))
    if code in _DENIED:
        return ConfigurationError(problem, place=place, remedy="grant it to the user of this connection")
    if code in _CONFLICTS:
        return Conflict(problem, place=place, remedy="run again; the transaction was rolled back whole")
    if isinstance(error, pymysql.InterfaceError) or code in range(CR.CR_ERROR_FIRST, CR.CR_ERROR_LAST + 1):
        return Unreachable(problem, place=place, remedy="see that the server runs and that host and port are right")
    return FatalError(f"{problem} (error {code})", place=place, remedy="look at the statement named")
