"""Where the next read starts if the cursor column holds numbers that grow with every insert.

A transaction takes its numbers when it inserts and shows them when it commits, so a smaller number may become visible
after a greater one. The greatest number of an earlier snapshot is safe as soon as every transaction that was open then
has ended (docs/decisions/0003-position.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from millrace.declaration.stream import Stream
from millrace.sources.cursor_columns import LEAST_NUMBER, number_of, position_of_number
from millrace.sources.position import SourceMoment


@dataclass(frozen=True)
class HighestNumber:
    """The greatest value of a cursor column at a moment."""

    value: int | None
    """The number; None: no row has one."""
    seen_at: datetime
    """A moment after the number was read, by the clock of the server."""

    def is_settled(self, moment: SourceMoment) -> bool:
        """Return whether no transaction is open at ``moment`` that may have taken a smaller number."""
        oldest = moment.oldest_writer_start
        return oldest is None or oldest > self.seen_at


def next_number_position(
    moment: SourceMoment, highest: HighestNumber | None, stream: Stream, lower: str | None
) -> tuple[str | None, str]:
    """Return where the window begins that goes on after a window from ``lower``, and what an operator should know.

    ``highest`` is the greatest number of an earlier snapshot; without it (rows were read by key) there is no position.
    """
    if highest is None:
        return lower, ""
    unseen_because = moment.unseen_because or moment.halted_because
    if not unseen_because and not highest.is_settled(moment):
        return lower or position_of_number(stream, LEAST_NUMBER), _describe_open(moment)
    note = _describe_blind(stream, unseen_because) if unseen_because else ""
    if highest.value is None:
        return position_of_number(stream, LEAST_NUMBER), note
    # Several rows may have the greatest number, unless it is the key.
    is_unique = stream.keys == (stream.capture.cursor_column,)
    return position_of_number(stream, highest.value + is_unique - _overlap_of(stream)), note


def note_restarted_numbers(stream: Stream, highest: HighestNumber | None, lower: str | None) -> str:
    """Return a note if the greatest number lies before the window: numbers began again, or rows were deleted."""
    begin = None if lower is None else number_of(lower, stream)
    if highest is None or highest.value is None or begin is None or highest.value >= begin - 1:
        return ""
    return (
        f"the greatest {stream.capture.cursor_column} is {highest.value}, and the window begins at {begin}: if the "
        "numbers began again, read everything (--full)"
    )


def _overlap_of(stream: Stream) -> int:
    overlap = stream.capture.overlap
    return overlap if isinstance(overlap, int) else 0


def _describe_open(moment: SourceMoment) -> str:
    started = moment.oldest_writer_start
    since = f" that began at {started.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if started else ""
    return (
        f"a transaction{since} is still open and may have taken smaller numbers: the next read begins where this one "
        "began"
    )


def _describe_blind(stream: Stream, unseen_because: str) -> str:
    ways = [f"among the last {_overlap_of(stream)} values"] if _overlap_of(stream) else []
    ways += ["found by the next sweep"] if stream.sweep else []
    return (
        f"open transactions cannot be seen ({unseen_because}): a row that is committed late arrives if it is "
        f"{' or '.join(ways)}"
    )
