"""What must be so for a MongoDB server and its collections to be read by a change stream, and which log it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bson import Timestamp
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.declaration.stream import Stream
from millrace.drivers.mongo_client import ROUTER

SESSION = Any
"""A session of PyMongo: it orders what is asked in it."""
ENABLE = "db.adminCommand({{modifyChangeStreams: 1, database: '{database}', collection: '', enable: true}})"
"""What Amazon DocumentDB takes to write a log of a database."""
_SILENT = {
    "view": "a view has no changes of its own",
    "timeseries": "the log does not tell changes of time series",
}


@dataclass(frozen=True)
class LogServer:
    """The primary of a replica set, or a router, as it answered before anything was read."""

    origin: str
    """Which log it writes: replica set and database."""
    now: Timestamp
    """The cluster time of its newest write."""
    is_router: bool


def find_server(client: MongoClient[Any], session: SESSION, database: str, place: str) -> LogServer:
    """Ask what the server is. Raises ConfigurationError when it writes no log that this connection may read."""
    hello = client.admin.command("hello", session=session)
    is_router = hello.get("msg") == ROUTER
    if "setName" not in hello and not is_router:
        raise ConfigurationError(
            "this server is no member of a replica set, and only those write a log of their changes",
            place=place,
            remedy="start mongod with --replSet rs0 and run rs.initiate() once; a set of one member is enough",
        )
    if not hello.get("isWritablePrimary", hello.get("ismaster", False)):
        raise ConfigurationError(
            "this server is a secondary, and a change log is read from the primary",
            place=place,
            remedy="name the replica set in the URL of the connection (replicaSet=…), without directConnection",
        )
    now = client.admin.command("ping", session=session).get("operationTime")
    if now is None:
        raise ConfigurationError(
            "this server does not tell its cluster time, so its changes cannot be followed",
            place=place,
            remedy=f"on Amazon DocumentDB (5.0 or later) run {ENABLE.format(database=database)}",
        )
    return LogServer(f"{hello.get('setName', 'shards')}/{_identify(client, session)}/{database}", now, is_router)


def fingerprint_collections(database: Any, session: SESSION, streams: Sequence[Stream]) -> dict[str, str]:
    """Return what tells the collection of each stream from one that is created again by its name.

    Raises SourceMissing when there is no such collection, ConfigurationError when the log does not tell its changes.
    """
    # All of them, without a filter: DocumentDB documents that it does not take every one.
    found = {collection["name"]: collection for collection in database.list_collections(session=session)}
    return {stream.name: _fingerprint(stream, found.get(stream.reference.name)) for stream in streams}


def find_oldest(client: MongoClient[Any]) -> Timestamp | None:
    """Return the cluster time of the oldest change that the log still has; None: this user may not see it."""
    with suppress(OperationFailure):
        entry = client.local["oplog.rs"].find_one({}, {"ts": 1}, sort=[("$natural", 1)])
        return entry["ts"] if entry else None
    return None


def _fingerprint(stream: Stream, collection: Mapping[str, Any] | None) -> str:
    if collection is None:
        raise SourceMissing(
            "there is no such collection", place=stream.place, remedy="create it, or correct the stream's source"
        )
    silent = _SILENT.get(collection.get("type", ""), "")
    if collection.get("options", {}).get("capped"):
        silent = "the log does not tell which documents a capped collection gives up"
    if silent:
        raise ConfigurationError(
            silent, place=stream.place, remedy="declare another capture for it: Incremental with a sweep, or Snapshot"
        )
    return str(collection.get("info", {}).get("uuid", ""))


def _identify(client: MongoClient[Any], session: SESSION) -> str:
    """Return what tells a replica set from others of its name; '': this user may not see it."""
    with suppress(OperationFailure):
        config = client.admin.command("replSetGetConfig", session=session)["config"]
        return str(config.get("settings", {}).get("replicaSetId", ""))
    return ""
