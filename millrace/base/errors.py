"""Every error the engine raises, grouped by what to do about it.

    MillraceError
    ├── ConfigurationError     a declaration, setting or permission is wrong: a person fixes it, then runs again
    │   ├── UnmappableType     a source column has no type in the warehouse
    │   └── SourceMissing      the declared table, collection or queue is not there
    ├── FatalError             the data or the code contradict themselves: do not retry, look first
    │   ├── KeyViolation       a declared key is NULL or repeated in the source
    │   ├── CountMismatch      counts that must add up do not
    │   ├── SchemaConflict     the source's shape and the target's cannot be brought together under the policy
    │   ├── TooManyRejects     more rows were rejected than the stream allows
    │   └── TooManyDeletes     more rows would be deleted than the stream or model allows
    ├── RetryableError         the same work may succeed later: connection lost, throttled, serialization conflict
    │   ├── Unreachable        a server does not answer
    │   ├── Conflict           another transaction won; repeat the whole transaction
    │   └── StreamBusy         another run holds the stream
    ├── Superseded             a later read was applied already: this batch must not be; stop without writing
    └── TargetLost             the target, its rows or a column of it are gone, and the batch holds only some rows

A row that breaks its contract raises nothing: it goes to quarantine with a reason (see contract/).
A message names the stream, the place and the remedy, and never a secret or a value of a row.
"""

from __future__ import annotations

from millrace.base.escaping import escape_unprintable

CREDENTIALS_REMEDY = (
    "correct user and password in this connection's variable, and run `python -m millrace.blocks.bootstrap`; a "
    "deployed environment keeps them as a secret (docs/runbook.md, rotate a secret)"
)
"""The remedy when a server refuses them."""


class MillraceError(Exception):
    """Base of all errors raised on purpose.

    ``problem`` says what is wrong, ``place`` where (stream, table, file), ``remedy`` what to do about it. Each is one
    line of printable text, whatever names from a source or words of a server are in it.
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
    """A source column has a type that the type map does not hold."""


class SourceMissing(ConfigurationError):
    """The declared table, collection or queue does not exist or may not be seen."""


class FatalError(MillraceError):
    """Running again without looking would not help."""


class KeyViolation(FatalError):
    """A declared key is NULL or repeated in the source."""


class CountMismatch(FatalError):
    """Rows written, copied and applied do not add up."""


class SchemaConflict(FatalError):
    """The source's shape and the target's cannot be brought together under the stream's policy."""


class TooManyRejects(FatalError):
    """More rows were rejected than the stream allows."""


class TooManyDeletes(FatalError):
    """More rows of the target would be deleted than the stream or model allows."""


class RetryableError(MillraceError):
    """The same work may succeed later."""


class Unreachable(RetryableError):
    """A server does not answer, or closed the connection."""


class Conflict(RetryableError):
    """Another transaction won (Redshift 1023, Postgres 40001): repeat the whole transaction."""


class StreamBusy(RetryableError):
    """Another run holds the stream's lease."""


class Superseded(MillraceError):
    """A later read of the stream was applied already; applying this batch would go back in time."""


class TargetLost(MillraceError):
    """The target was dropped or emptied or has lost a column, and the batch holds only a part of its rows."""
