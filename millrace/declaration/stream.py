"""What is replicated: one table, collection or queue, and where it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import dataframely
import polars as pl

from millrace.base.errors import ConfigurationError
from millrace.base.naming import check_name, column_name
from millrace.base.types import DataType, Kind, is_declarable
from millrace.base.zones import check_zone
from millrace.declaration.captures import (
    CONNECTION,
    DeletePolicy,
    Incremental,
    Queue,
    Reconcile,
    SchemaPolicy,
    Snapshot,
)
from millrace.declaration.checks import Count, Names, Share, Text, check_distinct, check_fields
from millrace.declaration.contract_rules import check_contract
from millrace.declaration.load_modes import AnyLoadMode, Append, History, Merge, Replace, Scd2
from millrace.declaration.schedule import check_schedule

SourceKind = Literal["postgres", "mysql", "mongo", "sqs"]
SOURCE_KINDS: tuple[SourceKind, ...] = ("postgres", "mysql", "mongo", "sqs")

_PLACE = rf"(?P<kind>[a-z]+)(/(?P<connection>{CONNECTION}))?"
_SOURCE = re.compile(rf"{_PLACE}:(?P<schema>[^.]+)\.(?P<name>.+)")
_STEP = re.compile(r"(?<!\\)\.")
"""Between two fields of a path; a dot within a field's name is written with a backslash before it."""
_QUEUE = re.compile(rf"{_PLACE}(?P<schema>)(?P<name>)")


def _not_understood(text: str, place: str) -> ConfigurationError:
    kind, slash, connection = text.partition(":")[0].partition("/")
    if kind in SOURCE_KINDS and slash and not re.fullmatch(CONNECTION, connection):
        return ConfigurationError(
            f"{connection!r} in source {text!r} is not the name of a connection",
            place=place,
            remedy="use lower-case letters, digits and hyphens: the variable SOURCE_POSTGRES_MY_SHOP_URL is the "
            "connection postgres/my-shop",
        )
    return ConfigurationError(
        f"source {text!r} is not understood",
        place=place,
        remedy=f"write kind:schema.name, with {', '.join(SOURCE_KINDS[:-1])} as kind, or sqs/connection",
    )


@dataclass(frozen=True)
class SourceReference:
    """Where a stream comes from: ``postgres:public.transactions``, ``mongo/archive:finance.trades``, ``sqs/events``.

    ``connection`` picks the block (``source-postgres``, ``source-postgres-<connection>``); ``schema`` is the
    schema or database, ``name`` the table or collection. A queue is named by its connection alone.
    """

    kind: SourceKind
    connection: str
    schema: str
    name: str

    @classmethod
    def parse(cls, text: str, place: str = "") -> SourceReference:
        """Raises ConfigurationError, naming ``place``, when ``text`` is not ``kind:schema.name``, or ``sqs``."""
        match = (_QUEUE if text.startswith("sqs") else _SOURCE).fullmatch(text)
        kind = next((kind for kind in SOURCE_KINDS if match and match["kind"] == kind), None)
        if match is None or kind is None:
            raise _not_understood(text, place)
        return cls(kind, match["connection"] or "", match["schema"], match["name"])

    def __str__(self) -> str:
        return f"{self.kind}:{self.schema}.{self.name}" if self.name else f"{self.kind}/{self.connection}"


@dataclass(frozen=True)
class Stream:
    """A table, collection or queue that is replicated.

    ``key`` names the column(s) that identify a row (with ``Replace`` it may be empty); ``contract`` a dataframely
    schema that rows must meet (rows that do not go to quarantine); ``types`` overrides the warehouse type of single
    fields, by source path; ``max_rejects`` and ``max_reject_share`` are the number of rejected rows, and their share of
    the rows read (0 to 1; ten rows are allowed whatever their share is), beyond which a run fails before it commits, 0
    of either allows none; ``flatten_depth`` how many levels of embedded
    documents become columns (deeper ones stay documents). ``sweep`` says when source and target are compared as a
    whole: ``""`` (on demand only), ``every run``, ``daily``, or a cron expression (UTC).
    ``rewritten`` gives columns other values, of the same type, before the contract looks at them; ``omitted`` fields of
    documents and messages are not replicated; ``sorted_by`` is the column by which the target is sorted.
    ``stamps_in`` is the IANA time zone in which stamps that say no zone are written (``''``: UTC, as far as the source
    does not say otherwise): the cursor's, and those that date versions and bindings. Their values arrive unchanged.
    ``max_delete_share`` is the share of a target of more than 100 rows beyond which a run that would delete (mark or
    close) them fails before it commits.
    """

    name: str
    source: str
    key: str | Sequence[Text]
    capture: Incremental | Snapshot | Queue
    load: AnyLoadMode = field(default_factory=Merge)
    contract: type[dataframely.Schema] | None = None
    types: Mapping[Text, DataType] = field(default_factory=dict)
    target: str = ""
    max_rejects: Count = 1_000
    max_reject_share: Share = 0.1
    flatten_depth: Count = 2
    sweep: str = ""
    deletes: DeletePolicy = "hard"
    schema_policy: SchemaPolicy = "evolve"
    reconcile: Reconcile | None = None
    rewritten: Mapping[Text, pl.Expr] = field(default_factory=dict, compare=False)
    omitted: Names = ()
    sorted_by: str = ""
    stamps_in: str = ""
    max_delete_share: Share = 0.5

    def __post_init__(self) -> None:
        check_fields(self, f"stream {self.name}")
        check_name(self.name, "stream")
        if self.stamps_in:
            check_zone(self.stamps_in, f"stream {self.name}: stamps_in")
        if self.target:
            check_name(self.target, f"stream {self.name}: target")
        if not self.keys and not isinstance(self.load, Replace):
            raise ConfigurationError(
                "no key is declared",
                place=f"stream {self.name}",
                remedy="name the column that identifies a row",
            )
        if self.is_snapshot:
            self._check_snapshot()
        try:
            SourceReference.parse(self.source, f"stream {self.name}")
            check_schedule(self.sweep)
        except ConfigurationError as error:
            raise ConfigurationError(error.problem, place=f"stream {self.name}", remedy=error.remedy) from error
        self._check_queue()
        self._check_load()
        self._check_paths()
        self._check_columns()
        if self.contract is not None:
            check_contract(self.contract, [column_name(key) for key in self.keys], f"stream {self.name}")

    def _check_snapshot(self) -> None:
        if self.source.startswith("mongo"):
            problem, remedy = "MongoDB gives no snapshot of a collection", "declare Incremental and a sweep"
        elif self.sweep:
            problem, remedy = "a snapshot compares everything at every run already", "declare no sweep"
        else:
            return
        raise ConfigurationError(problem, place=f"stream {self.name}", remedy=remedy)

    def _check_queue(self) -> None:
        is_queue = isinstance(self.capture, Queue)
        if is_queue != self.source.startswith("sqs"):
            problem, remedy = "messages are captured by Queue, and by nothing else", "declare it for sqs/connection"
        elif isinstance(self.capture, Queue) and self.capture.dead_letters == (self.reference.connection or None):
            problem, remedy = "its dead_letters are the queue itself", "name the connection of another queue"
        elif is_queue and (self.sweep or self.reconcile):
            problem, remedy = "a queue holds nothing to compare with", "declare neither sweep nor reconcile"
        elif self.omitted and not self.is_of_documents:
            problem, remedy = "fields are omitted of documents only", "leave columns out with a view"
        else:
            return
        raise ConfigurationError(problem, place=f"stream {self.name}", remedy=remedy)

    def _check_load(self) -> None:
        if isinstance(self.load, History):
            problem, remedy = "a history is kept of a model", "declare Scd2, or a model"
        elif isinstance(self.load, Replace) and not self.is_snapshot:
            problem, remedy = "Replace needs the whole table at every run", "declare capture=Snapshot()"
        elif isinstance(self.capture, Queue) and not isinstance(self.load, Append | Merge):
            problem, remedy = "messages come twice and in any order", "declare Append or Merge"
        elif (isinstance(self.load, Replace) and self.deletes != "hard") or (
            isinstance(self.load, Append) and self.deletes == "soft"
        ):
            problem = f"{type(self.load).__name__} does not do deletes={self.deletes!r}"
            remedy = "leave deletes out, or declare Merge()"
        elif isinstance(self.load, Scd2) and self.load.changes:
            problem, remedy = "what is read of a table are states, not changes", "declare a model of its rows"
        else:
            return
        raise ConfigurationError(problem, place=f"stream {self.name}", remedy=remedy)

    def _check_paths(self) -> None:
        """Of fields in the source."""
        place = f"stream {self.name}"
        check_distinct(map(column_name, self.keys), "key column", place)
        for path in (*self.keys, *filter(None, [self.capture.stamp]), *self.types):
            if any(_is_at_or_below(path, one) for one in self.omitted):
                raise ConfigurationError(
                    f"field {path!r} is declared and omitted", place=place, remedy="take it out of omitted"
                )
        for path in self.types if self.is_of_documents else ():
            self._check_depth(path)
        for path, data_type in self.types.items():
            if not is_declarable(data_type):
                raise ConfigurationError(
                    f"types[{path!r}] is {data_type}, which no column can be",
                    place=place,
                    remedy="a decimal has 1 to 38 digits, at most 37 of them a fraction; a length is at least 1",
                )

    def _check_depth(self, path: str) -> None:
        """A type is declared of a field that becomes a column."""
        place = f"stream {self.name}"
        if len(_STEP.split(path)) > self.flatten_depth + 1:
            raise ConfigurationError(
                f"field {path!r} lies deeper than flatten_depth={self.flatten_depth} opens documents",
                place=place,
                remedy="name the document that holds it, or raise flatten_depth",
            )
        for other, data_type in self.types.items():
            if data_type.kind is Kind.DOCUMENT and path != other and _is_at_or_below(path, other):
                raise ConfigurationError(
                    f"field {path!r} lies in {other!r}, which types declares a document that stays whole",
                    place=place,
                    remedy="declare one of the two",
                )

    def _check_columns(self) -> None:
        """Of columns in the target."""
        place = f"stream {self.name}"
        for name in (*self.rewritten, *filter(None, [self.sorted_by])):
            if column_name(name) != name:
                raise ConfigurationError(
                    f"{name!r} is no name of a column of the target",
                    place=place,
                    remedy=f"write {column_name(name)!r}, see docs/naming.md",
                )
        for name in map(column_name, self.keys):
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
    def reference(self) -> SourceReference:
        """The parsed source."""
        return SourceReference.parse(self.source)

    @property
    def is_snapshot(self) -> bool:
        """Every run reads the whole table."""
        return isinstance(self.capture, Snapshot)

    @property
    def is_of_documents(self) -> bool:
        """Its rows have fields, some of which may be missing, and no columns."""
        return self.reference.kind in {"mongo", "sqs"}

    @property
    def table(self) -> str:
        """Name of the target table."""
        return self.target or self.name


def _is_at_or_below(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.")
