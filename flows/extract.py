"""One extract flow per kind of source: it reads its streams side by side and hands on their batches."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from prefect import flow

from millrace.declaration.stream import SourceKind
from millrace.flows.together import outcomes
from millrace.runs.choose import Bounds
from millrace.tasks.extract import (
    Extracted,
    extract_mongo_stream,
    extract_mysql_stream,
    extract_postgres_stream,
    extract_sqs_stream,
)
from millrace.tasks.failures import causes, words


class StreamsFailed(ExceptionGroup[Exception]):
    """Some streams could not be read. ``by_stream`` is what was read of each, so that it can be loaded, or why not."""

    by_stream: Mapping[str, Extracted | Exception]

    def __new__(
        cls,
        message: str,
        failures: Sequence[Exception],
        by_stream: Mapping[str, Extracted | Exception] = MappingProxyType({}),
    ) -> StreamsFailed:
        """As ExceptionGroup, with what became of each stream."""
        group = super().__new__(cls, message, failures)
        group.by_stream = by_stream
        return group

    def __str__(self) -> str:
        return str(self.message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.message}"


@flow(name="extract-postgres", flow_run_name="extract {pipeline} from Postgres", persist_result=False)
async def extract_postgres(pipeline: str, streams: list[str], bounds: Bounds) -> list[Extracted]:
    """Read the Postgres streams. Raises StreamsFailed after all have ended when some failed."""
    return await _side_by_side(extract_postgres_stream, pipeline, streams, bounds)


@flow(name="extract-mysql", flow_run_name="extract {pipeline} from MySQL", persist_result=False)
async def extract_mysql(pipeline: str, streams: list[str], bounds: Bounds) -> list[Extracted]:
    """Read the MySQL streams. Raises StreamsFailed after all have ended when some failed."""
    return await _side_by_side(extract_mysql_stream, pipeline, streams, bounds)


@flow(name="extract-mongo", flow_run_name="extract {pipeline} from MongoDB", persist_result=False)
async def extract_mongo(pipeline: str, streams: list[str], bounds: Bounds) -> list[Extracted]:
    """Read the MongoDB streams. Raises StreamsFailed after all have ended when some failed."""
    return await _side_by_side(extract_mongo_stream, pipeline, streams, bounds)


@flow(name="extract-sqs", flow_run_name="extract {pipeline} from what was collected", persist_result=False)
async def extract_sqs(pipeline: str, streams: list[str], bounds: Bounds) -> list[Extracted]:
    """Read what the flow `extract-queue` collected. Raises StreamsFailed after all have ended when some failed."""
    return await _side_by_side(extract_sqs_stream, pipeline, streams, bounds)


EXTRACT: dict[SourceKind, Callable[[str, list[str], Bounds], Coroutine[Any, Any, list[Extracted]]]] = {
    "postgres": extract_postgres,
    "mysql": extract_mysql,
    "mongo": extract_mongo,
    "sqs": extract_sqs,
}


async def _side_by_side(
    extract: Callable[[str, str, Bounds], Coroutine[Any, Any, Extracted]],
    pipeline: str,
    streams: Sequence[str],
    bounds: Bounds,
) -> list[Extracted]:
    ended = await outcomes(extract(pipeline, stream, bounds) for stream in streams)
    failures = [one for one in ended if isinstance(one, Exception)]
    if failures:
        message = "; ".join(map(words, causes(failures)))
        raise StreamsFailed(message, failures, dict(zip(streams, ended, strict=True)))
    return [one for one in ended if not isinstance(one, Exception)]
