"""One extract flow per kind of source: it reads its streams side by side and hands on their batches."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from prefect import Flow, flow
from typing_extensions import override

from millrace.declaration.source_kinds import SOURCE_KINDS, SourceKind
from millrace.flows.gather import gather_outcomes
from millrace.runs.choose import Bounds
from millrace.tasks.extract import EXTRACT_STREAM, Extracted
from millrace.tasks.failures import describe_error, distinct_errors


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


ExtractStreams = Flow[[str, list[str], Bounds], Coroutine[Any, Any, list[Extracted]]]


def _flow_of(kind: SourceKind) -> ExtractStreams:
    async def extract_streams(pipeline: str, streams: list[str], bounds: Bounds) -> list[Extracted]:
        return await _side_by_side(EXTRACT_STREAM[kind], pipeline, streams, bounds)

    origin = "what was collected" if kind.is_queue else kind.title
    return flow(
        name=f"extract-{kind.name}",
        description=f"Read streams from {origin}, side by side. Fails after all have ended when some failed.",
        flow_run_name=f"extract {{pipeline}} from {origin}",
        persist_result=False,
    )(extract_streams)


EXTRACT: dict[SourceKind, ExtractStreams] = {kind: _flow_of(kind) for kind in SOURCE_KINDS.values()}
"""The flow that reads streams, by the kind of their source. Raises StreamsFailed after all have ended when some
failed."""


async def _side_by_side(
    extract: Callable[[str, str, Bounds], Coroutine[Any, Any, Extracted]],
    pipeline: str,
    streams: Sequence[str],
    bounds: Bounds,
) -> list[Extracted]:
    ended = await gather_outcomes(extract(pipeline, stream, bounds) for stream in streams)
    failures = [one for one in ended if isinstance(one, Exception)]
    if failures:
        message = "; ".join(map(describe_error, distinct_errors(failures)))
        raise StreamsFailed(message, failures, dict(zip(streams, ended, strict=True)))
    return [one for one in ended if not isinstance(one, Exception)]
