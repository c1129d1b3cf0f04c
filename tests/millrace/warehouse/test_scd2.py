"""`Scd2` on real servers: versions with the time they were valid in, on either warehouse."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from millrace import Dated, Pipeline, Scd2, Stream
from millrace.base.errors import FatalError
from millrace.runs.choose import ReadRequest
from tests.support.engine import Together
from tests.support.markets import (
    FULL,
    LOG,
    LOGGED,
    OPEN,
    PRICES,
    SNAPSHOT,
    STATES,
    UNDATED,
    change,
    day,
    fill,
    market,
    now,
    put,
    versions,
)


async def test_changes_become_versions_and_nothing_new_changes_nothing(together: Together) -> None:
    fill(together, ("x", "a", 1, 1), ("x", "b", 5, 1))
    await together.run(market())
    change(together, "price = 2", 2)
    results = await together.run(market())
    assert versions(together) == [(1, day(1), day(2, "11:59:59"), False), (2, day(2), OPEN, True)]
    assert versions(together, "b") == [(5, day(1), OPEN, True)]
    assert (results["price_of"].updated, results["price_of"].inserted) == (1, 0)
    before = together.engine.query("SELECT * FROM market.price_of ORDER BY 1")
    for read_request in (ReadRequest(), FULL):
        assert all(one.loaded == 0 for one in (await together.run(market(), read_request=read_request)).values())
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
    await together.run(market(), read_request=FULL)
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
    assert orphan.files.prefix.startswith(f"stock_db/prices/partition={dated.date_of(datetime.now(UTC)):%Y%m%d}/")
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
        await together.run(market(), read_request=FULL)


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
