"""One extract flow per kind of source: it reads its streams side by side and hands on their batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from prefect import Flow, flow
from typing_extensions import override

from millrace.declaration.source_kinds import SOURCE_KINDS, SourceKind
from millrace.declaration.stream import Stream
from millrace.flows.gather import gather_outcomes
from millrace.runs.choose import ReadRequest
from millrace.tasks.change_log import read_change_log
from millrace.tasks.extract import EXTRACT_STREAM, Extracted
from millrace.tasks.failures import describe_error, distinct_errors
from millrace.tasks.pipelines import load_pipeline


class StreamsFailed(ExceptionGroup[Exception]):
    """Some streams could not be read. ``by_stream`` is what was read of each, so that it can be loaded, or why not."""

    by_stream: Mapping[str, Extracted | Exception]

    def __new__(
        cls,
        message: str,
        failures: Sequence[Exception],
        by_stream: Mapping[str, Extracted | Exception] = MappingProxyType({}),
    ) -> StreamsFailed:
        """Make the group, with what became of each stream."""
        group = super().__new__(cls, message, failures)
        group.by_stream = by_stream
        return group

    @override
    def __str__(self) -> str:
        return str(self.message)

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.message}"


ExtractStreams = Flow[[str, list[str], ReadRequest], Coroutine[Any, Any, list[Extracted]]]


def _flow_of(kind: SourceKind) -> ExtractStreams:
    async def extract_kind(pipeline: str, streams: list[str], read_request: ReadRequest) -> list[Extracted]:
        return await _extract_side_by_side(EXTRACT_STREAM[kind], pipeline, streams, read_request)

    origin = "what was collected" if kind.is_queue else kind.title
    return flow(
        name=f"extract-{kind.name}",
        description=f"Read streams from {origin}, side by side. Fails after all have ended when some failed.",
        flow_run_name=f"extract {{pipeline}} from {origin}",
        persist_result=False,
    )(extract_kind)


EXTRACT: dict[SourceKind, ExtractStreams] = {kind: _flow_of(kind) for kind in SOURCE_KINDS.values()}
"""The flow that reads streams, by the kind of their source. Raises StreamsFailed after all have ended when some
failed."""


async def extract_streams(
    pipeline: str, streams: Sequence[Stream], read_request: ReadRequest
) -> dict[str, Extracted | Exception]:
    """Read every stream; return what was read of each, or the error.

    One subflow per kind of source, all at once.
    """
    kinds = dict.fromkeys(stream.reference.kind for stream in streams)
    by_kind = {kind: [stream.name for stream in streams if stream.reference.kind == kind] for kind in kinds}
    ended = await gather_outcomes(EXTRACT[kind](pipeline, names, read_request) for kind, names in by_kind.items())
    read: dict[str, Extracted | Exception] = {}
    for names, outcome in zip(by_kind.values(), ended, strict=True):
        if isinstance(outcome, StreamsFailed):
            read |= outcome.by_stream
        elif isinstance(outcome, Exception):
            read |= dict.fromkeys(names, outcome)
        else:
            read |= {extracted.stream: extracted for extracted in outcome}
    return {stream.name: read[stream.name] for stream in streams}


async def _extract_side_by_side(
    extract: Callable[[str, str, ReadRequest], Coroutine[Any, Any, Extracted]],
    pipeline: str,
    streams: Sequence[str],
    read_request: ReadRequest,
) -> list[Extracted]:
    declared = await load_pipeline(pipeline)
    logs = {name: declared.stream(name).change_log for name in streams}
    alone = [name for name in streams if not logs[name]]
    together = [[name for name in streams if logs[name] == log] for log in dict.fromkeys(filter(None, logs.values()))]
    of_streams, of_logs = await asyncio.gather(
        gather_outcomes(extract(pipeline, stream, read_request) for stream in alone),
        gather_outcomes(read_change_log(pipeline, names, read_request) for names in together),
    )
    by_stream = dict(zip(alone, of_streams, strict=True))
    for names, outcome in zip(together, of_logs, strict=True):
        of_group = [outcome] * len(names) if isinstance(outcome, Exception) else outcome
        by_stream |= zip(names, of_group, strict=True)
    ended = [by_stream[name] for name in streams]
    failures = [outcome for outcome in ended if isinstance(outcome, Exception)]
    if failures:
        message = "; ".join(map(describe_error, distinct_errors(failures)))
        raise StreamsFailed(message, failures, dict(zip(streams, ended, strict=True)))
    return [outcome for outcome in ended if not isinstance(outcome, Exception)]
