"""Which schema changes a target needs for a batch: compare the columns that it has with those that arrive."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from millrace.base.naming import LOADED_AT, ROW_HASH
from millrace.base.types import TIMESTAMP_UTC, Column, text
from millrace.hashes.row_hash import HASH_LENGTH
from millrace.lake.batch import Batch
from millrace.warehouse.distribution import distribution_column
from millrace.warehouse.ledger.entries import RecordedColumn
from millrace.warehouse.schema.column_changes import (
    AddColumn,
    AddedColumnsLost,
    Change,
    ColumnNotRead,
    CreateTable,
    Incompatible,
    KeyChanged,
    WidenLength,
    WidenType,
)
from millrace.warehouse.schema.widening import supertype
from millrace.warehouse.table import Table
from millrace.warehouse.target import Target, TargetColumns


@dataclass(frozen=True)
class ArrivingColumns:
    """The columns of a batch, or the columns that a target must have whatever is loaded."""

    columns: Sequence[Column] = ()
    """The columns, in order."""
    longest_bytes: Mapping[str, int] = field(default_factory=dict)
    """The length of the longest value of every text, binary and document column."""
    are_all: bool = False
    """Whether these are all columns of the source, so that it does not have a recorded column that is missing here."""
    rows: int = 0
    """Number of rows."""

    @classmethod
    def of(cls, batch: Batch) -> ArrivingColumns:
        """Return the columns of a batch. A batch without rows does not show that a column is missing in its source."""
        is_all = batch.coverage.has_all_columns and batch.written > 0
        return cls(batch.columns, batch.files.longest_bytes, is_all, batch.written)

    def longest(self, name: str) -> int:
        """Return the length in bytes of the longest value of a column; 0 if it was not measured."""
        return self.longest_bytes.get(name, 0)


NOTHING_RECORDED: Mapping[str, RecordedColumn] = MappingProxyType({})


def find_column_changes(
    target: Target,
    existing: TargetColumns | None,
    recorded: Mapping[str, RecordedColumn],
    arriving: ArrivingColumns,
) -> list[Change]:
    """Return the changes with which a target takes the arriving columns.

    ``existing`` are the columns that it has (None: there is no such table); ``recorded`` are its columns in the ledger,
    by name.
    """
    kept_columns = [column for column in arriving.columns if column.name not in target.consumed_columns]
    columns = [*target.leading, *kept_columns, *target.trailing]
    if existing is None:
        return [_create(target, columns, arriving)]
    changed = (_change(target.table, existing, column, arriving.longest(column.name)) for column in columns)
    missing = (
        _find_not_read(target.table, existing, kept_columns, recorded) if arriving.are_all and kept_columns else ()
    )
    return [
        *_find_key_change(target, recorded),
        *_find_lost(target, existing),
        *(change for change in changed if change),
        *missing,
    ]


def find_incompatible(target: Target, columns: Sequence[Column]) -> list[Incompatible]:
    """Return a change for each column whose type in the target cannot be compared with the given type."""
    existing = target.columns or {}
    changes = (_change(target.table, existing, column, 0) for column in columns if column.name in existing)
    return [change for change in changes if isinstance(change, Incompatible)]


def _create(target: Target, columns: Sequence[Column], arriving: ArrivingColumns) -> CreateTable:
    row_hash = Column(ROW_HASH, ROW_HASH, text(HASH_LENGTH))
    loaded_at = Column(LOADED_AT, LOADED_AT, TIMESTAMP_UTC)
    leading = {column.name for column in target.leading}
    required = {*target.keys, *target.derivation.required, *leading, ROW_HASH, LOADED_AT}
    typed = (
        (column.name, target.dialect.target_type(column.type, arriving.longest(column.name)))
        for column in [*columns, row_hash, loaded_at]
    )
    return CreateTable(
        target.table,
        tuple((name, type_name, name in required) for name, type_name in typed),
        target.sorted_by,
        distribution_column(target, arriving.rows),
    )


def _change(table: Table, existing: TargetColumns, column: Column, longest_bytes: int) -> Change | None:
    type_name = table.dialect.target_type(column.type, longest_bytes)
    if column.name not in existing:
        return AddColumn(table, column.name, type_name)
    former = existing[column.name]
    wider = supertype(former, column.type) if former else None
    if former is None or wider is None:
        return Incompatible(table, column.name, str(former or "of a type unknown here"), str(column.type))
    if wider != former:
        return WidenType(table, column.name, former, table.dialect.target_type(wider, 0))
    if table.dialect.measures_text and former.length is not None and longest_bytes > former.length:
        return WidenLength(table, column.name, former, type_name)
    return None


def _find_key_change(target: Target, recorded: Mapping[str, RecordedColumn]) -> Iterator[KeyChanged]:
    loaded = tuple(name for name, column in recorded.items() if column.is_key)
    if loaded and set(loaded) != set(target.keys):
        yield KeyChanged(target.table, loaded, target.keys)


def _find_lost(target: Target, existing: Collection[str]) -> Iterator[AddedColumnsLost]:
    """Find added columns that the target lacks and that tell its rows apart.

    They are never added to a table that is there: with NULL in them its rows could not be told apart.
    """
    if names := tuple(name for name in target.identifying_columns if name not in existing):
        yield AddedColumnsLost(target.table, names)


def _find_not_read(
    table: Table, existing: Collection[str], columns: Sequence[Column], recorded: Mapping[str, RecordedColumn]
) -> Iterator[ColumnNotRead]:
    arriving = {column.name for column in columns}
    for name, column in recorded.items():
        if name in existing and name not in arriving and not column.is_not_read:
            yield ColumnNotRead(table, name)
