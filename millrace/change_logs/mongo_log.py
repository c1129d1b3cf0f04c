"""The change log of a MongoDB database, read by its change stream: it tells which documents to read afterwards.

There is no snapshot. Documents show at least what the log told; what changes meanwhile is told by the next read
(docs/decisions/0024-change-logs.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern
from typing_extensions import override

from millrace.base.errors import ConfigurationError
from millrace.change_logs.changed_documents import ChangedDocuments
from millrace.change_logs.log_reader import LogReader
from millrace.change_logs.mongo_position import MongoPosition
from millrace.change_logs.mongo_server import SESSION, LogServer, find_oldest, find_server, fingerprint_collections
from millrace.change_logs.mongo_stream import DatabaseStream, TokenRefused
from millrace.change_logs.reading import (
    KEPT,
    LOST,
    ChangedTable,
    KeptLog,
    LogEntry,
    LogReading,
    SourceLog,
    find_commit_times,
)
from millrace.change_logs.retention import Retention
from millrace.declaration.stream import Stream
from millrace.drivers.mongo_client import MAJORITY, MongoClient, find_blocking_client, mongo_errors

MOVED_SECONDS = 600.0
"""A position that is so much older than the log is recorded although nothing changed: the server removes its log by
size or by age, and a position in the removed part is lost. Amazon DocumentDB keeps it for three hours."""
_LOST = (
    "the log does not go on where the last read ended: the server does not keep it so long, its database was dropped, "
    "or the server was restored or replaced"
)


class MongoLog(SourceLog):
    """The change log of the database that the streams are in. The server keeps it whether somebody reads it or not."""

    def __init__(self, client: MongoClient, reader: LogReader) -> None:
        self._client, self.place = find_blocking_client(client), reader.place

    @contextmanager
    @override
    def read(self, streams: Sequence[Stream], entries: Mapping[str, LogEntry]) -> Iterator[LogReading]:
        with self._ask(streams) as asked:
            usable = _usable_positions(streams, entries, asked)
            told, position = self._drain(asked, streams, usable)
            shown = max(asked.session.operation_time, asked.server.now)
            retention = self._find_retention(usable.values())
        newest = [changes.newest for changes in told.values() if changes.newest is not None]
        yield LogReading(
            asked.server.origin,
            str(position),
            max(newest, default=None),
            shown,
            {stream.name: _describe(stream, told, asked, is_new=stream.name not in entries) for stream in streams},
            retention,
            frozenset(name for name in told if position.time.time - usable[name].time.time >= MOVED_SECONDS),
        )

    @override
    def check(self, streams: Sequence[Stream]) -> None:
        with self._ask(streams) as asked:
            self._drain(asked, streams, {})

    @override
    def list_kept(self, entries: Mapping[str, LogEntry]) -> list[KeptLog]:
        positions = list(filter(None, map(_parse, entries.values())))
        with mongo_errors(self.place):
            retention = self._find_retention(positions)
        oldest = min(positions, key=lambda position: position.time, default=None)
        at = f"{oldest.time.as_datetime():%Y-%m-%d %H:%M:%S}" if oldest else ""
        status = LOST if (retention.remaining_seconds or 0) < 0 else KEPT
        database = next((entry.origin.rpartition("/")[2] for entry in entries.values()), "")
        place = f"{self.place}, database {database}" if database else self.place
        return [KeptLog(place, "", True, False, status, at, retention)]

    @override
    def drop_kept(self, kept: KeptLog) -> None:
        raise ConfigurationError(
            "the server keeps this log by size or by age, for all of its readers",
            place=self.place,
            remedy="nothing need be given up",
        )

    @contextmanager
    def _ask(self, streams: Sequence[Stream]) -> Iterator[_Asked]:
        """Ask what the server and the collections are, and keep the session in which the log is read."""
        name = streams[0].reference.schema
        database = self._client.get_database(
            name, read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern(MAJORITY)
        )
        with mongo_errors(self.place), self._client.start_session(causal_consistency=True) as session:
            server = find_server(self._client, session, name, self.place)
            yield _Asked(server, session, database, fingerprint_collections(database, session, streams))

    def _drain(
        self, asked: _Asked, streams: Sequence[Stream], positions: Mapping[str, MongoPosition]
    ) -> tuple[dict[str, ChangedDocuments], MongoPosition]:
        """Read the log for each stream from its own position, and return what it told and where all go on.

        Streams of which the server does not keep the log any more are told nothing. Positions cannot be compared, so
        streams with different ones are read one after the other, each beyond the position of the first.
        """
        collections = {stream.name: stream.reference.name for stream in streams}
        groups: dict[str, list[str]] = {}
        for name in collections:
            if name in positions:
                groups.setdefault(str(positions[name]), []).append(name)
        told: dict[str, ChangedDocuments] = {}
        reached: MongoPosition | None = None
        server = asked.server
        for names in groups.values():
            stream = DatabaseStream(asked.database, asked.session, server, self.place)
            try:
                changes, position = stream.drain([collections[name] for name in names], positions[names[0]])
            except TokenRefused:
                continue
            told |= dict.fromkeys(names, changes)
            reached = reached or position
            server = replace(server, now=asked.session.operation_time)
        if reached is None:
            stream = DatabaseStream(asked.database, asked.session, server, self.place)
            _, reached = stream.drain(list(collections.values()), None)
        return told, reached

    def _find_retention(self, positions: Iterable[MongoPosition]) -> Retention:
        oldest, first = find_oldest(self._client), min((position.time for position in positions), default=None)
        if oldest is None or first is None:
            return Retention()
        return Retention(remaining_seconds=float(first.time - oldest.time))


@dataclass(frozen=True)
class _Asked:
    """What a server answered before its log is read."""

    server: LogServer
    session: SESSION
    database: Any
    forms: Mapping[str, str]
    """The fingerprint of the collection of each stream."""


def _usable_positions(
    streams: Sequence[Stream], entries: Mapping[str, LogEntry], asked: _Asked
) -> dict[str, MongoPosition]:
    """Return the positions that this log may go on from. One that lies ahead is of a server that was restored."""
    usable = {}
    for name in (stream.name for stream in streams if stream.name in entries):
        entry = entries[name]
        if entry.origin != asked.server.origin or entry.fingerprint != asked.forms[name]:
            continue
        position = _parse(entry)
        if position is not None and position.time <= asked.server.now:
            usable[name] = position
    return usable


def _parse(entry: LogEntry) -> MongoPosition | None:
    """Return the position of an entry; None if it is one of another kind of log."""
    with suppress(ValueError):
        return MongoPosition.parse(entry.position)
    return None


def _describe(stream: Stream, told: Mapping[str, ChangedDocuments], asked: _Asked, *, is_new: bool) -> ChangedTable:
    collection, form = stream.reference.name, asked.forms[stream.name]
    changes = told.get(stream.name) or ChangedDocuments({collection})
    keys = changes.of(collection)
    gap = changes.find_gap(collection)
    if stream.name not in told:
        gap = "the log was not read for this stream before" if is_new else _LOST
    return ChangedTable(keys.drop("committed_at"), find_commit_times(keys), form, gap, is_new)
