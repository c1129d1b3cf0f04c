"""The one error of the stand-in: what a client reads as a Redshift error, and the rule it comes from."""

from __future__ import annotations

SYNTAX_ERROR = "42601"
NOT_SUPPORTED = "0A000"
INTERNAL_ERROR = "XX000"
ACTIVE_TRANSACTION = "25001"
FAILED_TRANSACTION = "25P02"
UNDEFINED_TYPE = "42704"
UNDEFINED_FUNCTION = "42883"
NUMERIC_OVERFLOW = "22003"


class RedshiftError(Exception):
    """An error as Redshift reports it; ``rule`` is the rule of AWS that the stand-in applied (sent as HINT)."""

    def __init__(self, sqlstate: str, message: str, *, detail: str = "", rule: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.sqlstate, self.message, self.detail = sqlstate, message, detail
        self.hint = f"Redshift's rule: {rule}" if rule else hint


class ConnectionCut(Exception):
    """Raised when the client's connection is to be closed without an answer."""


def unsupported_here(feature: str) -> RedshiftError:
    """Return the error for a statement that Redshift can run and the stand-in cannot."""
    return RedshiftError(
        NOT_SUPPORTED,
        f"{feature} is not supported by the stand-in",
        rule="none: Redshift may accept this; extend the stand-in or avoid the feature",
    )


def isolation_violation(detail: str = "") -> RedshiftError:
    """Return error 1023 in Redshift's words."""
    return RedshiftError(
        INTERNAL_ERROR,
        "1023",
        detail=detail or "Serializable isolation violation on table - 0, transactions forming the cycle are: 0, 0",
        rule="serializable isolation: LOCK the shared table first, or repeat the whole transaction",
    )


def concurrent_conflict(detail: str = "") -> RedshiftError:
    """Return what Redshift says when two sessions change the catalog, or rows under snapshot isolation, at once."""
    return RedshiftError(
        INTERNAL_ERROR,
        "could not complete because of conflict with concurrent transaction",
        detail=detail,
        rule="isolation levels: repeat the whole transaction",
    )
