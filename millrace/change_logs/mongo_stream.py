"""The change stream of a MongoDB database, read until it has told everything that was committed when the read began."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from bson import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.change_stream import ChangeStream
from pymongo.errors import OperationFailure

from millrace.base.errors import ConfigurationError, FatalError, RetryableError
from millrace.change_logs.changed_documents import END, ENDS, FIELDS, ChangedDocuments
from millrace.change_logs.mongo_position import MongoPosition, is_token_refused, read_token_time
from millrace.change_logs.mongo_server import ENABLE, SESSION, LogServer
from millrace.drivers.mongo_client import translate

BATCH_EVENTS = 5_000
AWAIT_MILLISECONDS = 100
"""How long the server waits for a change before it answers that there is none."""
ROUTER_SECONDS = 15.0
"""How long to wait for the shards: one that writes nothing says how far it is every 10 seconds."""
RAW = CodecOptions(document_class=RawBSONDocument, tz_aware=True)


class TokenRefused(RetryableError):
    """The server cannot go on from a resume token, now or later: only from another one."""


class DatabaseStream:
    """The change stream of one database, of which only events of some collections are asked for.

    ``database`` is one of PyMongo's blocking client that reads from the primary, what a majority of the members has.
    """

    def __init__(self, database: Any, session: SESSION, server: LogServer, place: str) -> None:
        self._database, self._session, self._server, self._place = database, session, server, place

    def drain(self, collections: Sequence[str], start: MongoPosition | None) -> tuple[ChangedDocuments, MongoPosition]:
        """Read the events after a position; None: those since the read began. Return them, and where they end.

        Of a transaction all parts are read, or none.

        Raises TokenRefused when the server cannot go on from the position, ConfigurationError when it opens no stream
        at all.
        """
        changes = ChangedDocuments(set(collections))
        try:
            with self._open(collections, start) as stream:
                position = self._read(stream, changes)
        except OperationFailure as error:
            if start is not None and is_token_refused(error):
                raise self._refuse() from error
            raise self._explain(error) from None
        return changes, position

    def _open(self, collections: Sequence[str], start: MongoPosition | None) -> ChangeStream[Any]:
        steps = [{"$match": _concern(collections)}, {"$project": dict.fromkeys(FIELDS, 1)}]
        beginning: Mapping[str, Any] = (
            {"start_at_operation_time": self._server.now} if start is None else {"resume_after": start.token}
        )
        stream: ChangeStream[Any] = self._database.with_options(codec_options=RAW).watch(
            steps,
            batch_size=BATCH_EVENTS,
            max_await_time_ms=AWAIT_MILLISECONDS,
            session=self._session,
            **beginning,
        )
        return stream

    def _read(self, stream: ChangeStream[Any], changes: ChangedDocuments) -> MongoPosition:
        """Read until the server, asked after the read began, answers that there is nothing more.

        Under writers that never pause it ends before the first transaction that was committed after the read began.
        """
        begun, last = time.monotonic(), None
        while True:
            event = stream.try_next()
            if event is None:
                if self._is_drained(stream, begun):
                    return self._position_at(stream.resume_token, last)
                continue
            if last is not None and event["clusterTime"] > max(last["clusterTime"], self._server.now):
                # Not the token of the stream, which copies it when it is asked: 32,000 events per CPU-second instead of
                # 80,000.
                return self._position_at(last["_id"], last)
            changes.add(event)
            last = event
            if event["operationType"] == END:
                raise self._refuse()

    def _is_drained(self, stream: ChangeStream[Any], begun: float) -> bool:
        """Return whether an empty batch is the end.

        The first one was asked for when the primary already showed what was committed before the read began. A router
        answers without waiting for all shards.
        """
        if not self._server.is_router:
            return True
        reached = read_token_time(stream.resume_token or {})
        return reached is None or reached >= self._server.now or time.monotonic() - begun > ROUTER_SECONDS

    def _position_at(self, token: Any, last: Any) -> MongoPosition:
        if token is None:
            raise FatalError(
                "the server gave no resume token, so the next read could not go on from here",
                place=self._place,
                remedy="upgrade it: MongoDB 5.0 or later, Amazon DocumentDB 5.0 or later",
            )
        token = dict(token)
        told_until = last["clusterTime"] if last else self._server.now
        return MongoPosition(token, read_token_time(token) or max(told_until, self._server.now))

    def _refuse(self) -> TokenRefused:
        return TokenRefused(
            f"database {self._database.name} was dropped, or the server does not keep its log so long",
            place=self._place,
            remedy="run again",
        )

    def _explain(self, error: OperationFailure) -> Exception:
        """Return the error of Millrace for a stream that cannot be opened or read."""
        known = translate(error, self._place)
        if not isinstance(known, FatalError):
            return known
        database = self._database.name
        return ConfigurationError(
            f"the server does not give the changes of database {database}: MongoDB error {error.code}",
            place=self._place,
            remedy=f"on Amazon DocumentDB enable them, {ENABLE.format(database=database)}; elsewhere grant the role "
            "`read` on the whole database",
        )


def _concern(collections: Sequence[str]) -> dict[str, Any]:
    names = {"$in": sorted(set(collections))}
    return {"$or": [{"ns.coll": names}, {"to.coll": names}, {"operationType": {"$in": sorted(ENDS)}}]}
