"""Promise 9 for MongoDB: every BSON value arrives exactly, or is rejected with its reason; none stops the run."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import json_util
from pymongo import MongoClient

from local.stack import Stack
from local.warehouse import WarehouseServer
from millrace import Incremental, Stream
from millrace.base.naming import ROW_ID
from millrace.lake.batch import Batch
from millrace.runs.extract import Extraction
from millrace.sources.chunk import ReadFacts
from millrace.sources.mongo_values import EXTENDED_JSON, Decoder
from tests.support.engine import Engine, bucket_store, quick_engine_between
from tests.support.mongo_cases import FIELDS, OUT_OF_RANGE, TOO_LONG, Json, Rejected

ROWS = [(field, value, expected) for field, values in FIELDS.items() for value, expected in values]
THINGS = Stream("things", "mongo:finance.things", "_id", Incremental("at"), max_reject_share=1.0)
NOW = datetime(2024, 5, 6, 7, 8, 9, 123_000, tzinfo=UTC)


@dataclass(frozen=True)
class Delivered:
    """The batch, its rejects, and each row of the target as a mapping."""

    batch: Batch
    rejects: list[dict[str, Any]]
    rows: dict[int, dict[str, Any]]
    sent: set[int]
    holds_long_text: bool = False
    swept: Batch | None = None
    """A sweep of the server afterwards."""

    def column(self, field: str) -> str:
        """The column that a field became; a dot in its name is no step into a document."""
        path = field.replace("\\", "\\\\").replace(".", "\\.")
        return next(column.name for column in self.batch.columns if column.path == path)


@pytest.fixture(scope="module", params=["redshift", "postgres", "server", "server to postgres"])
def exact(request: pytest.FixtureRequest, stack: Stack, lasting_warehouse: WarehouseServer) -> Iterator[Delivered]:
    """All values as BSON through the decoder into either warehouse, and those that the server takes from there."""
    store = bucket_store(stack, stack.aws.create_bucket(f"exact-{secrets.token_hex(4)}"))
    name = f"exact_{secrets.token_hex(4)}"
    if request.param.endswith("postgres"):
        engine = quick_engine_between(stack, store, "", stack.postgres.create_database(name))
    else:
        lasting_warehouse.clear()
        engine = quick_engine_between(stack, store, "", lasting_warehouse.url)
    documents = {row: {"_id": row, "at": NOW, field: value} for row, (field, value, _) in enumerate(ROWS)}
    if request.param.startswith("server"):
        yield from_server(stack, engine, name, documents)
    else:
        yield from_bytes(engine, documents)
    stack.postgres.drop_database(name)
    stack.mongo.drop_database(name)


def from_bytes(engine: Engine, documents: dict[int, dict[str, Any]]) -> Delivered:
    chunk = Decoder(THINGS, ()).decode(b"".join(map(bson.encode, documents.values())))
    with Extraction(
        engine.landing(), THINGS, ReadFacts(NOW, None, row_id_column=ROW_ID, location_columns=("_id",))
    ) as extraction:
        extraction.add(chunk)
        batch = extraction.finish()
    assert batch is not None
    engine.batches.append(batch)
    engine.load(THINGS, batch)
    holds_long_text = not engine.warehouse.dialect.measures_text
    return Delivered(batch, engine.rejects(), rows(engine), set(documents), holds_long_text)


def from_server(stack: Stack, engine: Engine, database: str, documents: dict[int, dict[str, Any]]) -> Delivered:
    held = {row: document for row, document in documents.items() if ROWS[row][2] != OUT_OF_RANGE}
    with MongoClient[dict[str, Any]](stack.mongo.url) as client:
        client[database]["things"].insert_many(held.values())
    stream = Stream("things", f"mongo:{database}.things", "_id", Incremental("at"))
    asyncio.run(engine.deliver(stream))
    batch, holds_long_text = engine.batches[-1], not engine.warehouse.dialect.measures_text
    rejects, found = engine.rejects(), rows(engine)
    asyncio.run(engine.sweep(stream))
    return Delivered(batch, rejects, found, set(held), holds_long_text, swept=engine.batches[-1])


def rows(engine: Engine) -> dict[int, dict[str, Any]]:
    with closing(engine.connect_warehouse()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM engine.things ORDER BY _id")
        names = [column.name for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {int(row["_id"]): row for row in found}


def plain(value: Any) -> Any:
    """Postgres writes large floats in documents without an exponent."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return float(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, Json):
        return plain(json.loads(found) if isinstance(found, str) else found) == expected.value
    if isinstance(expected, bytes):
        return (bytes.fromhex(found) if isinstance(found, str) else bytes(found)) == expected
    if isinstance(expected, float):
        return repr(found) == repr(expected)
    return type(found) is type(expected) and found == expected


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: ascii(field[:20]).strip("'"))
def test_every_value_arrives_exactly_or_is_rejected(exact: Delivered, field: str) -> None:
    reasons = {json_util.loads(one["coordinates"])["_id"]: one for one in exact.rejects}
    for row, (_, _, expected) in ((row, case) for row, case in enumerate(ROWS) if case[0] == field):
        if row not in exact.sent:
            continue
        if expected == TOO_LONG and exact.holds_long_text:
            assert row in exact.rows
        elif isinstance(expected, Rejected):
            assert (reasons[row]["reason"], reasons[row]["field"]) == (expected.reason, field)
            assert row not in exact.rows
        else:
            assert row not in reasons
            assert_row(exact, row, field, expected)


def assert_row(exact: Delivered, row: int, field: str, expected: Any) -> None:
    """The value in its column, and nothing in any other."""
    found = dict(exact.rows[row])
    own = {"_id", "at", "_row_hash", "_loaded_at"}
    value = found.pop(exact.column(field)) if expected is not None else None
    assert expected is None or same(value, expected), (value, expected)
    assert {name for name, other in found.items() if other is not None} == own
    assert found["at"] == NOW


def test_every_document_is_accounted_for(exact: Delivered) -> None:
    assert exact.batch.counts.read == len(exact.sent) == len(exact.rows) + len(exact.rejects)


def test_a_sweep_finds_every_value_as_it_was_delivered(exact: Delivered) -> None:
    """The hash of a row is the same on the way of a sweep; what cannot be held is found wanting on both."""
    if exact.swept is not None:
        assert (exact.swept.counts.matched, exact.swept.counts.rejected) == (len(exact.rows), len(exact.rejects))
        assert (exact.swept.written, exact.swept.deleted) == (0, 0)
        assert exact.rows


def test_a_reject_keeps_the_whole_document_in_extended_json(exact: Delivered) -> None:
    for one in exact.rejects:
        if one["reason"] != "too_long":
            kept = json_util.loads(one["row"], json_options=EXTENDED_JSON)
            assert ROWS[kept["_id"]][0] in kept
