"""How much of its change log a server keeps for a reader, and when that is too much."""

from __future__ import annotations

from dataclasses import dataclass

HIGH_SHARE = 0.5
"""From this share of what the server may keep on, people are told."""
HIGH_BYTES = 10 * 1024**3
"""From this size on people are told if the server has no limit: its disk is the limit then."""


@dataclass(frozen=True)
class Retention:
    """How much of its log a server keeps, as far as this kind of server tells it."""

    retained_bytes: int | None = None
    """How much log the server keeps because of a reader; None: it keeps the log whether somebody reads it or not."""
    remaining_bytes: int | None = None
    """How much more may be written before the log from the position on is lost; None: no limit by size is known."""
    remaining_seconds: float | None = None
    """How much time is left before the log from the position on is lost; None: no limit by time is known."""
    kept_seconds: float | None = None
    """How long the server keeps a change; None: no limit by time is known."""

    @property
    def used_share(self) -> float | None:
        """The share of what the server may keep that lies behind the reader, from 0 to 1; None: no limit is known."""
        shares = []
        if self.retained_bytes is not None and self.remaining_bytes is not None:
            most_bytes = self.retained_bytes + self.remaining_bytes
            shares.append(self.retained_bytes / most_bytes if most_bytes > 0 else 1.0)
        if self.kept_seconds and self.remaining_seconds is not None:
            shares.append(1 - self.remaining_seconds / self.kept_seconds)
        return min(max(*shares, 0.0), 1.0) if shares else None

    @property
    def is_high(self) -> bool:
        """Whether a person should look at it: the log may be lost, or fill the disk of its server."""
        if self.used_share is not None:
            return self.used_share >= HIGH_SHARE
        return (self.retained_bytes or 0) >= HIGH_BYTES


@dataclass(frozen=True)
class RetainedLog:
    """What a source keeps of its change log for the streams of a pipeline, as a read found it."""

    place: str
    """The source, as errors name it."""
    retention: Retention
    not_read: tuple[str, ...] = ()
    """Names of streams that the log is kept for and that were not read, for example paused ones."""


def describe_retained_log(retained: RetainedLog, pipeline: str) -> str:
    """Return how much log is kept, for which streams, and what to do if it grows."""
    found, parts = retained.retention, list[str]()
    if found.retained_bytes is not None:
        parts.append(f"keeps {found.retained_bytes / 1024**3:,.1f} GiB of its change log")
    if found.remaining_seconds is not None:
        parts.append(f"keeps what was not read yet for {found.remaining_seconds / 3600:,.1f} more hours")
    if found.used_share is not None:
        parts.append(f"{found.used_share:.0%} of what it may keep is used")
    else:
        parts.append("no limit is set, so its disk may become full")
    if retained.not_read:
        parts.append(f"it is kept for streams that were not read, too: {', '.join(retained.not_read)}")
    return f"{retained.place} {'; '.join(parts)} (see `millrace logs {pipeline}`)"
