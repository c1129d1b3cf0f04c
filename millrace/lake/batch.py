"""A batch: what one run read of one stream, or computed for one model.

A batch exists once its manifest is in the lake (manifest.py). Files of a batch without a manifest are harmless.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from millrace.base.types import Column
from millrace.declaration.captures import LandingFormat
from millrace.declaration.consent import NO_CONSENT, Consent

MANIFEST_NAME = "batch.json"
SCANS = "sweep-scans"
"""The first part of the keys of objects that a sweep needs and no batch keeps: no name of a pipeline, which has no
hyphen. infra/stack.yaml has the rules that delete them."""
REFUSED = "refused"

BatchKind = Literal["window", "sweep", "replay", "snapshot", "log", "model"]
"""How a batch came about (docs/decisions/0007-sweep-lease-replay.md, 0009-models.md)."""


@dataclass(frozen=True)
class Part:
    """One file of a batch."""

    key: str
    rows: int
    size_bytes: int
    sha256: str
    columns: tuple[str, ...]
    """Names of its columns in the order in which they were written."""


@dataclass(frozen=True)
class RejectCount:
    """How many rows were rejected for one reason and field."""

    reason: str
    field: str
    rows: int


@dataclass(frozen=True)
class BatchFiles:
    """The objects of a batch in the lake."""

    prefix: str = ""
    """The first part of their keys."""
    form: LandingFormat = "parquet"
    rows: tuple[Part, ...] = ()
    deletes: tuple[Part, ...] = ()
    """Keys that the source has no more."""
    sample: tuple[Part, ...] = ()
    """Keys and row hashes that the target is compared with after the load."""
    former: tuple[Part, ...] = ()
    """Rows that the target of a snapshot keeps, because they were rejected or not read. Models are given them too."""
    root_keys: tuple[Part, ...] = ()
    """Keys of the root of a model: rows of the model that hold one of them, and whose own key is not in ``rows``, are
    deleted."""
    rejects: tuple[str, ...] = ()
    """Keys of the files with rejected rows."""
    longest_bytes: Mapping[str, int] = field(default_factory=dict)
    """The length of the longest value of every text, binary and document column."""


@dataclass(frozen=True)
class BatchCounts:
    """The rows of a batch, counted: read = written + deleted + matched + rejected."""

    read: int = 0
    matched: int = 0
    """Rows that were compared with the target and found equal."""
    rejected: int = 0
    reject_counts: tuple[RejectCount, ...] = ()
    """The rejected rows by reason and field."""
    source_rows: int | None = None
    """How many rows the target must have after the load; None: the source was not counted."""


@dataclass(frozen=True)
class BatchCoverage:
    """How much of its source a batch holds, and what follows for rows and columns that it does not hold."""

    has_all_columns: bool = False
    """``columns`` are all columns of the source: it has lost a recorded column that is not among them."""
    absent_columns: tuple[Column, ...] = ()
    """Columns of the target or of the contract that no row of the batch has. Models get them as NULL."""
    absent_means_deleted: bool = False
    """Keys that the target has and the batch lacks are deleted in the source."""
    former_rows_replace_rejects: bool = False
    """Every rejected row has a row in the target, which ``files.former`` holds: rows and former rows together are what
    the target holds after the load."""
    computed_from_all_rows: bool = False
    """The batch of a model was computed from batches that hold all rows."""
    by_value: bool = False
    """Rows are compared with the target value by value, whatever the hashes say that the target holds
    (docs/decisions/0018-stored-hash-is-a-claim.md)."""
    replaces_target: bool = False
    """The rows go into a new table, which takes the place of the target: a reload."""


@dataclass(frozen=True)
class CommitTimes:
    """When the changes of a batch were committed in the source, as its change log tells: freshness without a stamp."""

    keys: int
    """How many keys changed."""
    middle: datetime
    """The time after which half of the keys were changed last."""
    early: datetime
    """The time after which 95 % of the keys were changed last."""
    earliest: datetime
    """The time after which all keys were changed last."""


@dataclass(frozen=True)
class LogProgress:
    """How far a batch brings the target of its stream in the change log of the source."""

    origin: str
    """The server, timeline, database and reader that positions belong to."""
    lower: str | None
    """The position that the target has before the batch; None: it has none."""
    position: str
    """The position that the target has after the batch."""
    fingerprint: str
    """The form of the table in the snapshot of the read."""
    committed_at: datetime | None = None
    """When the newest transaction up to the position was committed; None: it was committed before ``lower``."""
    commit_times: CommitTimes | None = None
    """When the changes were committed; None: the log told no change, or the table was compared as a whole."""


@dataclass(frozen=True)
class BatchProgress:
    """What the ledger records when a batch is applied, besides its counts."""

    token: int = 0
    """Token of the lease; 0: no lease was taken."""
    lower: str | None = None
    """Position that the read began from; None: from the beginning."""
    position: str | None = None
    """Where the next read starts once this batch is applied; None leaves the position where it is."""
    source: str = ""
    """Source of the stream, as declared; '': the batch is of a model, or it was not recorded."""
    selection: str = ""
    """Which rows of the source are replicated, as declared; '': the batch is of a model, or it was not recorded."""
    collected: tuple[str, ...] = ()
    """Objects with collected messages that were read."""
    closes: tuple[str, ...] = ()
    """Ids of the batches whose rejects this batch read again."""
    predecessor: str | None = None
    """Id of the newest batch of the stream that was applied when this one was read ('': none was), as an object of the
    lake said: the batch is applied only if no other one was applied since. None: the warehouse's lease tells."""
    origin: str = ""
    """Key of the manifest in the landing zone, if this batch is its copy in the processed zone."""
    log: LogProgress | None = None
    """How far the batch brings the stream in its change log; None: it was not read by one."""


ChildColumns = Mapping[str, tuple[Column, ...]]
"""The columns of the tables of children, by the path of the array that fills them."""


@dataclass(frozen=True)
class Batch:
    """What one run read of one stream, or computed for one model: all that a load needs."""

    pipeline: str
    stream: str
    """Name of the stream, or of the model."""
    batch_id: str
    kind: BatchKind
    read_at: datetime
    """Moment of the read by the clock of the source."""
    begun_at: datetime
    """Beginning of the read by the clock of the runner."""
    effective_at: datetime
    """Since when the content of the batch is taken to be so, where rows do not say it themselves
    (docs/decisions/0010-versions.md)."""
    columns: tuple[Column, ...]
    files: BatchFiles
    child_columns: ChildColumns = field(default_factory=dict)
    """The columns that elements fill in the tables of children without a schema."""
    counts: BatchCounts = BatchCounts()
    coverage: BatchCoverage = BatchCoverage()
    progress: BatchProgress = BatchProgress()
    row_id_column: str = ""
    """Column by which two rows of one key are recognised as one row that was read twice; '': the read was of a
    snapshot, and a repeated key is an error."""
    time_zones: tuple[str, ...] = ()
    """Time zones other than UTC that the source gives to sessions: its stamps without a zone may be in one of them."""
    consent: Consent = NO_CONSENT
    """What a person allowed the run to do."""
    note: str = ""
    """What a person should know; it is a warning of the report."""

    @property
    def written(self) -> int:
        """Number of rows in the files."""
        return _count_rows(self.files.rows)

    @property
    def deleted(self) -> int:
        """Number of keys in the files of deletes."""
        return _count_rows(self.files.deletes)

    @property
    def manifest_key(self) -> str:
        """Key of the manifest."""
        return f"{self.files.prefix}/{MANIFEST_NAME}"

    @property
    def visited_all_rows(self) -> bool:
        """Every row of the source was read: rows that were rejected before are right now, or rejected again."""
        is_first = self.kind == "window" and self.progress.lower is None and self.progress.position is not None
        is_model_of_all = self.kind == "model" and self.coverage.computed_from_all_rows
        return is_first or self.kind in {"sweep", "snapshot"} or is_model_of_all

    @property
    def is_of_empty_source(self) -> bool:
        """The source has no row, and its columns are known."""
        return self.visited_all_rows and not self.counts.read and bool(self.columns)

    @property
    def shows_deletes(self) -> bool:
        """Return whether a model of this batch lacks no row that the source has.

        It lacks a row if that row was rejected and has no former row.
        """
        return self.coverage.absent_means_deleted or self.coverage.former_rows_replace_rejects

    @property
    def holds_all_rows(self) -> bool:
        """The files hold every row, so that a target can be made from this batch alone. A sweep holds differences."""
        claims_all = self.coverage.computed_from_all_rows or self.coverage.absent_means_deleted
        return claims_all or (self.visited_all_rows and self.kind != "sweep")


def _count_rows(parts: Sequence[Part]) -> int:
    return sum(part.rows for part in parts)


def new_batch_id(read_at: datetime) -> str:
    """Return an id that sorts by the moment of the read, unique also among twins that read at the same moment."""
    return f"{read_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"


def batch_prefix(pipeline: str, stream: str, read_at: datetime, batch_id: str) -> str:
    """Return the first part of the keys of a batch's objects; keys of a stream sort by time."""
    return f"{pipeline}/{stream}/{read_at.astimezone(UTC):%Y/%m/%d}/{batch_id}"


def new_attempt_prefix(batch: Batch) -> str:
    """Return a prefix for files that are made from a batch.

    Every attempt has its own prefix, because an object is never written twice.
    """
    attempt = f"{batch.batch_id}-{secrets.token_hex(4)}"
    return batch_prefix(batch.pipeline, batch.stream, batch.read_at, attempt)


def refused_prefix(pipeline: str, stream: str) -> str:
    """Return the first part of the keys of a stream's refused manifests; keys sort by the moment of the read."""
    return f"{pipeline}/{stream}/{REFUSED}"
