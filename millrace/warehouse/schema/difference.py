"""Which schema changes a target needs to take a batch: a comparison of what it holds with what is to come."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from millrace.base.naming import LOADED_AT, ROW_HASH
from millrace.base.types import TIMESTAMP_UTC, Column, DataType, Kind, text
from millrace.hashes.row_hash import HASH_LENGTH
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.schema.changes import (
    AddColumn,
    Change,
    ColumnLeft,
    CreateTable,
    Incompatible,
    KeyChanged,
    OwnColumnsLost,
    TargetTable,
    WidenText,
    WidenType,
)
from millrace.warehouse.schema.widening import supertype


@dataclass(frozen=True)
class RecordedColumn:
    """What the ledger knows of a target's column: the ``path`` it holds, whether the target was loaded with it in the
    key, and whether it was noted before that the source has it no more."""

    name: str
    path: str
    is_key: bool
    has_left: bool


_NOTHING_RECORDED: Mapping[str, RecordedColumn] = MappingProxyType({})


def changes_for(
    schema: str,
    table: str,
    held: Mapping[str, DataType | None] | None,
    columns: Sequence[Column],
    keys: Sequence[str],
    longest_bytes: Mapping[str, int],
    dialect: Dialect,
    *,
    leading: Sequence[Column] = (),
    trailing: Sequence[Column] = (),
    required: Collection[str] = (),
    needed: Sequence[str] = (),
    sorted_by: str = "",
    recorded: Mapping[str, RecordedColumn] = _NOTHING_RECORDED,
    is_whole: bool = False,
) -> list[Change]:
    """What has to change so that the target, whose columns are ``held`` (None: there is no such table, None as a type:
    one this program never makes), takes ``columns`` with values as long as ``longest_bytes``.

    ``leading`` and ``trailing`` are columns of our own that stand before and behind them when the table is made;
    ``required`` ones refuse NULL, as the key and the leading ones do; ``needed`` ones are never added to a table that
    is there, as the key and the leading ones are not. The table is sorted by ``sorted_by``.
    ``recorded`` is what the ledger knows of the target's columns by name; ``is_whole`` says that ``columns`` are all
    that the source has, so that a column which is missing among them has left.
    """
    target = TargetTable(schema, table, dialect)
    own = [*leading, *columns, *trailing]
    if held is None:
        refuse_null = {*keys, *required, *(column.name for column in leading)}
        return [replace(_create(target, own, refuse_null, longest_bytes), sorted_by=sorted_by)]
    changed = (_change(target, held, column, longest_bytes.get(column.name, 0)) for column in own)
    left = _left(target, held, columns, recorded) if is_whole and columns else ()
    lost = _lost(target, held, dict.fromkeys([*keys, *(column.name for column in leading), *needed]))
    return [*_key_change(target, keys, recorded), *lost, *(change for change in changed if change), *left]


def _create(
    target: TargetTable, columns: Sequence[Column], refuse_null: Collection[str], longest_bytes: Mapping[str, int]
) -> CreateTable:
    row_hash = Column(ROW_HASH, ROW_HASH, text(HASH_LENGTH))
    loaded_at = Column(LOADED_AT, LOADED_AT, TIMESTAMP_UTC)
    required = {*refuse_null, ROW_HASH, LOADED_AT}
    typed = (
        (column.name, target.dialect.target_type(column.type, longest_bytes.get(column.name, 0)))
        for column in [*columns, row_hash, loaded_at]
    )
    return CreateTable(target, tuple((name, type_name, name in required) for name, type_name in typed))


def _change(
    target: TargetTable, held_columns: Mapping[str, DataType | None], column: Column, longest_bytes: int
) -> Change | None:
    type_name = target.dialect.target_type(column.type, longest_bytes)
    if column.name not in held_columns:
        return AddColumn(target, column.name, type_name)
    held = held_columns[column.name]
    wider = supertype(held, column.type) if held else None
    if held is None or wider is None:
        return Incompatible(target, column.name, str(held or "of a type unknown here"), str(column.type))
    if wider != held:
        return WidenType(target, column.name, held, target.dialect.target_type(wider, 0))
    if target.dialect.measures_text and held.length is not None and longest_bytes > held.length:
        is_text = held.kind is Kind.TEXT
        return WidenText(target, column.name, type_name) if is_text else WidenType(target, column.name, held, type_name)
    return None


def incompatible(
    target: TargetTable, held_columns: Mapping[str, DataType | None], columns: Sequence[Column]
) -> list[Incompatible]:
    """The columns that the target cannot hold, nor be compared with."""
    changes = (_change(target, held_columns, column, 0) for column in columns if column.name in held_columns)
    return [change for change in changes if isinstance(change, Incompatible)]


def _key_change(
    target: TargetTable, keys: Sequence[str], recorded: Mapping[str, RecordedColumn]
) -> Iterator[KeyChanged]:
    loaded = tuple(name for name, column in recorded.items() if column.is_key)
    if loaded and set(loaded) != set(keys):
        yield KeyChanged(target, loaded, tuple(keys))


def _lost(target: TargetTable, held: Collection[str], needed: Iterable[str]) -> Iterator[OwnColumnsLost]:
    if names := tuple(name for name in needed if name not in held):
        yield OwnColumnsLost(target, names)


def _left(
    target: TargetTable,
    held: Mapping[str, DataType | None],
    columns: Sequence[Column],
    recorded: Mapping[str, RecordedColumn],
) -> Iterator[ColumnLeft]:
    arriving = {column.name for column in columns}
    for name, column in recorded.items():
        if name in held and name not in arriving and not column.has_left:
            yield ColumnLeft(target, name)
