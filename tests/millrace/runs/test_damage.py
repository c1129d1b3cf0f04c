"""What was altered in the warehouse by hand is found, put right and told: by a sweep, a full run, a deep sweep.

Which of them finds what is a table in docs/guarantees.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from bson.errors import BSONError
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from millrace import Append, Incremental, Replace, Scd2, Snapshot, Stream
from millrace.base.errors import CountMismatch, SchemaConflict, TargetLost
from millrace.base.naming import quote
from millrace.hashes.content_hash import normalize_document
from millrace.lake.batch import Batch
from millrace.runs.choose import ReadRequest
from tests.support.engine import Engine, counts
from tests.support.mongo_cases import FIELDS
from tests.support.postgres_cases import CASES, PREPARE

T = Stream("t", "postgres:public.t", "id", Incremental("changed", overlap=timedelta(0)))
SNAPSHOT = replace(T, capture=Snapshot())
SCD2 = replace(T, load=Scd2("version_key"))
FULL, SWEEP, DEEP = ReadRequest("full"), ReadRequest("sweep"), ReadRequest("sweep", deep=True)
ROWS = [(number, f"value {number}", number + 0.5) for number in range(1, 11)]


async def fill(engine: Engine, stream: Stream = T) -> None:
    engine.source("CREATE TABLE t (id int PRIMARY KEY, v text, n float8, changed timestamptz DEFAULT now())")
    engine.source("INSERT INTO t SELECT i, 'value ' || i, i + 0.5 FROM generate_series(1, 10) AS i")
    await engine.run(stream)


def alter(engine: Engine, *statements: str) -> None:
    for one in statements:
        engine.query(one)


def values(engine: Engine) -> list[Any]:
    return engine.rows("t", "id", "v", "n")


@dataclass(frozen=True)
class Damage:
    """What is done to the target, the counts of a run that puts it right, and the runs that do not find it."""

    done: tuple[str, ...]
    repaired: dict[str, int]
    missed_by: tuple[str, ...] = ()


RUNS = {"sweep": SWEEP, "full": FULL, "deep": DEEP}
DAMAGES = {
    "altered values": Damage(
        ("UPDATE engine.t SET v = 'DAMAGED' WHERE id = 1", "UPDATE engine.t SET n = NULL WHERE id = 2"),
        {"read": 10, "updated": 2, "unchanged": 8},
        missed_by=("sweep",),
    ),
    "blanks at the end": Damage(
        ("UPDATE engine.t SET v = v || ' ' WHERE id = 1",),
        {"read": 10, "updated": 1, "unchanged": 9},
        missed_by=("sweep",),
    ),
    "an altered hash": Damage(
        ("UPDATE engine.t SET \"_row_hash\" = '' WHERE id = 1",), {"read": 10, "updated": 1, "unchanged": 9}
    ),
    "a dropped column": Damage(("ALTER TABLE engine.t DROP COLUMN v",), {"read": 10, "updated": 10}),
    "a column made again": Damage(
        ("ALTER TABLE engine.t DROP COLUMN n", "ALTER TABLE engine.t ADD COLUMN n DOUBLE PRECISION"),
        {"read": 10, "updated": 10},
        missed_by=("sweep",),
    ),
    "rows that are missing": Damage(
        ("DELETE FROM engine.t WHERE id < 4",), {"read": 10, "inserted": 3, "unchanged": 7}
    ),
    "an empty table": Damage(("DELETE FROM engine.t",), {"read": 10, "inserted": 10}),
    "rows of another key": Damage(
        ("UPDATE engine.t SET id = 99 WHERE id = 5",),
        {"read": 11, "inserted": 1, "deleted": 1, "unchanged": 9},
        missed_by=("full",),
    ),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damage_is_repaired_by_the_runs_that_can_find_it(either: Engine, damage: Damage, run: str) -> None:
    """What a run misses is found by the deep sweep after it."""
    await fill(either)
    alter(either, *damage.done)
    result = await either.run(T, RUNS[run])
    if run in damage.missed_by:
        assert values(either) != ROWS
        await either.run(T, DEEP)
    else:
        assert counts(result) == damage.repaired
    assert values(either) == ROWS
    assert counts(await either.run(T, DEEP)) == {"read": 10, "unchanged": 10}
    assert counts(await either.run(T, SWEEP)) == {"read": 10, "unchanged": 10}


@pytest.mark.parametrize("read_request", [SWEEP, DEEP], ids=["sweep", "deep"])
async def test_a_row_that_was_doubled_is_told(either: Engine, read_request: ReadRequest) -> None:
    await fill(either)
    alter(either, "INSERT INTO engine.t SELECT * FROM engine.t WHERE id < 4")
    with pytest.raises(CountMismatch, match="the target holds 3 rows whose key another of its rows has"):
        await either.run(T, read_request)


async def test_a_deep_sweep_tells_how_many_hashes_were_wrong(either: Engine) -> None:
    await fill(either)
    alter(either, "UPDATE engine.t SET v = 'DAMAGED' WHERE id <= 3", "UPDATE engine.t SET n = -0.0 WHERE id = 4")
    either.source("UPDATE t SET v = 'silent' WHERE id = 10")
    result = await either.run(T, DEEP)
    assert result is not None
    assert result.warnings == ("4 rows of the target did not hold what their hash says",)
    assert counts(result) == {"read": 10, "updated": 5, "unchanged": 5}
    assert either.rows("t", "id", "v", "n") == either.source("SELECT id, v, n FROM t ORDER BY 1")


async def test_a_full_run_writes_only_what_was_altered(either: Engine) -> None:
    await fill(either)
    alter(either, "UPDATE engine.t SET v = 'DAMAGED' WHERE id = 1")
    before = either.query('SELECT id, "_loaded_at" FROM engine.t WHERE id > 1 ORDER BY 1')
    await either.run(T, FULL)
    assert either.query('SELECT id, "_loaded_at" FROM engine.t WHERE id > 1 ORDER BY 1') == before


@pytest.mark.parametrize("stream", [T, SNAPSHOT, replace(SNAPSHOT, load=Replace()), replace(T, load=Append())])
async def test_a_column_that_was_dropped_by_hand_is_filled_by_the_next_run(either: Engine, stream: Stream) -> None:
    await fill(either, stream)
    alter(either, "ALTER TABLE engine.t DROP COLUMN v")
    either.source("INSERT INTO t VALUES (11, 'value 11', 11.5)")
    result = await either.run(stream)
    assert result is not None
    assert "the target had lost v: all rows were read and compared value by value" in result.warnings
    assert values(either) == [*ROWS, (11, "value 11", 11.5)]
    again = await either.run(stream)
    assert again is None or (again.loaded, again.warnings) == (0, ())


@pytest.mark.parametrize("column", ["id", "version_key"])
async def test_a_target_without_a_column_that_tells_its_rows_apart_is_refused(engine: Engine, column: str) -> None:
    stream = SCD2 if column == "version_key" else T
    await fill(engine, stream)
    alter(engine, f"ALTER TABLE engine.t DROP COLUMN {quote(column)}")
    engine.source("INSERT INTO t VALUES (11, 'value 11', 11.5)")
    with pytest.raises(SchemaConflict, match=rf"engine\.t has no column {column}.* drop the target"):
        await engine.run(stream)
    assert engine.query("SELECT count(*) FROM engine.t") == [(10,)]
    alter(engine, "DROP TABLE engine.t")
    await engine.run(stream)
    assert [number for number, *_ in values(engine)] == list(range(1, 12))


async def test_a_column_dropped_between_read_and_load_is_not_left_empty(engine: Engine) -> None:
    await fill(engine)
    engine.source("INSERT INTO t VALUES (11, 'value 11', 11.5)")
    batch = await engine.extract(T)
    assert isinstance(batch, Batch)
    alter(engine, "ALTER TABLE engine.t DROP COLUMN v")
    with pytest.raises(TargetLost, match="the target has lost v, and this batch holds only some of its rows"):
        engine.load(T, batch)
    await engine.run(T)
    assert values(engine) == [*ROWS, (11, "value 11", 11.5)]


async def test_a_column_that_comes_back_to_the_source_is_filled(engine: Engine) -> None:
    await fill(engine)
    engine.source("ALTER TABLE t RENAME COLUMN v TO w; UPDATE t SET changed = clock_timestamp() WHERE id = 1")
    await engine.run(T)
    alter(engine, "ALTER TABLE engine.t DROP COLUMN v")
    engine.source("ALTER TABLE t RENAME COLUMN w TO v; UPDATE t SET changed = clock_timestamp() WHERE id = 2")
    with pytest.raises(TargetLost, match="run again: everything is read then"):
        await engine.run(T)
    await engine.run(T)
    assert values(engine) == ROWS


async def test_a_column_dropped_at_both_ends_is_not_asked_for_again(engine: Engine) -> None:
    await fill(engine)
    alter(engine, "ALTER TABLE engine.t DROP COLUMN v")
    engine.source("ALTER TABLE t DROP COLUMN v")
    first = await engine.run(T)
    assert first is not None
    assert first.read == 10
    assert await engine.run(T) is None


async def test_a_field_that_no_document_has_any_more_is_asked_for_once(engine: Engine, mongo_database: str) -> None:
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        collection = client[mongo_database]["t"]
        stream = Stream("t", f"mongo:{mongo_database}.t", "_id", Incremental("changed"))
        collection.insert_many([{"_id": n, "v": n, "w": n} for n in range(3)])
        await engine.run(stream)
        collection.update_many({}, {"$unset": {"v": 1}})
        alter(engine, "ALTER TABLE engine.t DROP COLUMN v")
        first, second = await engine.run(stream), await engine.run(stream)
    assert first is not None
    assert second is not None
    assert (len(first.warnings), second.warnings) == (1, ())


async def test_a_new_column_that_is_null_in_old_rows_is_reported(engine: Engine) -> None:
    """ADD COLUMN … DEFAULT at the source moves no stamp."""
    await fill(engine)
    engine.source("ALTER TABLE t ADD COLUMN w int DEFAULT 7; UPDATE t SET changed = clock_timestamp() WHERE id = 1")
    result = await engine.run(T)
    assert result is not None
    assert result.warnings == (
        "rows loaded before are NULL in the new w until they are read again: "
        "`millrace sweep engine`, or a due sweep, does it",
    )
    swept = await engine.run(T, SWEEP)
    assert swept is not None
    assert swept.warnings == ()
    assert engine.query("SELECT DISTINCT w FROM engine.t") == [(7,)]


@pytest.mark.parametrize(
    "stream",
    [T, replace(T, deletes="soft"), replace(T, load=Append()), SCD2, SNAPSHOT, replace(SNAPSHOT, load=Replace())],
    ids=["merge", "soft", "append", "scd2", "snapshot", "replace"],
)
@pytest.mark.parametrize("read_request", [FULL, DEEP], ids=["full", "deep"])
async def test_every_load_mode_puts_altered_values_right(
    either: Engine, stream: Stream, read_request: ReadRequest
) -> None:
    await fill(either, stream)
    before = either.rows("t", order='"id"')
    alter(either, "UPDATE engine.t SET v = 'DAMAGED', n = NULL WHERE id = 3")
    result = await either.run(stream, read_request)
    assert result is not None
    assert values(either) == ROWS
    if isinstance(stream.load, Replace):
        assert "the table was written again" in result.warnings[0]
    else:
        assert (result.inserted, result.updated, result.deleted) == (0, 1, 0)
        after = either.rows("t", order='"id"')
        untouched = [row for row in before if "value 3" not in row]
        assert [row for row in after if "value 3" not in row] == untouched


async def test_former_versions_stay_as_they_are(engine: Engine) -> None:
    await fill(engine, SCD2)
    engine.source("UPDATE t SET v = 'second', changed = clock_timestamp() WHERE id = 1")
    await engine.run(SCD2)
    alter(engine, "UPDATE engine.t SET v = 'DAMAGED' WHERE id = 1")
    assert counts(await engine.run(SCD2, DEEP)) == {"read": 10, "updated": 1, "unchanged": 9}
    assert [row[0] for row in engine.query("SELECT v FROM engine.t WHERE id = 1 ORDER BY start_date")] == [
        "DAMAGED",
        "second",
    ]


async def test_a_column_of_an_analyst_is_no_damage(either: Engine) -> None:
    await fill(either)
    alter(either, "ALTER TABLE engine.t ADD COLUMN remark INTEGER", "UPDATE engine.t SET remark = id")
    assert counts(await either.run(T, DEEP)) == {"read": 10, "unchanged": 10}
    assert either.query("SELECT count(remark) FROM engine.t") == [(10,)]


async def test_a_column_made_again_with_another_type_is_refused(either: Engine) -> None:
    await fill(either)
    alter(either, "ALTER TABLE engine.t DROP COLUMN v", "ALTER TABLE engine.t ADD COLUMN v TIMESTAMP")
    with pytest.raises(SchemaConflict, match=r"column v of engine.t is timestamp and cannot hold text"):
        await either.run(T, DEEP)


@pytest.mark.parametrize("read_request", [ReadRequest(), SWEEP, FULL, DEEP], ids=["window", "sweep", "full", "deep"])
async def test_a_column_made_again_with_a_type_that_nobody_knows_is_refused_by_every_run(
    either: Engine, read_request: ReadRequest
) -> None:
    """Nothing could be compared with it, and its rows would count as unchanged."""
    await fill(either)
    alter(either, "ALTER TABLE engine.t DROP COLUMN v", "ALTER TABLE engine.t ADD COLUMN v TIMETZ")
    with pytest.raises(SchemaConflict, match=r"column v of engine\.t is of a type unknown here.*drop the column"):
        await either.run(T, read_request)
    alter(either, "ALTER TABLE engine.t DROP COLUMN v", "ALTER TABLE engine.t ADD COLUMN remark TIMETZ")
    await either.run(T)
    assert values(either) == ROWS, "an analyst's own column may be of any type"


async def test_a_column_that_left_the_source_is_no_damage(engine: Engine) -> None:
    await fill(engine)
    engine.source("ALTER TABLE t DROP COLUMN n")
    await engine.run(T, FULL)
    assert counts(await engine.run(T, DEEP)) == {"read": 10, "unchanged": 10}


@pytest.fixture
def every_type(either: Engine) -> Iterator[Stream]:
    either.source(PREPARE)
    names = [case.name for case in CASES]
    columns = ", ".join(f"{quote(case.name)} {case.sql_type}" for case in CASES)
    either.source(f"CREATE TABLE t (id int PRIMARY KEY, stamped timestamptz DEFAULT now(), {columns})")
    either.source(
        ";".join(
            f"INSERT INTO t (id, {quote(names[index])}) VALUES ({index * 100 + place}, {value})"
            for index, case in enumerate(CASES)
            for place, value in enumerate(case.values)
        )
    )
    yield replace(T, capture=Incremental("stamped"))


async def test_every_value_is_the_same_on_its_way_back(either: Engine, every_type: Stream) -> None:
    """A deep sweep of an untouched target finds nothing."""
    first = await either.run(every_type)
    deep = await either.run(every_type, DEEP)
    assert first is not None
    assert counts(deep) == {"read": first.read, "unchanged": first.read}
    assert deep is not None
    assert deep.warnings == ()
    assert either.batches[-1].counts.matched == first.read


async def test_every_field_of_a_document_is_the_same_on_its_way_back(either: Engine, mongo_database: str) -> None:
    stream = Stream("t", f"mongo:{mongo_database}.t", "_id", Incremental("changed"), max_reject_share=1)
    fields = [(field, value) for field, values in FIELDS.items() for value, _ in values]
    with MongoClient[dict[str, Any]](either.mongo_url) as client:
        for row, (field, value) in enumerate(fields):
            with suppress(PyMongoError, BSONError):
                client[mongo_database]["t"].insert_one({"_id": row, field: value})
    first, deep = await either.run(stream), await either.run(stream, DEEP)
    assert first is not None
    assert first.inserted > 50
    assert either.batches[-1].counts.matched == first.inserted
    assert counts(deep)["unchanged"] == first.inserted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"b": 1, "a": [1.50, null]}', '{"a":[1.5,null],"b":1.0}'),
        ("1e2", "100"),
        ("-0.0", "0"),
        ('"\\u00e9"', '"é"'),
        ("12345678901234567890123", "1.2345678901234567890123e22"),
    ],
)
def test_texts_that_mean_one_document_are_the_same(one: str, other: str) -> None:
    assert normalize_document(one) == normalize_document(other)


@pytest.mark.parametrize(
    ("one", "other"), [('{"a": 1}', '{"a": "1"}'), ("[1, 2]", "[2, 1]"), ("0.1", "0.2"), ('""', "null"), ("1", "true")]
)
def test_texts_that_mean_two_documents_differ(one: str, other: str) -> None:
    assert normalize_document(one) != normalize_document(other)
