"""Bring streams to the state of one snapshot by the change log of their source: what changed is read again by key.

A stream of which the log does not tell everything is compared as a whole, in the same snapshot: its target stays usable
all the while (docs/decisions/0024-change-logs.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import polars as pl

from millrace.base.errors import ConfigurationError, FatalError, RetryableError
from millrace.base.naming import column_name
from millrace.change_logs.reading import MOST_KEYS, ChangedTable, LogEntry, LogReading, SourceLog
from millrace.change_logs.retention import RetainedLog
from millrace.declaration.pipeline import Pipeline
from millrace.declaration.schedule import is_due
from millrace.declaration.stream import Stream
from millrace.drivers.worker import Worker
from millrace.lake.batch import Batch, LogProgress
from millrace.runs.changed_rows import are_many_keys, take_changed_rows
from millrace.runs.choose import ReadRequest, is_source_accepted, refuse_renamed
from millrace.runs.context import StreamContext
from millrace.runs.extract import Extraction, Purpose
from millrace.runs.look_up import LookUps
from millrace.runs.reads import read_window
from millrace.runs.reload_stream import check_reload, read_new_target
from millrace.runs.replay import replay_rejects
from millrace.runs.sweep import sweep
from millrace.sources.chunk import BLOCK_ROWS, Keys, Window
from millrace.sources.log_source import LogSource
from millrace.warehouse.stream_state import StreamState

IS_DELETED = "is deleted"
"""No column of a target has a blank in its name."""
_DELETED = pl.col(IS_DELETED)

LogReadKind = Literal["keys", "sweep", "window", "snapshot", "reload"]


@dataclass(frozen=True)
class ReadOfLog:
    """What a read of a change log gave."""

    batches: Sequence[Batch | None]
    """The batch of each stream; None: nothing changed."""
    retained: RetainedLog | None = None
    """What the source keeps of its log; None: the log was not read."""


@dataclass(frozen=True)
class LogReadPlan:
    """How one stream is brought to the state of the snapshot."""

    kind: LogReadKind
    reason: str = ""
    """Why more than the changed keys is read."""
    by_value: bool = False


async def read_changes(
    open_log: Callable[[str], SourceLog], contexts: Sequence[StreamContext], read_request: ReadRequest
) -> ReadOfLog:
    """Bring streams of one change log to the state of one snapshot.

    ``open_log`` returns the log that is kept for the warehouse with the ledger of this name.
    """
    refuse_window(contexts, read_request)
    contexts = [replace(context, consent=read_request.consent) for context in contexts]
    if read_request.mode == "replay":
        return ReadOfLog([await replay_rejects(context) for context in contexts])
    states = await _find_states(contexts)
    log = open_log(next(iter(states.values())).ledger)
    entries = {name: state.log for name, state in states.items() if state.log is not None}
    with Worker("change-log") as worker:
        async with worker.within(log.read([context.stream for context in contexts], entries)) as reading:
            batches = [await _read(context, reading, entries, read_request) for context in contexts]
            not_read = tuple(name for name in entries if name not in reading.tables)
            return ReadOfLog(batches, RetainedLog(log.place, reading.retention, not_read))


def streams_of_log(pipeline: Pipeline, stream: Stream) -> list[Stream]:
    """Return the streams of a pipeline that are read by the same change log as this one."""
    return [other for other in pipeline.streams if other.change_log == stream.change_log]


async def _find_states(contexts: Sequence[StreamContext]) -> dict[str, StreamState]:
    """Return the states of all streams that the log is kept for, also of those that are not read now."""
    first = contexts[0]
    streams = streams_of_log(first.pipeline, first.stream)
    states = await asyncio.to_thread(first.warehouse.find_states, first.pipeline, streams)
    for context in contexts:
        context.keep_state(states[context.stream.name])
    return states


def refuse_window(contexts: Sequence[StreamContext], read_request: ReadRequest) -> None:
    """Raise ConfigurationError when a person chose a window: a change log has no column that selects rows."""
    if read_request.start is not None or read_request.end is not None:
        raise ConfigurationError(
            "a window was asked for, and its capture has no cursor",
            place=contexts[0].stream.place,
            remedy="use `millrace sweep`, which compares all rows",
        )


async def _read(
    context: StreamContext, reading: LogReading, entries: Mapping[str, LogEntry], read_request: ReadRequest
) -> Batch | None:
    table, entry = reading.tables[context.stream.name], entries.get(context.stream.name)
    lower = entry.position if entry else None
    state = await context.find_state()
    await refuse_renamed(context, read_request.mode)
    is_accepted = await is_source_accepted(context, read_request.consent)
    read_plan = plan_read(context, state, table, read_request, is_accepted=is_accepted)
    context = replace(
        context,
        source=_log_source(context).within(reading.snapshot),
        log=LogProgress(
            reading.origin,
            lower,
            reading.position,
            table.fingerprint,
            reading.committed_at,
            table.commit_times if read_plan.kind == "keys" else None,
        ),
    )
    if read_plan.kind != "keys":
        await _refuse_behind(context)
    match read_plan.kind:
        case "reload":
            await check_reload(context, read_request.consent)
            return await read_new_target(context, "window")
        case "keys":
            batch = await _read_keys(context, table, is_moved=context.stream.name in reading.moved)
            if batch is not None:
                await _refuse_behind(context)
            return batch
        case "sweep":
            return await sweep(context, deep=read_plan.by_value, reason=read_plan.reason)
        case kind:
            return await read_window(context, Window(), kind, by_value=read_plan.by_value)


async def _refuse_behind(context: StreamContext) -> None:
    """Raise RetryableError when the lake told an older state of the stream than the warehouse has.

    The position that was read from is one that was passed, so that the batch would be superseded.
    """
    if await context.refresh_if_behind():
        raise RetryableError(
            "what the lake told of the stream was behind the warehouse",
            place=context.stream.place,
            remedy="run again: the next read goes on from what the warehouse says",
        )


def _log_source(context: StreamContext) -> LogSource:
    if not isinstance(context.source, LogSource):
        raise FatalError(
            "its source has no change log", place=context.stream.place, remedy="declare another capture for it"
        )
    return context.source


def plan_read(
    context: StreamContext, state: StreamState, table: ChangedTable, read_request: ReadRequest, *, is_accepted: bool
) -> LogReadPlan:
    """Choose how a stream is brought to the state of the snapshot.

    ``is_accepted`` says that a person accepted that the target's rows come from another source.
    """
    if read_request.mode == "reload":
        return LogReadPlan("reload")
    if not state.columns:
        return LogReadPlan("window")
    if state.unfilled or read_request.mode == "full":
        return LogReadPlan("snapshot", by_value=read_request.mode == "full")
    if read_request.mode == "sweep" or is_accepted:
        return LogReadPlan("sweep", by_value=read_request.deep)
    if state.lost:
        return LogReadPlan("sweep", "the target lost a column", by_value=True)
    if table.gap:
        return LogReadPlan("sweep", f"all rows were compared: {table.gap}")
    if is_due(context.stream.sweep, state.last_sweep, datetime.now(UTC)):
        return LogReadPlan("sweep")
    if table.keys.height > MOST_KEYS:
        return LogReadPlan("sweep", f"all rows were compared: {table.keys.height:,} changed")
    return LogReadPlan("keys")


async def _read_keys(context: StreamContext, table: ChangedTable, *, is_moved: bool) -> Batch | None:
    """Read the rows with the changed keys again, and remove the rows whose keys are gone.

    Return None when nothing changed and the position need not be recorded.
    """
    keys = table.keys
    if not keys.height and not is_moved:
        return None
    typed = await _type_keys(context, keys)
    if typed is None:
        return await sweep(
            context, reason="all rows were compared: a changed key has a value that its type cannot hold"
        )
    target_columns, names = await context.find_target_columns(), tuple(map(column_name, context.stream.keys))
    async with context.source.read(context.stream, target_columns, Keys(names, ())) as reading:
        facts = await context.complete_facts(reading, Keys(names, ()))
    purpose = Purpose("log", consent=context.consent)
    with Extraction(context.destination, context.stream, facts, purpose, await context.find_state()) as extraction:
        columns = [column for name in names for column in target_columns if column.name == name]
        look_ups = LookUps(context, target_columns, columns, (), extraction)
        if are_many_keys(table):
            typed = await take_changed_rows(context, target_columns, typed, extraction)
        for block in typed.iter_slices(BLOCK_ROWS):
            written, deleted = (block.filter(condition).drop(IS_DELETED) for condition in (~_DELETED, _DELETED))
            await look_ups.look_up(written.rows(), deleted.rows())
        await look_ups.settle()
        return await asyncio.to_thread(extraction.finish)


async def _type_keys(context: StreamContext, keys: pl.DataFrame) -> pl.DataFrame | None:
    """Give keys the types of the stream, each once, with whether it was deleted by all of its spellings.

    Return None when a key has a value that its type cannot hold.
    """
    frames: list[pl.DataFrame] = []
    for block in keys.iter_slices(BLOCK_ROWS):
        target_columns = await context.find_target_columns()
        typed, fits = await _log_source(context).type_keys(context.stream, target_columns, block.drop("is_deleted"))
        if not fits:
            return None
        frames.append(typed.with_columns(block["is_deleted"].alias(IS_DELETED)))
    if not frames:
        return keys.rename({"is_deleted": IS_DELETED})
    names = [column_name(key) for key in context.stream.keys]
    return pl.concat(frames).group_by(names, maintain_order=True).agg(_DELETED.all())
