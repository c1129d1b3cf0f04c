"""Small words of a declaration: how changes are found, what becomes of what left the source, when data is from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal, assert_never
from zoneinfo import ZoneInfo

from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.base.zones import check_zone
from millrace.declaration.checks import Count, Duration, PositiveCount, Text, check_distinct, check_fields
from millrace.declaration.source_kinds import CONNECTION

if TYPE_CHECKING:
    from millrace.declaration.stream import Stream

DeletePolicy = Literal["hard", "soft", "ignore"]
"""What a row that left the source becomes: taken out, kept and marked (``_deleted_at``), or left as it is."""
SchemaPolicy = Literal["evolve", "freeze", "quarantine"]
"""What a changed source does to the target: additive changes are made, the load is refused, or the rows that would
need a change are rejected."""
LandingFormat = Literal["parquet", "csv"]
"""Format of a batch's files in the landing zone."""
LEAST_UNKNOWN = -1_000_000
"""The least number that stands for no version: surrogate keys are positive."""


def follows_deletes(policy: DeletePolicy) -> bool:
    """Return whether a row that was deleted in the source changes the target.

    An unknown policy raises AssertionError.
    """
    match policy:
        case "hard" | "soft":
            return True
        case "ignore":
            return False
        case _:
            assert_never(policy)


def rejects_changes(policy: SchemaPolicy) -> bool:
    """Return whether rows are rejected that would need a change of the target.

    An unknown policy raises AssertionError.
    """
    match policy:
        case "quarantine":
            return True
        case "evolve" | "freeze":
            return False
        case _:
            assert_never(policy)


Problem = tuple[str, str]
"""What is wrong with a declaration, and what to do about it."""


class Capture:
    """How the changes of a stream are found. A new kind overrides what differs (docs/extending.md)."""

    @property
    def cursor_column(self) -> str:
        """The column by which changed rows are found; '': no column selects rows."""
        return ""

    @property
    def stamp(self) -> str:
        """The field that says when a row was changed; '': none is known."""
        return ""

    @property
    def overlap(self) -> timedelta | int | None:
        """How far behind the last position the next window begins; None: as far as the source needs.

        It is a time, or a number of values of a cursor column of whole numbers.
        """
        return None

    @property
    def overlap_time(self) -> timedelta | None:
        """The overlap, if it is a time."""
        return self.overlap if isinstance(self.overlap, timedelta) else None

    @property
    def reads_everything(self) -> bool:
        """Whether every run reads all rows, so that a key that is not read was deleted in the source."""
        return False

    @property
    def reads_log(self) -> bool:
        """Whether changed rows are found by the change log of the database, for all streams of a connection at once."""
        return False

    @property
    def keeps_rows(self) -> bool:
        """Whether the source keeps the rows that it gave, so that they can be read again and compared."""
        return True

    def problem_with(self, stream: Stream) -> Problem | None:
        """Return why this capture does not fit the stream; None if it does."""
        if stream.reference.kind.is_queue:
            return MESSAGES_ONLY
        return None


MESSAGES_ONLY = "messages are captured by Queue, and by nothing else", "declare it for sqs/connection"


@dataclass(frozen=True)
class Incremental(Capture):
    """Capture by cursor column: rows with a value of ``cursor`` at or after the position, and rows where it is NULL."""

    cursor: Text
    """The column: a timestamp or a date that every insert and update sets. Or a whole number that grows with every
    insert, such as an identity column: then updates are not seen (docs/guides/choose-a-capture.md)."""
    overlap: Duration | Count | None = None
    """How far behind the last position the next window begins: it covers writers that take the time of their own
    clocks. Rows that are read again are recognised by their hash and counted as unchanged. None: 1 second. Where the
    source does not show open transactions, the overlap is what safety needs if that is more: 60 seconds for MongoDB
    (the longest that a transaction lives by default), 15 minutes for Postgres and MySQL.

    Of a date it is in whole days, at least one, which is the default. Of a whole number it is a number of values, and
    either an overlap or a sweep is declared."""

    def __post_init__(self) -> None:
        check_fields(self, f"Incremental of cursor {self.cursor!r}")

    @property
    @override
    def cursor_column(self) -> str:
        return self.cursor

    @property
    @override
    def stamp(self) -> str:
        return self.cursor

    @override
    def problem_with(self, stream: Stream) -> Problem | None:
        if stream.is_of_documents and isinstance(self.overlap, int):
            return (
                f"overlap is a number of values ({self.overlap}), and cursor {self.cursor!r} is a moment",
                f"write overlap=timedelta(seconds={self.overlap})",
            )
        return super().problem_with(stream)


@dataclass(frozen=True)
class Snapshot(Capture):
    """Capture of the whole table at every run; a key that is not read was deleted. For tables that are small.

    MongoDB shows no snapshot of a collection: a document that was not read counts as deleted if a look-up by its key
    does not find it either.
    """

    stamp: str = ""
    """The field that says when a row was changed, if there is one: by it freshness is measured."""

    def __post_init__(self) -> None:
        check_fields(self, "Snapshot")

    @property
    @override
    def reads_everything(self) -> bool:
        return True

    @override
    def problem_with(self, stream: Stream) -> Problem | None:
        if stream.sweep:
            return "a snapshot compares everything at every run already", "declare no sweep"
        return super().problem_with(stream)


@dataclass(frozen=True)
class Queue(Capture):
    """Capture of messages, each a JSON object (docs/decisions/0011-queues.md).

    Consumers collect them into the lake, and a run reads what was collected since the last one.
    """

    stamp: str = ""
    """The field that says when a message came about, if there is one: by it freshness is measured."""
    dead_letters: str = ""
    """The connection of the queue to which rejected messages are sent; '': none."""

    def __post_init__(self) -> None:
        check_fields(self, "Queue")
        if self.dead_letters and not re.fullmatch(CONNECTION, self.dead_letters):
            raise ConfigurationError(
                f"dead_letters {self.dead_letters!r} is not the name of a connection",
                place="Queue",
                remedy="use lower-case letters, digits and hyphens",
            )

    @property
    @override
    def keeps_rows(self) -> bool:
        return False

    @override
    def problem_with(self, stream: Stream) -> Problem | None:
        if not stream.reference.kind.is_queue:
            return MESSAGES_ONLY
        if self.dead_letters and self.dead_letters == stream.reference.connection:
            return "its dead_letters are the queue itself", "name the connection of another queue"
        if stream.sweep or stream.reconcile:
            return "a queue holds nothing to compare with", "declare neither sweep nor reconcile"
        return None


@dataclass(frozen=True)
class ChangeLog(Capture):
    """Capture by the change log of the database: every insert, update and delete since the last run, without a stamp.

    The log tells which keys changed; their rows are read from the table, in one snapshot for all streams of the
    connection, or from the collection, afterwards (docs/decisions/0024-change-logs.md). The key of a collection is
    ``_id``, or fields of it.
    """

    stamp: str = ""
    """The field that says when a row was changed, if there is one: by it freshness is measured."""

    def __post_init__(self) -> None:
        check_fields(self, "ChangeLog")

    @property
    @override
    def reads_log(self) -> bool:
        return True

    @override
    def problem_with(self, stream: Stream) -> Problem | None:
        if not stream.keys:
            return "it has no key, and a change log names changed rows by their key", "declare the key"
        kind = stream.reference.kind
        if not kind.is_queue and not kind.has_change_log:
            return f"the change log of {kind.title} cannot be read yet", "declare Incremental with a sweep, or Snapshot"
        log_key = kind.document_key
        if log_key and not all(key == log_key or key.startswith(f"{log_key}.") for key in stream.keys):
            return (
                f"the change log of {kind.title} names changed documents by {log_key}, and its key is another field",
                f'declare key="{log_key}", or fields of it, or Incremental with a sweep',
            )
        return super().problem_with(stream)


AnyCapture = Incremental | Snapshot | Queue | ChangeLog
"""What a stream may declare as its capture."""


@dataclass(frozen=True)
class Dated:
    """The date whose state a read shows, by which its files lie in the landing zone.

    Their path is ``<root>/<stream>/partition=YYYYMMDD/``. The date is that of the read in ``zone``, less
    ``days_before``. Changes that a snapshot shows take effect at the beginning of its date, but never before the read
    that did not show them yet (docs/decisions/0010-versions.md).
    """

    root: Text
    """The first part of the path."""
    zone: str = "UTC"
    """The IANA time zone of the date."""
    days_before: Count = 0
    """How many days the state that a read shows is older than the read."""

    def __post_init__(self) -> None:
        check_fields(self, f"dated {self.root}")
        check_zone(self.zone, f"dated {self.root}")

    def date_of(self, read_at: datetime) -> date:
        """Return the date whose state a read shows."""
        return read_at.astimezone(ZoneInfo(self.zone)).date() - timedelta(days=self.days_before)

    def effective_at(self, read_at: datetime, previous: datetime | None) -> datetime:
        """Since when what this read shows, and the ``previous`` one did not, is taken to be so. In UTC."""
        begins = datetime.combine(self.date_of(read_at), time(), ZoneInfo(self.zone)).astimezone(UTC)
        return max(begins, previous.astimezone(UTC)) if previous else begins

    def prefix(self, stream: str, read_at: datetime) -> str:
        """Where the files of a stream's reads of that date lie."""
        return f"{self.root}/{stream}/partition={self.date_of(read_at):%Y%m%d}"


@dataclass(frozen=True)
class Bind:
    """A column of a model with the surrogate key of the version of another model that was valid at a time.

    ``dimension`` is that model, which keeps versions; ``at`` is the column with the time; ``by`` names the columns with
    the dimension's natural key. Rows whose version does not exist yet are bound when it comes. Until then, and if no
    version is of their time, ``column`` has the value ``unknown`` (None: NULL), a number below 1, which no version has.
    """

    column: Text
    """Name of the column that is added to the model."""
    dimension: Text
    """Name of the model that keeps versions."""
    by: Text | Sequence[Text]
    """The column or columns with the natural key of the dimension."""
    at: Text
    """The column with the time whose version is meant."""
    unknown: int | None = None
    """The value of rows that have no version: a number from -1,000,000 to 0, or None for NULL."""

    def __post_init__(self) -> None:
        check_fields(self, f"Bind {self.column!r}")
        if self.unknown is not None and not LEAST_UNKNOWN <= self.unknown <= 0:
            raise ConfigurationError(
                f"unknown is {self.unknown}, which a version may have",
                place=f"Bind {self.column!r}",
                remedy="declare a number from -1,000,000 to 0, or None for NULL",
            )
        check_distinct(self.keys, "column", f"Bind {self.column!r}")

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that hold the dimension's natural key, in the order of its declaration."""
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)


@dataclass(frozen=True)
class Reconcile:
    """A comparison of the target with the source, after each load and before it commits.

    It compares the number of rows, and the row hashes of about ``rows`` rows chosen at random, with the source as it
    was at the read. A difference fails the load or is reported. It is exact if the source has snapshots (Postgres) and
    deletes are swept; elsewhere use ``warn``.
    """

    rows: PositiveCount = 1_000
    """About how many rows are compared."""
    policy: Literal["fail", "warn"] = "fail"
    """What a difference does: it fails the load, or is reported."""

    def __post_init__(self) -> None:
        check_fields(self, "Reconcile")
