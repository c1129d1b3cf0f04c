"""Streams that a pattern declares: the tables of a source that it names are found at each run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.base.naming import check_name
from millrace.base.types import DataType
from millrace.base.zones import check_zone
from millrace.declaration.captures import AnyCapture, DeletePolicy, Reconcile, SchemaPolicy
from millrace.declaration.checks import Count, Names, PositiveCount, Share, Text, check_fields
from millrace.declaration.load_mode_base import LoadMode
from millrace.declaration.masks import Mask
from millrace.declaration.schedule import check_schedule
from millrace.declaration.source_kinds import SourceReference

PATTERN = frozenset("*?[")
"""Characters that make a name a pattern."""


@dataclass(frozen=True)
class Streams:
    """A stream for each table or collection that a pattern names, found in the source's catalog at each run.

    A declared ``Stream`` of the same table takes precedence. A table that is gone is reported at each run; its target
    stays as it is.
    """

    source: str
    """Where they come from, with a pattern as in a shell: ``postgres/shop:public.*``, ``mongo:shop.order*``."""
    include: Names = ()
    """Only tables that match one of these patterns; empty: all."""
    exclude: Names = ()
    """No tables that match one of these patterns."""
    prefix: str = ""
    """What the names of the streams, and of their targets, begin with; the rest is the name of the table."""
    key: str | Sequence[Text] | None = None
    """The key of each; None: the primary key, or a unique key without NULL."""
    capture: AnyCapture | None = None
    """How changed rows are found; None: chosen for each table as `millrace init` does, and kept from then on."""
    load: LoadMode | None = None
    """How rows become rows of the target; None: ``Merge``, and ``Replace`` without a key."""
    sweep: str | None = None
    """When source and target are compared as a whole, of each that no run reads as a whole anyway; None: daily if the
    capture is chosen."""
    types: Mapping[Text, DataType] = field(default_factory=dict)
    """Other types in the warehouse than the source's, for each table with such a column."""
    omitted: Names = ()
    """Columns and fields that are not replicated, of each table that has them."""
    mask: Mapping[Text, Mask] = field(default_factory=dict)
    """How values are masked, for each table with such a column."""
    deletes: DeletePolicy = "hard"
    """What a row becomes that was deleted in the source."""
    schema_policy: SchemaPolicy = "evolve"
    """What a changed source may change, in the target of each and in the list of tables. A table that is new since the
    last run is added (``evolve``), reported and left out (``quarantine``), or fails the run after everything else was
    loaded (``freeze``)."""
    max_rejects: Count = 1_000
    """The most rows that a run may reject of each; beyond it fails before it commits."""
    max_reject_share: Share = 0.1
    """The largest share of the rows read of each that a run may reject."""
    max_delete_share: Share | None = None
    """The largest share of a target that a run may delete; None: 0.1 of a large table, 0.5 of others."""
    max_new_columns: PositiveCount = 200
    """The most columns that the fields within one document may add to a target in a run."""
    flatten_depth: Count = 2
    """How many levels of embedded documents become columns."""
    reconcile: Reconcile | None = None
    """Whether source and target are compared by a sample after each load."""
    stamps_in: str = ""
    """The IANA time zone of timestamps that name none; '': that of the pipeline."""

    def __post_init__(self) -> None:
        check_fields(self, f"wildcard {self.source}")
        self._check_source()
        try:
            check_schedule(self.sweep or "")
        except ConfigurationError as error:
            raise ConfigurationError(error.problem, place=self.place, remedy=error.remedy) from error
        if self.prefix:
            check_name(self.prefix, f"{self.place}: prefix")
        if self.stamps_in:
            check_zone(self.stamps_in, f"{self.place}: stamps_in")
        for path in self.mask:
            if path in self.omitted:
                raise ConfigurationError(
                    f"field {path!r} is masked and omitted", place=self.place, remedy="declare one of the two"
                )

    def _check_source(self) -> None:
        reference = SourceReference.parse(self.source, self.place)
        if reference.kind.is_queue:
            raise ConfigurationError("a queue has no tables", place=self.place, remedy="declare a Stream for it")
        if PATTERN & set(reference.schema):
            raise ConfigurationError(
                f"schema {reference.schema!r} is a pattern, and only the name of a table may be one",
                place=self.place,
                remedy="declare Streams for each schema, with another prefix each",
            )
        if not PATTERN & set(reference.name):
            raise ConfigurationError(
                f"{self.source!r} names one table",
                place=self.place,
                remedy=f"declare a Stream for it, or write {self.source.removesuffix(reference.name)}*",
            )

    @property
    def reference(self) -> SourceReference:
        """The source as its parts; the name of the table is a pattern."""
        return SourceReference.parse(self.source)

    @property
    def place(self) -> str:
        """How errors name the wildcard."""
        return f"wildcard {self}"

    @override
    def __str__(self) -> str:
        """Return source, included patterns and prefix: what tells them from others of the pipeline."""
        included = f" {', '.join(sorted(self.include))}" if self.include else ""
        return f"{self.source}{included}{f' as {self.prefix}*' if self.prefix else ''}"

    def covers(self, reference: SourceReference) -> bool:
        """Return whether a table is one of those that the patterns name."""
        own = self.reference
        is_same = (own.kind, own.connection, own.schema) == (reference.kind, reference.connection, reference.schema)
        return is_same and matches(reference.name, own.name, self.include, self.exclude)


def matches(name: str, pattern: str, include: Collection[str] = (), exclude: Collection[str] = ()) -> bool:
    """Return whether a table is named by patterns as in a shell.

    It must match the pattern, one of ``include`` if there are any, and none of ``exclude``.
    """
    included = not include or any(fnmatchcase(name, one) for one in include)
    return fnmatchcase(name, pattern) and included and not any(fnmatchcase(name, one) for one in exclude)
