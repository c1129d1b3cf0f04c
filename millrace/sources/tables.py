"""A source with tables: one streaming SELECT of a selection, inside one snapshot, in bounded chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from millrace.base.types import Column
from millrace.declaration.stream import Stream
from millrace.drivers.worker import Worker
from millrace.sources.chunk import Chunk, Keys, ReadFacts, Selection, Source, Window
from millrace.sources.found import FoundTable
from millrace.sources.passes import find_keys_in
from millrace.sources.table_driver import Connect, TableDriver
from millrace.sources.table_session import TableSession, check_declared

LOOKS, BETWEEN_LOOKS_SECONDS = 10, 0.3
"""How often a read by numbers looks whether earlier transactions have ended, before it goes on without."""


class TableSource(Source):
    """A database with tables. Every read has a connection of its own."""

    def __init__(self, driver: TableDriver, connect: Connect, chunk_bytes: int) -> None:
        """Keep how to open connections; ``chunk_bytes`` is the most that is decoded at once."""
        self._driver, self._connect, self._chunk_bytes = driver, connect, chunk_bytes

    @property
    def connect(self) -> Connect:
        """Opens a new connection of the driver."""
        return self._connect

    @asynccontextmanager
    @override
    async def read(
        self, stream: Stream, target_columns: Sequence[Column], selection: Selection
    ) -> AsyncIterator[TableReading]:
        open_session = self._open_settled if isinstance(selection, Window) else self._open_session
        with Worker(f"read-{stream.name}") as worker:
            async with worker.within(open_session(stream, target_columns)) as session:
                selection, note = session.fit(selection)
                yield TableReading(session.facts(selection, note), session, selection, worker)

    @override
    async def find_existing(
        self, stream: Stream, target_columns: Sequence[Column], keys: Keys, /
    ) -> set[tuple[Any, ...]]:
        def ask() -> set[tuple[Any, ...]]:
            with self._open_session(stream, target_columns) as session:
                frames = session.read_frames(keys.names, session.condition(keys))
                return {row for frame in frames for row in frame.rows()}

        with Worker(f"ask-{stream.name}") as worker:
            return await worker.run(ask)

    @override
    async def find_in_all_rows(self, stream: Stream, target_columns: Sequence[Column], keys: Keys, /) -> list[set[int]]:
        def look() -> list[set[int]]:
            with self._open_session(stream, target_columns) as session:
                return find_keys_in(session.read_frames(keys.names, ""), keys)

        with Worker(f"keys-{stream.name}") as worker:
            return await worker.run(look)

    @override
    async def plan(
        self, stream: Stream, target_columns: Sequence[Column], window: Window, /
    ) -> tuple[str, tuple[Column, ...]]:
        def describe_only() -> tuple[str, tuple[Column, ...]]:
            with self._open_session(stream, target_columns) as session:
                fitted, _ = session.fit(window)
                query = session.select(session.columns, session.condition(fitted))
                return query, tuple(column.column for column in session.columns)

        with Worker(f"plan-{stream.name}") as worker:
            return await worker.run(describe_only)

    @override
    async def find_tables(
        self, schema: str, _sample_documents: int, _unsampled: Collection[str] = (), /
    ) -> list[FoundTable]:
        def find() -> list[FoundTable]:
            with self._driver.translate_errors(f"schema {schema}"):
                connection = self._connect()
                try:
                    return self._driver.find_tables(connection, schema)
                finally:
                    connection.close()

        with Worker("find-tables") as worker:
            return await worker.run(find)

    @contextmanager
    def _open_settled(self, stream: Stream, target_columns: Sequence[Column]) -> Iterator[TableSession]:
        """Open a session for a window.

        If the cursor column holds numbers, an earlier snapshot tells the greatest one, and the session is opened when
        the transactions that were open then have ended: they may have taken smaller numbers. It waits some seconds.
        """
        with self._open_session(stream, target_columns) as session:
            if not session.has_number_cursor:
                yield session
                return
            highest = session.find_highest()
        for look in range(1, LOOKS + 1):
            with self._open_session(stream, target_columns) as session:
                if highest.is_settled(session.moment) or session.moment.unseen_because or look == LOOKS:
                    yield session.with_highest(highest)
                    return
            time.sleep(BETWEEN_LOOKS_SECONDS)

    @contextmanager
    def _open_session(self, stream: Stream, target_columns: Sequence[Column]) -> Iterator[TableSession]:
        driver, place = self._driver, stream.place
        with driver.translate_errors(place):
            connection = self._connect()
        try:
            with driver.translate_errors(place):
                moment = driver.open_snapshot(connection, self._connect)
                columns = driver.describe_columns(connection, stream, target_columns)
                check_declared(stream, columns)
                yield TableSession(driver, connection, stream, moment, columns, self._chunk_bytes)
        finally:
            connection.close()


@dataclass(frozen=True)
class TableReading:
    """A read inside one snapshot, on one connection."""

    facts: ReadFacts
    _session: TableSession
    _selection: Selection
    _worker: Worker

    def read_chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the selected rows."""
        session = self._session
        return self._worker.each(session.read_rows(session.columns, session.condition(self._selection)))

    async def count(self) -> int:
        """Count the rows of the table, in the snapshot of the read."""
        return await self._worker.run(self._session.count)

    async def sample(self, rows: int, /) -> tuple[int, list[Chunk]]:
        """Count the rows of the table and draw some of them, in the snapshot of the read."""
        return await self._worker.run(lambda: self._session.sample(rows))
