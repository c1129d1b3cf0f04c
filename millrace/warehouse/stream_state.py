"""How far a stream has come: its target columns and its position, by the catalog and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from millrace.base.errors import SchemaConflict
from millrace.base.naming import ADDED_COLUMNS
from millrace.base.types import UNKNOWN_PATH, Column
from millrace.change_logs.reading import LogEntry
from millrace.declaration.children import ChildModel
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.stream import Stream
from millrace.lake.batch import ChildColumns
from millrace.warehouse.declared_target import target_of
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.ledger.entries import RecordedColumn
from millrace.warehouse.ledger.ledger import Ledger
from millrace.warehouse.ledger.logs import find_entry, name_ledger
from millrace.warehouse.schema.catalog import look_up
from millrace.warehouse.schema.recorded_forms import RecordedForms
from millrace.warehouse.target import Target


@dataclass(frozen=True)
class StreamState:
    """How far a stream has come in the warehouse; empty before the first load, and when the target was dropped."""

    columns: tuple[Column, ...] = ()
    """The target columns that hold fields of the source, each with its path."""
    child_columns: ChildColumns = field(default_factory=dict)
    """The target columns that elements fill, of each child without a schema."""
    position: str | None = None
    """Where the next window begins; None: from the beginning."""
    last_sweep: datetime | None = None
    """When the source was last read as a whole, by a sweep or by the first load; None: never."""
    last_read: datetime | None = None
    """When the newest applied batch was read; None: no batch was applied."""
    lost: tuple[str, ...] = ()
    """Columns that were loaded and that the target does not have any more, though the source may have them."""
    source: str = ""
    """The source of the target's rows; '': it was not recorded."""
    selection: str = ""
    """Which rows of its source the target holds; '': it was not recorded."""
    renamed_from: str = ""
    """The stream that was loaded from the same source and that the pipeline does not declare any more, if this one was
    never loaded: the name seems to have changed. '': there is none."""
    note: str = ""
    """What an operator should know about the position."""
    unfilled: tuple[str, ...] = ()
    """Models of the stream that were never loaded, although the stream was."""
    log: LogEntry | None = None
    """How far the target has come in the change log of the source; None: it was never loaded by one."""
    ledger: str = ""
    """The name of the ledger, of a stream that is read by a change log: see ``name_ledger``."""
    collected: tuple[str, ...] | None = None
    """Names of the applied objects with messages that the next window meets, of a queue whose state the lake keeps."""
    newest_batch: str | None = None
    """Id of the batch that was applied last ('': none was), if the state is kept in the lake; else None."""


NEVER_LOADED = StreamState()
"""The state of a stream before the first load."""


def find_state(connection: Any, pipeline: Pipeline, stream: Stream, target: Target) -> StreamState:
    """Return how far a stream has come.

    Raises SchemaConflict when a column of its target has a type that Millrace does not know and so cannot compare.
    """
    target, ledger, of_stream = look_up(connection, target), Ledger(connection), (pipeline.name, stream.name)
    log, name = (find_entry(ledger, *of_stream), name_ledger(ledger)) if stream.capture.reads_log else (None, "")
    source = ledger.find_source(*of_stream)
    declared = [member.name for member in pipeline.members]
    former_name = "" if source else ledger.find_former_name(*of_stream, stream.source, declared)
    if target.columns is None:
        return replace(NEVER_LOADED, renamed_from=former_name, log=log, ledger=name)
    recorded = ledger.list_columns(*of_stream)
    _refuse_unknown_types(target, recorded)
    now = read_clock(connection, target.dialect)
    position = ledger.find_position_until(*of_stream, now)
    return StreamState(
        columns=_find_columns(connection, ledger, target, recorded),
        child_columns=_find_child_columns(connection, ledger, pipeline, stream, target.dialect),
        position=position,
        last_sweep=ledger.find_last_sweep(*of_stream, now),
        last_read=ledger.find_last_read(*of_stream, now),
        lost=_find_lost(target, recorded),
        source=source,
        selection=ledger.find_selection(*of_stream),
        renamed_from=former_name,
        note=_note_of(ledger.find_position(*of_stream), position),
        unfilled=find_unfilled(pipeline, stream, ledger),
        log=log,
        ledger=name,
    )


def read_clock(connection: Any, dialect: Dialect) -> datetime:
    """Return the time of this machine or of the warehouse, whichever is later.

    By a slow clock, positions would seem to lie in the future.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {dialect.clock}")
        at_warehouse: datetime = cursor.fetchone()[0]
    return max(datetime.now(UTC), at_warehouse.replace(tzinfo=UTC))


def _find_columns(
    connection: Any, ledger: Ledger, target: Target, recorded: Mapping[str, RecordedColumn]
) -> tuple[Column, ...]:
    form = RecordedForms(connection, ledger, target.owner.pipeline).find(target)
    added = ADDED_COLUMNS | target.added_columns | (form.named if form else frozenset())
    return tuple(
        Column(name, recorded[name].path if name in recorded else UNKNOWN_PATH, data_type)
        for name, data_type in (target.columns or {}).items()
        if data_type is not None and name not in added
    )


def _find_child_columns(
    connection: Any, ledger: Ledger, pipeline: Pipeline, stream: Stream, dialect: Dialect
) -> dict[str, tuple[Column, ...]]:
    """Return the columns of the children without a schema; the columns that Millrace adds are not among them."""
    found: dict[str, tuple[Column, ...]] = {}
    for model in pipeline.models:
        if isinstance(model, ChildModel) and model.finds_columns and model.stream == stream.name:
            target = look_up(connection, target_of(pipeline, model, dialect))
            recorded = ledger.list_columns(pipeline.name, model.name)
            columns = _find_columns(connection, ledger, target, recorded)
            found[model.path] = tuple(column for column in columns if column.name not in model.keys)
    return found


def _find_lost(target: Target, recorded: Mapping[str, RecordedColumn]) -> tuple[str, ...]:
    existing = target.columns or {}
    return tuple(sorted(name for name, column in recorded.items() if name not in existing and not column.is_not_read))


def _refuse_unknown_types(target: Target, recorded: Mapping[str, RecordedColumn]) -> None:
    existing = target.columns or {}
    for name, column in recorded.items():
        if name in existing and existing[name] is None and not column.is_not_read:
            raise SchemaConflict(
                f"column {name} of {target.name} is of a type unknown here, so that nothing can be compared with it",
                place=target.place,
                remedy="drop the column: the next run makes it again, reads everything and fills it",
            )


def find_unfilled(pipeline: Pipeline, stream: Stream, ledger: Ledger) -> tuple[str, ...]:
    """Return the models of a stream that were never loaded.

    A queue has none: its messages are not read again, and a new model holds those that come from now on.
    """
    if not stream.capture.keeps_rows:
        return ()
    loaded = ledger.list_members(pipeline.name)
    models = [model for model in pipeline.models if stream in pipeline.roots.changing(model)]
    return tuple(model.name for model in models if model.name not in loaded)


def _note_of(newest: str | None, position: str | None) -> str:
    if newest == position:
        return ""
    return (
        f"the last position, {newest}, lies in the future (the source's clock was ahead) and is not used; the latest "
        f"one before now is {position or 'none, so that everything is read'}"
    )
