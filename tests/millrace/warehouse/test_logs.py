"""`Scd2(changes=True)` on real servers: versions are a function of all rows of a log, whatever order they came in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import dataframely as dy
import polars as pl
import pytest

from millrace import Incremental, Model, Pipeline, Scd2, Stream
from millrace.base.errors import ConfigurationError
from millrace.runs.choose import ReadRequest
from millrace.runs.reload import find_applied_groups, reload_model
from tests.support.engine import Together

NO_OVERLAP = timedelta(0)
FULL = ReadRequest("full")
BEGINNING = datetime(1900, 1, 1)  # noqa: DTZ001 - as the warehouse has moments
OPEN = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 - the same


class Rate(dy.Schema):
    """Of a code, since a time."""

    code = dy.String(nullable=False)
    price = dy.Int32(nullable=True)
    note = dy.String(nullable=True)
    seq = dy.Int32(nullable=True)
    since = dy.Datetime(nullable=True)


def rate(log: pl.DataFrame) -> pl.DataFrame:
    """As they are."""
    return log.select("code", "price", "note", "seq", "since")


LOAD = Scd2("rate_key", effective_from="since", changes=True, untracked=["note", "seq"], gap=timedelta(0))
TIED = replace(LOAD, tie_breaker="seq")
LOG = Stream("log", "postgres:public.log", "number", Incremental("arrived_at", NO_OVERLAP))
OF_KEYS = Stream("log", "postgres:public.log", "code", Incremental("arrived_at", NO_OVERLAP), sweep="every run")


def rates(load: Scd2 = LOAD, stream: Stream = LOG) -> Pipeline:
    """A log and the versions that it makes."""
    model = Model(rate, Rate, "code", load=load)
    return Pipeline("rates", streams=[stream], schema="rates_source", models=[model])


class Row(NamedTuple):
    """Of the log."""

    code: str
    price: int
    since: datetime | None
    note: str = ""
    seq: int | None = None


def on(day: int, hour: int = 0) -> datetime:
    """In March."""
    return datetime(2024, 3, day, hour)  # noqa: DTZ001 - as the source has it


def make(together: Together, *rows: Row, key: str = "number") -> None:
    together.engine.source(
        f"CREATE TABLE log (number serial, code text, price int, note text, seq int, since timestamp, "
        f"arrived_at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY ({key}))"
    )
    put(together, *rows)


def put(together: Together, *rows: Row) -> None:
    values = [
        f"('{code}', {price}, '{note}', {'NULL' if seq is None else seq}, nullif('{since}', 'None')::timestamp)"
        for code, price, since, note, seq in rows
    ]
    if values:
        together.engine.source(f"INSERT INTO log (code, price, note, seq, since) VALUES {', '.join(values)}")


def held(together: Together, *columns: str) -> list[tuple[Any, ...]]:
    """Versions in order: code, price, note, start, end and whether it is current; or other columns."""
    chosen = ", ".join(columns or ("code", "price", "note", "start_date", "end_date", "is_current"))
    return together.engine.query(f"SELECT {chosen} FROM rates.rate ORDER BY code, start_date")


def expected(rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    """The versions by the rules of decision 10, computed from all rows at once."""
    by_code: dict[str, dict[datetime, Row]] = defaultdict(dict)
    for row in rows:
        of_code, at = by_code[row.code], row.since or BEGINNING
        if at not in of_code or _rank(row) > _rank(of_code[at]):
            of_code[at] = row
    return [version for code in sorted(by_code) for version in _versions(by_code[code])]


def _rank(row: Row) -> tuple[bool, int]:
    return row.seq is not None, row.seq or 0


def _versions(of_code: dict[datetime, Row]) -> list[tuple[Any, ...]]:
    islands: list[tuple[datetime, Row]] = []
    for at in sorted(of_code):
        if islands and islands[-1][1].price == of_code[at].price:
            islands[-1] = (islands[-1][0], of_code[at])
        else:
            islands.append((at, of_code[at]))
    ends = [*(after for _, (after, _) in pairwise(islands)), OPEN]
    return [
        (row.code, row.price, row.note, start, end, end == OPEN)
        for (start, row), end in zip(islands, ends, strict=True)
    ]


def random_log(random: Random) -> list[Row]:
    """Few codes, prices and times, so that much is equal; some rows come twice."""
    times = [None, *(on(day, hour) for day in (1, 2, 3, 4) for hour in (0, 12))]
    rows = [
        Row(random.choice("abc"), random.randint(1, 2), random.choice(times), f"note {seq}", seq)
        for seq in range(random.randint(10, 30))
    ]
    return rows + random.sample(rows, 5)


def in_batches(rows: Sequence[Row], random: Random) -> list[Sequence[Row]]:
    """In any order, split anywhere."""
    shuffled = random.sample(rows, len(rows))
    cuts = sorted(random.sample(range(1, len(rows)), random.randint(1, 3)))
    return [shuffled[start:stop] for start, stop in pairwise([0, *cuts, len(rows)])]


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_and_any_batches_of_a_log_give_the_same_versions(together: Together, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    rows, came = random_log(random), list[Row]()
    make(together)
    for batch in in_batches(rows, random):
        put(together, *batch)
        came += batch
        await together.run(rates(TIED))
        assert held(together) == expected(came)
    before = held(together, "*")
    for read_request in (ReadRequest(), FULL):
        assert all(one.loaded == 0 for one in (await together.run(rates(TIED), read_request=read_request)).values())
    assert held(together, "*") == before


async def test_rows_that_made_no_version_make_one_when_another_comes_between(together: Together) -> None:
    make(together, Row("a", 1, on(1)), Row("a", 1, on(5)))
    await together.run(rates())
    put(together, Row("a", 2, on(3)))
    await together.run(rates())
    assert [row[1:5] for row in held(together)] == [
        (1, "", on(1), on(3)),
        (2, "", on(3), on(5)),
        (1, "", on(5), OPEN),
    ]
    put(together, Row("a", 1, on(3), "corrected"))
    await together.run(rates())
    assert [row[1:5] for row in held(together)] == [(1, "", on(1), OPEN)], "equal neighbours are one"


async def test_a_late_row_leaves_the_versions_and_the_newer_values_of_others_as_they_are(together: Together) -> None:
    make(together, Row("a", 1, on(1), "old"), Row("a", 1, on(5), "new"), Row("a", 2, on(9)), Row("b", 1, on(1)))
    await together.run(rates())
    before = held(together, "rate_key", "note", "_loaded_at", "start_date")
    put(together, Row("a", 1, on(3), "late"), Row("a", 2, on(9)))
    result = (await together.run(rates()))["rate"]
    assert held(together, "rate_key", "note", "_loaded_at", "start_date") == before
    assert (result.loaded, result.unchanged) == (0, 2)


@pytest.mark.parametrize("since", [on(1), None], ids=["dated", "undated"])
async def test_a_row_that_comes_twice_is_one(together: Together, since: datetime | None) -> None:
    """In one batch and in two, also where a later change came between."""
    make(together, Row("a", 1, since), Row("a", 1, since))
    first = (await together.run(rates()))["rate"]
    assert list(first.warnings) == (
        [] if since else ["1 rows have no time in since: they stand before all others of their key, since 1900-01-01"]
    )
    put(together, Row("a", 2, on(5)))
    await together.run(rates())
    put(together, Row("a", 1, since))
    assert (await together.run(rates()))["rate"].loaded == 0
    assert [row[1:4] for row in held(together)] == [(1, "", since or BEGINNING), (2, "", on(5))]


async def test_of_different_rows_of_one_time_one_counts_and_the_others_are_told(together: Together) -> None:
    """Without a tie-breaker. What was loaded can be read again, and gives the same; a later one is a correction."""
    make(together, Row("a", 1, on(1)), Row("a", 2, on(1)), Row("b", 7, on(1)))
    told = " ".join((await together.run(rates()))["rate"].warnings)
    assert "1 rows were rejected" in told
    assert "tie_breaker" in told
    before = held(together)
    assert [row[0] for row in before] == ["a", "b"]
    await together.run(rates(), read_request=FULL)
    assert held(together) == before
    put(together, Row("a", 3, on(1)))
    assert not (await together.run(rates()))["rate"].warnings
    assert [row[1] for row in held(together)] == [3, 7]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_of_different_rows_of_one_time_the_greatest_tie_breaker_counts(
    on_redshift: Together, order: tuple[int, ...]
) -> None:
    """Across batches as within one; a row without a value there comes first."""
    rows = [Row("a", 1, on(1), seq=5), Row("a", 2, on(1), seq=9), Row("a", 3, on(1), seq=None)]
    make(on_redshift, *(row._replace(code="b") for row in rows))
    for index in order:
        put(on_redshift, rows[index])
        told = (await on_redshift.run(rates(TIED)))["rate"].warnings
        assert not told
    assert [row[:2] for row in held(on_redshift)] == [("a", 2), ("b", 2)]


class Numbered(Rate):
    """With the key of the log."""

    number = dy.Int32(nullable=False)


def as_given(log: pl.DataFrame) -> pl.DataFrame:
    """A model that another one is computed from."""
    return log.select(*Numbered.column_names())


def rate_of_model(as_given: pl.DataFrame) -> pl.DataFrame:
    """The same rows."""
    return rate(as_given)


async def test_a_log_of_a_model_has_all_rows_of_one_time(on_redshift: Together) -> None:
    """The greatest tie-breaker counts, wherever its row stands."""
    make(on_redshift, Row("a", 2, on(1), seq=2), Row("a", 1, on(1), seq=1))
    models = [Model(as_given, Numbered, "number"), Model(rate_of_model, Rate, "code", load=TIED)]
    await on_redshift.run(Pipeline("rates", streams=[LOG], schema="rates_source", models=models))
    assert on_redshift.engine.query("SELECT price FROM rates.rate_of_model") == [(2,)]


async def test_a_key_that_returns_with_its_old_time_is_current_again(together: Together) -> None:
    """It holds from the deletion on; a late row does not bring a deleted key back before it was deleted."""
    pipeline = rates(stream=OF_KEYS)
    make(together, Row("a", 1, on(1)), Row("b", 1, on(1)), key="code")
    await together.run(pipeline)
    for price, since in ((1, on(1)), (2, on(2))):
        together.engine.source("DELETE FROM log WHERE code = 'a'")
        assert (await together.run(pipeline))["rate"].deleted == 1
        assert not any(row[-1] for row in held(together) if row[0] == "a")
        put(together, Row("a", price, since))
        await together.run(pipeline)
    first, second, third = [row[1:] for row in held(together) if row[0] == "a"]
    assert (first[0], first[2], second[0], third[0]) == (1, on(1), 1, 2)
    assert first[3] == second[2] > on(2)
    assert second[3] == third[2]
    assert [row[-1] for row in (first, second, third)] == [False, False, True]
    before = held(together, "*")
    assert (await together.run(pipeline, read_request=FULL))["rate"].loaded == 0
    assert held(together, "*") == before


@pytest.mark.parametrize("since", [on(1), None, on(1).replace(year=2999)], ids=["dated", "undated", "not believed"])
async def test_a_row_that_is_as_it_was_before_a_correction_corrects_it(
    together: Together, since: datetime | None
) -> None:
    """Its time did not move. A row of the source is what it is now, whatever it was meanwhile."""
    pipeline = rates(stream=OF_KEYS)
    make(together, Row("a", 1, since), Row("b", 5, on(1)), key="code")
    await together.run(pipeline)
    for price in (2, 1, 2, 1):
        together.engine.source(f"UPDATE log SET price = {price}, arrived_at = clock_timestamp() WHERE code = 'a'")
        assert (await together.run(pipeline))["rate"].loaded == 1
        assert [row[1] for row in held(together) if row[-1]] == [price, 5]
    before = held(together, "*")
    assert (await together.run(pipeline, read_request=FULL))["rate"].loaded == 0
    assert held(together, "*") == before


async def test_a_row_of_a_log_that_is_read_again_alone_corrects_nothing(on_redshift: Together) -> None:
    """A later row of its time is in the source as well; a span that was chosen leaves it out."""
    make(on_redshift, Row("a", 1, on(1)))
    await on_redshift.run(rates())
    between = on_redshift.engine.source("SELECT clock_timestamp()::text")[0][0]
    put(on_redshift, Row("a", 2, on(1)))
    await on_redshift.run(rates())
    for read_request in (ReadRequest(start="2000-01-01T00:00:00+00:00", end=between), FULL):
        await on_redshift.run(rates(), read_request=read_request)
        assert [row[1] for row in held(on_redshift)] == [2]


async def test_a_late_row_stands_before_a_deletion_that_came_earlier(together: Together) -> None:
    """Once the key is there again; the deletion stays where it is."""
    pipeline = rates(stream=OF_KEYS)
    make(together, Row("a", 1, on(1)), key="code")
    await together.run(pipeline)
    together.engine.source("DELETE FROM log WHERE code = 'a'")
    await together.run(pipeline)
    together.engine.source("INSERT INTO log (code, price, since) VALUES ('a', 3, clock_timestamp() AT TIME ZONE 'UTC')")
    await together.run(pipeline)
    ((_, deleted), *_) = held(together, "start_date", "end_date")
    together.engine.source(f"UPDATE log SET price = 2, since = '{on(5)}', arrived_at = clock_timestamp()")
    await together.run(pipeline)
    assert [row[1] for row in held(together)] == [1, 2, 3]
    assert [row[4] for row in held(together)][:2] == [on(5), deleted]


async def test_a_deletion_belongs_to_the_version_that_was_valid_whatever_the_gap_is(together: Together) -> None:
    """A late row comes between a version that is shorter than the gap and its deletion."""
    pipeline = rates(replace(LOAD, gap=timedelta(days=36_000)), OF_KEYS)
    make(together, Row("a", 1, on(1)), key="code")
    await together.run(pipeline)
    together.engine.source("DELETE FROM log")
    await together.run(pipeline)
    together.engine.source("INSERT INTO log (code, price, since) VALUES ('a', 3, clock_timestamp() AT TIME ZONE 'UTC')")
    await together.run(pipeline)
    together.engine.source(f"UPDATE log SET price = 2, since = '{on(5)}', arrived_at = clock_timestamp()")
    await together.run(pipeline)
    assert held(together, "price", "_deleted_at IS NULL") == [(1, True), (2, False), (3, True)]


async def test_a_table_of_an_earlier_version_goes_on_from_its_versions(together: Together) -> None:
    """It has no events: those are its versions and their ends."""
    pipeline = rates(stream=OF_KEYS)
    make(together, *(Row(code, 1, on(1)) for code in "abc"), key="code")
    await together.run(pipeline)
    together.engine.source(f"UPDATE log SET price = 5, since = '{on(5)}', arrived_at = clock_timestamp()")
    together.engine.source("DELETE FROM log WHERE code = 'b'")
    await together.run(pipeline)
    before = held(together, "*")
    together.engine.query('DROP TABLE rates."rate$events"')
    together.engine.source(f"UPDATE log SET price = 3, since = '{on(3)}', arrived_at = clock_timestamp()")
    put(together, Row("b", 6, on(1)))
    await together.run(pipeline)
    assert [(row[0], row[1], row[-1]) for row in held(together)] == [
        *(("a", 1, False), ("a", 3, False), ("a", 5, True)),
        *(("b", 1, False), ("b", 6, True)),
        *(("c", 1, False), ("c", 3, False), ("c", 5, True)),
    ]
    assert {row[0] for row in before} <= {row[0] for row in held(together, "*")}, "no surrogate key moves"


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"changes": False, "tie_breaker": "seq"}, "rows are states"),
        ({"tie_breaker": "since"}, "tie_breaker is effective_from"),
        ({"tie_breaker": "start_date"}, "two of its columns"),
        ({"tie_breaker": 3}, "tie_breaker is 3"),
    ],
)
def test_a_wrong_tie_breaker_is_refused(wrong: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigurationError, match=because):
        replace(LOAD, **wrong)


def test_a_tie_breaker_must_be_a_column_of_the_model() -> None:
    with pytest.raises(ConfigurationError, match="no column 'sequence'"):
        rates(replace(LOAD, tie_breaker="sequence"))


def reload_rate(together: Together, pipeline: Pipeline) -> None:
    groups = find_applied_groups(together.engine.warehouse, pipeline, pipeline.models[0])
    engine = together.engine
    reload_model(pipeline, pipeline.models[0], groups, engine.store, together.processed, engine.warehouse)


async def test_a_log_that_is_reloaded_has_its_versions_and_its_events(together: Together) -> None:
    """Also where the rows were states before; its view by moments stays."""
    states = rates(replace(LOAD, changes=False), OF_KEYS)
    make(together, Row("a", 1, on(1)), Row("b", 1, on(1)), key="code")
    await together.run(states)
    together.engine.source("UPDATE log SET since = '2024-03-05', arrived_at = clock_timestamp()")
    await together.run(states)
    together.engine.warehouse.make_views(states, "")
    pipeline = rates(stream=OF_KEYS)
    for _ in range(2):
        reload_rate(together, pipeline)
        together.engine.query("UPDATE rates.rate SET price = 9")
    reload_rate(together, pipeline)
    assert [row[:2] for row in held(together)] == [("a", 1), ("b", 1)]
    together.engine.source("UPDATE log SET price = 2, since = '2024-03-03', arrived_at = clock_timestamp()")
    await together.run(pipeline)
    assert together.engine.query("SELECT price FROM rates.rate_at WHERE code = 'a' ORDER BY valid_from") == [
        (1,),
        (2,),
        (1,),
    ]
