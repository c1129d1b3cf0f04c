"""What is replicated: one table, collection or queue, and where it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dataframely
import polars as pl

from millrace.base.errors import ConfigurationError
from millrace.base.naming import check_name, column_name
from millrace.base.types import DOCUMENT, DataType, Kind, is_declarable
from millrace.base.zones import check_zone
from millrace.declaration.captures import AnyCapture, DeletePolicy, Problem, Reconcile, SchemaPolicy
from millrace.declaration.checks import Count, Names, PositiveCount, Share, Text, check_distinct, check_fields
from millrace.declaration.children import Child, find_wrong_child
from millrace.declaration.contract_rules import check_contract
from millrace.declaration.load_mode_base import LoadMode
from millrace.declaration.load_modes import Merge
from millrace.declaration.masks import Mask, Redact
from millrace.declaration.schedule import check_schedule
from millrace.declaration.source_kinds import SourceReference

STEP = re.compile(r"(?<!\\)\.")
"""Between two fields of a path; a dot within a field's name is written with a backslash before it."""


@dataclass(frozen=True)
class Stream:
    """A table, collection or queue that is replicated."""

    name: str
    """Name of the stream within its pipeline."""
    source: str
    """Where it comes from: ``postgres/shop:public.orders``, ``mongo:shop.users``, ``sqs/events``."""
    key: str | Sequence[Text]
    """The column or columns that identify a row; '' with ``Replace``, if there is none."""
    capture: AnyCapture
    """How changed rows are found."""
    load: LoadMode = field(default_factory=Merge)
    """How rows become rows of the target."""
    contract: type[dataframely.Schema] | None = None
    """A dataframely schema that rows must meet; the others are rejected."""
    types: Mapping[Text, DataType] = field(default_factory=dict)
    """Other types in the warehouse than the source's, by the field's path in the source."""
    target: str = ""
    """Name of the target; '': the name of the stream."""
    max_rejects: Count = 1_000
    """The most rows that a run may reject; beyond it fails before it commits."""
    max_reject_share: Share = 0.1
    """The largest share of the rows read that a run may reject. Ten rows are allowed whatever their share is, unless
    this or ``max_rejects`` is 0."""
    flatten_depth: Count = 2
    """How many levels of embedded documents become columns; deeper ones stay documents."""
    children: Mapping[Text, Child] | Sequence[Text] = field(default_factory=dict)
    """Arrays of documents that fill tables of their own, by the field's path: ``["items"]``, with the columns that the
    elements have, or ``{"items": Child(OrderItem)}``, with those of a schema."""
    max_new_columns: PositiveCount = 200
    """The most columns that the fields within one document may add to the target in a run: beyond it, the names of the
    fields are probably data (ids, dates), and the run fails and names the document."""
    sweep: str = ""
    """When source and target are compared as a whole: '' (on demand only), ``every run``, ``daily``, or a cron
    expression (UTC)."""
    deletes: DeletePolicy = "hard"
    """What a row becomes that was deleted in the source."""
    schema_policy: SchemaPolicy = "evolve"
    """What a changed source may change in the target."""
    reconcile: Reconcile | None = None
    """Whether source and target are compared by a sample after each load."""
    rewritten: Mapping[Text, pl.Expr] = field(default_factory=dict, compare=False)
    """Other values of the same type, by column of the target. The contract looks at them."""
    columns: Names = ()
    """The columns, or fields of documents at the first level, that are replicated; empty: all."""
    omitted: Names = ()
    """Columns and fields that are not replicated."""
    where: str | Mapping[Text, Any] = ""
    """Only these rows are replicated: a condition in the SQL of the source, or a query of MongoDB as a mapping. A row
    that no longer meets it counts as deleted."""
    mask: Mapping[Text, Mask] = field(default_factory=dict)
    """How values are masked before they leave the process that reads them, by the field's path in the source."""
    enabled: bool = True
    """Whether runs read the stream; if not, its target stays as it is."""
    sorted_by: str = ""
    """The column by which the target is sorted."""
    distributed_by: str = ""
    """The column by which Redshift distributes the rows of the target over nodes; '': docs/warehouse.md says how."""
    stamps_in: str = ""
    """The IANA time zone of timestamps that name none, of the cursor and of times that date versions and bindings; '':
    UTC, as far as the source does not say otherwise. Their values arrive unchanged."""
    max_delete_share: Share = 0.5
    """The largest share of a target of more than 100 rows that a run may delete, mark or close; beyond it fails before
    it commits."""

    def __post_init__(self) -> None:
        check_fields(self, f"stream {self.name}")
        check_name(self.name, "stream")
        if self.stamps_in:
            check_zone(self.stamps_in, f"stream {self.name}: stamps_in")
        if self.target:
            check_name(self.target, f"stream {self.name}: target")
        if not self.keys and self.load.needs_key:
            raise ConfigurationError(
                "no key is declared",
                place=f"stream {self.name}",
                remedy="name the column that identifies a row",
            )
        try:
            SourceReference.parse(self.source, f"stream {self.name}")
            check_schedule(self.sweep)
        except ConfigurationError as error:
            raise ConfigurationError(error.problem, place=f"stream {self.name}", remedy=error.remedy) from error
        object.__setattr__(self, "children", self.child_tables)
        for path in self.child_tables:
            # The array stays a column of the parent as well.
            object.__setattr__(self, "types", {path: DOCUMENT, **self.types})
        self._check_capture()
        self._check_load()
        self._check_paths()
        self._check_columns()
        if self.contract is not None:
            check_contract(self.contract, [column_name(key) for key in self.keys], f"stream {self.name}")

    def _check_capture(self) -> None:
        found = self.capture.problem_with(self) or self._find_wrong_condition() or self._find_wrong_mask()
        found = found or find_wrong_child(self)
        if found is not None:
            problem, remedy = found
            raise ConfigurationError(problem, place=f"stream {self.name}", remedy=remedy)

    def _find_wrong_condition(self) -> Problem | None:
        kind = self.reference.kind
        if self.where and kind.is_queue:
            return "a queue gives every message, so where has no effect", "let the consumers of the queue choose"
        if isinstance(self.where, str) and self.where and kind.is_of_documents:
            return f"where is a text, and a {kind.unit} is asked with a mapping", 'write where={"status": "paid"}'
        if not isinstance(self.where, str) and not kind.is_of_documents:
            return f"where is a mapping, and a {kind.unit} is asked with SQL", "write where=\"status = 'paid'\""
        return None

    def _find_wrong_mask(self) -> Problem | None:
        if self.mask and self.reference.kind.is_queue:
            return (
                "messages are kept in the lake as they came, so masks come too late",
                "mask them before they are sent",
            )
        document_key = self.reference.kind.document_key
        for path in self.mask:
            if key := next((key for key in self.keys if self._masks(path, key)), ""):
                return f"key {key!r} is masked, so its rows would not be found in the source", "declare another key"
            if self._masks(path, document_key):
                return (
                    f"{document_key!r} is masked, by which the source tells documents apart and rejected documents are "
                    "found again",
                    "mask another field; values that must be masked do not belong into this one",
                )
            if self._masks(path, self.capture.stamp):
                return f"{self.capture.stamp!r} is masked, and by it changed rows are found", "mask another column"
            if column_name(path) in self.rewritten:
                return f"{path!r} is masked and rewritten", "declare one of the two"
        return None

    def _masks(self, path: str, named: str) -> bool:
        """Return whether a mask of a path changes values of a named field: above it or within it as well."""
        if not named or not self.is_of_documents:
            return path == named
        return is_at_or_below(named, path) or is_at_or_below(path, named)

    def _check_load(self) -> None:
        if found := self.load.problem_with_stream(self):
            problem, remedy = found
            raise ConfigurationError(problem, place=f"stream {self.name}", remedy=remedy)

    def _check_paths(self) -> None:
        """Check the declared fields of the source."""
        place = f"stream {self.name}"
        check_distinct(map(column_name, self.keys), "key column", place)
        for path in self.columns if self.is_of_documents else ():
            if len(STEP.split(path)) > 1:
                raise ConfigurationError(
                    f"columns names {path!r}, which is a field within another one",
                    place=place,
                    remedy="name the field at the first level, and leave out fields within it with omitted",
                )
        for path in (*self.keys, *filter(None, [self.capture.stamp]), *self.types, *self.mask):
            if any(is_at_or_below(path, omitted_path) for omitted_path in self.omitted):
                raise ConfigurationError(
                    f"field {path!r} is declared and omitted", place=place, remedy="take it out of omitted"
                )
            if not self.selects(path):
                raise ConfigurationError(
                    f"field {path!r} is declared and not among columns", place=place, remedy="add it to columns"
                )
        masked = [path for path in self.mask if not any(path.startswith(f"{child}.") for child in self.child_tables)]
        typed = [path for path in self.types if not self.is_of_found_child(path)]
        for path in (*typed, *masked) if self.is_of_documents else ():
            self._check_depth(path)
        for path, data_type in self.types.items():
            if not is_declarable(data_type):
                raise ConfigurationError(
                    f"types[{path!r}] is {data_type}, which no column can be",
                    place=place,
                    remedy="a decimal has 1 to 38 digits, at most 37 of them a fraction; a length is at least 1",
                )

    def _check_depth(self, path: str) -> None:
        """Check that a type is declared for a field that becomes a column."""
        place = f"stream {self.name}"
        if len(STEP.split(path)) > self.flatten_depth + 1:
            raise ConfigurationError(
                f"field {path!r} lies deeper than flatten_depth={self.flatten_depth} opens documents",
                place=place,
                remedy="name the document that holds it, or raise flatten_depth",
            )
        for other, data_type in self.types.items():
            if data_type.kind is Kind.DOCUMENT and path != other and is_at_or_below(path, other):
                raise ConfigurationError(
                    f"field {path!r} lies in {other!r}, which types declares a document that stays whole",
                    place=place,
                    remedy="declare one of the two",
                )

    def _check_columns(self) -> None:
        """Check the declared columns of the target."""
        place = f"stream {self.name}"
        for name in (*self.rewritten, *filter(None, [self.sorted_by, self.distributed_by])):
            if column_name(name) != name:
                raise ConfigurationError(
                    f"{name!r} is no name of a column of the target",
                    place=place,
                    remedy=f"write {column_name(name)!r}, see docs/naming.md",
                )
        for name in map(column_name, filter(None, [*self.keys, self.reference.kind.document_key])):
            if name in self.rewritten:
                raise ConfigurationError(
                    f"key column {name!r} is rewritten, so that its rows would not be found in the source",
                    place=place,
                    remedy="rewrite it in a model, or declare another key",
                )

    @property
    def keys(self) -> tuple[str, ...]:
        """Source paths of the key, in declared order."""
        return tuple(filter(None, [self.key])) if isinstance(self.key, str) else tuple(self.key)

    @property
    def child_tables(self) -> Mapping[str, Child]:
        """The children by the path of their array."""
        return self.children if isinstance(self.children, Mapping) else {path: Child() for path in self.children}

    @property
    def found_children(self) -> list[str]:
        """Paths of the arrays of children without a schema: their elements tell the columns."""
        return [path for path, child in self.child_tables.items() if child.schema is None]

    def is_of_found_child(self, path: str) -> bool:
        """Return whether a field is one of the elements of a child without a schema."""
        return any(path.startswith(f"{child}.") for child in self.found_children)

    def selects(self, path: str) -> bool:
        """Return whether a column, or field, may be replicated: it is among ``columns``, if any are named."""
        first = path if not self.is_of_documents else STEP.split(path)[0]
        return not self.columns or first in self.columns

    def redacts(self, path: str) -> bool:
        """Return whether a field is redacted as a whole. Then the names of the fields within it are hidden as well."""
        is_redacted = isinstance(self.mask.get(path), Redact)
        return is_redacted and not any(other.startswith(f"{path}.") for other in self.mask)

    @property
    def reference(self) -> SourceReference:
        """The source as its parts."""
        return SourceReference.parse(self.source)

    @property
    def is_snapshot(self) -> bool:
        """Every run reads the whole table."""
        return self.capture.reads_everything

    @property
    def change_log(self) -> str:
        """The change log that the stream is read by, with all other streams of that log; '': it is read alone."""
        if not self.capture.reads_log:
            return ""
        reference = self.reference
        return f"{reference.server}, {reference.schema}" if reference.kind.has_log_per_schema else reference.server

    @property
    def is_of_documents(self) -> bool:
        """Its rows have fields, some of which may be missing, and no columns."""
        return self.reference.kind.is_of_documents

    @property
    def place(self) -> str:
        """How errors name the stream and its source."""
        return f"stream {self.name} ({self.source})"

    @property
    def table(self) -> str:
        """Name of the target table."""
        return self.target or self.name

    def find_mask(self, path: str) -> Mask | None:
        """Return the mask of a field: its own one, or in documents that of the nearest field that it lies within."""
        if not self.is_of_documents:
            return self.mask.get(path)
        covering = [masked for masked in self.mask if is_at_or_below(path, masked)]
        return self.mask[max(covering, key=len)] if covering else None


def steps_of(path: str) -> list[str]:
    """Return the names of the fields that a path leads through."""
    return [re.sub(r"\\(.)", r"\1", step) for step in STEP.split(path)]


def is_at_or_below(path: str, other: str) -> bool:
    """Return whether a field is the other one, or lies within it."""
    return path == other or path.startswith(f"{other}.")
