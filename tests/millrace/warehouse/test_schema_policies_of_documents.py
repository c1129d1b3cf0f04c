"""Promise 10 on whole runs of MongoDB: fields come and go document by document, under each policy.

Documents without a cursor are in every window, so those of these tests have none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128

from millrace import Incremental, Stream
from millrace.base.errors import SchemaConflict
from millrace.base.types import decimal
from millrace.declaration.captures import SchemaPolicy
from millrace.drivers.mongo_client import open_client
from tests.support.engine import Engine
from tests.support.policies import POLICIES, delivered, rejects

Put = Callable[..., Awaitable[None]]


@pytest.fixture
async def put(mongo_url: str, mongo_database: str) -> AsyncIterator[Put]:
    """Puts documents into the collection, in place of those of the same ``_id``."""
    client = open_client(mongo_url)

    async def replace_all(*documents: dict[str, Any]) -> None:
        for document in documents:
            await client[mongo_database]["trades"].replace_one({"_id": document["_id"]}, document, upsert=True)

    yield replace_all
    client.close()


def trades(database: str, policy: SchemaPolicy, **further: Any) -> Stream:
    source = f"mongo:{database}.trades"
    return Stream("trades", source, "_id", Incremental("at"), schema_policy=policy, **further)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_field_that_appears_is_added_or_refused_as_the_policy_says(
    engine: Engine, mongo_database: str, put: Put, policy: SchemaPolicy
) -> None:
    stream = trades(mongo_database, policy)
    await put({"_id": 1, "n": 1}, {"_id": 2, "n": 2})
    await engine.deliver(stream)
    await put({"_id": 2, "n": 3, "note": None}, {"_id": 3, "n": 3, "note": "new"})
    if policy == "freeze":
        with pytest.raises(SchemaConflict, match=r"add column note .*freeze"):
            await engine.deliver(stream)
        return
    result = await delivered(engine, stream)
    if policy == "evolve":
        assert [change.startswith("add column note ") for change in result.changes] == [True]
        assert engine.rows("trades", "_id", "n", "note") == [(1, 1, None), (2, 3, None), (3, 3, "new")]
    else:
        assert (result.rejected, result.updated, result.changes) == (1, 1, ())
        assert rejects(engine) == [('{"_id":3}', "schema_new_column", "note")]
        assert engine.rows("trades", "_id", "n") == [(1, 1), (2, 3)]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_field_that_disappears_is_null(
    engine: Engine, mongo_database: str, put: Put, policy: SchemaPolicy
) -> None:
    stream = trades(mongo_database, policy)
    await put({"_id": 1, "n": 1}, {"_id": 2, "n": 2})
    await engine.deliver(stream)
    await put({"_id": 1}, {"_id": 2})
    result = await delivered(engine, stream)
    assert (result.updated, result.changes) == (2, ())
    assert engine.rows("trades", "_id", "n") == [(1, None), (2, None)]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_field_that_changes_its_type_keeps_the_columns(
    engine: Engine, mongo_database: str, put: Put, policy: SchemaPolicy
) -> None:
    stream = trades(mongo_database, policy)
    await put({"_id": 1, "n": 1}, {"_id": 2, "n": 2}, {"_id": 3, "n": 3})
    await engine.deliver(stream)
    await put({"_id": 1, "n": 2.0}, {"_id": 2, "n": 2.5}, {"_id": 3, "n": "three"})
    result = await delivered(engine, stream)
    assert (result.updated, result.rejected, result.changes) == (1, 2, ())
    assert {(reason, field) for _, reason, field in rejects(engine)} == {("type_mismatch", "n")}
    assert engine.rows("trades", "_id", "n") == [(1, 2), (2, 2), (3, 3)]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_field_is_widened_by_its_declaration(
    engine: Engine, mongo_database: str, put: Put, policy: SchemaPolicy
) -> None:
    await put({"_id": 1, "n": 2**62}, {"_id": 2, "n": 2})
    await engine.deliver(trades(mongo_database, policy))
    stream = trades(mongo_database, policy, types={"n": decimal(38, 9)})
    await put({"_id": 2, "n": Decimal128("0.25")})
    if policy == "freeze":
        with pytest.raises(SchemaConflict, match=r"widen column n .*freeze"):
            await engine.deliver(stream)
        return
    result = await delivered(engine, stream)
    if policy == "evolve":
        assert engine.rows("trades", "_id", "n") == [(1, 2**62), (2, Decimal("0.25"))]
        assert (result.updated, result.unchanged) == (1, 1)
    else:
        assert rejects(engine) == [('{"_id":2}', "schema_type", "n")]
        assert engine.rows("trades", "_id", "n") == [(1, 2**62), (2, 2)]
