"""Capture from MongoDB and DocumentDB: one cursor over a selection, in raw batches.

The server tells nothing about open transactions to an ordinary user, so the position is the read's own moment by the
server's clock, less an overlap as long as a transaction may live (docs/decisions/0003-position.md). Reads see what a
majority of the members has, from the primary unless the URL says otherwise; the position is never later than what the
member that answers shows (docs/decisions/0015-documents.md). There is no snapshot: a document that moves while it is
read may come twice, which the load tells by ``_id``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from bson import Timestamp, json_util
from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern
from typing_extensions import override

from millrace.base.background import read_ahead
from millrace.base.errors import SourceMissing
from millrace.base.naming import ROW_ID, column_name
from millrace.base.types import Column
from millrace.declaration.stream import Stream
from millrace.drivers.mongo_client import MAJORITY, ROUTER, MongoClient, mongo_errors
from millrace.sources.chunk import Chunk, Keys, ReadFacts, Selection, Window
from millrace.sources.found import FoundTable
from millrace.sources.log_source import LogSource
from millrace.sources.mongo_collections import find_collections
from millrace.sources.mongo_cursor import refuse_undated
from millrace.sources.mongo_keys import type_document_keys
from millrace.sources.mongo_passes import WantedKeys
from millrace.sources.mongo_queries import Query, declared_rows, keys_query, paths_of, projection_of, window_query
from millrace.sources.mongo_values import AS_IT_WAS, Decoder, decode_documents
from millrace.sources.object_ids import (
    DOCUMENT_KEY,
    OBJECT_ID_OVERLAP,
    describe_timeless,
    is_object_id_cursor,
    timeless_query,
)
from millrace.sources.position import bounded_position, join_notes, not_in_future

BATCH_DOCUMENTS = 20_000
LATEST = "9999-12-31T00:00:00+00:00"
CAUSAL_LEVELS = frozenset({MAJORITY, "local"})
UNKNOWN_LAG = (
    "the member of MongoDB that was read does not tell how far it has followed its primary, so changes may be missing "
    "until a sweep: read from the primary"
)
DEFAULT_OVERLAP = timedelta(seconds=60)
"""How long a transaction may live (transactionLifetimeLimitSeconds), unless the server is configured otherwise."""


@dataclass(frozen=True)
class MongoSource(LogSource):
    """A MongoDB server. The caller closes the client.

    Reads are causally consistent: whichever member answers, it shows no less than what was read before.
    """

    client: MongoClient
    shown: Timestamp | None = None
    """Every read is answered by the primary, and shows what was written up to this cluster time; None: reads are as
    the URL says."""
    _sessions: list[Any] = field(default_factory=list, repr=False, compare=False)

    @asynccontextmanager
    @override
    async def read(
        self, stream: Stream, target_columns: Sequence[Column], selection: Selection
    ) -> AsyncIterator[MongoReading]:
        read = await _begin(self, stream)
        if selection == Window():
            await self._check_cursor(stream)
        selection, clock_note = not_in_future(selection, read.read_at)
        query = await _make_query(self.client, stream, selection)
        note = join_notes(clock_note, read.note, await self._describe_ids(stream, selection))
        yield MongoReading(replace(read, note=note), self, stream, target_columns, query)

    @override
    async def find_existing(
        self, stream: Stream, target_columns: Sequence[Column], keys: Keys, /
    ) -> set[tuple[Any, ...]]:
        found = _find(
            self, stream, target_columns, await _make_query(self.client, stream, keys), projection_of(stream.keys)
        )
        async with aclosing(found) as chunks:
            return {row async for chunk in chunks for row in _rows(chunk, keys.names)}

    @override
    async def find_in_all_rows(
        self, stream: Stream, _target_columns: Sequence[Column], keys: Keys, /
    ) -> list[set[int]]:
        paths = paths_of(stream, keys)
        wanted = WantedKeys(paths, keys)
        async with aclosing(_read_raw(self, stream, declared_rows(stream), projection_of(paths))) as batches:
            async for raw in batches:
                await asyncio.to_thread(wanted.compare, decode_documents(raw)[0])
        return wanted.seen

    @override
    async def plan(
        self, stream: Stream, _target_columns: Sequence[Column], window: Window, /
    ) -> tuple[str, tuple[Column, ...]]:
        await self._check_cursor(stream)
        query = await _make_query(self.client, stream, window)
        return f"db.{stream.reference.name}.find({json.dumps(query, default=str)})", ()

    @override
    async def find_tables(
        self, schema: str, sample_documents: int, unsampled: Collection[str] = (), /
    ) -> list[FoundTable]:
        with mongo_errors(f"database {schema}"):
            return await find_collections(self.client[schema], sample_documents, unsampled)

    @override
    def within(self, snapshot: Timestamp) -> MongoSource:
        return MongoSource(self.client, snapshot)

    @override
    async def type_keys(
        self, stream: Stream, target_columns: Sequence[Column], keys: pl.DataFrame
    ) -> tuple[pl.DataFrame, bool]:
        return await asyncio.to_thread(type_document_keys, stream, target_columns, keys)

    @override
    def parse_location(self, location: str) -> dict[str, Any]:
        # With the types that the values had when the document was rejected.
        fields: dict[str, Any] = json_util.loads(location, json_options=AS_IT_WAS)
        return fields

    async def ask_hello(self) -> dict[str, Any]:
        """Ask the member that answers reads what it says of itself. Later reads show at least what it shows now."""
        preference = self.client.read_preference if self.shown is None else ReadPreference.PRIMARY
        answer: dict[str, Any] = await self.client.admin.command("hello", read_preference=preference)
        last = _find_last_write(answer, self.client)
        shown = self.shown or (last.ordinal if last and _level(self.client) in CAUSAL_LEVELS else None)
        if shown is not None:
            if not self._sessions:
                self._sessions.append(await self.client.start_session())
            self.session.advance_operation_time(shown)
        return answer

    @property
    def session(self) -> Any:
        """The session of all reads; None if the server has no sessions."""
        return next(iter(self._sessions), None)

    def collection(self, stream: Stream) -> Any:
        """Return the collection of the stream, with the read concern of the URL.

        If the URL has none, or a change log was read before, reads see what a majority of the members has.
        """
        reference, database = stream.reference, self.client[stream.reference.schema]
        if self.shown is None:
            return database.get_collection(reference.name, read_concern=ReadConcern(_level(self.client)))
        return database.get_collection(
            reference.name, read_concern=ReadConcern(MAJORITY), read_preference=ReadPreference.PRIMARY
        )

    async def _describe_ids(self, stream: Stream, selection: Selection) -> str:
        """Return a note about documents that a window by ObjectIds reads every time; '' if there are none."""
        if not is_object_id_cursor(stream) or not selection.advances:
            return ""
        with mongo_errors(stream.place):
            query = declared_rows(stream, timeless_query())
            return describe_timeless(await self.collection(stream).count_documents(query, session=self.session))

    async def _check_cursor(self, stream: Stream) -> None:
        if not stream.capture.cursor_column:
            return
        with mongo_errors(stream.place):
            await refuse_undated(self.collection(stream), self.session, stream, stream.place)


@dataclass(frozen=True)
class MongoReading:
    """A read that has begun; its chunks come from one cursor."""

    facts: ReadFacts
    _source: MongoSource
    _stream: Stream
    _target_columns: Sequence[Column]
    _query: Query

    def read_chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the selected documents, in the order of the index."""
        return _find(self._source, self._stream, self._target_columns, self._query)

    async def count(self) -> int:
        """Count the documents after the read: there is no snapshot."""
        with mongo_errors(self._stream.place):
            collection, session = self._source.collection(self._stream), self._source.session
            found: int = await collection.count_documents(declared_rows(self._stream), session=session)
            return found

    async def sample(self, rows: int, /) -> tuple[int, list[Chunk]]:
        """Count the documents and draw some of them after the read: there is no snapshot."""
        decoder = Decoder(self._stream, self._target_columns)
        with mongo_errors(self._stream.place):
            collection, session = self._source.collection(self._stream), self._source.session
            declared = declared_rows(self._stream)
            count = await collection.count_documents(declared, session=session)
            steps = [{"$match": declared}, {"$sample": {"size": rows}}]
            drawn = collection.aggregate_raw_batches(steps, session=session)
            return count, [decoder.decode(raw) async for raw in drawn]


async def _begin(source: MongoSource, stream: Stream) -> ReadFacts:
    reference, place = stream.reference, stream.place
    with mongo_errors(place):
        database = source.client[reference.schema]
        # All of them, without the filter: DocumentDB documents that it does not take every one.
        if reference.name not in await database.list_collection_names():
            raise SourceMissing(
                "there is no such collection", place=place, remedy="create it, or correct the stream's source"
            )
        hello = await source.ask_hello()
    read_at: datetime = hello["localTime"].replace(tzinfo=UTC)
    default = OBJECT_ID_OVERLAP if is_object_id_cursor(stream) else DEFAULT_OVERLAP
    declared = stream.capture.overlap_time
    overlap = max(DEFAULT_OVERLAP, default if declared is None else declared)
    shown_until, note = find_shown_until(hello, source.client)
    position, position_note = bounded_position(min(read_at, shown_until), overlap)
    location_columns = (column_name(DOCUMENT_KEY),)
    return ReadFacts(
        read_at,
        position,
        row_id_column=ROW_ID,
        location_columns=location_columns,
        note=note,
        position_note=position_note,
    )


def find_shown_until(hello: Mapping[str, Any], client: MongoClient) -> tuple[datetime, str]:
    """Return up to which moment the member that said ``hello`` shows every write, and a note if it does not tell."""
    now: datetime = hello["localTime"].replace(tzinfo=UTC)
    if last := _find_last_write(hello, client):
        return last.at, ""
    is_primary = hello.get("isWritablePrimary", hello.get("ismaster", False))
    asks_router = hello.get("msg") == ROUTER and client.read_preference.mode != ReadPreference.PRIMARY.mode
    return now, "" if is_primary and not asks_router else UNKNOWN_LAG


@dataclass(frozen=True)
class _Write:
    """When a write was made, by the ordinal of the server and by the clock of the primary."""

    ordinal: Timestamp
    at: datetime


def _find_last_write(hello: Mapping[str, Any], client: MongoClient) -> _Write | None:
    """Return the newest write that reads show; None if the server does not tell."""
    last = hello.get("lastWrite", {})
    is_local = _level(client) in {"local", "available"}
    ordinal, at = ("opTime", "lastWriteDate") if is_local else ("majorityOpTime", "majorityWriteDate")
    return _Write(last[ordinal]["ts"], last[at].replace(tzinfo=UTC)) if {ordinal, at} <= last.keys() else None


def _level(client: MongoClient) -> str:
    return client.read_concern.level or MAJORITY


async def _make_query(client: MongoClient, stream: Stream, selection: Selection) -> Query:
    return declared_rows(stream, await _make_selection_query(client, stream, selection))


async def _make_selection_query(client: MongoClient, stream: Stream, selection: Selection) -> Query:
    if isinstance(selection, Keys):
        return keys_query(stream, selection)
    asks_for_all = selection.lower is None or selection.upper is not None
    if is_object_id_cursor(stream):
        return window_query(stream, selection)
    return window_query(stream, selection, with_arrays=asks_for_all or not await _is_without_arrays(client, stream))


async def _is_without_arrays(client: MongoClient, stream: Stream) -> bool:
    """Return whether an index of the cursor field says that no document has an array there."""
    source = stream.reference
    later = window_query(stream, Window(upper=LATEST))
    command = {"explain": {"find": source.name, "filter": later}, "verbosity": "queryPlanner"}
    with mongo_errors(stream.place):
        plan = await client[source.schema].command(command, read_preference=client.read_preference)
    indexes = list(_scans(plan.get("queryPlanner", {}).get("winningPlan")))
    return bool(indexes) and not any(index["isMultiKey"] or index.get("isPartial", False) for index in indexes)


def _scans(plan: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the index scans of a query plan, at any depth."""
    if isinstance(plan, Mapping):
        yield from [plan] if "isMultiKey" in plan else []
        plan = list(plan.values())
    if isinstance(plan, list):
        for step in plan:
            yield from _scans(step)


async def _find(
    source: MongoSource, stream: Stream, target_columns: Sequence[Column], query: Query, projection: Query | None = None
) -> AsyncGenerator[Chunk, None]:
    """Yield the decoded documents. A thread decodes while the next batch is on its way."""
    decoder = Decoder(stream, target_columns)
    async with aclosing(_read_raw(source, stream, query, projection)) as batches:
        async for raw in batches:
            yield await asyncio.to_thread(decoder.decode, raw)


async def _read_raw(
    source: MongoSource, stream: Stream, query: Query, projection: Query | None
) -> AsyncGenerator[bytes, None]:
    """Yield the raw batches of a cursor."""
    with mongo_errors(stream.place):
        cursor = source.collection(stream).find_raw_batches(
            query, projection, batch_size=BATCH_DOCUMENTS, session=source.session
        )
        try:
            async for raw in read_ahead(aiter(cursor)):
                yield raw
        finally:
            await cursor.close()


def _rows(chunk: Chunk, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return chunk.frame.select(names).rows() if set(names) <= set(chunk.frame.columns) else []
