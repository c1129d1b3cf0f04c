"""A look-up by key that does not find what the source holds is an error of the look-up, never a delete.

The source is a real one whose answers are made worse on their way (altered_source.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import polars as pl
import pytest
from pymongo import MongoClient

from millrace import Append, Incremental, Snapshot, Stream
from millrace.base.errors import FatalError, RetryableError
from millrace.declaration.captures import DeletePolicy
from millrace.runs import look_up
from millrace.sources import chunk
from millrace.sources.tables import TableSource
from tests.support.altered_source import Alter, alter_answers
from tests.support.engine import Engine

T = Stream("t", "postgres:public.t", "id", Incremental("changed", overlap=timedelta(0)))


def nothing(answer: Any) -> Any:
    return answer.clear() if isinstance(answer, pl.DataFrame) else set()


def three(answer: Any) -> Any:
    return answer.head(3) if isinstance(answer, pl.DataFrame) else set(sorted(answer)[:3])


def at_first(alter: Alter, times: int) -> Alter:
    """Alter so many answers, and none after them."""
    left = iter(range(times))
    return lambda answer: answer if next(left, None) is None else alter(answer)


def as_texts(answer: Any) -> Any:
    return answer if isinstance(answer, pl.DataFrame) else {tuple(map(str, row)) for row in answer}


Lie = Callable[..., None]


@pytest.fixture
def lie(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Lie:
    """``lie(rows=…, keys=…, scan=…, before=…)``: from now on the engine's sources answer so."""
    return partial(alter_answers, engine, monkeypatch)


def fill(engine: Engine, rows: int = 10) -> None:
    engine.source("CREATE TABLE t (id int PRIMARY KEY, v text, changed timestamptz DEFAULT now())")
    engine.source(f"INSERT INTO t SELECT i, 'value ' || i FROM generate_series(1, {rows}) AS i")


def alter_silently(engine: Engine, *ids: int) -> None:
    engine.source(f"UPDATE t SET v = 'other' WHERE id IN ({', '.join(map(str, ids))})")


def ids(engine: Engine) -> list[int]:
    return [row[0] for row in engine.rows("t", "id")]


@pytest.mark.parametrize("deletes", ["hard", "soft", "ignore"])
@pytest.mark.parametrize("answer", [nothing, three, as_texts])
async def test_a_look_up_that_finds_less_than_the_scan_saw_is_an_error(
    engine: Engine, lie: Lie, answer: Alter, deletes: DeletePolicy
) -> None:
    stream = replace(T, deletes=deletes)
    fill(engine)
    await engine.deliver(stream)
    before = engine.rows("t")
    alter_silently(engine, 1, 2, 3, 4, 5)
    lie(rows=answer, keys=answer)
    with pytest.raises(
        FatalError, match=r"stream t \(postgres:public.t\): \d+ rows .* by their key \(id int32\)"
    ) as it:
        await engine.sweep(stream)
    assert "nothing is taken for deleted" in str(it.value)
    assert engine.rows("t") == before


@pytest.mark.parametrize("answers", [{"rows": nothing}, {"keys": three}, {"keys": nothing}])
async def test_one_of_the_two_questions_by_key_is_enough_to_find_it(
    engine: Engine, lie: Lie, answers: dict[str, Any]
) -> None:
    fill(engine)
    await engine.deliver(T)
    alter_silently(engine, 1, 2, 3, 4, 5)
    lie(**answers)
    with pytest.raises(FatalError, match="are not found by their key"):
        await engine.sweep(T)


async def test_a_look_up_that_finds_nothing_confirms_no_delete(engine: Engine, lie: Lie) -> None:
    """Only keys that the scan lacks are asked for; keys that it saw are asked for with them."""
    fill(engine)
    await engine.deliver(T)
    engine.source("DELETE FROM t WHERE id > 8")
    lie(keys=nothing)
    with pytest.raises(FatalError, match=r"8 rows .* are not found by their key"):
        await engine.sweep(T)
    assert ids(engine) == list(range(1, 11))


@pytest.mark.parametrize("bound", ["UNSETTLED_KEYS", "UNSETTLED_BYTES"])
async def test_keys_that_wait_for_the_second_pass_are_bounded_in_number_and_in_size(
    engine: Engine, lie: Lie, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Every block of two keys loses both of them; texts of fifty characters."""
    engine.source("CREATE TABLE t (id text PRIMARY KEY, changed timestamptz DEFAULT now(), v int)")
    engine.source("INSERT INTO t SELECT lpad(i::text, 50, '0') FROM generate_series(1, 8) AS i")
    await engine.deliver(T)
    engine.source("UPDATE t SET v = 1")
    monkeypatch.setattr(chunk, "BLOCK_ROWS", 2)
    monkeypatch.setattr(look_up, bound, {"UNSETTLED_KEYS": 2, "UNSETTLED_BYTES": 100}[bound])
    passes: list[int] = []
    seen = TableSource.find_in_all_rows

    async def counted(source: TableSource, stream: Any, known: Any, keys: chunk.Keys, /) -> set[int]:
        passes.append(len(keys.rows))
        return await seen(source, stream, known, keys)

    monkeypatch.setattr(TableSource, "find_in_all_rows", counted)
    lie(before=lambda: engine.source("DELETE FROM t"))
    result = await engine.sweep(T)
    assert result is not None
    assert result.deleted == 8
    assert len(passes) == 4


async def test_rows_that_leave_between_scan_and_look_up_are_deletes(engine: Engine, lie: Lie) -> None:
    """Scan and second pass both decide: ids 1 and 2 were seen and have gone, 9 and 10 were not seen."""
    fill(engine)
    await engine.deliver(T)
    alter_silently(engine, 1, 2, 3)
    engine.source("DELETE FROM t WHERE id > 8")
    lie(before=lambda: engine.source("DELETE FROM t WHERE id < 3"))
    result = await engine.sweep(T)
    assert result is not None
    assert (result.updated, result.deleted, result.unchanged) == (1, 4, 5)
    assert ids(engine) == list(range(3, 9))


async def test_rows_that_cannot_be_decoded_any_more_are_there(engine: Engine, lie: Lie) -> None:
    fill(engine)
    engine.source("ALTER TABLE t ADD COLUMN n numeric(5, 1)")
    await engine.deliver(T)
    alter_silently(engine, 1, 2)
    lie(before=lambda: engine.source("UPDATE t SET n = 'NaN' WHERE id = 1"))
    result = await engine.sweep(T)
    assert result is not None
    assert (result.updated, result.deleted, result.rejected) == (1, 0, 1)


async def test_rows_that_come_back_after_the_look_up_are_no_deletes(engine: Engine, lie: Lie) -> None:
    fill(engine)
    await engine.deliver(T)
    alter_silently(engine, 1)
    at_first_none: Iterator[set[tuple[Any, ...]]] = iter([set()])
    lie(keys=lambda found: next(at_first_none, found))
    result = await engine.sweep(T)
    assert result is not None
    assert (result.updated, result.deleted) == (1, 0)


async def test_rows_that_come_back_after_both_look_ups_are_brought_by_the_same_sweep(engine: Engine, lie: Lie) -> None:
    """Their stamps are old: no later run would bring them."""
    fill(engine)
    await engine.deliver(T)
    alter_silently(engine, 1, 2)
    lie(rows=at_first(nothing, 1), keys=at_first(nothing, 2))
    result = await engine.sweep(T)
    assert result is not None
    assert (result.updated, result.deleted) == (2, 0)


async def test_a_row_that_cannot_be_decoded_explains_one_absent_row_and_no_other(engine: Engine, lie: Lie) -> None:
    """The target has the former row of the one that the scan rejects, so that its key is asked for as well."""
    fill(engine)
    engine.source("ALTER TABLE t ADD COLUMN n numeric(5, 1)")
    await engine.deliver(T)
    engine.source("UPDATE t SET n = 'NaN' WHERE id = 1")
    alter_silently(engine, 2, 3, 4, 5)
    lie(rows=three)
    result = await engine.sweep(T)
    assert result is not None
    assert (result.updated, result.deleted, result.rejected) == (4, 0, 1)


@pytest.mark.parametrize("stream", [T, replace(T, capture=Snapshot()), replace(T, load=Append())])
async def test_a_read_of_everything_that_was_cut_short_deletes_nothing(
    engine: Engine, lie: Lie, stream: Stream
) -> None:
    fill(engine)
    await engine.run(stream)
    lie(scan=three)
    with pytest.raises(RetryableError, match="the source holds 10 rows and gave 3 when all were read"):
        await (engine.run(stream) if stream.is_snapshot else engine.sweep(stream))
    assert ids(engine) == list(range(1, 11))


async def test_a_first_load_that_was_cut_short_moves_no_position(engine: Engine, lie: Lie) -> None:
    fill(engine)
    lie(scan=three)
    with pytest.raises(RetryableError, match="gave 3"):
        await engine.run(T)
    lie()
    result = await engine.run(T)
    assert result is not None
    assert result.inserted == 10


async def deliver_with_two_rejects(engine: Engine) -> None:
    fill(engine)
    engine.source("ALTER TABLE t ADD COLUMN n numeric; UPDATE t SET n = 'NaN' WHERE id < 3")
    await engine.deliver(T)


async def test_a_rejected_row_that_is_not_found_by_its_key_stays_rejected(engine: Engine, lie: Lie) -> None:
    await deliver_with_two_rejects(engine)
    engine.source("UPDATE t SET n = 1")
    lie(rows=nothing)
    with pytest.raises(FatalError, match="2 rows that the source holds are not found by their key"):
        await engine.replay(T)
    lie()
    result = await engine.replay(T)
    assert result is not None
    assert result.inserted == 2


async def test_a_rejected_row_that_has_left_the_source_is_told(engine: Engine) -> None:
    await deliver_with_two_rejects(engine)
    engine.source("DELETE FROM t WHERE id = 1; UPDATE t SET n = 1")
    result = await engine.replay(T)
    assert result is not None
    assert (result.inserted, result.warnings) == (1, ("1 rejected rows have left the source",))


@pytest.fixture
def things(engine: Engine, mongo_database: str) -> Iterator[tuple[Stream, Any]]:
    with MongoClient[dict[str, Any]](engine.mongo_url) as client:
        yield Stream("t", f"mongo:{mongo_database}.t", "_id", Incremental("at")), client[mongo_database]["t"]


@pytest.mark.parametrize("keys", [range(1, 11), [f"k{number:02}" for number in range(1, 11)]])
async def test_documents_that_a_look_up_does_not_find_are_not_deleted(
    engine: Engine, lie: Lie, things: tuple[Stream, Any], keys: Sequence[Any]
) -> None:
    stream, collection = things
    at = datetime.now(UTC) - timedelta(days=1)
    collection.insert_many([{"_id": key, "n": 1, "at": at} for key in keys])
    await engine.deliver(stream)
    collection.update_many({}, {"$set": {"n": 2}})
    lie(rows=three, keys=three)
    with pytest.raises(FatalError, match=r"rows .* by their key \(_id "):
        await engine.sweep(stream)
    lie(scan=three)
    with pytest.raises(RetryableError, match="the source holds 10 rows and gave 3"):
        await engine.sweep(stream)
    lie()
    result = await engine.sweep(stream)
    assert result is not None
    assert (result.updated, result.deleted) == (10, 0)


async def test_a_row_that_the_scan_rejected_is_not_taken_for_deleted(engine: Engine, lie: Lie) -> None:
    """Its key is not among those that the scan kept, and a look-up misses it."""
    fill(engine)
    engine.source("ALTER TABLE t ADD COLUMN amount numeric(9,2)")
    await engine.deliver(T)
    engine.source("UPDATE t SET amount = 'NaN' WHERE id = 1")
    engine.source("DELETE FROM t WHERE id = 2")
    lie(keys=lambda found: found - {(1,)})
    with pytest.raises(FatalError, match="1 rows that the source holds are not found by their key"):
        await engine.sweep(T)
    assert len(ids(engine)) == 10
    lie()
    result = await engine.sweep(T)
    assert result is not None
    assert (result.deleted, result.rejected) == (1, 1)
    assert ids(engine) == [1, 3, 4, 5, 6, 7, 8, 9, 10]
