"""Every error the engine raises, grouped by what to do about it.

    MillraceError
    ├── ConfigurationError     a declaration, setting or permission is wrong: a person fixes it, then runs again
    │   ├── UnmappableType     a source column has no type in the warehouse
    │   └── SourceMissing      the declared table, collection or queue does not exist
    ├── FatalError             the data or the code contradict themselves: a person looks first, then runs again
    │   ├── KeyViolation       a declared key is NULL or repeated in the source
    │   ├── CountMismatch      counts that must add up do not
    │   ├── SchemaConflict     the schema policy does not allow what the source's columns need
    │   ├── TooManyRejects     more rows were rejected than the stream allows
    │   └── TooManyDeletes     more rows would be deleted than the stream or model allows
    ├── RetryableError         the same work may succeed later: connection lost, throttled, serialization conflict
    │   ├── Unreachable        a server does not answer
    │   ├── Conflict           another transaction won; repeat the whole transaction
    │   └── StreamBusy         another run holds the stream
    ├── Superseded             a later read was applied already, so this batch must not be applied: stop
    └── TargetLost             the target, its rows or a column are missing, and the batch holds only some rows

A row that breaks its contract raises no error: it is rejected with a reason (see contract/).
A message names the stream, the place and the remedy, and never contains a secret or a value of a row.
"""

from __future__ import annotations

from millrace.base.escaping import escape_unprintable

CREDENTIALS_REMEDY = (
    "correct user and password in this connection's variable, and run `python -m millrace.blocks.bootstrap`; a "
    "deployed environment keeps them as a secret (docs/runbook.md, rotate a secret)"
)
"""The remedy when a server refuses user or password."""


class MillraceError(Exception):
    """Base class of all errors that Millrace raises on purpose.

    ``problem`` says what is wrong, ``place`` where (stream, table, file), ``remedy`` what to do about it. Each becomes
    one line of printable text, whatever names of a source or messages of a server it contains.
    """

    def __init__(self, problem: str, *, place: str = "", remedy: str = "") -> None:
        problem, place, remedy = escape_unprintable(problem), escape_unprintable(place), escape_unprintable(remedy)
        self.problem, self.place, self.remedy = problem, place, remedy
        parts = [f"{place}: {problem}" if place else problem]
        if remedy:
            parts.append(f"Remedy: {remedy}")
        super().__init__(" ".join(part.rstrip() if part.endswith(".") else f"{part}." for part in parts))


class ConfigurationError(MillraceError):
    """A declaration, setting or permission is wrong."""


class UnmappableType(ConfigurationError):
    """A column of a source has a type that the type map does not contain."""


class SourceMissing(ConfigurationError):
    """The declared table, collection or queue does not exist, or the user may not see it."""


class FatalError(MillraceError):
    """The data or the code contradict themselves; to run again does not help."""


class KeyViolation(FatalError):
    """A declared key is NULL or repeated in the source."""


class CountMismatch(FatalError):
    """Rows written, copied and applied do not add up."""


class SchemaConflict(FatalError):
    """The stream's schema policy does not allow what the columns of the source need."""


class TooManyRejects(FatalError):
    """More rows were rejected than the stream allows."""


class TooManyDeletes(FatalError):
    """More rows of the target would be deleted than the stream or model allows."""


class RetryableError(MillraceError):
    """A later try of the same work may succeed."""


class Unreachable(RetryableError):
    """A server does not answer, or closed the connection."""


class Conflict(RetryableError):
    """Another transaction won (Redshift 1023, Postgres 40001): repeat the whole transaction."""


class StreamBusy(RetryableError):
    """Another run holds the stream's lease."""


class Superseded(MillraceError):
    """A later read of the stream was applied already; applying this batch would go back in time."""


class TargetLost(MillraceError):
    """The target was dropped or emptied or lost a column, and the batch holds only some of its rows."""
