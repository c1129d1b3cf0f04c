"""A table of items under each load mode, as the subject of the tests that hold for every mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dataframely as dy
import polars as pl
from typing_extensions import override

from millrace import Append, History, Incremental, Merge, Model, Pipeline, Replace, Scd2, Snapshot, Stream
from millrace.declaration.load_mode_base import LoadMode
from millrace.lake.batch import Batch
from millrace.lake.store import ObjectStore
from millrace.warehouse.ledger.load_result import LoadResult
from tests.extending.keep_first import KeepFirst
from tests.support.engine import PIPELINE, Engine, Together, pipeline_of

Row = tuple[Any, ...]
BY_CURSOR = Incremental("stamp", timedelta(0))
FIRST: list[Row] = [(1, "one"), (2, "two"), (3, "three")]
MERGED: list[Row] = [(1, "one"), (2, "zwei"), (3, "three"), (4, "four")]
WITH_BOTH: list[Row] = [*FIRST, (2, "zwei"), (4, "four")]


@dataclass(frozen=True)
class Case:
    """A load mode, and what it leaves of the rows (id, name). Counts are inserted, updated, deleted."""

    stream: Stream | None
    """The stream that it loads; None: the mode is of a model."""
    updated: Sequence[Row]
    """The rows after one was inserted and one updated."""
    update_counts: Row
    """The counts of that load."""
    deleted: Sequence[Row]
    """The rows after one was deleted as well."""
    delete_counts: Row = (0, 0, 1)
    """The counts of that load."""
    load: LoadMode = field(default_factory=Merge)
    """The mode of the model."""
    is_live: str = "TRUE"
    """The condition of the rows that show what is in the source now, after row 1 was deleted and returned."""


def stream_of(load: LoadMode, **further: Any) -> Stream:
    """Return a stream of items that is swept at every run, so that deletes are found."""
    options: dict[str, Any] = {"capture": BY_CURSOR, "sweep": "every run", "key": "id", "max_reject_share": 0.9}
    return Stream("items", "postgres:public.items", load=load, **{**options, **further})


SNAPSHOT: dict[str, Any] = {"capture": Snapshot(), "sweep": ""}
APPENDED: list[Row] = [*FIRST, (4, "four")]
CASES = {
    "append": Case(stream_of(Append()), APPENDED, (1, 0, 0), APPENDED, (0, 0, 0)),
    "keep first": Case(stream_of(KeepFirst()), APPENDED, (1, 0, 0), APPENDED[1:]),
    "merge": Case(stream_of(Merge()), MERGED, (1, 1, 0), MERGED[1:]),
    "merge soft": Case(stream_of(Merge(), deletes="soft"), MERGED, (1, 1, 0), MERGED, is_live="_deleted_at IS NULL"),
    "merge snapshot": Case(stream_of(Merge(), **SNAPSHOT), MERGED, (1, 1, 0), MERGED[1:]),
    "replace": Case(stream_of(Replace(), key="", **SNAPSHOT), MERGED, (2, 0, 1), MERGED[1:]),
    "scd2": Case(
        stream_of(Scd2("item_key", effective_from="stamp")), WITH_BOTH, (1, 1, 0), WITH_BOTH, is_live="is_current"
    ),
    "scd2 snapshot": Case(
        stream_of(Scd2("item_key", untracked=["stamp"]), **SNAPSHOT),
        WITH_BOTH,
        (1, 1, 0),
        WITH_BOTH,
        is_live="is_current",
    ),
    "history": Case(
        None, WITH_BOTH, (1, 1, 0), [*WITH_BOTH, (1, "one")], load=History("record_id"), is_live="_version = 3"
    ),
    "scd2 log": Case(
        None,
        WITH_BOTH,
        (1, 1, 0),
        WITH_BOTH,
        load=Scd2("item_key", effective_from="stamp", changes=True),
        is_live="is_current",
    ),
}
"""Every load mode. A new one is done when it has a case here (docs/extending.md)."""


@dataclass
class Subject(ABC):
    """The items of a source, and their table in a warehouse."""

    engine: Engine
    case: Case
    batches: list[Batch] = field(default_factory=list)
    """The batches of the latest run, as they are loaded."""

    @property
    @abstractmethod
    def pipeline(self) -> Pipeline:
        """The declaration."""

    @property
    @abstractmethod
    def table(self) -> str:
        """Name of the table that the mode loads."""

    @property
    @abstractmethod
    def zone(self) -> ObjectStore:
        """Where batches are that are loaded."""

    @abstractmethod
    async def read(self) -> None:
        """Read what changed, into ``batches``."""

    async def run(self) -> LoadResult:
        """Read and load what changed."""
        await self.read()
        result = self.load()
        assert result.read == result.loaded + result.unchanged + result.rejected
        return result

    def load(self) -> LoadResult:
        """Load the batches; the result of the table, of which there may be no batch."""
        results = self.engine.warehouse.load(self.pipeline, self.batches, self.zone)
        found = {result.stream: result for result in results}
        return found.get(self.table, LoadResult(PIPELINE, self.table, "", "", ""))

    def rows(self, *columns: str) -> list[Row]:
        """Rows of the table, sorted."""
        return in_order(self.engine.rows(self.table, *(columns or ("id", "name"))))

    def everything(self) -> list[Row]:
        """All columns of all rows of the table, sorted."""
        return in_order(self.engine.query(f"SELECT * FROM {PIPELINE}.{self.table}"))


@dataclass
class StreamSubject(Subject):
    """The mode of a stream."""

    stream: Stream = field(default_factory=lambda: stream_of(Merge()))

    @property
    @override
    def pipeline(self) -> Pipeline:
        return pipeline_of(self.stream)

    @property
    @override
    def table(self) -> str:
        return self.stream.name

    @property
    @override
    def zone(self) -> ObjectStore:
        return self.engine.store

    @override
    async def read(self) -> None:
        together = Together(self.engine, self.engine.store)
        self.batches = await together.read(self.pipeline)


class ItemSchema(dy.Schema):
    id = dy.Int64(nullable=False)
    name = dy.String(nullable=True)
    stamp = dy.Datetime(nullable=True, time_zone="UTC")


def kept(items: pl.DataFrame) -> pl.DataFrame:
    return items.select(pl.col("id").cast(pl.Int64), "name", "stamp")


@dataclass
class ModelSubject(Subject):
    """The mode of a model of the rows of a stream that merges."""

    processed: ObjectStore = field(kw_only=True)

    @property
    @override
    def pipeline(self) -> Pipeline:
        model = Model(kept, ItemSchema, "id", load=self.case.load)
        return Pipeline(PIPELINE, streams=[stream_of(Merge(), max_rejects=9)], models=[model])

    @property
    @override
    def table(self) -> str:
        return kept.__name__

    @property
    @override
    def zone(self) -> ObjectStore:
        return self.processed

    @override
    async def read(self) -> None:
        together = Together(self.engine, self.processed)
        self.batches = together.transform(self.pipeline, await together.read(self.pipeline))


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Return rows in an order that does not depend on types."""
    return sorted(rows, key=repr)


def counts(result: LoadResult) -> Row:
    """Return what a load inserted, updated and deleted."""
    return result.inserted, result.updated, result.deleted
