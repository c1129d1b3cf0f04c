"""The declaration: what is replicated, said once. ``from millrace import Pipeline, Stream, Incremental, Merge``.

Declarations are plain frozen values, checked when they are made, so that a wrong one fails at import with the
name of the stream and not at night. What does not belong here: connections (blocks/) and how anything is done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from millrace.errors import ConfigurationError
from millrace.naming import declared_name
from millrace.schedule import check_schedule

if TYPE_CHECKING:
    import dataframely

    from millrace.types import DataType

SourceKind = Literal["postgres", "mongo"]
DeletePolicy = Literal["hard", "soft", "ignore"]
"""What a row that left the source becomes: taken out, kept and marked (``_deleted_at``), or left as it is."""
SchemaPolicy = Literal["evolve", "freeze", "quarantine"]
"""What a changed source does to the target: additive changes are made, the load is refused, or the rows that would
need a change are rejected."""
SOURCE_KINDS: tuple[SourceKind, ...] = ("postgres", "mongo")

_SOURCE = re.compile(r"(?P<kind>[a-z]+)(/(?P<connection>[a-z0-9-]+))?:(?P<schema>[^.]+)\.(?P<name>.+)")


@dataclass(frozen=True)
class SourceReference:
    """Where a stream comes from: ``postgres:public.transactions``, ``mongo/archive:finance.trades``.

    ``connection`` picks the block (``source-postgres``, ``source-postgres-<connection>``); ``schema`` is the
    schema or database, ``name`` the table or collection.
    """

    kind: SourceKind
    connection: str
    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> SourceReference:
        """Raises ConfigurationError when ``text`` is not ``kind:schema.name``."""
        match = _SOURCE.fullmatch(text)
        kind = next((kind for kind in SOURCE_KINDS if match and match["kind"] == kind), None)
        if match is None or kind is None:
            raise ConfigurationError(
                f"source {text!r} is not understood",
                remedy=f"write kind:schema.name with one of the kinds {', '.join(SOURCE_KINDS)}",
            )
        return cls(kind, match["connection"] or "", match["schema"], match["name"])

    def __str__(self) -> str:
        return f"{self.kind}:{self.schema}.{self.name}"


@dataclass(frozen=True)
class Incremental:
    """Capture by cursor: rows whose ``cursor`` is at or after the position, and rows where it is NULL.

    ``overlap`` is subtracted from the position: it covers clocks that differ and writers whose transactions the
    source does not show. Rows read again are recognised by their hash and counted as unchanged.
    Default: 1 second where the source shows open transactions (Postgres), 60 seconds elsewhere (the longest a
    MongoDB transaction lives by default).
    """

    cursor: str
    overlap: timedelta | None = None

    def __post_init__(self) -> None:
        if self.overlap is not None and self.overlap < timedelta(0):
            raise ConfigurationError(f"overlap of cursor {self.cursor!r} is negative")


@dataclass(frozen=True)
class Merge:
    """Load mode: one row per key in the target; a changed row replaces the old one."""


@dataclass(frozen=True)
class Reconcile:
    """After each load, before it commits, compare the target with the source as it was at the read: the number of
    rows, and the row hashes of about ``rows`` rows chosen by chance. A difference fails the load or is reported.

    Exact where the source gives a snapshot (Postgres) and deletes are swept; elsewhere use ``warn``.
    """

    rows: int = 1_000
    policy: Literal["fail", "warn"] = "fail"


@dataclass(frozen=True)
class Stream:
    """A table or collection that is replicated.

    ``key`` names the column(s) that identify a row; ``contract`` a dataframely schema that rows must meet (rows
    that do not go to quarantine); ``types`` overrides the warehouse type of single fields, by source path;
    ``max_rejects`` and ``max_reject_share`` are the number of rejected rows, and their share of the rows read (0 to
    1), beyond which a run fails before it commits; ``flatten_depth`` how many levels of embedded documents become
    columns (deeper ones stay documents). ``sweep`` says when source and target are compared as a whole: ``""`` (on
    demand only), ``every run``, ``daily``, or a cron expression (UTC).
    """

    name: str
    source: str
    key: str | Sequence[str]
    capture: Incremental
    load: Merge = field(default_factory=Merge)
    contract: type[dataframely.Schema] | None = None
    types: Mapping[str, DataType] = field(default_factory=dict)
    target: str = ""
    max_rejects: int = 1_000
    max_reject_share: float = 1.0
    flatten_depth: int = 2
    sweep: str = ""
    deletes: DeletePolicy = "hard"
    schema_policy: SchemaPolicy = "evolve"
    reconcile: Reconcile | None = None

    def __post_init__(self) -> None:
        declared_name(self.name, "stream")
        if self.target:
            declared_name(self.target, f"stream {self.name}: target")
        if not 0 <= self.max_reject_share <= 1:
            raise ConfigurationError("max_reject_share is not between 0 and 1", place=f"stream {self.name}")
        if not self.keys:
            raise ConfigurationError(
                "no key is declared",
                place=f"stream {self.name}",
                remedy="name the column that identifies a row",
            )
        try:
            SourceReference.parse(self.source)
            check_schedule(self.sweep)
        except ConfigurationError as error:
            raise ConfigurationError(error.problem, place=f"stream {self.name}", remedy=error.remedy) from error

    @property
    def keys(self) -> tuple[str, ...]:
        """Source paths of the key, in declared order."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    @property
    def reference(self) -> SourceReference:
        """The parsed source."""
        return SourceReference.parse(self.source)

    @property
    def table(self) -> str:
        """Name of the target table."""
        return self.target or self.name


@dataclass(frozen=True)
class Pipeline:
    """Streams that run together on one schedule, into one schema of the warehouse (by default its own name)."""

    name: str
    streams: Sequence[Stream]
    schedule: str = ""
    schema: str = ""

    def __post_init__(self) -> None:
        declared_name(self.name, "pipeline")
        if self.schema:
            declared_name(self.schema, f"pipeline {self.name}: schema")
        for what in ("name", "table"):
            names = [getattr(stream, what) for stream in self.streams]
            for name in {name for name in names if names.count(name) > 1}:
                raise ConfigurationError(f"two streams have the {what} {name!r}", place=f"pipeline {self.name}")

    @property
    def target_schema(self) -> str:
        """Schema of the warehouse that holds the targets."""
        return self.schema or self.name

    def stream(self, name: str) -> Stream:
        """The stream of that name. Raises ConfigurationError when there is none."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        known = ", ".join(stream.name for stream in self.streams)
        raise ConfigurationError(
            f"there is no stream {name!r}", place=f"pipeline {self.name}", remedy=f"choose from {known}"
        )
