"""Parts of the change log of MongoDB that the stand-in does not show: other servers, sharded collections, tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from millrace import ChangeLog, Stream
from millrace.base.errors import ConfigurationError
from millrace.change_logs.changed_documents import ChangedDocuments
from millrace.change_logs.mongo_position import MongoPosition, read_token_time
from millrace.change_logs.mongo_server import find_server
from tests.support.old_mongo import start_old_mongo

OF_MONGOD = (
    "82635019A0000000012B042C0100296E5A1004AB1154ACACD849A48C61756D70D3B21F463C6F7065726174696F6E54797065003C696E7365"
    "72740046646F63756D656E744B65790046645F69640064635019A078BE67426D7CF4D2000004"
)
"""A token of an event at Timestamp(1666193824, 1)."""
MEMBER = {"logicalSessionTimeoutMinutes": 30}


def test_a_position_keeps_its_token_and_its_time() -> None:
    position = MongoPosition({"_data": OF_MONGOD * 9, "_typeBits": b"\x00"}, Timestamp(1_700_000_000, 7))
    assert len(str(position)) > 1_500
    assert MongoPosition.parse(str(position)) == position
    with pytest.raises(ValueError, match="no position"):
        MongoPosition.parse('{"token": {"_data": ""}}')


def test_a_token_tells_its_time_where_it_is_one_of_mongod() -> None:
    assert read_token_time({"_data": OF_MONGOD}) == Timestamp(1_666_193_824, 1)
    for other in ("3500000010730002", "82zz", b"\x82"):
        assert read_token_time({"_data": other}) is None


@pytest.mark.parametrize(
    ("hello", "problem"),
    [
        pytest.param({}, "rs.initiate", id="alone"),
        pytest.param({"setName": "rs0", "isWritablePrimary": False}, "without directConnection", id="secondary"),
        pytest.param({"setName": "rs0"}, "modifyChangeStreams.*'shop'", id="tells no time"),
    ],
)
def test_a_server_without_a_log_is_refused_with_what_to_do(hello: dict[str, Any], problem: str) -> None:
    server = start_old_mongo(21, **MEMBER | hello)
    try:
        with (
            MongoClient[dict[str, Any]](
                f"mongodb://127.0.0.1:{server.server_address[1]}/?directConnection=true"
            ) as client,
            client.start_session() as session,
            pytest.raises(ConfigurationError, match=problem),
        ):
            find_server(client, session, "shop", "source mongo")
    finally:
        server.shutdown()
        server.server_close()


def event(operation: str, **fields: Any) -> RawBSONDocument:
    """An event of a change stream, as the server sends it."""
    sent = {
        "operationType": operation,
        "ns": {"db": "shop", "coll": "orders"},
        "clusterTime": Timestamp(1_700_000_000, 1),
    }
    return RawBSONDocument(bson.encode(sent | fields))


def test_documents_of_sharded_collections_are_known_by_their_id_alone() -> None:
    changes = ChangedDocuments({"orders"})
    for region in ("north", "south"):
        changes.add(event("update", documentKey={"region": region, "_id": 5}))
    changes.add(
        event("delete", documentKey={"_id": 5}, wallTime=datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC))
    )
    (key,), (committed_at,) = (changes.of("orders")[name].to_list() for name in ("document key", "committed_at"))
    assert bson.decode(key) == {"_id": 5}
    assert committed_at == datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)
    assert changes.find_gap("orders") == ""


@pytest.mark.parametrize("operation", ["rename", "drop", "dropDatabase", "reshardCollection"])
def test_what_the_log_tells_of_a_whole_collection_is_a_gap(operation: str) -> None:
    changes = ChangedDocuments({"orders"})
    changes.add(event(operation, ns={"db": "shop", "coll": "others"}, to={"db": "shop", "coll": "orders"}))
    assert operation in changes.find_gap("orders")


def test_a_key_that_is_not_the_id_is_refused_in_the_declaration() -> None:
    with pytest.raises(ConfigurationError, match='declare key="_id"'):
        Stream("orders", "mongo:shop.orders", "number", ChangeLog())
    logs = {Stream("orders", f"mongo:{name}.orders", "_id", ChangeLog()).change_log for name in ("shop", "archive")}
    assert len(logs) == 2
