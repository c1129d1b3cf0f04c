"""What one run of a stream reads: a window from its position on, everything, a sweep that is due, or a replay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, assert_never

from millrace.declaration.checks import check_fields
from millrace.declaration.consent import NO_CONSENT, Consent
from millrace.declaration.schedule import is_due
from millrace.declaration.stream import Stream
from millrace.lake.batch import Batch
from millrace.runs.context import StreamContext
from millrace.runs.reads import read_window, whole_if_lost
from millrace.runs.replay import replay_rejects
from millrace.runs.sweep import sweep
from millrace.sources.chunk import Window
from millrace.warehouse.ledger.refusals import check_source
from millrace.warehouse.stream_state import StreamState

Mode = Literal["incremental", "full", "sweep", "replay"]
ReadKind = Literal["window", "sweep", "replay", "snapshot"]
"""Kinds of batches that are read; the batch of a model is computed."""


@dataclass(frozen=True)
class Bounds:
    """What is asked for: by ``mode``, or the span of times from ``start`` to ``end`` (positions; None: open).
    ``deep``: a sweep looks at the target's own values too. ``consent`` is what a person allows this run to do."""

    mode: Mode = "incremental"
    start: str | None = None
    end: str | None = None
    deep: bool = False
    consent: Consent = NO_CONSENT

    def __post_init__(self) -> None:
        check_fields(self, "what a run is asked to do")


@dataclass(frozen=True)
class Choice:
    """What a run does. ``by_value`` as in ``Batch``."""

    kind: ReadKind
    window: Window = field(default_factory=Window)
    by_value: bool = False


async def choose(context: StreamContext, bounds: Bounds) -> Choice:
    """A due sweep takes the place of the window; a stream that was never loaded is read as a whole instead. A snapshot
    is all of these at once."""
    is_accepted = await _is_accepted(context, bounds.consent)
    if context.stream.is_snapshot:
        return Choice("snapshot", by_value=bounds.mode == "full" or bounds.deep)
    if is_accepted and context.stream.capture.keeps_rows:
        return Choice("sweep", by_value=bounds.deep)
    if bounds.mode == "sweep" and not context.stream.capture.keeps_rows:
        bounds = Bounds()
    if bounds.start is not None or bounds.end is not None:
        return Choice("window", Window(bounds.start, bounds.end or _now(context.stream), is_chosen=True))
    state = await context.state()
    match bounds.mode:
        case "replay":
            return Choice("replay")
        case "sweep" if state.columns and not state.unfilled:
            return Choice("sweep", by_value=bounds.deep)
        case "sweep" | "full":
            return Choice("window")
        case "incremental":
            return _next(context, state)
        case unknown:
            assert_never(unknown)


def _next(context: StreamContext, state: StreamState) -> Choice:
    """Where the last run ended, this one goes on; all is read for a model that was never loaded."""
    if state.position is None or state.unfilled:
        return Choice("window")
    if is_due(context.stream.sweep, state.last_sweep, datetime.now(UTC)):
        return Choice("sweep")
    return Choice("window", whole_if_lost(state.lost, Window(state.position)))


async def _is_accepted(context: StreamContext, consent: Consent) -> bool:
    """Whether the stream goes on with another source than the target's rows come from. Raises ConfigurationError where
    it has another and nobody accepted that."""
    recorded, declared = (await context.state()).source, context.stream.source
    if not consent.accept_source:
        check_source(recorded, declared, f"stream {context.pipeline.name}.{context.stream.name}")
    return bool(recorded) and recorded != declared


def _now(stream: Stream) -> str | None:
    """Return where the window of a chosen span ends if it has no end; None: it stays open.

    For messages an open window would leave out what was applied, which is not what a person asks for.
    """
    return None if stream.capture.keeps_rows else datetime.now(UTC).isoformat()


async def read(context: StreamContext, bounds: Bounds) -> Batch | None:
    """The batch of one run; None when there was nothing to read."""
    context = replace(context, consent=bounds.consent)
    choice = await choose(context, bounds)
    match choice.kind:
        case "sweep":
            return await sweep(context, deep=choice.by_value)
        case "replay":
            return await replay_rejects(context)
        case "window" | "snapshot":
            return await read_window(context, choice.window, choice.kind, by_value=choice.by_value)
        case unknown:
            assert_never(unknown)
