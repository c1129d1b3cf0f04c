"""How many rejected rows a run may leave behind: more of them stop it before it commits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from millrace.base.errors import TooManyRejects
from millrace.declaration.model import Model
from millrace.declaration.stream import Stream

FLOOR_ROWS = 10
"""So many rejected rows are allowed, whatever their share is: in a window of few rows one bad row is a large share."""
SHOWN_REASONS = 3
MESSAGES_GO_ON = ", or wait for messages that are right: then these are set aside"


@dataclass(frozen=True)
class RejectedRows:
    """The rejected rows of a batch."""

    reasons: Counter[tuple[str, str]]
    """Rejected rows by reason and field."""
    read: int
    """How many rows the batch read."""
    is_everything: bool
    """All rows of the source were read."""
    where: str
    """How a person can see the rejected rows."""
    count_before: Callable[[], int] = lambda: 0
    """Returns how many of the rejected rows were rejected before. These do not count.

    A row without a cursor value, for example, is in every window.
    """


def check_rejects(stream: Stream, rejected: RejectedRows) -> None:
    """Raise TooManyRejects when more rows were rejected than the stream allows.

    It is also raised when all rows were read and all were rejected: then the declaration is wrong, or the whole source.
    """
    keeps_rows = stream.capture.keeps_rows
    fix = f"fix {'the data, ' if keeps_rows else ''}the contract or the stream's types"
    otherwise = "" if keeps_rows else MESSAGES_GO_ON
    _check(stream, stream.place, rejected, fix, otherwise)


def check_model_rejects(model: Model, place: str, rejected: RejectedRows) -> None:
    """Raise TooManyRejects when more rows were rejected than the model allows.

    It is also raised when the model was computed from all rows and all were rejected.
    """
    _check(model, place, rejected, "fix the model, or the contracts of its streams")


def _check(member: Stream | Model, place: str, rejected: RejectedRows, fix: str, otherwise: str = "") -> None:
    rows, read = rejected.reasons.total(), rejected.read
    allowed = allowed_rejects(member, read)
    if rejected.is_everything and rows and rows >= read:
        problem = f"all {read:,} rows were rejected"
    elif rows > allowed:
        before = rejected.count_before()
        rows, read = rows - before, read - before
        allowed = allowed_rejects(member, read)
        if rows <= allowed:
            return
        problem = f"{rows:,} of {read:,} rows were rejected, {allowed:,} are allowed"
        problem += f" ({before:,} others were rejected before)" if before else ""
        fix += ", or allow more (max_rejects, max_reject_share)"
    else:
        return
    described = ", ".join(_describe(*why, rows) for why, rows in rejected.reasons.most_common(SHOWN_REASONS))
    raise TooManyRejects(
        f"{problem}: {described}",
        place=place,
        remedy=f"see {rejected.where}, then {fix}{otherwise}; to let this batch through once: --accept-rejects "
        "(accept_rejects of the run's parameters)",
    )


def allowed_rejects(member: Stream | Model, read: int) -> int:
    """Return how many of ``read`` rows may be rejected; 0 if the stream or model allows none."""
    if not member.max_rejects or not member.max_reject_share:
        return 0
    return min(member.max_rejects, max(FLOOR_ROWS, int(member.max_reject_share * read)))


def _describe(reason: str, field: str, rows: int) -> str:
    return f"{rows:,} {reason} of {field}" if field else f"{rows:,} {reason}"
