"""`Scd2` on real servers: versions with the time they were valid in, on either warehouse."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from engine_on_servers import Together

from millrace import Dated, Incremental, Model, Pipeline, Scd2, Snapshot, Stream
from millrace.errors import ConfigurationError, FatalError
from millrace.run import Bounds

OPEN = "9999-12-31 23:59:59"
NO_OVERLAP = timedelta(0)
FULL = Bounds("full")


class PriceOf(dy.Schema):
    """A price in a market."""

    market = dy.String(nullable=False)
    code = dy.String(nullable=False)
    price = dy.Int32(nullable=True)
    note = dy.String(nullable=True)
    since = dy.Datetime(nullable=True)


def price_of(prices: pl.DataFrame) -> pl.DataFrame:
    """As they are, with the time in UTC."""
    return prices.select("market", "code", "price", "note", since=pl.col("stamp").dt.replace_time_zone(None))


KEY = ("market", "code")
A_SECOND = timedelta(seconds=1)
STATES = Scd2("price_key", effective_from="since", untracked=["note"], gap=A_SECOND)
LOGGED = replace(STATES, changes=True)
UNDATED = replace(STATES, effective_from="", untracked=["note", "since"])
PRICES = Stream("prices", "postgres:public.prices", KEY, Incremental("stamp", NO_OVERLAP), sweep="every run")
LOG = Stream("prices", "postgres:public.prices", "number", Incremental("read_again", NO_OVERLAP))
SNAPSHOT = replace(PRICES, capture=Snapshot(), sweep="")


def market(stream: Stream = PRICES, load: Scd2 = STATES, dated: Dated | None = None) -> Pipeline:
    """A pipeline of one table and its versions."""
    model = Model(price_of, PriceOf, KEY, load=load)
    return Pipeline("market", streams=[stream], schema="market_source", models=[model], dated=dated)


def fill(together: Together, *rows: tuple[Any, ...]) -> None:
    together.engine.source(
        "CREATE TABLE prices (number serial PRIMARY KEY, market text, code text, price int, note text, "
        "stamp timestamptz, read_again timestamptz DEFAULT now())"
    )
    put(together, *rows)


def put(together: Together, *rows: tuple[Any, ...]) -> None:
    """Rows of market, code, price, day (None: unstamped)."""
    for place, code, price, on in rows:
        stamp = f"'{day(on)}+00'" if on else "NULL"
        together.engine.source(
            f"INSERT INTO prices (market, code, price, stamp) VALUES ('{place}', '{code}', {price}, {stamp})"
        )


def change(together: Together, setting: str, on: int | None = None, where: str = "code = 'a'") -> None:
    """On a day, or without a stamp."""
    stamp = f", stamp = '{day(on)}+00'" if on else ""
    together.engine.source(f"UPDATE prices SET {setting}{stamp} WHERE {where}")


def versions(together: Together, code: str = "a", *columns: str) -> list[tuple[Any, ...]]:
    """Of a code in order: price, start and end (or other columns), whether it is current."""
    chosen = ", ".join(columns or ("price", "start_date::text", "end_date::text"))
    return together.engine.query(
        f"SELECT {chosen}, is_current FROM market.price_of WHERE code = '{code}' ORDER BY market, start_date"
    )


def day(number: int, second: str = "12:00:00") -> str:
    return f"2024-03-{number:02} {second}"


def now() -> datetime:
    """As the warehouse has moments."""
    return datetime.now(UTC).replace(tzinfo=None)


async def test_changes_become_versions_and_nothing_new_changes_nothing(together: Together) -> None:
    fill(together, ("x", "a", 1, 1), ("x", "b", 5, 1))
    await together.run(market())
    change(together, "price = 2", 2)
    results = await together.run(market())
    assert versions(together) == [(1, day(1), day(2, "11:59:59"), False), (2, day(2), OPEN, True)]
    assert versions(together, "b") == [(5, day(1), OPEN, True)]
    assert (results["price_of"].updated, results["price_of"].inserted) == (1, 0)
    before = together.engine.query("SELECT * FROM market.price_of ORDER BY 1")
    for bounds in (Bounds(), FULL):
        assert all(one.loaded == 0 for one in (await together.run(market(), bounds=bounds)).values())
    assert together.engine.query("SELECT * FROM market.price_of ORDER BY 1") == before


async def test_the_surrogate_key_follows_from_key_and_start_alone(together: Together) -> None:
    """Loaded anew from the lake, the versions have the keys they had; every one has its own."""
    fill(together, ("x", "a", 1, 1), ("xa", "", 1, 1))
    landed = []
    for price, on in ((1, 1), (2, 2), (1, 3)):
        change(together, f"price = {price}", on, "market = 'x'")
        landed.append(await together.read(market()))
        together.load(market(), together.transform(market(), landed[-1]))
    question = "SELECT price_key, market, code, price, start_date, end_date, is_current FROM market.price_of ORDER BY 1"
    before = together.engine.query(question)
    assert len({row[0] for row in before}) == len(before) == 4
    assert all(0 < row[0] < 2**60 for row in before)
    together.engine.query("DROP SCHEMA market CASCADE; DROP SCHEMA market_source CASCADE; DROP SCHEMA millrace CASCADE")
    for batches in landed:
        together.load(market(), together.transform(market(), batches))
    assert together.engine.query(question) == before


async def test_a_key_of_two_columns_is_compared_column_by_column(together: Together) -> None:
    fill(together, ("a", "bc", 1, 1), ("ab", "c", 2, 1))
    await together.run(market())
    change(together, "price = 9", 2, "market = 'a'")
    await together.run(market())
    assert [row[0] for row in versions(together, "bc")] == [1, 9]
    assert [row[0] for row in versions(together, "c")] == [2]


async def test_what_is_untracked_changes_in_place(together: Together) -> None:
    fill(together, ("x", "a", 1, 1))
    await together.run(market())
    ((key, _),) = versions(together, "a", "price_key")
    change(together, "note = 'it''s new'", 5)
    results = await together.run(market())
    assert versions(together, "a", "price_key", "note", "start_date::text") == [(key, "it's new", day(1), True)]
    assert results["price_of"].updated == 1


async def test_a_deletion_closes_and_a_return_opens(together: Together) -> None:
    """A, gone, A with its old stamp: the second is valid from when it was seen again."""
    fill(together, ("x", "a", 1, 1), ("x", "b", 5, 1))
    await together.run(market())
    together.engine.source("DELETE FROM prices WHERE code = 'a'")
    before = now()
    assert (await together.run(market()))["price_of"].deleted == 1
    ((start, end, is_current),) = versions(together, "a", "start_date::text", "end_date")
    assert (start, is_current) == (day(1), False)
    assert before - timedelta(seconds=2) < end < now()
    assert (await together.run(market()))["prices"].loaded == 0
    put(together, ("x", "a", 1, 1))
    await together.run(market())
    first, second = versions(together, "a", "price", "start_date", "end_date")
    assert (first[0], first[2], first[3], second[0], second[3]) == (1, end, False, 1, True)
    assert second[1] > end


async def test_a_silent_change_is_effective_when_it_was_found(together: Together) -> None:
    """The stamp did not move, or moved back: what was read last is true now."""
    fill(together, ("x", "a", 1, 5))
    await together.run(market())
    for price, on in ((2, None), (3, 2)):
        before = now()
        change(together, f"price = {price}", on)
        await together.run(market())
        latest = versions(together, "a", "price", "start_date")[-1]
        assert latest[0] == price
        assert latest[1] >= before - timedelta(seconds=1)
    assert len(versions(together)) == 3


async def test_a_change_that_says_no_time_is_effective_when_it_was_read(together: Together) -> None:
    """Of a key that is known; nothing is a change because the time is gone."""
    fill(together, ("x", "a", 1, 1))
    await together.run(market())
    together.engine.source("UPDATE prices SET stamp = NULL")
    await together.run(market())
    assert versions(together) == [(1, day(1), OPEN, True)]
    before = now()
    change(together, "price = 2")
    await together.run(market())
    first, second = versions(together, "a", "price", "start_date", "end_date")
    assert (first[0], second[0], second[-1]) == (1, 2, True)
    assert before - timedelta(seconds=1) < second[1] < now()


async def test_a_stamp_that_moves_back_changes_nothing_of_states(together: Together) -> None:
    """What is known since a day is not known since earlier; a log says when it was so."""
    fill(together, ("x", "a", 1, 5))
    await together.run(market())
    together.engine.source(f"UPDATE prices SET stamp = '{day(3)}+00', read_again = now()")
    await together.run(market(), bounds=FULL)
    assert versions(together) == [(1, day(5), OPEN, True)]


async def test_an_earlier_row_of_the_same_content_moves_the_start_in_a_log(together: Together) -> None:
    fill(together, ("x", "a", 1, 5))
    await together.run(market(LOG, LOGGED))
    put(together, ("x", "a", 1, 3))
    await together.run(market(LOG, LOGGED))
    assert versions(together) == [(1, day(3), OPEN, True)]


@pytest.mark.parametrize("load", [STATES, LOGGED], ids=["states", "log"])
async def test_nothing_is_effective_before_the_version_that_is_there(together: Together, load: Scd2) -> None:
    """A silent change corrects it, a deletion ends it a second after its start, and what returns follows that."""
    pipeline, early = market(load=load), datetime.fromisoformat(day(3)).replace(tzinfo=UTC)

    async def run_early() -> None:
        batches = together.transform(pipeline, await together.read(pipeline))
        together.load(pipeline, [replace(batch, effective_at=early) for batch in batches])

    fill(together, ("x", "a", 1, 5))
    await together.run(pipeline)
    ((key, _, _),) = versions(together, "a", "price_key", "price")
    change(together, "price = 2")
    await run_early()
    assert versions(together, "a", "price_key", "price", "start_date::text") == [(key, 2, day(5), True)]
    together.engine.source("DELETE FROM prices")
    await run_early()
    deleted = "to_char(_deleted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    assert versions(together, "a", "start_date::text", deleted) == [(day(5), day(5, "12:00:01"), False)]
    put(together, ("x", "a", 3, 2))
    await run_early()
    assert versions(together)[-1] == (3, day(5, "12:00:01"), OPEN, True)


async def test_an_unstamped_row_is_valid_from_the_beginning(together: Together) -> None:
    fill(together, ("x", "a", 1, None))
    for _ in range(2):
        await together.run(market())
        assert versions(together) == [(1, "1900-01-01 00:00:00", OPEN, True)]
    change(together, "price = 2", 2)
    await together.run(market())
    assert versions(together)[0] == (1, "1900-01-01 00:00:00", day(2, "11:59:59"), False)


@pytest.mark.parametrize(("stream", "load"), [(PRICES, STATES), (LOG, LOGGED)], ids=["states", "log"])
async def test_a_time_after_the_read_is_effective_when_it_was_read(
    together: Together, stream: Stream, load: Scd2
) -> None:
    """Of a first version and of a further one; the honest change after it is a version of its own."""
    fill(together, ("x", "a", 1, 1))
    together.engine.source("UPDATE prices SET stamp = '2999-01-01'")
    (model,) = (one for name, one in (await together.run(market(stream, load))).items() if name == "price_of")
    assert "1 rows have a time in since that lies after their read" in " ".join(model.warnings)
    ((_, first, end, is_current),) = versions(together, "a", "price", "start_date", "end_date::text")
    assert (end, is_current) == (OPEN, True)
    assert now() - timedelta(minutes=1) < first < now()
    if stream is LOG:
        together.engine.source("INSERT INTO prices (market, code, price, stamp) VALUES ('x', 'a', 2, now())")
    else:
        together.engine.source("UPDATE prices SET price = 2, stamp = now()")
    honest = (await together.run(market(stream, load)))["price_of"]
    assert not honest.warnings
    assert [(row[0], row[-1]) for row in versions(together)] == [(1, False), (2, True)]
    if stream is LOG:
        together.engine.source("INSERT INTO prices (market, code, price, stamp) VALUES ('x', 'a', 3, '2998-01-01')")
    else:
        together.engine.source("UPDATE prices SET price = 3, stamp = '2998-01-01'")
    assert "1 rows have a time" in " ".join((await together.run(market(stream, load)))["price_of"].warnings)
    assert [(row[0], row[-1]) for row in versions(together)] == [(1, False), (2, False), (3, True)]
    assert versions(together, "a", "start_date")[-1][0] < now()
    together.engine.source("INSERT INTO prices (market, code, price, stamp) VALUES ('x', 'b', 1, '2024-03-01')")
    await together.run(market(stream, load))
    assert versions(together, "b")[0][1] == "2024-03-01 00:00:00", "other rows are believed"


async def test_versions_that_begin_in_the_future_do_not_keep_new_states_out(together: Together) -> None:
    """As a former version of this program left them: they begin when they were loaded."""
    fill(together, ("x", "a", 1, 1), ("x", "b", 1, 1), ("x", "c", 1, 1))
    await together.run(market())
    change(together, "price = 2", 2, "true")
    await together.run(market())
    loaded = now()
    together.engine.query("UPDATE market.price_of SET start_date = '2999-01-01' WHERE price = 2")
    together.engine.query("UPDATE market.price_of SET end_date = '2998-12-31 23:59:59' WHERE price = 1")
    together.engine.source("UPDATE prices SET price = 3, stamp = clock_timestamp() WHERE code = 'a'")
    together.engine.source("UPDATE prices SET note = 'seen again' WHERE code = 'b'")
    together.engine.source("DELETE FROM prices WHERE code = 'c'")
    told = (await together.run(market()))["price_of"].warnings
    assert "2 versions started after they were read" in " ".join(told)
    assert [(row[0], row[-1]) for row in versions(together)] == [(1, False), (2, False), (3, True)]
    assert [(row[0], row[-1]) for row in versions(together, "b")] == [(1, False), (2, True)]
    assert [(row[0], row[-1]) for row in versions(together, "c")] == [(1, False), (2, False)]
    starts = together.engine.query("SELECT start_date, end_date FROM market.price_of WHERE price = 2")
    assert all(loaded - timedelta(minutes=1) < start < loaded for start, _ in starts)
    assert len(together.engine.query("SELECT DISTINCT price_key FROM market.price_of")) == 7


async def test_changes_of_one_key_in_one_batch_are_versions_in_order(together: Together) -> None:
    fill(together, ("x", "a", 3, 3), ("x", "a", 1, 1), ("x", "a", 1, 2), ("x", "b", 7, 1), ("x", "a", 1, 4))
    await together.run(market(LOG, LOGGED))
    assert versions(together) == [
        (1, day(1), day(3, "11:59:59"), False),
        (3, day(3), day(4, "11:59:59"), False),
        (1, day(4), OPEN, True),
    ]


async def test_a_late_change_is_put_in_its_place(together: Together) -> None:
    fill(together, ("x", "a", 1, 1), ("x", "a", 9, 9))
    await together.run(market(LOG, LOGGED))
    keys = {price: key for price, key, _ in versions(together, "a", "price", "price_key")}
    put(together, ("x", "a", 5, 5))
    await together.run(market(LOG, LOGGED))
    assert versions(together) == [
        (1, day(1), day(5, "11:59:59"), False),
        (5, day(5), day(9, "11:59:59"), False),
        (9, day(9), OPEN, True),
    ]
    put(together, ("x", "a", 5, 7), ("x", "a", 0, 1))
    await together.run(market(LOG, LOGGED))
    assert [row[0] for row in versions(together)] == [0, 5, 9], "the same again is none, one of the same time corrects"
    held = {price: key for price, key, _ in versions(together, "a", "price", "price_key")}
    assert (held[0], held[9]) == (keys[1], keys[9]), "and no surrogate key moves"


async def test_the_convention_is_chosen(together: Together) -> None:
    end = datetime(2500, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    load = replace(STATES, gap=timedelta(0), open_end=end, start="begins", end="ends", current="valid")
    fill(together, ("x", "a", 1, 1))
    await together.run(market(load=load))
    change(together, "price = 2", 2)
    await together.run(market(load=load))
    assert together.engine.query("SELECT price, begins::text, ends::text, valid FROM market.price_of ORDER BY 2") == [
        (1, day(1), day(2), False),
        (2, day(2), "2500-01-01 00:00:00", True),
    ]


@pytest.mark.parametrize("gap", [None, timedelta(0), A_SECOND, timedelta(days=1)], ids=str)
async def test_a_moment_is_looked_up_in_the_view_of_versions(on_redshift: Together, gap: timedelta | None) -> None:
    """One version at most is valid, whatever the gap is, also where two changes are half a second apart; by the default
    gap the columns of the table say the same."""
    load = replace(LOGGED, gap=gap) if gap is not None else Scd2("price_key", effective_from="since", changes=True)
    fill(on_redshift, ("x", "a", 1, 1), ("x", "a", 3, 9))
    on_redshift.engine.source(
        "INSERT INTO prices (market, code, price, stamp) VALUES ('x', 'a', 2, '2024-03-01 12:00:00.5+00')"
    )
    await on_redshift.run(market(LOG, load))
    assert on_redshift.engine.warehouse.make_views(market(LOG, load), "") == ["market.price_of_at"]
    moments = {
        "03-01 11:59:59": [],
        "03-01 12:00:00": [1],
        "03-01 12:00:00.499999": [1],
        "03-01 12:00:00.5": [2],
        "03-01 12:00:00.7": [2],
        "03-09 11:59:59.999999": [2],
        "03-20": [3],
    }
    for moment, prices in moments.items():
        at = f"TIMESTAMP '2024-{moment}'"
        valid = f"valid_from <= {at} AND ({at} < valid_until OR valid_until IS NULL)"
        asked = {f"SELECT price FROM market.price_of_at WHERE {valid}"}
        if gap is None:
            asked |= {
                f"SELECT price FROM market.price_of WHERE {at} BETWEEN start_date AND end_date",
                "SELECT price FROM market.price_of "
                f"WHERE start_date <= {at} AND {at} < end_date + INTERVAL '0.000001 seconds'",
            }
        for question in asked:
            assert [row[0] for row in on_redshift.engine.query(question)] == prices, (moment, question)


async def test_the_view_of_versions_ends_with_a_deletion_and_follows_its_table(together: Together) -> None:
    fill(together, ("x", "a", 1, 1))
    await together.run(market())
    together.engine.source("DELETE FROM prices")
    await together.run(market())
    make = together.engine.warehouse.make_views
    assert make(market(), "") == ["market.price_of_at"]
    question = "SELECT valid_until = _deleted_at AT TIME ZONE 'UTC', valid_from, code FROM market.price_of_at"
    assert together.engine.query(question) == [(True, datetime.fromisoformat(day(1)), "a")]
    together.engine.query("ALTER TABLE market.price_of ADD COLUMN further INTEGER")
    assert make(market(), "") == ["market.price_of_at"]
    assert together.engine.query("SELECT further FROM market.price_of_at") == [(None,)]


async def test_a_view_of_versions_whose_name_is_taken_is_told(together: Together) -> None:
    """By a view of the pipeline, by a relation of somebody else, by a column."""
    pipeline, make = market(), together.engine.warehouse.make_views
    assert make(pipeline, "") == ["market.price_of_at is not made: market.price_of is not there yet"]
    fill(together, ("x", "a", 1, 1))
    await together.run(pipeline)
    own = "CREATE OR REPLACE VIEW market.price_of_at AS SELECT 1 AS one;\n"
    told = "market.price_of_at is not made: the pipeline has a table or view of that name"
    assert make(pipeline, own) == [told, "market.price_of_at"]
    assert make(pipeline, "") == ["market.price_of_at is not made: something else has that name in the warehouse"]
    assert together.engine.query("SELECT * FROM market.price_of_at") == [(1,)]
    together.engine.query("DROP VIEW market.price_of_at")
    together.engine.query("ALTER TABLE market.price_of ADD COLUMN valid_from INTEGER")
    assert make(pipeline, "") == ["market.price_of_at is not made: market.price_of has a column valid_from"]


async def test_a_table_that_calls_its_times_as_the_view_does_has_a_view(together: Together) -> None:
    load = replace(STATES, start="valid_from", end="valid_until")
    fill(together, ("x", "a", 1, 1))
    await together.run(market(load=load))
    change(together, "price = 2", 2)
    await together.run(market(load=load))
    assert together.engine.warehouse.make_views(market(load=load), "") == ["market.price_of_at"]
    question = "SELECT price, valid_from::text, valid_until::text FROM market.price_of_at ORDER BY price"
    assert together.engine.query(question) == [(1, day(1), day(2)), (2, day(2), None)]


@pytest.mark.parametrize(
    ("keys", "load"),
    [(("code", "since"), STATES), (("market", "note"), replace(LOGGED, untracked=(), tie_breaker="note"))],
)
def test_what_orders_rows_of_a_key_is_not_of_the_key(keys: tuple[str, ...], load: Scd2) -> None:
    with pytest.raises(ConfigurationError, match="puts rows of one key in order"):
        Model(price_of, PriceOf, keys, load=load)


async def test_the_end_of_the_current_version_may_be_null(together: Together) -> None:
    load = replace(STATES, open_end=None)
    fill(together, ("x", "a", 1, 1), ("x", "b", 5, 1))
    await together.run(market(load=load))
    assert versions(together) == [(1, day(1), None, True)]
    change(together, "price = 2", 2)
    together.engine.source("DELETE FROM prices WHERE code = 'b'")
    await together.run(market(load=load))
    assert versions(together) == [(1, day(1), day(2, "11:59:59"), False), (2, day(2), None, True)]
    assert versions(together, "b", "end_date IS NULL") == [(False, False)]
    put(together, ("x", "b", 5, 1))
    await together.run(market(load=load))
    assert versions(together, "b", "end_date IS NULL") == [(False, False), (True, True)]


@pytest.mark.parametrize("is_log", [False, True], ids=["states", "log"])
async def test_a_deletion_may_be_a_version_of_its_own(together: Together, is_log: bool) -> None:
    """With the last values, never current; what returns follows it. A sweep finds nothing in it."""
    load = replace(STATES, changes=is_log, deletes_as_versions=True, gap=timedelta(0), open_end=None)
    fill(together, ("x", "a", 1, 1), ("x", "b", 5, 1))
    await together.run(market(load=load))
    together.engine.source("DELETE FROM prices WHERE code = 'a'")
    assert (await together.run(market(load=load)))["price_of"].deleted == 1
    columns = ("price", "start_date", "end_date", "_deleted_at AT TIME ZONE 'UTC'")
    first, gone = versions(together, "a", *columns)
    assert first[2] == gone[1]
    assert (first[3], first[4]) == (None, False)
    assert gone == (1, gone[1], None, gone[1], False)
    before = together.engine.query("SELECT * FROM market.price_of ORDER BY 1")
    assert all(one.loaded == 0 for one in (await together.run(market(load=load))).values())
    assert together.engine.query("SELECT * FROM market.price_of ORDER BY 1") == before
    put(together, ("x", "a", 1, 1))
    await together.run(market(load=load))
    rows = versions(together, "a", *columns)
    assert [(row[0], row[3] is None, row[4]) for row in rows] == [(1, True, False), (1, False, False), (1, True, True)]
    assert rows[1][1] < rows[2][1] == rows[1][2]
    assert together.engine.query("SELECT count(DISTINCT price_key) FROM market.price_of") == [(4,)]


@pytest.mark.parametrize(("stream", "load"), [(PRICES, STATES), (LOG, LOGGED)], ids=["states", "log"])
async def test_the_first_version_of_a_key_may_begin_at_the_beginning(
    together: Together, stream: Stream, load: Scd2
) -> None:
    """And of a log the first in time, whichever came first."""
    load = replace(load, from_beginning=True)
    fill(together, ("x", "a", 5, 5))
    await together.run(market(stream, load))
    assert versions(together) == [(5, "1900-01-01 00:00:00", OPEN, True)]
    if stream is LOG:
        put(together, ("x", "a", 3, 3))
        await together.run(market(stream, load))
        assert versions(together)[0] == (3, "1900-01-01 00:00:00", day(5, "11:59:59"), False)
        put(together, ("x", "a", 9, 9))
    else:
        change(together, "price = 9", 9)
    await together.run(market(stream, load))
    assert versions(together)[-2:] == [
        (5, versions(together)[-2][1], day(9, "11:59:59"), False),
        (9, day(9), OPEN, True),
    ]


async def test_snapshots_are_compared_with_the_last_that_was_applied(together: Together) -> None:
    """A missed day loses nothing, a run of the same day changes nothing, a second change of a day is a version."""
    dated = Dated("stock_db", zone="Asia/Jakarta", days_before=1)
    pipeline = market(SNAPSHOT, UNDATED, dated)
    fill(together, ("x", "a", 1, None), ("x", "b", 5, None))
    await together.run(pipeline)
    midnight = dated.effective_at(datetime.now(UTC), None).replace(tzinfo=None)
    assert versions(together, "a", "price", "start_date") == [(1, midnight, True)]
    change(together, "price = 2")
    (orphan,) = await together.read(pipeline)
    assert orphan.prefix.startswith(f"stock_db/prices/partition={dated.date_of(datetime.now(UTC)):%Y%m%d}/")
    change(together, "price = 3")
    together.engine.source("DELETE FROM prices WHERE code = 'b'")
    results = await together.run(pipeline)
    assert [row[0] for row in versions(together)] == [1, 3]
    assert [row[-1] for row in versions(together, "b")] == [False]
    assert results["price_of"].deleted == 1
    ((first_read,),) = together.engine.query("SELECT min(read_at) FROM millrace.batches WHERE stream = 'prices'")
    second = versions(together, "a", "start_date")[1][0]
    assert second == first_read.astimezone(UTC).replace(tzinfo=None), "not before the read that did not show it"
    assert {name: one.loaded for name, one in (await together.run(pipeline)).items()} == {"prices": 0, "price_of": 0}


async def test_two_versions_with_one_surrogate_key_fail_the_load(together: Together) -> None:
    fill(together, ("x", "a", 1, 1))
    await together.run(market())
    change(together, "price = 2", 2)
    await together.run(market())
    ((taken,),) = together.engine.query("SELECT price_key FROM market.price_of WHERE price = 2")
    together.engine.query("DELETE FROM market.price_of WHERE price = 2")
    together.engine.query(f"UPDATE market.price_of SET price_key = {taken}")
    with pytest.raises(FatalError, match="surrogate key of another"):
        await together.run(market(), bounds=FULL)


async def test_a_stream_itself_may_keep_versions(together: Together) -> None:
    """Without any model; what differs is found by the sweep among the versions that are valid now."""
    stream = replace(PRICES, load=replace(STATES, effective_from="stamp"))
    pipeline = Pipeline("market", streams=[stream], landing="csv")
    fill(together, ("x", "a", 1, 1), ("x", "b", 5, 1))
    await together.run(pipeline)
    change(together, "price = 2", 2)
    together.engine.source("DELETE FROM prices WHERE code = 'b'")
    results = await together.run(pipeline)
    assert (results["prices"].updated, results["prices"].deleted) == (1, 1)
    assert together.engine.query(
        "SELECT code, price, start_date::text, is_current FROM market.prices ORDER BY code, start_date"
    ) == [("a", 1, day(1), False), ("a", 2, day(2), True), ("b", 5, day(1), False)]
    assert (await together.run(pipeline))["prices"].loaded == 0


@pytest.mark.parametrize(
    ("load", "because"),
    [
        (Scd2("price_key", effective_from="stamped"), "has no column 'stamped', which the load mode asks for"),
        (Scd2("price_key", effective_from="note"), "has a column 'note' that is no date and no timestamp"),
        (Scd2("price_key", start="note"), "has a column 'note', as the load mode has"),
    ],
)
async def test_columns_that_do_not_fit_are_named(on_redshift: Together, load: Scd2, because: str) -> None:
    fill(on_redshift, ("x", "a", 1, 1))
    with pytest.raises(ConfigurationError, match=because):
        await on_redshift.run(Pipeline("market", streams=[replace(PRICES, load=load)], landing="csv"))
