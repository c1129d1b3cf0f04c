"""Choose what one run of a stream reads: the window since its position, everything, a due sweep, or a replay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, assert_never

from millrace.base.errors import ConfigurationError, FatalError
from millrace.declaration.checks import check_fields
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.declaration.schedule import is_due
from millrace.declaration.selection_text import describe_selection
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.runs.context import StreamContext
from millrace.runs.gathered import may_wait
from millrace.runs.reads import read_window, whole_if_lost
from millrace.runs.reload_stream import check_reload, find_rows_of_target_alone, read_new_target
from millrace.runs.replay import replay_rejects
from millrace.runs.sweep import sweep
from millrace.sources.chunk import Window
from millrace.warehouse.ledger.refusals import check_selection, check_source
from millrace.warehouse.stream_state import StreamState

Mode = Literal["incremental", "full", "sweep", "replay", "reload"]
ReadKind = Literal["window", "sweep", "replay", "snapshot", "log"]
"""Kinds of batches that are read; only the batch of a model is computed."""


@dataclass(frozen=True)
class ReadRequest:
    """What a run is asked to read: by ``mode``, or a window that a person chose."""

    mode: Mode = "incremental"
    start: str | None = None
    """Position at which the chosen window begins; None: at the beginning."""
    end: str | None = None
    """Position before which the chosen window ends; None: now."""
    deep: bool = False
    """A sweep compares the target's own values too, not only the hashes that are stored beside them."""
    consent: Consent = NO_CONSENT
    """What a person allows this run to do."""
    may_wait: bool = False
    """The batch of a window may wait in the lake, if the pipeline gathers loads."""

    def __post_init__(self) -> None:
        check_fields(self, "what a run is asked to do")


@dataclass(frozen=True)
class ReadPlan:
    """What a run reads."""

    kind: ReadKind
    window: Window = field(default_factory=Window)
    by_value: bool = False
    """Rows are compared with the target value by value, whatever its hashes say."""
    replaces_target: bool = False
    """Everything is read into a new table, which takes the place of the target."""


async def choose(context: StreamContext, read_request: ReadRequest) -> ReadPlan:
    """Choose what a run reads.

    A due sweep takes the place of the window, except for a stream that was never loaded: all of it is read. A snapshot
    always reads everything.
    """
    await refuse_renamed(context, read_request.mode)
    is_accepted = await is_source_accepted(context, read_request.consent)
    if read_request.mode == "reload":
        await check_reload(context, read_request.consent)
        return ReadPlan("snapshot" if context.stream.is_snapshot else "window", replaces_target=True)
    if context.stream.capture.reads_log:
        return ReadPlan("log")
    if context.stream.is_snapshot:
        return ReadPlan("snapshot", by_value=read_request.mode == "full" or read_request.deep)
    if is_accepted and context.stream.capture.keeps_rows:
        return ReadPlan("sweep", by_value=read_request.deep)
    if read_request.mode == "sweep" and not context.stream.capture.keeps_rows:
        read_request = ReadRequest()
    if read_request.start is not None or read_request.end is not None:
        return ReadPlan("window", Window(read_request.start, read_request.end or _now(context.stream), is_chosen=True))
    state = await context.find_state()
    match read_request.mode:
        case "replay":
            return ReadPlan("replay")
        case "sweep" if state.columns and not state.unfilled:
            return ReadPlan("sweep", by_value=read_request.deep)
        case "sweep" | "full":
            return ReadPlan("window")
        case "incremental":
            return _choose_next(context, state)
        case "reload":
            raise AssertionError("a reload was chosen before")
        case unknown:
            assert_never(unknown)


def _choose_next(context: StreamContext, state: StreamState) -> ReadPlan:
    """Choose the window that begins where the last run ended, or everything for a model that was never loaded."""
    if state.position is None or state.unfilled:
        return ReadPlan("window")
    if is_due(context.stream.sweep, state.last_sweep, datetime.now(UTC)):
        return ReadPlan("sweep")
    return ReadPlan("window", whole_if_lost(state.lost, Window(state.position)))


async def refuse_renamed(context: StreamContext, mode: Mode) -> None:
    """Raise ConfigurationError when a stream seems to be a loaded one by another name.

    Otherwise all of it would be loaded again. A person who asks for a full read gets a new stream.
    """
    if mode in {"full", "reload"} or not (await context.find_state()).renamed_from:
        return
    await context.refresh_state()
    if former := (await context.find_state()).renamed_from:
        command = f"millrace rename {context.pipeline.cli_name} {former} {context.stream.name}"
        raise ConfigurationError(
            f"it looks renamed: {former}, which is not declared any more, was loaded from {context.stream.source}",
            place=f"stream {context.pipeline.name}.{context.stream.name}",
            remedy=f"run `{command}`, which keeps its position and its table; or, if it is a new stream with a table "
            "of its own, run once with --full (run parameter mode)",
        )


async def is_source_accepted(context: StreamContext, consent: Consent) -> bool:
    """Return whether a person accepted that the declared source, or the rows selected from it, are not the target's.

    Raises ConfigurationError when they are not and nobody accepted it.
    """
    state, stream = await context.find_state(), context.stream
    selection = describe_selection(stream.where)
    if not consent.accept_source:
        place = f"stream {context.pipeline.name}.{stream.name}"
        check_source(state.source, stream.source, place)
        check_selection(state.selection, selection, place)
    compared = ((state.source, stream.source), (state.selection, selection))
    return any(recorded and recorded != declared for recorded, declared in compared)


def _now(stream: Stream) -> str | None:
    """Return where a chosen window without an end ends; None: it stays open.

    An open window of messages would leave out messages that were applied already, which is not what a person asks for.
    """
    return None if stream.capture.keeps_rows else datetime.now(UTC).isoformat()


async def read(context: StreamContext, read_request: ReadRequest) -> Batch | None:
    """Read what a run is asked to read, and return its batch; None when there was nothing to read.

    A stream is read again if the state that the lake keeps of it turns out to be behind the warehouse, which is asked
    only when there is something to load.
    """
    context = replace(context, consent=read_request.consent)
    read_plan = await choose(context, read_request)
    waits = read_request.may_wait and read_plan.kind == "window"
    waits = waits and may_wait(context.pipeline, await context.find_state(), read_plan.window)
    if not waits and await _settle_landed(context, read_plan):
        read_plan = await choose(context, read_request)
    if read_plan.kind != "window":
        await context.refresh_state()
        read_plan = await choose(context, read_request)
    if read_plan.replaces_target:
        return await read_new_target(context, read_plan.kind)
    batch = await _read(context, read_plan)
    if batch is not None and not waits and await context.refresh_if_behind():
        batch = await _read(context, await choose(context, read_request))
    return batch


async def leave_out_outdated(context: StreamContext, read_request: ReadRequest) -> ReadRequest:
    """Forget batches that wait and were read by another declaration of the stream.

    Return the request: if there were any, their rows are read again, and do not wait a second time.
    """
    is_outdated = context.pipeline.load_every is not None and await context.forget_outdated()
    return replace(read_request, may_wait=False) if is_outdated else read_request


async def _settle_landed(context: StreamContext, read_plan: ReadPlan) -> bool:
    """Load the batches that wait before a read that cannot wait; return whether there were any.

    If that gives all that the target can have, they are forgotten.
    """
    reads_all = read_plan.kind == "window" and read_plan.window == Window()
    if read_plan.replaces_target or (reads_all and not find_rows_of_target_alone(context.stream)):
        await context.forget_landed()
        return False
    return await context.load_landed()


async def _read(context: StreamContext, read_plan: ReadPlan) -> Batch | None:
    match read_plan.kind:
        case "sweep":
            return await sweep(context, deep=read_plan.by_value)
        case "replay":
            return await replay_rejects(context)
        case "log":
            raise FatalError(
                "a change log is read for all streams of its connection at once, and not for one alone",
                place=context.stream.place,
                remedy="read it with `read_changes`",
            )
        case "window" | "snapshot":
            return await read_window(context, read_plan.window, read_plan.kind, by_value=read_plan.by_value)
        case unknown:
            assert_never(unknown)
