"""Masks: nothing of a masked value is in any object, row, reject or log, however it is read or rejected."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from bson import Decimal128
from pymongo import MongoClient

from millrace import Hash, Incremental, Partial, Queue, Redact, Snapshot, Stream, text
from millrace.base.errors import ConfigurationError, SourceMissing
from millrace.contract import masking
from millrace.runs.choose import ReadRequest
from millrace.runs.destination import BatchDestination
from tests.support.engine import Engine, counts

SECRET = "geheim-4711"
KEYS = {"default": "a long random text", "other": "another text"}
CHANGES = Incremental("changed", timedelta(0))
MASK = {"email": Hash(), "iban": Partial(4), "name": Redact()}


class Strict(dy.Schema):
    """Rejects rows by a column that is not masked, and by one that is."""

    v = dy.Int32(nullable=True, max=100)
    email = dy.String(nullable=True)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every destination has the keys."""
    made = Engine.landing

    def landing(engine: Engine, token: int = 0) -> BatchDestination:
        return replace(made(engine, token), mask_keys=KEYS)

    monkeypatch.setattr(Engine, "landing", landing)


def scan(engine: Engine, secret: str = SECRET) -> list[str]:
    """The objects of the lake, and tables of the warehouse, in which the secret is found."""
    found = []
    for key in engine.store.list_keys(""):
        data = engine.store.get_bytes(key)
        texts = [data]
        if key.endswith(".parquet"):
            frame = pl.read_parquet(data)
            texts = [str(row).encode() for row in frame.rows()]
        if any(secret.encode() in one for one in texts):
            found.append(key)
    tables = engine.query(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ('engine', 'millrace') "
        "AND table_type = 'BASE TABLE'"
    )
    for schema, table in tables:
        if any(secret in str(row) for row in engine.query(f'SELECT * FROM {schema}."{table}"')):
            found.append(f"{schema}.{table}")
    return found


@pytest.fixture
def people(engine: Engine) -> Stream:
    """A table in which every column but key and cursor holds the secret, and rows of all fates."""
    engine.source(
        "CREATE TABLE people (id int PRIMARY KEY, email text, iban text, name text, v int, odd numeric(6, 2), "
        "left_out text, changed timestamptz DEFAULT now())"
    )
    values = f"'{SECRET}@x.org', 'DE00{SECRET}1234', '{SECRET}'"
    engine.source(
        f"INSERT INTO people VALUES (1, {values}, 5, 1, '{SECRET}'), (2, {values}, 500, 1, '{SECRET}'), "
        f"(3, {values}, 5, 'NaN', '{SECRET}'), (4, NULL, '123', NULL, 5, 1, NULL)"
    )
    return Stream("people", "postgres:public.people", "id", CHANGES, mask=MASK, omitted=["left_out"], contract=Strict)


async def test_a_table_is_masked_in_rows_and_in_rejects(
    engine: Engine, people: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await engine.run(people)
    assert scan(engine) == []
    assert sorted(one["reason"] for one in engine.rejects()) == ["contract_max", "number_does_not_fit"]
    assert all(SECRET not in one["row"] for one in engine.rejects())
    rows = engine.rows("people", "id", "email", "iban", "name")
    assert rows[0][2:] == ("****1234", None)
    assert rows[1] == (4, None, "****", None)
    assert rows[0][1] == expected_hash(f"{SECRET}@x.org")
    engine.source("UPDATE people SET v = 7 WHERE id = 1; DELETE FROM people WHERE id = 4")
    await engine.sweep(people)
    await engine.sweep(people, deep=True)
    engine.source("UPDATE people SET v = 7, odd = 1 WHERE id IN (2, 3)")
    await engine.replay(people)
    assert len(engine.rows("people")) == 3
    assert scan(engine) == []
    assert SECRET not in caplog.text


def expected_hash(value: str, key: str = KEYS["default"]) -> str:
    """By another library than the product's."""
    inner = hashlib.sha256(f"{key}\x1f{value}".encode()).hexdigest()
    return hashlib.sha256(f"{key}\x1f{inner}".encode()).hexdigest()[:32]


async def test_a_mask_that_is_added_later_reaches_every_row_by_a_sweep(engine: Engine, people: Stream) -> None:
    clear = replace(people, mask={}, contract=None)
    await engine.run(clear)
    assert counts(await engine.sweep(replace(clear, mask=MASK)))["updated"] >= 2
    assert [row for row in engine.query("SELECT * FROM engine.people") if SECRET in str(row)] == []


async def test_rejects_that_a_replay_carries_on_are_masked_as_the_stream_says_now(engine: Engine) -> None:
    engine.source(
        f"""CREATE TABLE people (id int, "eMail" text, v int); INSERT INTO people VALUES (1, 'x', 1);
        INSERT INTO people SELECT NULL, '{SECRET}', v FROM generate_series(1, 11) AS v;
        INSERT INTO people SELECT v, 'x', v FROM generate_series(2, 200) AS v"""
    )
    stream = Stream("people", "postgres:public.people", "id", Snapshot())
    await engine.run(stream)
    before = {*engine.store.list_keys("")}
    masked = replace(stream, mask={"eMail": Hash()})
    result = await engine.replay(masked)
    assert result is not None
    assert (result.read, result.rejected) == (11, 11)
    assert [key for key in scan(engine) if key in {*engine.store.list_keys("")} - before] == []
    assert all('"e_mail":"****"' in one["row"] for one in engine.rejects())


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ('{"eMail":"x","n":1}', '{"eMail":"****","n":1}'),
        (
            '{"e_mail":"x","person_iban":"y","person_town":"z"}',
            '{"e_mail":"****","person_iban":"****","person_town":"z"}',
        ),
        ('{"person":{"iban":"y","town":"z"},"left":"w"}', '{"person":{"iban":"****","town":"z"},"left":"****"}'),
        ('{"person":"{\\"iban\\":1}"}', '{"person":"****"}'),
        ("0a0b", "****"),
    ],
    ids=["fields", "columns", "documents", "documents as texts", "undecodable"],
)
def test_what_is_hidden_in_rejects_of_an_earlier_read(row: str, shown: str) -> None:
    stream = Stream(
        "t", "mongo:a.b", "_id", Snapshot(), mask={"eMail": Hash(), "person.iban": Redact()}, omitted=["left"]
    )
    rejected = pl.DataFrame({"reason": ["no_key"], "field": [""], "coordinates": ["{}"], "row": [row]})
    assert masking.hide_in_stored_rejects(rejected, stream)["row"].to_list() == [shown]


async def test_hashes_of_two_streams_can_be_joined_and_another_key_gives_others(engine: Engine) -> None:
    engine.source("CREATE TABLE a (id int PRIMARY KEY, email text); CREATE TABLE b (id int PRIMARY KEY, email text)")
    engine.source("INSERT INTO a VALUES (1, 'x'), (2, 'y'); INSERT INTO b VALUES (7, 'y'), (8, 'z')")
    for name, mask in (("a", Hash()), ("b", Hash()), ("c", Hash("other"))):
        source = "postgres:public.a" if name == "c" else f"postgres:public.{name}"
        # The third stream has the source of the first, which is not declared beside it.
        await engine.run(Stream(name, source, "id", Snapshot(), mask={"email": mask}), ReadRequest("full"))
    assert engine.query("SELECT a.id, b.id FROM engine.a JOIN engine.b ON a.email = b.email") == [(2, 7)]
    assert engine.query("SELECT a.id FROM engine.a JOIN engine.c ON a.email = c.email") == []
    assert engine.rows("c", "email")[0] == (expected_hash("x", KEYS["other"]),)


@pytest.fixture
def documents(engine: Engine, mongo_database: str) -> Iterator[tuple[Stream, Any]]:
    """Documents with the secret at two depths, some of which cannot be typed, decoded or keyed."""
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        collection = client[mongo_database]["people"]
        yield (
            Stream(
                "people",
                f"mongo:{mongo_database}.people",
                "_id",
                CHANGES,
                mask={
                    "email": Hash(),
                    "person.iban": Partial(),
                    "person.name": Redact(),
                    "with\\.dot": Redact(),
                    "items.iban": Hash(),
                },
                omitted=["left", "items.left"],
                types={"amount": text()},
            ),
            collection,
        )


async def test_documents_are_masked_in_rows_and_in_rejects(engine: Engine, documents: tuple[Stream, Any]) -> None:
    stream, collection = documents
    now = datetime.now(UTC)
    document = {
        "email": f"{SECRET}@x.org", "person": {"iban": f"{SECRET}99", "name": {"deep": SECRET}}, "with.dot": SECRET,
        "left": SECRET, "items": [{"left": SECRET, "n": 1, "iban": SECRET}], "changed": now, "n": 1,
    }  # fmt: skip
    collection.insert_many([{"_id": number, **document} for number in range(5)])
    collection.insert_many(
        [
            {"_id": 11, **document, "n": "no number"},
            {"_id": 12, **document, "n": Decimal128("1E-30")},
            {"_id": 13, **document, "changed": "no date"},
            {"_id": 14, **document, "n": "a\x00b"},
            {"_id": {"no": "key"}, **document},
        ]
    )
    await engine.run(stream)
    assert len(engine.rejects()) >= 4
    assert scan(engine) == []
    assert engine.batches[-1].note == "no row had a value of 'amount' (types): is the name misspelt?"
    assert engine.rows("people", "email", "person_iban")[0] == (expected_hash(f"{SECRET}@x.org"), "****1199")
    assert engine.query("SELECT DISTINCT items FROM engine.people") == [('[{"n":1,"iban":"****"}]',)]


@pytest.mark.parametrize("outer_first", [True, False])
async def test_of_two_masks_the_nearest_counts(
    engine: Engine, documents: tuple[Stream, Any], outer_first: bool
) -> None:
    stream, collection = documents
    masks: list[tuple[str, Any]] = [("person", Redact()), ("person.iban", Hash())]
    collection.insert_one({"_id": 1, "person": {"iban": "x", "name": SECRET}, "changed": datetime.now(UTC)})
    await engine.run(replace(stream, mask=dict(masks if outer_first else reversed(masks))))
    assert engine.rows("people", "person_iban", "person_name") == [(expected_hash("x"), None)]


def test_a_row_that_cannot_be_decoded_is_hidden_as_a_whole() -> None:
    stream = Stream("people", "mongo:a.people", "_id", Snapshot(), mask={"email": Redact()})
    rejected = pl.DataFrame(
        {"reason": ["undecodable"], "field": [""], "coordinates": ["{}"], "row": [SECRET.encode().hex()]}
    )
    assert masking.hide_in_rejects(rejected, stream)["row"].to_list() == ["****"]


@pytest.mark.parametrize("values", [[], [None], ["a"], [None, "", "äöü"]], ids=str)
def test_hashes_of_any_number_of_values(values: list[str | None]) -> None:
    hashed = masking._hash(pl.Series("v", values, pl.String), "k")
    assert hashed.name == "v"
    assert hashed.to_list() == [None if one is None else expected_hash(one, "k") for one in values]


async def test_what_a_mask_cannot_do_is_refused(engine: Engine, people: Stream) -> None:
    with pytest.raises(ConfigurationError, match=r"column 'v' is int32, and its mask is for text"):
        await engine.run(replace(people, mask={"v": Hash()}))
    with pytest.raises(SourceMissing, match="mask names 'emial', and there is no such column"):
        await engine.run(replace(people, mask={"emial": Hash()}))
    with pytest.raises(ConfigurationError, match=r"the key 'absent' .* is not known. Remedy: set MASK_ABSENT_KEY"):
        await engine.run(replace(people, mask={"email": Hash("absent")}))


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ({"mask": {"id": Hash()}}, "key 'id' is masked"),
        ({"mask": {"changed": Redact()}}, "'changed' is masked, and by it changed rows are found"),
        ({"source": "mongo:a.b", "mask": {"_id": Hash()}}, "'_id' is masked, by which the source tells documents"),
        ({"source": "mongo:a.b", "mask": {"_id.email": Hash()}}, "'_id' is masked, by which the source tells"),
        ({"source": "mongo:a.b", "key": "_id.no", "mask": {"_id": Redact()}}, "key '_id.no' is masked"),
        ({"source": "mongo:a.b", "key": "ref", "mask": {"ref.email": Hash()}}, "key 'ref' is masked"),
        (
            {"source": "mongo:a.b", "capture": Incremental("meta.at"), "mask": {"meta": Redact()}},
            "'meta.at' is masked, and by it changed rows are found",
        ),
        ({"source": "mongo:a.b", "rewritten": {"_id": pl.lit("x")}}, "key column '_id' is rewritten"),
        ({"mask": {"v": Redact()}, "rewritten": {"v": pl.lit(1)}}, "'v' is masked and rewritten"),
        ({"mask": {"v": Redact()}, "omitted": ["v"]}, "field 'v' is declared and omitted"),
        ({"mask": {"v": "hash"}}, r"mask\['v'\] is 'hash'"),
        ({"source": "sqs/people", "capture": Queue(), "mask": {"v": Redact()}}, "masks come too late"),
        ({"source": "mongo:a.b", "mask": {"a.b.c.d": Redact()}}, "lies deeper than flatten_depth=2"),
    ],
    ids=[
        "key",
        "cursor",
        "document key",
        "within the document key",
        "above the key",
        "within the key",
        "above the cursor",
        "rewritten document key",
        "rewritten",
        "omitted",
        "type",
        "queue",
        "depth",
    ],
)
def test_what_makes_no_sense_is_refused(declared: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Stream(**{"name": "t", "source": "postgres:a.b", "key": "id", "capture": CHANGES} | declared)
    with pytest.raises(ConfigurationError, match="key 'My Key' is not the name of a key"):
        Hash("My Key")
