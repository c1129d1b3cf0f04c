"""Which names and tables of a pipeline have a stream already, so that no wildcard takes them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millrace.declaration.pipeline import Pipeline
from millrace.warehouse.ledger.recorded_streams import RecordedStream


@dataclass
class TakenNames:
    """Which names and tables have a stream already."""

    pipeline: Pipeline
    by_name: dict[str, str]
    """What has a name: the source of a stream, or "a model"."""
    by_source: dict[str, str]
    """The stream of a table, by its source."""

    @classmethod
    def of(cls, pipeline: Pipeline, recorded: Sequence[RecordedStream]) -> TakenNames:
        """Return what the declaration has, and what was recorded at the last run."""
        by_name = {row.stream: row.source for row in recorded}
        by_name |= dict.fromkeys((model.name for model in pipeline.models), "a model")
        by_name |= {name: stream.source for stream in pipeline.streams for name in (stream.name, stream.table)}
        return cls(pipeline, by_name, {stream.source: stream.name for stream in pipeline.streams})

    def explain(self, name: str, source: str) -> str:
        """Return why a table cannot have a stream of this name; '' if it can."""
        other = self.by_name.get(name, source)
        return "" if other == source else f"its stream would be named {name}, as that of {other}"

    def take(self, name: str, source: str) -> None:
        """Give a table its stream."""
        self.by_name[name] = self.by_source[source] = source
