"""Where the next read starts, from what a source tells before its snapshot is taken.

Whatever becomes visible later has a cursor value at or after the position. The rule and its limits are in
docs/decisions/0003-position.md and 0017-clocks-and-zones.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from millrace.sources.chunk import Keys, Selection

DEFAULT_OVERLAP = timedelta(seconds=1)
"""The overlap where open transactions can be seen.

It covers the moment between the start of a transaction and its appearance in the list of the server.
"""
BLIND_OVERLAP = timedelta(minutes=15)
"""The overlap where open transactions cannot be seen."""
CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far the clock of a source may be ahead of that of this machine before its time is not believed."""


@dataclass(frozen=True)
class SourceMoment:
    """What a source tells before a snapshot is taken.

    Whatever the snapshot does not show was written later than this tells.
    """

    read_at: datetime
    """The time by the clock of the source."""
    oldest_start: datetime | None = None
    """When the oldest transaction began that was open then; None: no transaction was open."""
    oldest_writer_start: datetime | None = None
    """When the oldest open transaction began that may write: one of another read of Millrace does not. None: no
    transaction that may write was open."""
    unseen_because: str = ""
    """Why open transactions cannot be seen; '': they can."""
    replayed_until: datetime | None = None
    """For a replica, the time of the primary up to which the replica has all commits."""
    halted_because: str = ""
    """For a replica, why there is no such time."""
    zones: tuple[str, ...] = ()
    """The time zones other than UTC that the server gives to sessions."""


def next_position(moment: SourceMoment, overlap: timedelta | None, lower: str | None) -> tuple[str | None, str]:
    """Return where the window begins that goes on after a window from ``lower`` without end.

    Return also what an operator should know about it. ``overlap`` is the declared one.
    """
    moments = (moment.read_at, moment.oldest_start, moment.replayed_until)
    earliest, note = _limit_to_own_clock(min(filter(None, moments)).astimezone(UTC), moment.read_at)
    if moment.halted_because:
        return lower, join_notes(f"{moment.halted_because}: the position stays where it is", note)
    if not moment.unseen_because:
        return (earliest - (DEFAULT_OVERLAP if overlap is None else overlap)).isoformat(), note
    overlap = max(overlap or BLIND_OVERLAP, BLIND_OVERLAP)
    blind_note = (
        f"open transactions cannot be seen ({moment.unseen_because}): the next read overlaps this one by {overlap}"
    )
    return (earliest - overlap).isoformat(), join_notes(blind_note, note)


def bounded_position(read_at: datetime, overlap: timedelta) -> tuple[str, str]:
    """Return the position of a source that tells nothing but its clock, and what an operator should know about it."""
    position, note = _limit_to_own_clock(read_at, read_at)
    return (position - overlap).isoformat(), note


def not_in_future(selection: Selection, read_at: datetime) -> tuple[Selection, str]:
    """Return the selection that is read: everything if the window would begin after the time of the source.

    Then the clock of the source was set back, and nobody knows what was written since. A note says so.
    """
    if isinstance(selection, Keys) or selection.lower is None or selection.is_chosen:
        return selection, ""
    ahead = as_utc(selection.lower) - read_at
    if ahead <= timedelta(0):
        return selection, ""
    note = (
        f"the position is {whole_seconds(ahead)} ahead of the source's clock, which was set back: everything is read "
        "again; see that the source's clock is right"
    )
    return replace(selection, lower=None), note


def as_utc(position: str) -> datetime:
    """Return a position as a moment in UTC. A position without a zone is in UTC."""
    moment = datetime.fromisoformat(position)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def join_notes(*notes: str) -> str:
    """Join notes into one; empty ones are left out."""
    return "; ".join(filter(None, notes))


def whole_seconds(span: timedelta) -> timedelta:
    """Round a span to whole seconds, for people."""
    return timedelta(seconds=round(span.total_seconds()))


def _limit_to_own_clock(position: datetime, read_at: datetime) -> tuple[datetime, str]:
    """Return the position, or the time of this machine if the clock of the source is far ahead of it.

    A clock that is far ahead is set right one day, and rows then have earlier times.
    """
    now = datetime.now(UTC)
    ahead = read_at - now
    if ahead <= CLOCK_TOLERANCE:
        return position, ""
    note = (
        f"the source's clock is {whole_seconds(ahead)} ahead of this machine's: the next read starts from this "
        "machine's time; set the clock that is wrong"
    )
    return min(position, now), note
